"""What running parts take, and how far consumers are behind."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from headrace_embedded import processes

LAG_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Lag:
    """How many records of a topic a consumer group has not reached."""

    group: str
    topic: str
    records: int


def memory_bytes(pid: int) -> int:
    """Returns what a process and its children take, memory that they share counted once; 0 when it is gone."""
    return sum(_proportional(process) for process in processes.tree(pid))


def _proportional(process: psutil.Process) -> int:
    try:
        # PSS divides shared pages among their users; only Linux has it.
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.rss))
    except psutil.Error:
        return 0


def uptime_seconds(created: float) -> float:
    """Returns how long a process has run, from its start time in seconds since 1970."""
    return max(0.0, time.time() - created) if created else 0.0


async def consumer_lag(bootstrap: str) -> list[Lag]:
    """Returns the lag of every consumer group, topic by topic. Raises KafkaError or TimeoutError."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None)
    async with asyncio.timeout(LAG_TIMEOUT_S):
        try:
            await admin.start()
            await consumer.start()
            return await _lags(admin, consumer)
        finally:
            await consumer.stop()
            await admin.close()


async def _lags(admin: Any, consumer: Any) -> list[Lag]:
    groups = sorted({group for group, *_ in await admin.list_consumer_groups()})
    return [lag for group in groups for lag in await _lags_of(group, admin, consumer)]


async def _lags_of(group: str, admin: Any, consumer: Any) -> list[Lag]:
    committed: dict[TopicPartition, Any] = await admin.list_consumer_group_offsets(group)
    reached = {partition: entry.offset for partition, entry in committed.items() if entry.offset >= 0}
    if not reached:
        return []
    ends = await consumer.end_offsets(list(reached))
    behind: Counter[str] = Counter()
    for partition, offset in reached.items():
        behind[partition.topic] += max(0, ends[partition] - offset)
    return [Lag(group, topic, records) for topic, records in sorted(behind.items())]


def lag_or_nothing(bootstrap: str) -> list[Lag]:
    """Returns the lag; nothing where the bus can't say, as the mock cluster."""
    try:
        return asyncio.run(consumer_lag(bootstrap))
    except (KafkaError, TimeoutError, OSError):
        return []
