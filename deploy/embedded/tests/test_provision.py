"""What a service's database role may do, and what it may not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from headrace_embedded.servers import provision
from headrace_embedded.testing import Database

pytestmark = pytest.mark.real


@pytest_asyncio.fixture
async def superuser(database: Database) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database.superuser)
    yield connection
    await connection.close()


@pytest_asyncio.fixture(params=provision.SCHEMAS)
async def service(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[tuple[str, Any]]:
    connection = await asyncpg.connect(database.dsn(request.param))
    yield request.param, connection
    await connection.close()


async def test_a_service_finds_its_own_schema_and_the_vector_type(service: tuple[str, Any]) -> None:
    name, connection = service
    assert (await connection.fetchval("SHOW search_path")).split(", ") == [name, "public"]
    assert await connection.fetchval("SELECT '[1,2]'::vector <-> '[1,3]'::vector") == 1.0


async def test_a_service_has_no_power_over_the_server(service: tuple[str, Any]) -> None:
    _, connection = service
    row = await connection.fetchrow("SELECT * FROM pg_roles WHERE rolname = current_user")
    assert not any(
        row[right] for right in ("rolsuper", "rolcreatedb", "rolcreaterole", "rolbypassrls", "rolreplication")
    )


@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE t (n int)", "CREATE TABLE public.t (n int)", "CREATE SCHEMA s", "SET ROLE headrace_owner"],
)
async def test_a_service_makes_no_tables_and_owns_nothing(service: tuple[str, Any], statement: str) -> None:
    _, connection = service
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.execute(statement)


async def test_a_service_cannot_read_another_services_table(service: tuple[str, Any], superuser: Any) -> None:
    name, connection = service
    other = "ingest" if name != "ingest" else "feedback"
    await superuser.execute(
        f"CREATE TABLE IF NOT EXISTS {other}.secrets (t text); GRANT SELECT ON {other}.secrets TO PUBLIC"
    )
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await connection.fetch(f"SELECT * FROM {other}.secrets")


async def test_that_check_can_fail(database: Database, superuser: Any) -> None:
    await superuser.execute(
        "CREATE TABLE IF NOT EXISTS ingest.secrets (t text); GRANT SELECT ON ingest.secrets TO PUBLIC"
    )
    await superuser.execute("GRANT USAGE ON SCHEMA ingest TO headrace_retriever")
    connection = await asyncpg.connect(database.dsn("retriever"))
    assert await connection.fetch("SELECT * FROM ingest.secrets") == []
    await connection.close()
    await superuser.execute("REVOKE USAGE ON SCHEMA ingest FROM headrace_retriever")


async def test_provisioning_again_changes_nothing(database: Database, superuser: Any) -> None:
    schemas = "SELECT nspname, nspacl::text FROM pg_namespace ORDER BY 1"
    before = await superuser.fetch(schemas)
    passwords = provision.passwords_of(database.server)
    await provision.provision(database.server.dsn(), database=database.name, passwords=passwords)
    assert await superuser.fetch(schemas) == before
