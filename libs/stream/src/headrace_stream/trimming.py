"""Taking records off a topic for good: from its readers at once, and from the broker's files a moment later.

Kafka deletes whole files, and never the one that it is writing. So a *sweep* is sent first, a record whose timestamp
lies so far ahead that the broker begins a new file for it. Once the group has read up to the sweep, everything before
it is deleted, and the old file with it.

    …  q q q q q │ sweep  q q            file 1 goes, file 2 stays
                 └ log start from now on

A sweep means nothing to a consumer: it is stepped over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import IncompatibleBrokerVersion, KafkaError
from headrace.topics import Topic
from headrace_runtime.errors import Rejected, Unavailable

from headrace_stream.codec import decode
from headrace_stream.envelope import M, readable_headers
from headrace_stream.security import OPEN, BusSecurity

#: Marks a sweep.
SWEEP_HEADER = "headrace-sweep"
#: The settings of a topic that is trimmed. A file that is older than this ends with the next record; so does one whose
#: first record is so much older than the next.
SEGMENT_MS = 30 * 60_000
#: How far ahead a timestamp may lie: room for 48 sweeps at once, and then one every half hour. The broker's own 1 h
#: would leave room for one.
MOST_AHEAD_MS = 24 * 3_600_000
TRIMMED = {
    "segment.ms": str(SEGMENT_MS),
    "message.timestamp.after.max.ms": str(MOST_AHEAD_MS),
    # A file that is given up is removed after a second instead of a minute.
    "file.delete.delay.ms": "1000",
}
#: How long the group may take to read up to the sweep, in seconds.
PATIENCE_SECONDS = 60.0
_LOOK_SECONDS = 0.1
_READ_SECONDS = 10.0


#: How a topic is emptied, in a report.
BY_TRIMMING = "trimmed"
NOT_TRIMMED = "not trimmed: this bus is in memory, and gone when it ends"


class CannotTrim(Exception):
    """This bus takes nothing off its topics: the mock cluster, which is in memory."""


def is_sweep(headers: Iterable[tuple[str, Any]]) -> bool:
    """Says whether a record with these headers is a sweep."""
    return any(name == SWEEP_HEADER for name, _ in headers)


@dataclass(frozen=True, slots=True)
class Trimmer:
    """Trims topics of the bus at these bootstrap servers."""

    bootstrap: str
    security: BusSecurity = OPEN
    now_ms: Callable[[], int] = lambda: int(time.time() * 1000)

    async def trim(self, topic: Topic[Any], *groups: str, patience: float = PATIENCE_SECONDS) -> int:
        """Takes off what every group has read, or reads within `patience` seconds; returns how many records.

        Raises CannotTrim; Unavailable("kafka") when a group does not get there in time, or the broker cannot be asked.
        """
        async with _connected(self.bootstrap, self.security) as (admin, consumer):
            partitions = await _partitions(consumer, topic.name)
            first = await self._first_sweeps(consumer, partitions)
            begin, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
            full = [each for each in partitions if end[each] - begin[each] > (1 if each in first else 0)]
            marks = await self._sweep(topic.name, full, first)
            await _until_read(admin, groups, marks, patience)
            if marks:
                await _delete(admin, marks)
            return sum(marks[each] - begin[each] - (1 if each in first else 0) for each in marks)

    async def left(self, topic: Topic[M], is_meant: Callable[[M, int], bool]) -> int:
        """Reads a topic from its beginning, and counts the records that are meant: by message and timestamp (ms).

        Raises CannotTrim where they could not be taken off.
        """
        async with _connected(self.bootstrap, self.security) as (admin, consumer):
            found, partitions = 0, await _partitions(consumer, topic.name)
            async for record in _all_records(consumer, partitions):
                headers = readable_headers(record.headers)
                try:
                    found += not is_sweep(record.headers) and is_meant(
                        decode(record.value, topic, headers), record.timestamp
                    )
                except Rejected:
                    continue
            if found:  # deletes nothing, and fails on a bus that deletes nothing
                await _delete(admin, await consumer.beginning_offsets(partitions))
            return found

    async def _first_sweeps(
        self, consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]
    ) -> dict[TopicPartition, int]:
        """The timestamps of the sweeps that partitions begin with: their files count from there."""
        firsts = await _first_records(consumer, partitions)
        return {each: record.timestamp for each, record in firsts.items() if is_sweep(record.headers)}

    async def _sweep(
        self, topic: str, partitions: Sequence[TopicPartition], first: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Sends a sweep to each partition; returns where they lie."""
        if not partitions:
            return {}
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all", **self.security.options())
        await producer.start()
        try:
            sent = {
                each: await producer.send_and_wait(
                    topic,
                    b"",
                    partition=each.partition,
                    timestamp_ms=max(self.now_ms(), first.get(each, 0)) + SEGMENT_MS + 1_000,
                    headers=[(SWEEP_HEADER, b"1")],
                )
                for each in partitions
            }
        finally:
            await producer.stop()
        return {each: metadata.offset for each, metadata in sent.items()}


@asynccontextmanager
async def _connected(
    bootstrap: str, security: BusSecurity
) -> AsyncIterator[tuple[AIOKafkaAdminClient, AIOKafkaConsumer]]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, **security.options())
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, **security.options())
    try:
        await admin.start()
        await consumer.start()
        yield admin, consumer
    except IncompatibleBrokerVersion as error:
        raise CannotTrim from error
    except (KafkaError, OSError) as error:
        raise Unavailable("kafka") from error
    finally:
        await consumer.stop()
        await admin.close()


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> list[TopicPartition]:
    await consumer._client._wait_on_metadata(topic)
    found = consumer.partitions_for_topic(topic) or set()
    return [TopicPartition(topic, number) for number in sorted(found)]


async def _first_records(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> dict[TopicPartition, Any]:
    begin, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    wanted = {each for each in partitions if begin[each] < end[each]}
    found: dict[TopicPartition, Any] = {}
    if not wanted:
        return found
    consumer.assign(list(wanted))
    for each in wanted:
        consumer.seek(each, begin[each])
    try:
        async with asyncio.timeout(_READ_SECONDS):
            while wanted - found.keys():
                for each, records in (await consumer.getmany(timeout_ms=200)).items():
                    found.setdefault(each, records[0])
    except TimeoutError:
        raise Unavailable("kafka") from None
    return found


async def _all_records(consumer: AIOKafkaConsumer, partitions: Sequence[TopicPartition]) -> AsyncIterator[Any]:
    begin, end = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    wanted = [each for each in partitions if begin[each] < end[each]]
    if not wanted:
        return
    consumer.assign(wanted)
    for each in wanted:
        consumer.seek(each, begin[each])
    while [each for each in wanted if await consumer.position(each) < end[each]]:
        for records in (await consumer.getmany(timeout_ms=200)).values():
            for record in records:
                yield record


async def _until_read(
    admin: AIOKafkaAdminClient, groups: Sequence[str], marks: Mapping[TopicPartition, int], patience: float
) -> None:
    """Waits until every group has committed past every mark."""
    try:
        async with asyncio.timeout(patience):
            for group in groups:
                while marks and not await _has_read(admin, group, marks):  # noqa: ASYNC110 - nobody tells us
                    await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise Unavailable("kafka") from None


async def _has_read(admin: AIOKafkaAdminClient, group: str, marks: Mapping[TopicPartition, int]) -> bool:
    committed = await admin.list_consumer_group_offsets(group, partitions=list(marks))
    return all(each in committed and committed[each].offset > mark for each, mark in marks.items())


async def _delete(admin: AIOKafkaAdminClient, marks: Mapping[TopicPartition, int]) -> None:
    await admin.delete_records({each: RecordsToDelete(mark) for each, mark in marks.items()})
