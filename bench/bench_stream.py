"""What a worker costs for each message, beside a bare FastStream handler and a bare aiokafka loop.

All three read the same records of a real Kafka, decode the protobuf, and commit. The number is CPU time of this process
for each message: wall time would measure the broker.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.middlewares import AckPolicy
from headrace import topics
from headrace.query.v1.events_pb2 import QuerySubmitted
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import kafka as kafka_server
from headrace_embedded.testing import create_topic
from headrace_stream import Delivery, Event, open_bus
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from bench.harness import Budget, Row, paired_async

GROUP = "stream"


def rows(budget: Budget) -> list[Row]:
    """Measures the worker without spans, with all of them, and against its peers."""
    return asyncio.run(_rows(budget))


async def _rows(budget: Budget) -> list[Row]:
    count = budget.pick(quick=2_000, full=10_000)
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        kafka_server.fetch_jars(print)
        server = kafka_server.open_server(Path(folder) / "kafka", 0, lifetime=Lifetime.PARENTS)
        server.start()
        try:
            return await _measure(server.bootstrap, count, budget)
        finally:
            server.stop()


async def _measure(kafka: str, count: int, budget: Budget) -> list[Row]:
    topic = await create_topic(kafka, "bench.worker", partitions=1)
    await _fill(kafka, topic, count)

    async def ours() -> float:
        return await _headrace(kafka, topic, count)

    async def faststream() -> float:
        return await _faststream(kafka, topic, count)

    async def aiokafka() -> float:
        return await _aiokafka(kafka, topic, count)

    against_faststream = await paired_async(ours, faststream, budget.repeats)
    against_aiokafka = await paired_async(ours, aiokafka, budget.repeats)
    trace.set_tracer_provider(_recording())
    traced = median([await ours() for _ in range(budget.repeats)])
    common = {"unit": "µs CPU/message", "higher_is_better": False}
    note = "decode, order by key, 64 in flight, commit what is finished"
    return [
        Row(GROUP, "worker, beside a FastStream handler", against_faststream.ours, against_faststream.peer,
            ratio=against_faststream.ratio, goal=1.0, note=note, extra=against_faststream.extra, **common),
        Row(GROUP, "worker, beside a bare aiokafka loop", against_aiokafka.ours, against_aiokafka.peer,
            ratio=against_aiokafka.ratio, note=note, extra=against_aiokafka.extra, **common),
        Row(GROUP, "worker, every message traced", traced, against_aiokafka.ours,
            ratio=traced / against_aiokafka.ours, note="peer: the same worker untraced", **common),
    ]  # fmt: skip


class _Nowhere(SpanExporter):
    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        """Takes spans, as an exporter would, and leaves them."""
        del spans
        return SpanExportResult.SUCCESS


def _recording() -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(_Nowhere()))
    return provider


async def _fill(kafka: str, topic: str, count: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=5)
    await producer.start()
    for number in range(count):
        value = QuerySubmitted(query_id=str(uuid.UUID(int=number)), tenant="bench", text="x" * 200).SerializeToString()
        await producer.send(topic, value, key=str(number).encode())
    await producer.stop()


async def _headrace(kafka: str, topic: str, count: int) -> float:
    handled = 0
    done = asyncio.Event()

    async def handle(_: Delivery[QuerySubmitted]) -> Sequence[Event[Any]]:
        nonlocal handled
        handled += 1
        if handled == count:
            done.set()
        return ()

    async with open_bus(kafka, service=f"bench-{uuid.uuid4().hex}") as bus:
        bus.subscribe(replace(topics.QUERY_SUBMITTED, name=topic), handle)
        start = time.process_time()
        await bus.start()
        await done.wait()
        await bus.stop(5.0)
        return (time.process_time() - start) / count * 1e6


async def _faststream(kafka: str, topic: str, count: int) -> float:
    handled = 0
    done = asyncio.Event()
    broker = KafkaBroker(kafka, logger=None)

    @broker.subscriber(topic, group_id=uuid.uuid4().hex, auto_offset_reset="earliest", ack_policy=AckPolicy.MANUAL)
    async def handle(body: bytes, message: KafkaMessage) -> None:
        nonlocal handled
        QuerySubmitted.FromString(body)
        handled += 1
        if handled % 500 == 0:
            await message.ack()
        if handled == count:
            done.set()

    start = time.process_time()
    await broker.start()
    await done.wait()
    await broker.stop()
    return (time.process_time() - start) / count * 1e6


async def _aiokafka(kafka: str, topic: str, count: int) -> float:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=kafka,
        group_id=uuid.uuid4().hex,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    start = time.process_time()
    await consumer.start()
    handled = 0
    async for record in consumer:
        QuerySubmitted.FromString(record.value)
        handled += 1
        if handled % 500 == 0:
            await consumer.commit({TopicPartition(topic, record.partition): record.offset + 1})
        if handled == count:
            break
    await consumer.stop()
    return (time.process_time() - start) / count * 1e6
