"""Instances that come, are killed with SIGKILL and share the partitions anew: each event still counts once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer
from headrace_database import Database
from headrace_embedded import testing

from services.drift.tests.house import PostgresHouse
from services.drift.tests.makers import START, answer

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[3]
EVENTS = 1200
#: After how many events that it counted an instance is killed.
KILLED_AFTER = 150
SECONDS = 120.0


async def publish(kafka: str, tenant: str) -> None:
    """Publishes half of the events, slowly, so that a kill comes between an effect and the commit of its offset."""
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for place in range(EVENTS // 2):
            message = answer(tenant, at=START + timedelta(seconds=place / 10))
            headers = [("ce_id", str(uuid4()).encode()), ("ce_tenant", tenant.encode())]
            key = message.query.query_id.encode()
            await producer.send("answer.completed", message.SerializeToString(), key=key, headers=headers)
            await asyncio.sleep(0.01)


@asynccontextmanager
async def instance(kafka: str, dsn: str, service: str, kind: str) -> AsyncIterator[asyncio.subprocess.Process]:
    command = [sys.executable, "-m", "services.drift.tests.victim", kafka, dsn, service, kind]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), SECONDS) == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(house: PostgresHouse, least: int) -> int:
    """Waits until so many are counted."""
    async with asyncio.timeout(SECONDS):
        while (found := await house.queries()) < least:
            await asyncio.sleep(0.02)
    return found


async def settled(house: PostgresHouse) -> int:
    """Waits until all are counted, and the count has not moved for a while."""
    found = await until(house, EVENTS)
    while True:
        await asyncio.sleep(3)
        if found == (found := await house.queries()):
            return found


async def counted(house: PostgresHouse, kafka: str, dsn: str, kind: str) -> int:
    """How often events counted, while one instance is killed at work, two share its partitions, and one of them too."""
    service = f"drift-{uuid4().hex[:8]}"
    async with asyncio.TaskGroup() as group:
        async with instance(kafka, dsn, service, kind) as first:
            group.create_task(publish(kafka, house.tenant))
            await until(house, KILLED_AFTER)
            first.kill()
        async with instance(kafka, dsn, service, kind) as second, instance(kafka, dsn, service, kind):
            group.create_task(publish(kafka, house.tenant))
            await until(house, EVENTS // 2 + KILLED_AFTER)
            second.kill()
            return await settled(house)


async def test_killed_instances_lose_nothing_and_nothing_counts_twice(
    fresh_kafka: str, schema: testing.Database, opened: Database, tenant: str
) -> None:
    house = PostgresHouse(tenant, opened)
    assert await counted(house, fresh_kafka, schema.dsn("drift"), "careful") == EVENTS


async def test_the_check_catches_an_instance_that_forgets(
    fresh_kafka: str, schema: testing.Database, opened: Database, tenant: str
) -> None:
    house = PostgresHouse(tenant, opened)
    assert await counted(house, fresh_kafka, schema.dsn("drift"), "forgetful") > EVENTS
