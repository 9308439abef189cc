"""What was decided, at hand in memory on every instance: kept fresh by the database's word, and by looking.

    a decision is committed ──NOTIFY──▶ every instance reads anew
                              and each looks every 2 s, should the word be lost

Decisions can lower a tier, so they lapse when the database could not be read for 10 s: what holds then is what would
hold without them, which is stricter or as strict wherever a decision lowered it. Dictionaries only raise, so the last
one that was read stands.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

import asyncpg
import structlog
from headrace.privacy.v1.privacy_pb2 import SealedBytes
from headrace_database import Database
from headrace_privacy import Erased, Tampered, Tier, Vault
from headrace_runtime.errors import Unavailable, place_of

from headrace_classifier.adapters.postgres_registry import CHANNEL
from headrace_classifier.dictionaries import StoredDictionary, unpack
from headrace_classifier.registry import EVERYBODY, Registry
from headrace_classifier.submission import Provenance
from headrace_classifier.tier_decisions import About, decided_tier

log = structlog.get_logger()

LOOK_SECONDS = 2.0
LAPSE_SECONDS = 10.0
RETRY_SECONDS = 1.0

T = TypeVar("T")


class LiveDecisions:
    """The decisions on tiers in force; see tier_decisions.Decisions. `clock` counts seconds and never goes back."""

    def __init__(self, registry: Registry, *, clock: Callable[[], float]) -> None:
        self._registry = registry
        self._clock = clock
        self._decisions: Mapping[About, Tier] = {}
        self._good_until = clock()

    def tier_of(self, provenance: Provenance) -> Tier | None:
        """None for everything once what was read is too old to be relied on."""
        if self._clock() >= self._good_until:
            return None
        return decided_tier(self._decisions, provenance)

    async def refresh(self) -> None:
        """Reads them anew. Raises Unavailable."""
        began = self._clock()
        async with self._registry.open(EVERYBODY) as register:
            found = await register.tier_decisions()
        self._decisions = {decision.about: decision.tier for decision in found}
        self._good_until = began + LAPSE_SECONDS


@dataclass(frozen=True, slots=True)
class _Compiled(Generic[T]):
    """made: None for one that could not be opened, and is tried again."""

    changed_at: datetime
    made: T | None


class LiveDictionaries(Generic[T]):
    """Every tenant's dictionary, made by `compile_` into what finds its words; `compile_` blocks, and runs elsewhere.

    empty: what stands for a tenant without one. unreadable: what stands for one that nobody here can open; it says of
    no text that it holds none of the words.
    """

    def __init__(
        self,
        registry: Registry,
        vault: Vault,
        *,
        compile_: Callable[[Sequence[str]], T],
        empty: T,
        unreadable: T,
    ) -> None:
        self._registry = registry
        self._vault = vault
        self._compile = compile_
        self._empty = empty
        self._unreadable = unreadable
        self._held: Mapping[str, _Compiled[T]] = {}

    async def of(self, tenant: str) -> T:
        """What finds a tenant's words."""
        held = self._held.get(tenant)
        if held is None:
            return self._empty
        return self._unreadable if held.made is None else held.made

    async def refresh(self) -> None:
        """Reads anew what has changed. Raises Unavailable."""
        async with self._registry.open(EVERYBODY) as register:
            changed = await register.dictionaries()
        held = {
            tenant: one
            for tenant, one in self._held.items()
            if one.made is not None and changed.get(tenant) == one.changed_at
        }
        for tenant in changed.keys() - held.keys():
            if (fresh := await self._read(tenant)) is not None:
                held[tenant] = fresh
        self._held = held

    async def _read(self, tenant: str) -> _Compiled[T] | None:
        async with self._registry.open(tenant) as register:
            stored = await register.dictionary(tenant)
        if stored is None:
            return None
        identifiers = await self._open(stored)
        made = None if identifiers is None else await asyncio.to_thread(self._compile, identifiers)
        return _Compiled(stored.changed_at, made)

    async def _open(self, stored: StoredDictionary) -> Sequence[str] | None:
        sealed = SealedBytes.FromString(stored.sealed)
        try:
            return unpack((await self._vault.opener_for(sealed)).open(sealed))
        except (Erased, Tampered) as error:
            log.error("a dictionary cannot be opened", tenant=stored.tenant, error=type(error).__name__)
            return None


@asynccontextmanager
async def following(database: Database, *refresh: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Refreshes once, then whenever the database says so and every 2 s, while the context is open.

    Raises Unavailable when the first time fails; later ones are tried again.
    """
    for one in refresh:
        await one()
    task = asyncio.create_task(_follow_for_ever(database, refresh))
    task.add_done_callback(_say_why)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _say_why(task: asyncio.Task[None]) -> None:
    """A bug ends the following: decisions lapse, and the service's log says where to look."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("decisions are not followed any more", error=type(error).__name__, at=place_of(error))


async def _follow_for_ever(database: Database, refresh: Sequence[Callable[[], Awaitable[None]]]) -> None:
    while True:
        try:
            async with database.dedicated() as connection:
                await _follow(connection, refresh)
        except (Unavailable, asyncpg.PostgresError) as error:
            log.warning("decisions cannot be read", error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)


async def _follow(
    connection: asyncpg.Connection[asyncpg.Record], refresh: Sequence[Callable[[], Awaitable[None]]]
) -> None:
    changed = asyncio.Event()
    await connection.add_listener(CHANNEL, lambda *_: changed.set())
    while not connection.is_closed():
        changed.clear()
        for one in refresh:
            await one()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_SECONDS):
                await changed.wait()
