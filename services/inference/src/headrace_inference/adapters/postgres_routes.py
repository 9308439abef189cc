"""Routes, kinds and what was spent, in Postgres; migrations/0006_kinds_and_routes.sql says what each column holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from headrace.inference.v1 import routes_pb2
from headrace_database import Connection, Database
from headrace_database.connection import statement
from headrace_stream import Ledger, Unit

from headrace_inference import route_translate as translate
from headrace_inference.kinds import Embedder
from headrace_inference.route_records import KindSet, KindVectors, RouteRecord

#: How old what was spent may be, in seconds. A budget is exceeded by at most what all instances spend in that time.
SPENT_SECONDS = 5.0
#: So many routes' spending is remembered.
_MOST_HELD = 10_000

_NEWEST = "SELECT DISTINCT ON (kind) content FROM routes WHERE tenant = $1 ORDER BY kind, version DESC"
_VERSIONS = "SELECT content FROM routes WHERE tenant = $1 AND kind = $2 ORDER BY version DESC"
_ADD_ROUTE = """
INSERT INTO routes (tenant, kind, version, content, deleted, created_by, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_KINDS = "SELECT version, content FROM kinds WHERE tenant = $1 ORDER BY version DESC LIMIT 1"
_ADD_KINDS = "INSERT INTO kinds (tenant, version, content, created_by, created_at) VALUES ($1, $2, $3, $4, $5)"
_VECTORS = """
SELECT embedder, dimensions, embedder_hash, texts_hash, vectors FROM kind_vectors WHERE tenant = $1 AND version = $2
"""
_ADD_VECTORS = """
INSERT INTO kind_vectors (tenant, version, embedder_hash, embedder, dimensions, texts_hash, vectors, made_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (tenant, version, embedder_hash)
DO UPDATE SET texts_hash = EXCLUDED.texts_hash, vectors = EXCLUDED.vectors, made_at = EXCLUDED.made_at
"""
_SPENT = """
SELECT coalesce(sum(cost_micro_usd), 0)::bigint FROM answers
WHERE tenant = $1 AND route = $2 AND cost_micro_usd > 0 AND completed_at >= $3
"""


@dataclass(frozen=True, slots=True)
class PostgresRouteBooks:
    """See route_ports.RouteBooks."""

    ledger: Ledger

    @asynccontextmanager
    async def open(self, tenant: str) -> AsyncIterator[PostgresRouteBook]:
        """See route_ports.RouteBooks.open."""
        async with self.ledger.unit(tenant=tenant) as unit:
            yield PostgresRouteBook(unit, tenant)


@dataclass(frozen=True, slots=True)
class PostgresRouteBook:
    """See route_ports.RouteBook."""

    unit: Unit
    tenant: str

    @property
    def _connection(self) -> Connection:
        return self.unit.connection

    async def hold(self) -> None:
        """See route_ports.RouteBook.hold."""
        await self._connection.execute("SELECT pg_advisory_xact_lock(hashtext('routes ' || $1))", self.tenant)

    async def newest_routes(self) -> Sequence[RouteRecord]:
        """See route_ports.RouteBook.newest_routes."""
        with statement("SELECT routes", operation="SELECT", collection="routes"):
            return [_record(row["content"]) for row in await self._connection.fetch(_NEWEST, self.tenant)]

    async def versions_of(self, kind: str) -> Sequence[RouteRecord]:
        """See route_ports.RouteBook.versions_of."""
        return [_record(row["content"]) for row in await self._connection.fetch(_VERSIONS, self.tenant, kind)]

    async def add_route(self, record: RouteRecord) -> None:
        """See route_ports.RouteBook.add_route."""
        route, content = record.route, translate.from_record(record).SerializeToString()
        who = (record.deleted, record.created_by, record.created_at)
        await self._connection.execute(_ADD_ROUTE, self.tenant, route.kind, route.version, content, *who)

    async def newest_kinds(self) -> KindSet | None:
        """See route_ports.RouteBook.newest_kinds."""
        if (row := await self._connection.fetchrow(_KINDS, self.tenant)) is None:
            return None
        stored = routes_pb2.PutKindsRequest.FromString(row["content"])
        return KindSet(row["version"], translate.stored_kinds(stored))

    async def add_kinds(self, kinds: KindSet, *, by: str, at: datetime) -> None:
        """See route_ports.RouteBook.add_kinds."""
        content = routes_pb2.PutKindsRequest(kinds=map(translate.from_kind, kinds.kinds)).SerializeToString()
        await self._connection.execute(_ADD_KINDS, self.tenant, kinds.version, content, by, at)

    async def vectors_of(self, version: int) -> Sequence[KindVectors]:
        """See route_ports.RouteBook.vectors_of."""
        return [_vectors(row) for row in await self._connection.fetch(_VECTORS, self.tenant, version)]

    async def add_vectors(self, version: int, vectors: KindVectors, *, at: datetime) -> None:
        """See route_ports.RouteBook.add_vectors."""
        made_by, numbers = vectors.embedder, vectors.vectors.astype("<f4").tobytes()
        what = (made_by.hash, made_by.name, made_by.dimensions, vectors.texts_hash, numbers)
        await self._connection.execute(_ADD_VECTORS, self.tenant, version, *what, at)

    def emit(self, event: Any) -> None:
        """See route_ports.RouteBook.emit."""
        self.unit.emit(event)


def _record(content: bytes) -> RouteRecord:
    return translate.to_record(routes_pb2.Route.FromString(content))


def _vectors(row: Any) -> KindVectors:
    embedder = Embedder(row["embedder"], row["dimensions"], row["embedder_hash"])
    numbers = np.frombuffer(row["vectors"], dtype="<f4").reshape(-1, embedder.dimensions)
    return KindVectors(embedder, row["texts_hash"], numbers.astype(np.float64))


@dataclass(slots=True)
class PostgresSpending:
    """See route_ports.Spending. clock: seconds that never go back."""

    database: Database
    clock: Callable[[], float]
    now: Callable[[], datetime]
    _held: dict[tuple[str, str], tuple[float, int]] = field(default_factory=dict)

    async def spent_today(self, tenant: str, route: str) -> int:
        """See route_ports.Spending.spent_today."""
        until, spent = self._held.get((tenant, route), (0.0, 0))
        if self.clock() < until:
            return spent
        midnight = self.now().replace(hour=0, minute=0, second=0, microsecond=0)
        async with self.database.transaction(tenant=tenant) as connection:
            spent = int(await connection.fetchval(_SPENT, tenant, route, midnight))
        if len(self._held) >= _MOST_HELD:
            self._held.clear()
        self._held[tenant, route] = (self.clock() + SPENT_SECONDS, spent)
        return spent

    def note(self, tenant: str, route: str, cost_micro_usd: int) -> None:
        """See route_ports.Spending.note."""
        if (held := self._held.get((tenant, route))) is not None:
            self._held[tenant, route] = (held[0], held[1] + cost_micro_usd)
