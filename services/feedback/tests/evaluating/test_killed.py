"""A worker that is killed with SIGKILL while it measures."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path

import pytest
from headrace_database import Database
from headrace_embedded import testing

from services.feedback.tests.evaluating.house import PostgresHouse

ROOT = Path(__file__).parents[4]
LEASE_SECONDS = 1.5


@pytest.mark.real
async def test_a_killed_worker_loses_nothing_and_nothing_is_measured_twice(
    schema: testing.Database, opened: Database, tenant: str
) -> None:
    house = PostgresHouse(tenant, opened)
    ids = [await house.answered() for _ in range(5)]
    for query_id in ids:
        await house.put(query_id)
    command = [sys.executable, "-m", "services.feedback.tests.evaluating.victim"]
    victim = await asyncio.create_subprocess_exec(
        *command, schema.dsn("feedback"), str(LEASE_SECONDS), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert victim.stdout is not None
        assert await asyncio.wait_for(victim.stdout.readline(), 30) == b"reached\n"
        other = house.worker()
        await asyncio.sleep(LEASE_SECONDS + 0.3)
        assert await other.work() == 0  # it lives, and renews what it holds
    finally:
        victim.kill()
        await victim.wait()
    assert await house.waiting() == 5
    await asyncio.sleep(LEASE_SECONDS + 0.2)
    assert await other.work() == 5
    assert await house.waiting() == 0
    assert Counter(event.query_id for event in await house.events()) == {str(query_id): 1 for query_id in ids}
    for query_id in ids:
        assert "groundedness" in await house.values(query_id)
