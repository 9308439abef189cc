"""What routing needs of the world."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol

from headrace_inference.kinds import Embedder, Matrix
from headrace_inference.route_records import KindSet, KindVectors, RouteRecord


class TextEmbedder(Protocol):
    """Makes vectors as the way of a query does."""

    async def embed(self, texts: Sequence[str]) -> tuple[Matrix, Embedder]:
        """One vector for each text, and what made them. Raises Unavailable, Overloaded."""


class RouteBook(Protocol):
    """A tenant's routes and kinds, inside one transaction."""

    async def hold(self) -> None:
        """Lets nobody else change this tenant's routes and kinds until the transaction ends."""

    async def newest_routes(self) -> Sequence[RouteRecord]:
        """The newest version of each kind's route, deletions too, by kind."""

    async def versions_of(self, kind: str) -> Sequence[RouteRecord]:
        """Every version of one kind's route, newest first."""

    async def add_route(self, record: RouteRecord) -> None:
        """Stores a version."""

    async def newest_kinds(self) -> KindSet | None:
        """The kinds in force."""

    async def add_kinds(self, kinds: KindSet, *, by: str, at: datetime) -> None:
        """Stores a version."""

    async def vectors_of(self, version: int) -> Sequence[KindVectors]:
        """What each embedder made of a version of the kinds."""

    async def add_vectors(self, version: int, vectors: KindVectors, *, at: datetime) -> None:
        """Stores them, in the place of those that the same embedder made of other texts."""

    def emit(self, event: Any) -> None:
        """Has an event published if, and only if, the transaction commits."""


class RouteBooks(Protocol):
    """Where they are kept."""

    def open(self, tenant: str) -> AbstractAsyncContextManager[RouteBook]:
        """Opens a transaction of a tenant. Raises Unavailable."""


class Spending(Protocol):
    """What answers cost."""

    async def spent_today(self, tenant: str, route: str) -> int:
        """Millionths of a US dollar since midnight UTC, by all instances, some seconds old. Raises Unavailable."""

    def note(self, tenant: str, route: str, cost_micro_usd: int) -> None:
        """Adds what this instance has just spent."""
