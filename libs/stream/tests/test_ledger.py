"""Inbox, outbox and relay on a real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from headrace import topics
from headrace.query.v1.events_pb2 import QueryAccepted, QuerySubmitted
from headrace_database import Database, open_database
from headrace_database.migrations import migrate, read_migrations
from headrace_runtime.errors import Unavailable
from headrace_stream import Delivery, Ledger
from headrace_stream.memory import delivered
from headrace_telemetry.tracing import extract
from opentelemetry.context import attach, detach

pytestmark = pytest.mark.real

MIGRATIONS = Path(__file__).parents[1] / "migrations"


class Recorder:
    """A bus that remembers what it was given, and can be down."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.is_down = False

    async def send_raw(self, records: Sequence[tuple[str, bytes, bytes, Mapping[str, str]]]) -> None:
        if self.is_down:
            raise Unavailable("kafka")
        self.sent.extend((headers["ce_id"], key) for _, key, _, headers in records)


def delivery(event_id: UUID) -> Delivery[QuerySubmitted]:
    return delivered(QuerySubmitted(), topics.QUERY_SUBMITTED, service="ingest", event_id=event_id, key="q")


@pytest.fixture
async def store(database: Any) -> AsyncIterator[Database]:
    superuser = await asyncpg.connect(database.superuser)
    await migrate(superuser, schema="ingest", migrations=read_migrations(MIGRATIONS))
    await superuser.execute("TRUNCATE ingest.inbox, ingest.outbox")
    await superuser.close()
    async with open_database(database.dsn("ingest"), schema="ingest") as opened:
        yield opened


async def emit(ledger: Ledger, cause: Delivery[QuerySubmitted], count: int = 1) -> bool:
    async with ledger.once(cause) as unit:
        if unit is None:
            return False
        for ordinal in range(count):
            unit.emit(cause.follow(topics.QUERY_ACCEPTED, QueryAccepted(), ordinal=ordinal))
    return True


async def until_sent(recorder: Recorder, count: int) -> None:
    async with asyncio.timeout(10):
        while len(recorder.sent) < count:
            await asyncio.sleep(0.01)


async def test_an_event_takes_effect_once_and_is_published_once(store: Database) -> None:
    ledger, recorder = Ledger(store), Recorder()
    cause = delivery(uuid4())
    async with ledger.relaying(recorder):
        assert await emit(ledger, cause)
        assert not await emit(ledger, cause)
        await until_sent(recorder, 1)
        await asyncio.sleep(0.1)
    assert len(recorder.sent) == 1
    assert await ledger.has_received(cause)


async def test_a_failure_inside_leaves_no_trace(store: Database) -> None:
    ledger, cause = Ledger(store), delivery(uuid4())
    with pytest.raises(KeyError):
        async with ledger.once(cause) as unit:
            assert unit is not None
            unit.emit(cause.follow(topics.QUERY_ACCEPTED, QueryAccepted()))
            raise KeyError
    assert not await ledger.has_received(cause)
    async with store.transaction() as connection:
        assert await connection.fetchval("SELECT count(*) FROM outbox") == 0


async def test_the_outbox_waits_for_the_bus_and_keeps_its_order(store: Database) -> None:
    ledger, recorder = Ledger(store), Recorder()
    recorder.is_down = True
    causes = [delivery(uuid4()) for _ in range(5)]
    async with ledger.relaying(recorder):
        for cause in causes:
            await emit(ledger, cause, 3)
        await asyncio.sleep(0.3)
        assert recorder.sent == []
        recorder.is_down = False
        await until_sent(recorder, 15)
    expected = [
        str(c.follow(topics.QUERY_ACCEPTED, QueryAccepted(), ordinal=n).event_id) for c in causes for n in range(3)
    ]
    assert [event_id for event_id, _ in recorder.sent] == expected


async def test_two_instances_relay_one_at_a_time(store: Database) -> None:
    first, second, recorder = Ledger(store), Ledger(store), Recorder()
    async with first.relaying(recorder):
        await asyncio.sleep(0.2)
        async with second.relaying(recorder):
            for ledger in (first, second) * 20:
                await emit(ledger, delivery(uuid4()))
            await until_sent(recorder, 40)
    await asyncio.sleep(0.1)
    assert len(recorder.sent) == len(set(recorder.sent)) == 40


async def test_concurrent_deliveries_of_one_event_take_effect_once(store: Database) -> None:
    ledgers = [Ledger(store) for _ in range(8)]
    cause = delivery(uuid4())
    outcomes = await asyncio.gather(*(emit(ledger, cause) for ledger in ledgers))
    assert sorted(outcomes) == [False] * 7 + [True]


async def test_a_database_that_goes_away_is_unavailable(store: Database, postgres: Any) -> None:
    ledger = Ledger(store)
    assert await emit(ledger, delivery(uuid4()))
    postgres.kill()
    with pytest.raises(Unavailable):
        await emit(ledger, delivery(uuid4()))
    postgres.start()
    async with asyncio.timeout(20):
        while True:
            try:
                assert await emit(ledger, delivery(uuid4()))
                break
            except Unavailable:
                await asyncio.sleep(0.2)


async def test_many_take_effect_together_and_each_once(store: Database) -> None:
    ledger = Ledger(store)
    early, late = delivery(uuid4()), delivery(uuid4())
    async with ledger.once(early) as unit:
        assert unit is not None
    async with ledger.together([late, early, late]) as (_, fresh):
        assert [one.event_id for one in fresh] == [late.event_id]
    async with ledger.together([early, late]) as (_, fresh):
        assert list(fresh) == []
    assert await ledger.has_received(late)


async def test_what_fails_together_leaves_no_trace(store: Database) -> None:
    ledger, causes = Ledger(store), [delivery(uuid4()) for _ in range(3)]
    with pytest.raises(KeyError):
        async with ledger.together(causes):
            raise KeyError
    async with ledger.together(causes) as (_, fresh):
        assert list(fresh) == causes


async def test_two_instances_that_have_some_in_common_count_each_once(store: Database) -> None:
    ledger, causes = Ledger(store), [delivery(uuid4()) for _ in range(60)]
    seen: list[UUID] = []

    async def take(mine: Sequence[Delivery[QuerySubmitted]]) -> None:
        async with ledger.together(mine) as (_, fresh):
            seen.extend(one.event_id for one in fresh)

    await asyncio.gather(take(causes[:40]), take(causes[::-1]), take(causes[20:]))
    assert sorted(seen) == sorted(one.event_id for one in causes)


async def test_an_event_can_carry_another_trace_than_the_transactions(store: Database) -> None:
    ledger, cause = Ledger(store), delivery(uuid4())
    theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    here, there = (cause.follow(topics.QUERY_ACCEPTED, QueryAccepted(), ordinal=n) for n in range(2))
    async with ledger.unit() as unit:
        unit.emit(here)
        token = attach(extract({"traceparent": theirs}))
        unit.emit_here(there)
        detach(token)
    async with store.transaction() as connection:
        rows = await connection.fetch("SELECT headers->>'ce_id' AS id, headers->>'traceparent' AS trace FROM outbox")
    traces = {row["id"]: row["trace"] for row in rows}
    assert traces[str(there.event_id)] == theirs
    assert traces[str(here.event_id)] != theirs
