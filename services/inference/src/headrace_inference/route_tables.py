"""How tenants' queries are routed, in memory: read at the first query, and again at the word of a change.

A word may be lost, so what is held is read again after a minute, beside the queries that it goes on to serve.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from headrace_runtime.errors import Conflict, Overloaded, Unavailable, place_of

from headrace_inference.kinds import Embedder, Kind, hash_of, learn_from, texts_of
from headrace_inference.route_ports import RouteBooks, TextEmbedder
from headrace_inference.route_records import KindSet, KindVectors, Learned, Table, in_force

log = structlog.get_logger()

#: How long a table serves before it is read again.
FRESH_SECONDS = 60.0
#: How long nobody tries again to embed a tenant's examples, after it failed.
PAUSE_SECONDS = 10.0
#: So many tenants' tables are held; one has some hundred kilobytes.
MOST_HELD = 1_000


@dataclass(slots=True)
class RouteTables:
    """Open it with open_tables. clock: seconds that never go back."""

    books: RouteBooks
    embedder: TextEmbedder
    clock: Callable[[], float]
    now: Callable[[], datetime]
    _held: dict[str, tuple[float, Table]] = field(default_factory=dict)
    _paused: dict[tuple[str, int, str], float] = field(default_factory=dict)
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    async def of(self, tenant: str) -> Table:
        """A tenant's table; no database is read where one is held. Raises Unavailable where none is."""
        if (held := self._held.get(tenant)) is None:
            return await self.refresh(tenant)
        fresh_until, table = held
        if self.clock() >= fresh_until:
            self._held[tenant] = (self.clock() + PAUSE_SECONDS, table)  # one reads it, the others go on
            self._begin(self._refresh_quietly(tenant))
        return table

    async def refresh(self, tenant: str) -> Table:
        """Reads a tenant's table anew. Raises Unavailable."""
        async with self._locks.setdefault(tenant, asyncio.Lock()):
            table = await self._read(tenant)
            if len(self._held) >= MOST_HELD and tenant not in self._held:
                self._held.pop(next(iter(self._held)))
            self._held[tenant] = (self.clock() + FRESH_SECONDS, table)
            return table

    async def follow(self, tenant: str) -> None:
        """As refresh, at the word of a change: what nobody has asked for here is not read."""
        if tenant in self._held:
            await self._refresh_quietly(tenant)

    def teach(self, tenant: str, table: Table, embedder: Embedder) -> None:
        """Has a tenant's kinds learned with an embedder that they were not learned with, beside what is under way."""
        if table.kinds is None or embedder.hash in table.learned:
            return
        key = (tenant, table.kinds.version, embedder.hash)
        if self.clock() >= self._paused.get(key, 0.0):
            self._paused[key] = self.clock() + PAUSE_SECONDS
            self._begin(self._learn_quietly(tenant, table.kinds))

    async def learn(self, tenant: str, kinds: KindSet) -> Learned:
        """Embeds the examples of stored kinds, keeps the vectors, and learns. Raises Unavailable, Overloaded."""
        vectors = await self.embed(kinds.kinds)
        async with self.books.open(tenant) as book:
            await book.add_vectors(kinds.version, vectors, at=self.now())
        await self.refresh(tenant)
        return await learned_from(kinds.kinds, vectors)

    async def embed(self, kinds: Sequence[Kind]) -> KindVectors:
        """The vectors of kinds' examples. Raises Unavailable, Overloaded; Conflict where embedders differ."""
        texts = texts_of(kinds)
        numbers, embedder = await self.embedder.embed(texts)
        return KindVectors(embedder, hash_of(texts), numbers)

    async def close(self) -> None:
        """Ends what is under way."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _read(self, tenant: str) -> Table:
        async with self.books.open(tenant) as book:
            routes = in_force(await book.newest_routes())
            kinds = await book.newest_kinds()
            vectors = await book.vectors_of(kinds.version) if kinds else ()
        if kinds is None:
            return Table(routes)
        known = hash_of(texts_of(kinds.kinds))
        learned = [await self._learned(tenant, kinds, one) for one in vectors if one.texts_hash == known]
        return Table(routes, kinds, {one.embedder.hash: one for one in learned})

    async def _learned(self, tenant: str, kinds: KindSet, vectors: KindVectors) -> Learned:
        """Learns, unless the table that is held did so from the same."""
        _, held = self._held.get(tenant, (0.0, Table()))
        if held.kinds_version == kinds.version and (same := held.learned.get(vectors.embedder.hash)) is not None:
            return same
        return await learned_from(kinds.kinds, vectors)

    def _begin(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:  # a bug: its text may hold an example
            log.error("routing work failed", error=type(error).__name__, at=place_of(error))

    async def _refresh_quietly(self, tenant: str) -> None:
        try:
            await self.refresh(tenant)
        except Unavailable as error:
            log.warning("routes are not read anew", error=type(error).__name__)

    async def _learn_quietly(self, tenant: str, kinds: KindSet) -> None:
        try:
            await self.learn(tenant, kinds)
        except (Unavailable, Overloaded, Conflict) as error:
            log.warning("kinds are not learned anew", error=type(error).__name__)


async def learned_from(kinds: Sequence[Kind], vectors: KindVectors) -> Learned:
    """Learns beside the event loop."""
    recogniser, quality = await asyncio.to_thread(learn_from, kinds, vectors.vectors)
    return Learned(vectors.embedder, recogniser, tuple(quality))


@asynccontextmanager
async def open_tables(
    books: RouteBooks, embedder: TextEmbedder, *, clock: Callable[[], float], now: Callable[[], datetime]
) -> AsyncIterator[RouteTables]:
    """Holds tables until the context is left."""
    tables = RouteTables(books, embedder, clock, now)
    try:
        yield tables
    finally:
        await tables.close()
