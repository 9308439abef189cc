"""What is trimmed is gone: from readers at once, from the broker's files a moment later."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from headrace import topics
from headrace.query.v1.events_pb2 import QuerySubmitted
from headrace_embedded.servers.kafka import KafkaServer
from headrace_runtime.errors import Unavailable
from headrace_stream import Delivery, open_bus
from headrace_stream.trimming import Trimmer

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]

GROUP = "headrace.trimmed.query.submitted"


def holds(folder: Path, canary: bytes) -> list[Path]:
    """The broker's files that hold the canary."""
    return [path for path in folder.rglob("*.log") if canary in path.read_bytes()]


async def publish(kafka: str, canary: str, count: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for number in range(count):
        message = QuerySubmitted(query_id=str(uuid.uuid4()), tenant="demo", product="p", text=f"{canary} {number}")
        await producer.send_and_wait(topics.QUERY_SUBMITTED.name, message.SerializeToString(), key=b"%d" % number)
    await producer.stop()


async def until_gone(folder: Path, canary: bytes) -> None:
    async with asyncio.timeout(30):
        while await asyncio.to_thread(holds, folder, canary):
            await asyncio.sleep(0.2)


def is_canary(canary: str) -> object:
    return lambda message, _: canary in message.text


async def test_what_was_read_leaves_the_topic_and_the_disk_again_and_again(
    fresh_kafka: str, kafka_server: KafkaServer
) -> None:
    seen: list[str] = []

    async def take(delivery: Delivery[QuerySubmitted]) -> tuple[()]:
        seen.append(delivery.message.text)
        return ()

    trimmer = Trimmer(fresh_kafka)
    async with open_bus(fresh_kafka, service="trimmed") as bus:
        bus.subscribe(topics.QUERY_SUBMITTED, take)
        await bus.start()
        for _ in range(3):
            canary = f"canary-{uuid.uuid4().hex}"
            await publish(fresh_kafka, canary, 12)
            assert holds(kafka_server.folder / "data", canary.encode())
            assert await trimmer.left(topics.QUERY_SUBMITTED, is_canary(canary)) == 12  # type: ignore[arg-type]
            assert await trimmer.trim(topics.QUERY_SUBMITTED, GROUP) == 12
            assert await trimmer.left(topics.QUERY_SUBMITTED, is_canary(canary)) == 0  # type: ignore[arg-type]
            await until_gone(kafka_server.folder / "data", canary.encode())
        assert await trimmer.trim(topics.QUERY_SUBMITTED, GROUP) == 0
        await publish(fresh_kafka, "afterwards", 3)
        async with asyncio.timeout(10):
            while len(seen) < 39:
                await asyncio.sleep(0.05)
        await bus.stop(5)
    assert len(seen) == 39


async def test_what_nobody_has_read_stays(fresh_kafka: str) -> None:
    await publish(fresh_kafka, "unread", 4)
    trimmer = Trimmer(fresh_kafka)
    with pytest.raises(Unavailable):
        await trimmer.trim(topics.QUERY_SUBMITTED, "headrace.nobody.query.submitted", patience=1.0)
    consumer = AIOKafkaConsumer(
        topics.QUERY_SUBMITTED.name, bootstrap_servers=fresh_kafka, auto_offset_reset="earliest"
    )
    await consumer.start()
    records = [record for batch in (await consumer.getmany(timeout_ms=3000)).values() for record in batch]
    await consumer.stop()
    assert records
