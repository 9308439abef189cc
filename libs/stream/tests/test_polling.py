"""Polling on a real Kafka when something around it fails: no record is stepped over, no watcher goes blind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError
from headrace import topics
from headrace.query.v1.events_pb2 import QuerySubmitted
from headrace_stream import Bus, Delivery, Event, open_bus
from headrace_stream.offsets import Beginnings

pytestmark = pytest.mark.real

MakeTopic = Callable[..., Awaitable[str]]


async def send(kafka: str, topic: str, numbers: Iterable[int]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for number in numbers:
            value = QuerySubmitted(query_id=str(number)).SerializeToString()
            await producer.send_and_wait(topic, value, key=str(number).encode())


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def test_records_polled_while_the_coordinator_is_away_are_polled_again(
    kafka: str, make_topic: MakeTopic, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = replace(topics.QUERY_SUBMITTED, name=await make_topic("away", partitions=2))
    handled: list[int] = []
    refusals = 3
    beginnings = Bus.beginnings

    async def away(bus: Bus, group: str, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, Beginnings]:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise GroupCoordinatorNotAvailableError
        return await beginnings(bus, group, partitions)

    async def handle(delivery: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        handled.append(int(delivery.message.query_id))
        return ()

    monkeypatch.setattr(Bus, "beginnings", away)
    await send(kafka, topic.name, range(20))
    async with open_bus(kafka, service="away") as bus:
        bus.subscribe(topic, handle)
        await bus.start()
        await until(lambda: refusals == 0)
        await send(kafka, topic.name, range(20, 30))
        await until(lambda: len(set(handled)) == 30)
        await bus.stop(5)
    assert sorted(handled) == list(range(30))


async def test_a_watcher_that_fails_on_one_record_sees_the_next(kafka: str, make_topic: MakeTopic) -> None:
    topic = replace(topics.QUERY_SUBMITTED, name=await make_topic("watched", partitions=1))
    seen: list[int] = []

    async def watch(message: QuerySubmitted) -> None:
        if message.query_id == "1":
            raise KeyError
        seen.append(int(message.query_id))

    await send(kafka, topic.name, range(3))
    async with open_bus(kafka, service="watcher") as bus:
        bus.watch(topic, watch, since_seconds=60)
        await bus.start()
        await until(lambda: seen == [0, 2])
        await send(kafka, topic.name, [3])
        await until(lambda: seen == [0, 2, 3])
        assert bus.ready()
        await bus.stop(5)
