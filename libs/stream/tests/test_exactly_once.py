"""Events that come twice, at once and through failures take effect once; without an inbox the same check fails."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from headrace import topics
from headrace.query.v1.events_pb2 import QueryAccepted, QuerySubmitted
from headrace_database import Database, open_database
from headrace_database.migrations import migrate, read_migrations
from headrace_runtime.errors import Rejected
from headrace_stream import Delivery, Ledger, Unit
from headrace_stream.memory import MemoryBus, MemoryLedger, MemoryUnit, delivered

MIGRATIONS = Path(__file__).parents[1] / "migrations"
EVENTS = 40


class Died(Exception):
    """What ends a handler half way."""


def arrived(event_id: UUID) -> Delivery[QuerySubmitted]:
    return delivered(QuerySubmitted(), topics.QUERY_SUBMITTED, service="ingest", event_id=event_id, key="q")


async def handled(ledger: Any, delivery: Delivery[QuerySubmitted], fate: float) -> None:
    """Has one effect, an event; one time in four the handler dies after it and before the commit."""
    async with ledger.once(delivery) as unit:
        if unit is not None:
            unit.emit(delivery.follow(topics.QUERY_ACCEPTED, QueryAccepted()))
            await asyncio.sleep(0)
            if fate < 0.25:
                raise Died


async def until_done(ledger: Any, delivery: Delivery[QuerySubmitted], rng: random.Random) -> None:
    """Delivers an event as a bus does: again after a failure, and now and then once more for nothing."""
    for _ in range(1 + rng.randrange(3)):
        fate = rng.random()
        while True:
            try:
                await handled(ledger, delivery, fate)
                break
            except Died:
                fate = rng.random()


async def wrong_effects(ledger: Any, emitted: Any) -> list[int]:
    """The check: how often each event took effect, those left out that did so once."""
    rng = random.Random(7)
    deliveries = [arrived(uuid4()) for _ in range(EVENTS)]
    await asyncio.gather(*(until_done(ledger, delivery, rng) for delivery in deliveries for _ in range(2)))
    effects = Counter(await emitted())
    expected = [str(d.follow(topics.QUERY_ACCEPTED, QueryAccepted()).event_id) for d in deliveries]
    return [effects[event_id] for event_id in expected if effects[event_id] != 1]


class ForgetfulMemory(MemoryLedger):
    """A seeded bug: nobody remembers which events took effect."""

    @asynccontextmanager
    async def once(self, delivery: Delivery[Any], *, tenant: str = "") -> AsyncIterator[MemoryUnit | None]:
        async with self.unit(tenant=tenant) as unit:
            yield unit


class Forgetful(Ledger):
    """The same on Postgres."""

    @asynccontextmanager
    async def once(self, delivery: Delivery[Any], *, tenant: str = "") -> AsyncIterator[Unit | None]:
        async with self.unit(tenant=tenant) as unit:
            yield unit


@pytest_asyncio.fixture(scope="module")
async def store(database: Any) -> AsyncIterator[Database]:
    superuser = await asyncpg.connect(database.superuser)
    await migrate(superuser, schema="ingest", migrations=read_migrations(MIGRATIONS))
    await superuser.close()
    async with open_database(database.dsn("ingest"), schema="ingest") as opened:
        yield opened


@pytest.mark.real
async def test_on_postgres_each_event_takes_effect_once_and_not_without_the_inbox(store: Database) -> None:
    async def emitted() -> list[str]:
        async with store.transaction() as connection:
            rows = await connection.fetch("SELECT headers->>'ce_id' AS id FROM outbox")
        return [row["id"] for row in rows]

    assert await wrong_effects(Ledger(store), emitted) == []
    assert max(await wrong_effects(Forgetful(store), emitted)) > 1


async def test_in_memory_each_event_takes_effect_once_and_not_without_the_inbox() -> None:
    async def effects_of(ledger: MemoryLedger) -> list[int]:
        async def emitted() -> list[str]:
            return [str(event.event_id) for event in ledger.published]

        rng = random.Random(7)
        deliveries = [arrived(uuid4()) for _ in range(EVENTS)]
        for delivery in deliveries * 2:
            await until_done(ledger, delivery, rng)
        return [count for count in Counter(await emitted()).values() if count != 1]

    assert await effects_of(MemoryLedger()) == []
    assert max(await effects_of(ForgetfulMemory())) > 1


@pytest.mark.real
async def test_an_event_that_kafka_cannot_take_never_reaches_the_outbox(store: Database) -> None:
    """There it would block the relay, and every event behind it."""
    delivery, ledger = arrived(uuid4()), Ledger(store)
    with pytest.raises(Rejected, match="too_large"):
        async with ledger.once(delivery) as unit:
            assert unit is not None
            unit.emit(delivery.follow(topics.QUERY_ACCEPTED, QueryAccepted(text="x" * 1_100_000)))
    assert not await ledger.has_received(delivery)


async def test_a_bus_in_memory_keeps_what_it_is_given() -> None:
    bus, event = MemoryBus(), arrived(uuid4()).follow(topics.QUERY_ACCEPTED, QueryAccepted())
    await bus.publish(event, event)
    assert bus.published == [event, event]


async def test_a_failure_in_memory_leaves_nothing() -> None:
    ledger, delivery = MemoryLedger(), arrived(uuid4())
    with suppress(Died):
        await handled(ledger, delivery, 0.0)
    assert ledger.published == []
    assert not await ledger.has_received(delivery)
