"""The bus on a real Kafka: what is delivered, in which order, and what becomes of what fails."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from headrace import topics
from headrace.query.v1.events_pb2 import QueryRefused, QuerySubmitted
from headrace.stream.v1.dead_letter_pb2 import DeadLetter
from headrace.topics import Topic
from headrace_runtime.errors import Rejected, Unavailable, Violation
from headrace_stream import Bus, Delivery, Event, open_bus

pytestmark = pytest.mark.real

MakeTopic = Callable[..., Awaitable[str]]


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def running(kafka: str, service: str, subscribe: Callable[[Bus], None]) -> AsyncIterator[Bus]:
    async with open_bus(kafka, service=service) as bus:
        subscribe(bus)
        await bus.start()
        try:
            yield bus
        finally:
            await bus.stop(5.0)


@pytest.fixture
async def topic(make_topic: MakeTopic) -> Topic[QuerySubmitted]:
    name = await make_topic("asked", partitions=2)
    return replace(topics.QUERY_SUBMITTED, name=name)


@pytest.fixture
async def with_dead_letters(topic: Topic[QuerySubmitted], kafka: str) -> Topic[QuerySubmitted]:
    from headrace_embedded.testing import create_topic

    await create_topic(kafka, topic.dead_letters.name, partitions=1)
    return topic


async def send(
    kafka: str, topic: str, values: Sequence[tuple[str, bytes]], headers: dict[str, str] | None = None
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    try:
        for key, value in values:
            carried = [(name, text.encode()) for name, text in (headers or {}).items()]
            await producer.send_and_wait(topic, value, key=key.encode(), headers=carried)
    finally:
        await producer.stop()


async def read(kafka: str, topic: str, count: int) -> list[Any]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(20):
            return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


async def crash(bus: Bus) -> None:
    """Ends the bus as SIGKILL would: no drain, no commit."""
    for part in bus._parts:
        for task in part._tasks:
            task.cancel()
        await part._consumption.stop()
        await part._worker.drain(0)


def query(number: int) -> bytes:
    return QuerySubmitted(query_id=str(number), text="canary-text").SerializeToString()


async def test_every_record_is_handled_and_those_of_one_key_in_order(kafka: str, topic: Topic[QuerySubmitted]) -> None:
    handled: dict[str, list[int]] = {}

    async def handle(delivery: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        await asyncio.sleep(0.001 * (int(delivery.message.query_id) % 3))
        handled.setdefault(delivery.key, []).append(int(delivery.message.query_id))
        return ()

    await send(kafka, topic.name, [(f"key{n % 7}", query(n)) for n in range(200)])
    async with running(kafka, "order", lambda bus: bus.subscribe(topic, handle)):
        await until(lambda: sum(map(len, handled.values())) == 200)
    assert all(numbers == sorted(numbers) for numbers in handled.values())
    assert sorted(n for numbers in handled.values() for n in numbers) == list(range(200))


async def test_what_is_finished_is_not_delivered_again_and_what_is_not_is(
    kafka: str, topic: Topic[QuerySubmitted]
) -> None:
    seen: list[int] = []
    hanging = asyncio.Event()

    async def stuck_at_five(delivery: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        if int(delivery.message.query_id) == 5:
            hanging.set()
            await asyncio.sleep(60)
        return ()

    async def note(delivery: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        seen.append(int(delivery.message.query_id))
        return ()

    await send(kafka, topic.name, [("one-key", query(n)) for n in range(10)])
    async with open_bus(kafka, service="again") as bus:
        bus.subscribe(topic, stuck_at_five)
        await bus.start()
        await asyncio.wait_for(hanging.wait(), 20)
        await bus.stop(0.1)
    async with running(kafka, "again", lambda bus: bus.subscribe(topic, note)):
        await until(lambda: 9 in seen)
    assert seen == [5, 6, 7, 8, 9]


async def test_a_rejected_record_is_answered_and_dead_lettered_and_delays_nobody(
    kafka: str, with_dead_letters: Topic[QuerySubmitted], make_topic: MakeTopic
) -> None:
    topic = with_dead_letters
    answers = replace(topics.QUERY_REFUSED, name=await make_topic("refused", partitions=1))
    handled: list[str] = []

    async def handle(delivery: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        if not delivery.message.tenant:
            raise Rejected(Violation("tenant", "missing", "The tenant is missing."))
        handled.append(delivery.message.query_id)
        return ()

    async def refuse(refusal: Any) -> Sequence[Event[Any]]:
        answer = QueryRefused(query_id=refusal.arrival.key)
        for violation in refusal.violations:
            answer.violations.add(field=violation.field, reason=violation.reason)
        return [refusal.arrival.event(answers, answer)]

    good = QuerySubmitted(query_id="good", tenant="t", text="canary-text").SerializeToString()
    not_utf8 = b"\x22\x03\xff\xfe\xfd"
    await send(kafka, topic.name, [("a", b"\xff\xff\xff"), ("b", not_utf8), ("c", query(1)), ("d", good), ("e", b"")])
    async with running(kafka, "refuser", lambda bus: bus.subscribe(topic, handle, refuse=refuse)):
        await until(lambda: handled == ["good"])
        refused = {r.key: QueryRefused.FromString(r.value) for r in await read(kafka, answers.name, 4)}
        letters = {r.key: DeadLetter.FromString(r.value) for r in await read(kafka, topic.dead_letters.name, 4)}
    assert refused[b"a"].violations[0].reason == "undecodable"
    assert (refused[b"b"].violations[0].field, refused[b"b"].violations[0].reason) == ("text", "not_utf8")
    assert refused[b"c"].violations[0].field == "tenant"
    assert refused[b"e"].violations[0].reason == "empty"
    assert letters[b"c"].reasons == ["tenant: missing"]
    assert all(b"canary" not in letter.SerializeToString() for letter in letters.values())


async def test_a_bug_is_tried_three_times_then_dead_lettered(
    kafka: str, with_dead_letters: Topic[QuerySubmitted]
) -> None:
    attempts: list[int] = []

    async def fails(delivery: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        attempts.append(delivery.arrival.attempt)
        raise KeyError("canary-text")

    await send(kafka, with_dead_letters.name, [("a", query(1))])
    async with running(kafka, "buggy", lambda bus: bus.subscribe(with_dead_letters, fails)):
        (record,) = await read(kafka, with_dead_letters.dead_letters.name, 1)
    letter = DeadLetter.FromString(record.value)
    assert attempts == [1, 2, 3]
    assert (letter.error, letter.attempts) == ("KeyError", 3)
    assert b"canary" not in record.value


async def test_too_many_bugs_in_a_row_stop_the_consumer(kafka: str, with_dead_letters: Topic[QuerySubmitted]) -> None:
    async def fails(_: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        raise KeyError

    await send(kafka, with_dead_letters.name, [(f"k{n}", query(n)) for n in range(60)])
    async with running(kafka, "broken", lambda bus: bus.subscribe(with_dead_letters, fails)) as bus:
        await until(lambda: not bus.ready())
        letters = await read(kafka, with_dead_letters.dead_letters.name, 20)
    assert len(letters) == 20


async def test_a_dependency_that_is_down_is_waited_for(kafka: str, topic: Topic[QuerySubmitted]) -> None:
    down = asyncio.Event()
    handled: list[str] = []
    tried = 0

    async def handle(delivery: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        nonlocal tried
        tried += 1
        if not down.is_set():
            raise Unavailable("postgres")
        handled.append(delivery.message.query_id)
        return ()

    await send(kafka, topic.name, [(f"k{n}", query(n)) for n in range(30)])
    async with running(kafka, "patient", lambda bus: bus.subscribe(topic, handle, in_flight=4)):
        await until(lambda: tried >= 6)
        down.set()
        await until(lambda: len(handled) == 30)
    assert sorted(map(int, handled)) == list(range(30))


async def test_a_record_that_ends_the_process_every_time_is_found_and_dead_lettered(
    kafka: str, with_dead_letters: Topic[QuerySubmitted]
) -> None:
    """Each round is a process that does not get past the record."""
    topic = with_dead_letters
    handled: set[int] = set()

    await send(kafka, topic.name, [("one-key", query(n)) for n in range(4)])
    for _ in range(12):
        poisoned = asyncio.Event()

        async def handle(
            delivery: Delivery[QuerySubmitted], poisoned: asyncio.Event = poisoned
        ) -> Sequence[Event[Any]]:
            if int(delivery.message.query_id) == 2:
                poisoned.set()
                await asyncio.sleep(60)
            handled.add(int(delivery.message.query_id))
            return ()

        async with open_bus(kafka, service="poisoned") as bus:
            bus.subscribe(topic, handle)
            await bus.start()
            done = asyncio.create_task(until(lambda: 3 in handled, 15))
            dead = asyncio.create_task(poisoned.wait())
            await asyncio.wait([done, dead], return_when=asyncio.FIRST_COMPLETED)
            await crash(bus)
            done.cancel()
            dead.cancel()
        if 3 in handled:
            break
    letter = DeadLetter.FromString((await read(kafka, topic.dead_letters.name, 1))[0].value)
    assert handled == {0, 1, 3}
    assert letter.error == "CrashedRepeatedly"


async def test_two_instances_share_the_partitions_and_a_leaving_one_hands_over(
    kafka: str, make_topic: MakeTopic
) -> None:
    topic = replace(topics.QUERY_SUBMITTED, name=await make_topic("shared", partitions=4))
    handled: list[tuple[str, str]] = []

    def noting(name: str) -> Callable[[Delivery[QuerySubmitted]], Awaitable[Sequence[Event[Any]]]]:
        async def handle(delivery: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
            handled.append((name, delivery.message.query_id))
            return ()

        return handle

    async with running(kafka, "pair", lambda bus: bus.subscribe(topic, noting("first"))):
        async with running(kafka, "pair", lambda bus: bus.subscribe(topic, noting("second"))):
            await asyncio.sleep(1)
            await send(kafka, topic.name, [(str(uuid.uuid4()), query(n)) for n in range(100)])
            await until(lambda: len(handled) >= 100)
        await send(kafka, topic.name, [(str(uuid.uuid4()), query(n)) for n in range(100, 150)])
        await until(lambda: len({number for _, number in handled}) == 150)
    assert {name for name, _ in handled} == {"first", "second"}
    assert len(handled) == 150


async def test_the_backlog_says_where_records_wait_that_nobody_has_finished(
    kafka: str, topic: Topic[QuerySubmitted]
) -> None:
    may_go_on = asyncio.Event()

    async def handle(delivery: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        if delivery.message.query_id == "2":
            await may_go_on.wait()
        return ()

    async def ends(bus: Bus, expected: dict[int, int]) -> None:
        async with asyncio.timeout(30):
            while {number: offset for (_, number), offset in (await bus.backlog(topic.name)).items()} != expected:
                await asyncio.sleep(0.05)

    await send(kafka, topic.name, [("k", query(n)) for n in range(4)])
    async with open_bus(kafka, service="backlog") as bus:
        bus.subscribe(topic, handle)
        with pytest.raises(Unavailable):
            await bus.backlog(topic.name)
        await bus.start()
        partition = next(number for _, number in await bus.backlog(topic.name))
        await ends(bus, {partition: 2})
        may_go_on.set()
        await ends(bus, {})
        await bus.stop(5.0)
