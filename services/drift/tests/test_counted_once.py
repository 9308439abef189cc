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

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[3]
EVENTS = 1500
#: After how many events that it counted an instance is killed.
KILLED_AFTER = 150


async def publish(kafka: str, tenant: str) -> None:
    """Publishes slowly, so that a kill comes between an effect and the commit of its offset."""
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for place in range(EVENTS):
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
        assert await asyncio.wait_for(process.stdout.readline(), 60) == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(house: PostgresHouse, least: int) -> int:
    """Waits until so many are counted, and then until the count has not moved for a while."""
    async with asyncio.timeout(100):
        while await house.queries() < least:
            await asyncio.sleep(0.02)
        while True:
            before = await house.queries()
            await asyncio.sleep(3 if least == EVENTS else 0)
            if least != EVENTS or await house.queries() == before:
                return before


async def counted(house: PostgresHouse, kafka: str, dsn: str, kind: str) -> int:
    """How often events counted, while one instance is killed at work, two share its partitions, and one of them too."""
    service = f"drift-{uuid4().hex[:8]}"
    async with asyncio.TaskGroup() as group:
        group.create_task(publish(kafka, house.tenant))
        async with instance(kafka, dsn, service, kind) as first:
            await until(house, KILLED_AFTER)
            first.kill()
        async with instance(kafka, dsn, service, kind) as second, instance(kafka, dsn, service, kind):
            await until(house, await house.queries() + KILLED_AFTER)
            second.kill()
            return await until(house, EVENTS)


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
