"""Routes, kinds and backends in memory, for tests: the same behaviour, and nothing survives."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from headrace_privacy import Tier
from headrace_runtime.errors import Unavailable

from headrace_inference.domain import Versioned
from headrace_inference.kinds import Embedder, Matrix
from headrace_inference.route_choosing import Answerer, Broken, Router
from headrace_inference.route_records import KindSet, KindVectors, RouteRecord
from headrace_inference.route_tables import RouteTables
from headrace_inference.routing import Standing


@dataclass(slots=True)
class MemoryRouteBook:
    """See route_ports.RouteBook. One tenant's."""

    routes: list[RouteRecord] = field(default_factory=list)
    kinds: list[KindSet] = field(default_factory=list)
    vectors: dict[tuple[int, str], KindVectors] = field(default_factory=dict)
    emitted: list[Any] = field(default_factory=list)

    async def hold(self) -> None:
        """See route_ports.RouteBook.hold."""

    async def newest_routes(self) -> Sequence[RouteRecord]:
        """See route_ports.RouteBook.newest_routes."""
        newest = {record.route.kind: record for record in self.routes}
        return [newest[kind] for kind in sorted(newest)]

    async def versions_of(self, kind: str) -> Sequence[RouteRecord]:
        """See route_ports.RouteBook.versions_of."""
        return [record for record in reversed(self.routes) if record.route.kind == kind]

    async def add_route(self, record: RouteRecord) -> None:
        """See route_ports.RouteBook.add_route."""
        self.routes.append(record)

    async def newest_kinds(self) -> KindSet | None:
        """See route_ports.RouteBook.newest_kinds."""
        return self.kinds[-1] if self.kinds else None

    async def add_kinds(self, kinds: KindSet, *, by: str, at: datetime) -> None:
        """See route_ports.RouteBook.add_kinds."""
        del by, at
        self.kinds.append(kinds)

    async def vectors_of(self, version: int) -> Sequence[KindVectors]:
        """See route_ports.RouteBook.vectors_of."""
        return [vectors for (of, _), vectors in self.vectors.items() if of == version]

    async def add_vectors(self, version: int, vectors: KindVectors, *, at: datetime) -> None:
        """See route_ports.RouteBook.add_vectors."""
        del at
        self.vectors[version, vectors.embedder.hash] = vectors

    def emit(self, event: Any) -> None:
        """See route_ports.RouteBook.emit."""
        self.emitted.append(event)


@dataclass(slots=True)
class MemoryRouteBooks:
    """See route_ports.RouteBooks. is_down: nobody can be reached."""

    books: dict[str, MemoryRouteBook] = field(default_factory=dict)
    opened: int = 0
    is_down: bool = False

    @asynccontextmanager
    async def open(self, tenant: str) -> AsyncIterator[MemoryRouteBook]:
        """See route_ports.RouteBooks.open."""
        if self.is_down:
            raise Unavailable("postgres")
        self.opened += 1
        yield self.books.setdefault(tenant, MemoryRouteBook())


@dataclass(slots=True)
class MemoryEmbedder:
    """See route_ports.TextEmbedder. Vectors are made of hashes of words: the more two texts share, the nearer."""

    identity: Embedder = field(default=Embedder("words", 256, "0123456789abcdef"))
    is_down: bool = False
    embedded: int = 0

    async def embed(self, texts: Sequence[str]) -> tuple[Matrix, Embedder]:
        """See route_ports.TextEmbedder.embed."""
        await asyncio.sleep(0)
        if self.is_down:
            raise Unavailable("embedder")
        self.embedded += len(texts)
        return np.array([self.vector(text) for text in texts]), self.identity

    def vector(self, text: str) -> Matrix:
        """One text's vector, of unit length."""
        words = text.lower().replace("?", " ").split() or [""]
        numbers = np.zeros(self.identity.dimensions)
        for word in words:
            digest = hashlib.sha256(f"{self.identity.hash} {word}".encode()).digest()
            numbers[int.from_bytes(digest[:4], "big") % len(numbers)] += 1 if digest[4] % 2 else -1
        unit: Matrix = numbers / (np.linalg.norm(numbers) or 1.0)
        return unit


@dataclass(slots=True)
class MemorySpending:
    """See route_ports.Spending."""

    spent: dict[tuple[str, str], int] = field(default_factory=dict)

    async def spent_today(self, tenant: str, route: str) -> int:
        """See route_ports.Spending.spent_today."""
        return self.spent.get((tenant, route), 0)

    def note(self, tenant: str, route: str, cost_micro_usd: int) -> None:
        """See route_ports.Spending.note."""
        self.spent[tenant, route] = self.spent.get((tenant, route), 0) + cost_micro_usd


@dataclass(slots=True)
class MemoryAnswerers:
    """See route_choosing.Answerers and route_handlers.Variants. standings: of those that are not plainly able."""

    answerers: Mapping[Versioned, Answerer]
    standings: dict[Versioned, Standing] = field(default_factory=dict)

    async def of(self, tenant: str, key: Versioned) -> Answerer:
        """See route_choosing.Answerers.of."""
        del tenant
        if key not in self.answerers:
            raise Broken("there is no such variant")
        return self.answerers[key]

    def standing(self, tenant: str, answerer: Answerer, tier: Tier) -> Standing:
        """See route_choosing.Answerers.standing."""
        del tenant, tier
        return self.standings.get(answerer.variant.key, Standing())

    async def newest(self, tenant: str, name: str) -> Versioned | None:
        """See route_handlers.Variants.newest."""
        del tenant
        versions = [key for key in self.answerers if key.name == name]
        return max(versions, key=lambda key: int(key.version)) if versions else None

    async def broken(self, tenant: str, key: Versioned) -> str:
        """See route_handlers.Variants.broken."""
        del tenant
        return "" if key in self.answerers else "there is no such variant"


def memory_router(
    answerers: Mapping[Versioned, Answerer], *, default: Versioned, now: Callable[[], datetime]
) -> Router:
    """A router over memory: no kinds, no routes, and these who can answer."""
    tables = RouteTables(MemoryRouteBooks(), MemoryEmbedder(), time.monotonic, now)
    return Router(tables, MemoryAnswerers(answerers), MemorySpending(), default, now)
