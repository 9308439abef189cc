"""Tenant and role last as long as a transaction, however it ends, and nothing that the planner knows tells more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from headrace_database import Database, open_database
from headrace_embedded import testing
from headrace_privacy import Tier

pytestmark = pytest.mark.real

WHO = "SELECT current_user::text, coalesce(current_setting('headrace.tenant', true), '')"
SAMPLES = """
SELECT most_common_vals::text, histogram_bounds::text FROM pg_stats
WHERE schemaname = 'ingest' AND tablename = 'sources'
"""
NOBODY = ("headrace_retriever", "")


@pytest_asyncio.fixture
async def store(whole: testing.Database) -> AsyncIterator[Database]:
    """One connection, so that each transaction finds what the one before left behind."""
    async with open_database(whole.dsn("retriever"), schema="retriever", connections=1) as opened:
        yield opened


async def who(connection: Any) -> tuple[str, str]:
    """The role and the tenant of a transaction."""
    role, tenant = await connection.fetchrow(WHO)
    return role, tenant


@pytest.mark.parametrize(
    ("clearance", "role"),
    [
        (Tier.PUBLIC, "headrace_retriever_public"),
        (Tier.TIER_1, "headrace_retriever_tier_1"),
        (Tier.TIER_2, "headrace_retriever"),
    ],
)
async def test_a_transaction_runs_as_the_role_of_its_clearance(store: Database, clearance: Tier, role: str) -> None:
    async with store.transaction(tenant="acme", clearance=clearance) as connection:
        assert await who(connection) == (role, "acme")
    async with store.transaction() as connection:
        assert await who(connection) == NOBODY


async def test_a_transaction_that_fails_leaves_nothing_behind(store: Database) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        async with store.transaction(tenant="acme", clearance=Tier.PUBLIC) as connection:
            await connection.execute("SELECT 1/0")
    async with store.transaction() as connection:
        assert await who(connection) == NOBODY


async def test_a_transaction_that_is_cancelled_leaves_nothing_behind(store: Database) -> None:
    async def hang() -> None:
        async with store.transaction(tenant="acme", clearance=Tier.PUBLIC) as connection:
            await connection.execute("SELECT pg_sleep(30)")

    task = asyncio.create_task(hang())
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with store.transaction() as connection:
        assert await who(connection) == NOBODY


async def test_the_check_catches_a_tenant_of_the_session(store: Database) -> None:
    """A seeded bug: the third argument of set_config was false."""
    async with store.transaction() as connection:
        await connection.execute("SELECT set_config('headrace.tenant', 'acme', false)")
    async with store.transaction() as connection:
        assert await who(connection) != NOBODY
        await connection.execute("RESET headrace.tenant")


@pytest_asyncio.fixture(scope="module")
async def filled(whole: testing.Database) -> testing.Database:
    """Many rows of two tenants in one table, with statistics."""
    superuser = await asyncpg.connect(whole.superuser)
    try:
        await superuser.execute(
            "INSERT INTO ingest.sources SELECT 'loud', 'canary-' || n, 3, now() FROM generate_series(1, 2000) AS n"
            " ON CONFLICT DO NOTHING; INSERT INTO ingest.sources VALUES ('quiet', 'only', 1, now())"
            " ON CONFLICT DO NOTHING; ANALYZE ingest.sources"
        )
    finally:
        await superuser.close()
    return whole


@pytest_asyncio.fixture
async def quiet(filled: testing.Database) -> AsyncIterator[Any]:
    """Ingest's own connection, in a transaction of the tenant `quiet`."""
    connection = await asyncpg.connect(filled.dsn("ingest"))
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("SELECT set_config('headrace.tenant', 'quiet', true)")
    yield connection
    await transaction.rollback()
    await connection.close()


async def test_the_planners_samples_of_rows_are_shown_to_nobody(quiet: Any, filled: testing.Database) -> None:
    assert await quiet.fetch(SAMPLES) == []
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with quiet.transaction():
            await quiet.fetch("SELECT stavalues1::text FROM pg_statistic")
    superuser = await asyncpg.connect(filled.superuser)
    try:  # they are there
        shown = await superuser.fetch(SAMPLES)
    finally:
        await superuser.close()
    assert "canary-" in str(shown)


@pytest.mark.parametrize(
    "condition",
    ["1 / (CASE WHEN name LIKE 'canary%' THEN 0 ELSE 1 END) = 1", "replace(name, 'only', '1')::integer = 1"],
)
async def test_a_condition_that_fails_on_a_row_never_meets_another_tenants(quiet: Any, condition: str) -> None:
    """A cast or a division that the planner ran before the policy would tell what it met, in its error."""
    rows = await quiet.fetch(f"SELECT name FROM sources WHERE {condition}")
    assert [row["name"] for row in rows] == ["only"]


async def test_estimates_of_what_is_in_a_text_know_nothing_of_other_tenants(quiet: Any) -> None:
    """LIKE may not use samples of rows that the policy hides: it expects as many of what is there as of what is not."""
    rows = [await _estimate(quiet, f"name LIKE '{pattern}'") for pattern in ("canary-1%", "absent-1%")]
    assert rows[0] == rows[1]


async def _estimate(connection: Any, condition: str) -> int:
    (plan,) = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) SELECT * FROM sources WHERE {condition}"))
    return int(plan["Plan"]["Plan Rows"])


async def test_what_others_run_is_not_shown(quiet: Any, filled: testing.Database) -> None:
    other = await asyncpg.connect(filled.dsn("feedback"))
    try:
        await other.fetch("SELECT 'canary'")
        shown = await quiet.fetch("SELECT query FROM pg_stat_activity WHERE usename = 'headrace_feedback'")
    finally:
        await other.close()
    assert shown
    assert "canary" not in str(shown)
