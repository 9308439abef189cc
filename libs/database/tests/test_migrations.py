"""Migrations are applied once, in order, by whoever comes first; a file that changed since is found out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from headrace_database.migrations import Migration, migrate, migrations_of, read_migrations
from headrace_runtime.errors import Conflict

ROOT = Path(__file__).parents[3]
SCHEMA = "ingest"


def test_files_are_read_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "shop" / "migrations"
    folder.mkdir(parents=True)
    for name in ("0002_b.sql", "0001_a.sql", "README.md"):
        (folder / name).write_text(name)
    assert [migration.name for migration in read_migrations(folder)] == ["shop/0001_a", "shop/0002_b"]


def test_a_service_with_tables_has_the_ledger_first_and_one_without_has_nothing() -> None:
    names = [migration.name for migration in migrations_of("ingest", root=ROOT)]
    assert names[0] == "stream/0001_ledger"
    assert {name.partition("/")[0] for name in names} == {"stream", "ingest"}
    assert names == sorted(names, key=lambda name: name.startswith("ingest/"))
    assert migrations_of("no-such-service", root=ROOT) == []


@pytest_asyncio.fixture
async def superuser(database: Any) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    connection = await asyncpg.connect(database.superuser)
    yield connection
    await connection.close()


def numbered(*statements: str) -> list[Migration]:
    stem = f"trial_{uuid4().hex[:8]}"
    return [Migration(f"{stem}/{number:04}", sql) for number, sql in enumerate(statements, 1)]


def table() -> str:
    return f"t_{uuid4().hex[:8]}"


@pytest.mark.real
async def test_each_is_applied_once_and_a_later_one_on_top(superuser: Any) -> None:
    name = table()
    files = numbered(f"CREATE TABLE {name} (a int)", f"ALTER TABLE {name} ADD b int")
    assert await migrate(superuser, schema=SCHEMA, migrations=files[:1]) == [files[0].name]
    assert await migrate(superuser, schema=SCHEMA, migrations=files) == [files[1].name]
    assert await migrate(superuser, schema=SCHEMA, migrations=files) == []
    assert await superuser.fetch(f"SELECT a, b FROM {SCHEMA}.{name}") == []


@pytest.mark.real
async def test_a_file_that_changed_after_it_was_applied_is_found_out(superuser: Any) -> None:
    (file,) = numbered("SELECT 1")
    await migrate(superuser, schema=SCHEMA, migrations=[file])
    with pytest.raises(Conflict, match=file.name):
        await migrate(superuser, schema=SCHEMA, migrations=[Migration(file.name, "SELECT 2")])
    assert await superuser.fetchval("SELECT current_user") == await superuser.fetchval("SELECT session_user")


@pytest.mark.real
async def test_two_at_once_apply_each_file_once(database: Any) -> None:
    name = table()
    files = numbered(f"CREATE TABLE {name} (a int)", f"INSERT INTO {name} SELECT 1 FROM pg_sleep(0.2)")

    async def one() -> list[str]:
        connection = await asyncpg.connect(database.superuser)
        try:
            return await migrate(connection, schema=SCHEMA, migrations=files)
        finally:
            await connection.close()

    applied = await asyncio.gather(*(one() for _ in range(4)))
    assert sorted(map(len, applied)) == [0, 0, 0, 2]


@pytest.mark.real
async def test_a_file_that_fails_leaves_nothing_of_itself(superuser: Any) -> None:
    name = table()
    files = numbered(f"CREATE TABLE {name} (a int); SELECT 1/0")
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(superuser, schema=SCHEMA, migrations=files)
    assert await superuser.fetchval("SELECT to_regclass($1)", f"{SCHEMA}.{name}") is None
    assert await superuser.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == 0


@pytest.mark.real
async def test_the_service_gets_what_the_file_grants_and_owns_nothing(superuser: Any, database: Any) -> None:
    name = table()
    files = numbered(f"CREATE TABLE {name} (a int); GRANT SELECT ON {name} TO {{service_role}}")
    await migrate(superuser, schema=SCHEMA, migrations=files)
    service = await asyncpg.connect(database.dsn(SCHEMA))
    try:
        assert await service.fetch(f"SELECT * FROM {SCHEMA}.{name}") == []
        for forbidden in (f"DROP TABLE {SCHEMA}.{name}", f"INSERT INTO {SCHEMA}.{name} VALUES (1)"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await service.execute(forbidden)
    finally:
        await service.close()
