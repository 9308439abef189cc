"""A tenant with an embedder of its own, on a real Postgres: what it takes to fill its index, to switch, to search."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import uuid4

from headrace_database import Database
from headrace_privacy import DataKey, Owner, Tier, Vault
from headrace_retriever import handlers
from headrace_retriever.adapters.generations import PostgresGenerations
from headrace_retriever.adapters.postgres import PostgresIndex, PostgresShelf
from headrace_retriever.domain import Change, Found, Indexed, OwnChunks, Question, Tuning
from headrace_retriever.filling import Filler
from headrace_retriever.generations import Moved, Switch, Switched, Trained
from headrace_retriever.own import OwnVectors
from headrace_retriever.ports import Index
from headrace_retriever.testing import (
    BLINDING,
    KEY,
    NOW,
    FakeOwnEmbedder,
    document,
    put,
    question,
    removal,
    towards,
    trained,
)

FIRST, SECOND, THIRD = "own@0000000000000001", "own@0000000000000002", "own@0000000000000003"
#: How many chunks of the tenant lack their vector in what is live: none, whatever happens.
_LACKING_IN_LIVE = """
SELECT count(*) FROM chunks AS c, generations AS g
WHERE c.tenant = $1 AND g.tenant = $1 AND g.state = 'live' AND NOT EXISTS (
    SELECT FROM trained_vectors AS v
    WHERE v.tenant = c.tenant AND v.generation = g.generation AND v.chunk_id = c.chunk_id)
"""


@dataclass
class OneKey:
    """Knows the key that everything here is sealed with, until it is destroyed."""

    is_destroyed: bool = False

    async def issue(self, owner: Owner) -> DataKey:
        return KEY

    async def open(self, key_ids: Collection[str]) -> Mapping[str, DataKey]:
        return {} if self.is_destroyed else {key_id: KEY for key_id in key_ids if key_id == KEY.key_id}


@dataclass
class Clock:
    """Seconds that a test moves on."""

    at: float = 0.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Home:
    """One instance of the service, as far as one tenant's own embedders go."""

    database: Database
    tenant: str = field(default_factory=lambda: f"t-{uuid4().hex[:12]}")
    embedder: FakeOwnEmbedder = field(default_factory=FakeOwnEmbedder)
    keys: OneKey = field(default_factory=OneKey)
    clock: Clock = field(default_factory=Clock)
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.books = PostgresGenerations(self.database)
        self.index: Index = PostgresIndex(self.database, tuning=Tuning())
        self.own = OwnVectors(self.embedder, self.clock)
        self.vault = Vault(self.keys, clock=time.monotonic)
        self.filler = Filler(self.books, self.embedder, self.vault, self.clock, lambda: self.now)

    def beside(self, **more: Any) -> Home:
        """Another instance, of the same tenant."""
        return Home(self.database, self.tenant, **{"embedder": self.embedder, "keys": self.keys, **more})

    # --- what is done to it -------------------------------------------------------------------------------------------

    async def put(self, name: str, *texts: str, version: int = 1, tier: Tier = Tier.PUBLIC) -> Indexed | None:
        """Puts a document of one chunk for each text, as the consumer does."""
        which = document(name, tenant=self.tenant, version=version)
        vectors = [towards(i % 8, tilt=i / 100) for i in range(len(texts))]
        return await self.apply(put(which, texts, vectors, tier=tier))

    async def delete(self, name: str, *, version: int) -> Indexed | None:
        return await self.apply(removal(document(name, tenant=self.tenant, version=version)))

    async def apply(self, change: Change) -> Indexed | None:
        for _ in range(handlers.TRIES):
            try:
                return await self.write(replace(change, own=await self.own.of_document(change)))
            except Moved as moved:
                self.own.learn(self.tenant, moved.live)
        return await self.write(replace(change, own=OwnChunks()))

    async def write(self, change: Change) -> Indexed | None:
        async with self.database.transaction(tenant=self.tenant) as connection:
            return await PostgresShelf(connection).apply(change, blinding=BLINDING, now=NOW)

    async def prepare(self, model: str = FIRST) -> Trained:
        which = trained(model, tenant=self.tenant)
        await self.books.prepare(which, now=self.now)
        return which

    async def fill(self) -> None:
        """Fills whatever can be filled now."""
        async with asyncio.timeout(60):
            while await self.filler.turn(self.tenant):
                pass

    async def ready(self, model: str = FIRST) -> None:
        await self.prepare(model)
        await self.fill()

    async def switch(self, model: str, *, expected: str = "") -> Switched:
        self.now += timedelta(seconds=1)
        return await self.books.switch(Switch(self.tenant, model, expected), now=self.now)

    async def live(self, model: str = FIRST) -> None:
        await self.ready(model)
        await self.switch(model)

    async def ask(self, text: str, **more: Any) -> Found:
        """Searches as a query does."""
        asked: Question = question(text, towards(0), tenant=self.tenant, **more)
        return await handlers.retrieve(asked, blinding=BLINDING, index=self.index, own=self.own)

    # --- how it stands ------------------------------------------------------------------------------------------------

    async def states(self) -> dict[str, tuple[str, int, int]]:
        """By model: how it stands, and how many chunks of how many have their vector."""
        standing = await self.books.standing(self.tenant)
        return {p.generation.model: (p.generation.state, p.filled, p.chunks) for p in standing.progress}

    async def failure(self, model: str = FIRST) -> str:
        found = await self.books.find(self.tenant, model)
        assert found is not None
        return found.failure

    async def lacking_in_live(self) -> int:
        async with self.database.transaction(tenant=self.tenant) as connection:
            return cast(int, await connection.fetchval(_LACKING_IN_LIVE, self.tenant))

    async def count(self, table: str) -> int:
        async with self.database.transaction(tenant=self.tenant) as connection:
            return cast(int, await connection.fetchval(f"SELECT count(*) FROM {table}"))

    def embedded(self) -> Sequence[str]:
        """Every text that was embedded, probes left out."""
        return [text for _, texts, _ in self.embedder.asked for text in texts if not text.endswith("there?")]


async def watched(work: Callable[[], Any], look: Callable[[], Any]) -> list[Any]:
    """Does some work, and looks again and again meanwhile; returns what was seen."""
    seen: list[Any] = []
    done = asyncio.Event()

    async def look_on() -> None:
        while not done.is_set():
            seen.append(await look())

    looking = asyncio.create_task(look_on())
    try:
        await work()
    finally:
        done.set()
        await looking
    return seen
