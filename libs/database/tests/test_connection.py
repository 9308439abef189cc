"""A transaction sees its tenant and nobody after it does; what is the server's fault is told from what is ours."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from headrace_database import Database, open_database
from headrace_database.connection import postgres_errors
from headrace_runtime.errors import Unavailable


@pytest_asyncio.fixture
async def opened(database: Any) -> AsyncIterator[Database]:
    async with open_database(database.dsn("ingest"), schema="ingest", connections=1) as store:
        yield store


@pytest.mark.real
async def test_the_tenant_is_the_transactions_own(opened: Database) -> None:
    """One connection serves both: the second must not see the first one's tenant."""
    tenants = []
    for tenant in ("a", "", "b"):
        async with opened.transaction(tenant=tenant) as connection:
            tenants.append(await connection.fetchval("SELECT current_setting('headrace.tenant', true)"))
    assert [tenant or "" for tenant in tenants] == ["a", "", "b"]


@pytest.mark.real
async def test_all_statements_of_a_snapshot_see_the_same_moment(database: Any) -> None:
    count = "SELECT count(*) FROM outbox"
    insert = "INSERT INTO outbox (topic, key, headers, value) VALUES ('t', 'k', '{}', '')"
    await database.migrate("ingest")
    async with open_database(database.dsn("ingest"), schema="ingest", connections=2) as store:
        async with store.snapshot(tenant="a") as connection:
            assert await connection.fetchval("SELECT current_setting('headrace.tenant', true)") == "a"
            before = await connection.fetchval(count)
            async with store.transaction() as other:
                await other.execute(insert)
            assert await connection.fetchval(count) == before
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await connection.execute(insert)
        async with store.snapshot() as connection:
            assert await connection.fetchval(count) == before + 1


@pytest.mark.real
@pytest.mark.parametrize(
    ("statement", "value"),
    [("SELECT $1::bigint", 2**63), ("SELECT $1::int", "no number"), ("SELECT $1::text", "\x00"), ("SELECT 1/$1", 0)],
)
async def test_what_is_our_fault_is_no_server_that_is_down(opened: Database, statement: str, value: Any) -> None:
    """Else a consumer would wait for ever for a record to heal."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any but Unavailable
        async with opened.transaction() as connection:
            await connection.fetchval(statement, value)
    assert not isinstance(caught.value, Unavailable)


@pytest.mark.real
async def test_a_pool_that_is_used_up_is_waited_for(opened: Database) -> None:
    async def use() -> int:
        async with opened.transaction() as connection:
            await connection.execute("SELECT pg_sleep(0.05)")
            return 1

    assert await asyncio.gather(*(use() for _ in range(5))) == [1] * 5


@pytest.mark.real
async def test_a_server_that_is_away_is_unavailable_and_its_return_is_noticed(opened: Database, postgres: Any) -> None:
    postgres.kill()
    try:
        for _ in range(2):
            with pytest.raises(Unavailable, match="postgres"):
                async with opened.transaction() as connection:
                    await connection.fetchval("SELECT 1")
        with pytest.raises(Unavailable):
            async with opened.dedicated():
                pass
    finally:
        postgres.start()
    async with asyncio.timeout(20):
        while True:
            try:
                async with opened.transaction() as connection:
                    assert await connection.fetchval("SELECT 1") == 1
                break
            except Unavailable:
                await asyncio.sleep(0.1)


async def test_a_server_that_never_comes_up_is_given_up_on_in_time() -> None:
    started = time.monotonic()
    with pytest.raises(Unavailable):
        async with open_database("postgresql://x@127.0.0.1:1/x", schema="ingest", patience=0.5):
            pass
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "error",
    [
        OSError(),
        TimeoutError(),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.ConnectionDoesNotExistError(),
        asyncpg.CannotConnectNowError(),
        asyncpg.DeadlockDetectedError(),
        asyncpg.SerializationError(),
    ],
)
def test_what_heals_is_unavailable(error: Exception) -> None:
    with pytest.raises(Unavailable), postgres_errors():
        raise error


@pytest.mark.parametrize("error", [KeyError(), asyncpg.UniqueViolationError(), asyncpg.DataError()])
def test_what_does_not_is_what_it_is(error: Exception) -> None:
    with pytest.raises(type(error)), postgres_errors():
        raise error


async def _rows(superuser: str, sql: str) -> object:
    connection = await asyncpg.connect(superuser)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


@pytest.mark.real
@pytest.mark.parametrize("way", ["vacuum", "rewrite"])
async def test_dead_rows_are_removed_by_the_service_itself(opened: Database, database: Any, way: str) -> None:
    await database.migrate("ingest")
    async with opened.transaction() as connection:
        await connection.execute("INSERT INTO outbox (topic, key, headers, value) VALUES ('t', 'k', '{}', 'v')")
    async with opened.transaction() as connection:
        await connection.execute("DELETE FROM outbox")
    assert await getattr(opened, way)("outbox", "inbox") == 0
    pages = await _rows(database.superuser, "SELECT pg_relation_size('ingest.outbox')")
    assert pages == 0


@pytest.mark.real
@pytest.mark.parametrize("way", ["vacuum", "rewrite"])
async def test_an_older_transaction_is_waited_for(opened: Database, database: Any, way: str) -> None:
    await database.migrate("ingest")
    async with opened.transaction() as connection:
        await connection.execute("INSERT INTO outbox (topic, key, headers, value) VALUES ('t', 'k', '{}', 'v')")
    older = await asyncpg.connect(database.superuser)
    reading = older.transaction(isolation="repeatable_read")
    await reading.start()
    await older.fetchval("SELECT 1")
    async with opened.transaction() as connection:
        await connection.execute("DELETE FROM outbox")
    removing = asyncio.create_task(getattr(opened, way)("outbox"))
    await asyncio.sleep(0.5)
    assert not removing.done()
    await reading.rollback()
    await older.close()
    assert await removing == 0
    assert await _rows(database.superuser, "SELECT pg_relation_size('ingest.outbox')") == 0


@pytest.mark.real
async def test_a_table_with_a_strange_name_is_no_statement(opened: Database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await opened.vacuum('outbox"; DROP TABLE outbox; --')
