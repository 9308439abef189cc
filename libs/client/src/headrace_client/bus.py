"""Kafka as a product sees it: a producer that waits for every replica, and reads that end.

Where the broker asks who it is: HEADRACE_KAFKA_USERNAME and HEADRACE_KAFKA_PASSWORD; HEADRACE_KAFKA_MECHANISM (PLAIN,
SCRAM-SHA-256 or SCRAM-SHA-512; PLAIN unset); and HEADRACE_KAFKA_AUTHORITY, the PEM file that its certificate is
verified with.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from os import environ
from pathlib import Path
from typing import TypeVar, cast, get_args

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from headrace_stream.security import BusSecurity, Mechanism

from headrace_client.errors import NotConfigured, TimedOut, Unavailable, Unreachable

Part = TypeVar("Part", AIOKafkaProducer, AIOKafkaConsumer, AIOKafkaAdminClient)

#: The largest topic takes 8 MiB.
_MAX_BYTES = 8 * 1024 * 1024 + 65_536

#: Seconds that one send, or one step of a read, may take. An idempotent producer would try forever.
STEP_TIMEOUT = 20.0

_PREFIX = "HEADRACE_KAFKA_"


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a topic. The time is Kafka's, in milliseconds since 1970."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None = field(repr=False)
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int

    def header(self, name: str) -> str:
        """The first header of that name as text; "" where there is none."""
        return next((value.decode("utf-8", "replace") for key, value in self.headers if key == name), "")


def find_security(environ: Mapping[str, str]) -> BusSecurity:
    """Returns how the environment has us speak with the broker: namelessly and in the clear where it says nothing.

    Raises NotConfigured for a mechanism that there is not.
    """
    mechanism = environ.get(f"{_PREFIX}MECHANISM", "PLAIN")
    if mechanism not in get_args(Mechanism):
        raise NotConfigured(f"{_PREFIX}MECHANISM={mechanism} is none of {', '.join(get_args(Mechanism))}.")
    authority = environ.get(f"{_PREFIX}AUTHORITY")
    return BusSecurity(
        username=environ.get(f"{_PREFIX}USERNAME", ""),
        password=environ.get(f"{_PREFIX}PASSWORD", ""),
        mechanism=cast(Mechanism, mechanism),
        authority=Path(authority).expanduser() if authority else None,
    )


@asynccontextmanager
async def open_producer(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    """A producer whose sends return when every replica has them. Raises Unreachable."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_request_size=_MAX_BYTES,
        **find_security(environ).options(),
    )
    async with _running(producer, bootstrap):
        yield producer


@asynccontextmanager
async def open_reader(bootstrap: str) -> AsyncIterator[Reader]:
    """A reader outside of any consumer group: it commits nothing and disturbs nobody. Raises Unreachable."""
    options = find_security(environ).options()
    async with _running(AIOKafkaAdminClient(bootstrap_servers=bootstrap, **options), bootstrap) as admin:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=_MAX_BYTES,
            **options,
        )
        async with _running(consumer, bootstrap):
            yield Reader(admin, consumer)


@asynccontextmanager
async def _running(part: Part, bootstrap: str) -> AsyncIterator[Part]:
    stop = part.close if isinstance(part, AIOKafkaAdminClient) else part.stop
    try:
        await part.start()
        yield part
    except KafkaConnectionError as error:
        raise Unreachable("Kafka", bootstrap) from error
    except KafkaError as error:
        raise Unavailable(f"Kafka cannot do that now: {type(error).__name__}.") from error
    finally:
        await _stopped(stop())


async def _stopped(stopping: Awaitable[None]) -> None:
    try:
        await asyncio.wait_for(stopping, timeout=5)
    except (TimeoutError, KafkaError):
        return  # what is left dies with the process: aiokafka's stop can hang when the broker is gone


class Reader:
    """Reads that end."""

    def __init__(self, admin: AIOKafkaAdminClient, consumer: AIOKafkaConsumer) -> None:
        self._admin = admin
        self._consumer = consumer

    async def partitions(self, topics: Collection[str]) -> list[TopicPartition]:
        """Every partition of those of the topics that exist. Asking makes no topic."""
        existing = set(await self._admin.list_topics())
        wanted = [topic for topic in topics if topic in existing]
        described = await self._admin.describe_topics(wanted) if wanted else []
        return sorted(TopicPartition(t["topic"], p["partition"]) for t in described for p in t["partitions"])

    async def until_now(self, topics: Collection[str]) -> AsyncIterator[Record]:
        """Yields what the topics hold, from their beginning to their end as it is at the call."""
        partitions = await self.partitions(topics)
        if not partitions:
            return
        self._consumer.assign(partitions)  # first, or each topic's offsets wait for a metadata refresh of their own
        ends = await self._consumer.end_offsets(partitions)
        begins = await self._consumer.beginning_offsets(partitions)
        for partition in partitions:
            self._consumer.seek(partition, begins[partition])
        async for record in self._up_to({p: end for p, end in ends.items() if begins[p] < end}):
            yield record

    async def _up_to(self, ends: dict[TopicPartition, int]) -> AsyncIterator[Record]:
        clock = asyncio.get_running_loop().time
        patience = clock() + STEP_TIMEOUT
        while ends:
            batches = await self._consumer.getmany(*ends, timeout_ms=200)
            for partition, records in batches.items():
                for record in records:
                    if record.offset < ends[partition]:
                        yield _record(record)
            if batches:
                patience = clock() + STEP_TIMEOUT
            if clock() > patience:
                raise TimedOut("Kafka stopped answering in the middle of a topic. Try again.")
            ends = {p: end for p, end in ends.items() if await self._consumer.position(p) < end}

    async def at(self, topic: str, partition: int, offset: int) -> Record | None:
        """The record at that place; None when retention has removed it, or it never was."""
        place = TopicPartition(topic, partition)
        if place not in await self.partitions([topic]):
            return None
        self._consumer.assign([place])
        begin = (await self._consumer.beginning_offsets([place]))[place]
        end = (await self._consumer.end_offsets([place]))[place]
        if not begin <= offset < end:
            return None
        self._consumer.seek(place, offset)
        async for record in self._up_to({place: offset + 1}):
            return record if record.offset == offset else None
        return None

    async def listen(self, topics: Collection[str]) -> None:
        """From here on `heard` yields what comes to the topics."""
        partitions = await self.partitions(topics)
        self._consumer.assign(partitions)
        ends = await self._consumer.end_offsets(partitions)
        for partition in partitions:
            self._consumer.seek(partition, ends[partition])

    async def heard(self) -> AsyncIterator[Record]:
        """Yields what comes, without end, after `listen`."""
        async for record in self._consumer:
            yield _record(record)


async def send(
    producer: AIOKafkaProducer,
    topic: str,
    *,
    key: bytes | None,
    value: bytes | None,
    headers: Sequence[tuple[str, bytes]],
    partition: int | None = None,
) -> tuple[int, int]:
    """Publishes one record and gives its partition and offset once every replica has it. Raises TimedOut."""
    try:
        async with asyncio.timeout(STEP_TIMEOUT):
            sent = await producer.send_and_wait(topic, value, key=key, headers=list(headers), partition=partition)
    except TimeoutError as error:
        raise TimedOut(
            "Kafka did not take the event in time. It may have it nevertheless: send the same id again."
        ) from error
    return sent.partition, sent.offset


def _record(record: ConsumerRecord) -> Record:
    return Record(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value,
        headers=tuple((name, value or b"") for name, value in record.headers),
        timestamp_ms=record.timestamp,
    )
