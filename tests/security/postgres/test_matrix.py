"""Role × table × tenant × tier, read and write: only the cells that are listed allow anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from headrace_embedded.servers import provision
from headrace_embedded.testing import Database

from tests.security.postgres.cells import ALLOWED, Cell, cell_of
from tests.security.postgres.rows import Table, read_tables

pytestmark = pytest.mark.real

TENANTS, TIERS = ("mine", "theirs"), (1, 2, 3)
#: What a transaction may have named.
NAMED = ("", *TENANTS, "*")

Row = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Role:
    """A database role of a service, and the strictest tier that it is for."""

    schema: str
    name: str
    tier: int

    @property
    def is_login(self) -> bool:
        """Whether the service logs in as it."""
        return self.tier == 3


ROLES = [
    Role(schema, name, tier)
    for schema in provision.SCHEMAS
    for name, tier in zip((provision.role_of(schema), *provision.tier_roles_of(schema)), (3, 2, 1), strict=True)
]


@dataclass
class Matrix:
    """The database with a row of each tenant and tier in every table, and a connection of each service's own."""

    tables: list[Table]
    services: dict[str, Any] = field(default_factory=dict)


@pytest_asyncio.fixture(scope="module")
async def matrix(whole: Database) -> AsyncIterator[Matrix]:
    superuser = await asyncpg.connect(whole.superuser)
    found = Matrix(await read_tables(superuser, provision.SCHEMAS))
    # Neither foreign keys nor triggers: each table's rows stand alone.
    await superuser.execute("SET session_replication_role = replica")
    for table in found.tables:
        if (cell := cell_of(table.name)) is not None:
            await _fill(superuser, table, cell)
    for schema in provision.SCHEMAS:
        found.services[schema] = await asyncpg.connect(whole.dsn(schema))
    yield found
    for connection in (superuser, *found.services.values()):
        await connection.close()


async def _fill(superuser: Any, table: Table, cell: Cell) -> None:
    for tenant, tier in sorted(_rows_of(table)):
        await superuser.execute(table.insert(tenant, tier, cell.values) + " ON CONFLICT DO NOTHING")


def test_every_table_says_who_may_do_what(matrix: Matrix) -> None:
    assert [table.name for table in matrix.tables if cell_of(table.name) is None] == []


def test_no_cell_is_of_a_table_that_is_gone(matrix: Matrix) -> None:
    assert set(ALLOWED) <= {table.name for table in matrix.tables}


def rights_of(role: Role, table: Table) -> str:
    """The letters that the matrix gives a role in a table."""
    cell = cell_of(table.name)
    if cell is None or role.schema != table.schema:
        return ""
    return cell.service if role.is_login else cell.lower


def may_touch(role: Role, table: Table, named: str, row: Row) -> bool:
    """Whether the policies let a role at a row, where it has the right at all."""
    cell, (tenant, tier) = cell_of(table.name), row
    assert cell is not None
    if cell.tiered and tier > role.tier:
        return False
    if table.name.endswith(".applied_migrations"):
        return False
    return cell.scope == "all" or tenant == named or (cell.scope == "tenant or *" and named == "*")


@pytest.mark.parametrize("role", ROLES, ids=[role.name for role in ROLES])
async def test_a_role_reads_its_cells_and_no_other(matrix: Matrix, role: Role) -> None:
    wrong = [
        (table.name, named, seen, expected)
        for table in matrix.tables
        for named in NAMED
        for seen, expected in [(await _read(matrix, role, table, named), _readable(role, table, named))]
        if seen != expected
    ]
    assert wrong == []


def _readable(role: Role, table: Table, named: str) -> set[Row] | None:
    if "S" not in rights_of(role, table):
        return None
    return {row for row in _rows_of(table) if may_touch(role, table, named, row)}


def _rows_of(table: Table) -> set[Row]:
    cell = cell_of(table.name)
    strictest = cell.strictest if cell else max(TIERS)
    return {
        (tenant, tier)
        for tenant in (TENANTS if table.has_tenant else TENANTS[:1])
        for tier in (TIERS if table.has_tier else TIERS[:1])
        if tier <= strictest
    }


async def _read(matrix: Matrix, role: Role, table: Table, named: str) -> set[Row] | None:
    tenant = "tenant" if table.has_tenant else f"'{TENANTS[0]}'"
    tier = "tier" if table.has_tier else str(TIERS[0])
    sql = f"SELECT DISTINCT {tenant} AS tenant, {tier} AS tier FROM {table.name}"
    connection = matrix.services[role.schema]
    try:
        async with connection.transaction():
            await _become(connection, role, named)
            return {(row["tenant"], row["tier"]) for row in await connection.fetch(sql)}
    except asyncpg.InsufficientPrivilegeError:
        return None


@asynccontextmanager
async def taken_back(connection: Any) -> AsyncIterator[None]:
    """A transaction that leaves nothing."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def _become(connection: Any, role: Role, named: str) -> None:
    await connection.execute("SELECT set_config('headrace.tenant', $1, true)", named)
    if not role.is_login:
        await connection.execute(f"SET LOCAL ROLE {role.name}")


@pytest.mark.parametrize("role", ROLES, ids=[role.name for role in ROLES])
async def test_a_role_writes_its_cells_and_no_other(matrix: Matrix, role: Role) -> None:
    wrong = [
        (table.name, named, row, done)
        for table in matrix.tables
        for named in NAMED
        for row in sorted(_rows_of(table))
        for done in [await _inserts(matrix, role, table, named, row)]
        if done != ("I" in rights_of(role, table) and may_touch(role, table, named, row))
    ]
    assert wrong == []


async def _inserts(matrix: Matrix, role: Role, table: Table, named: str, row: Row) -> bool:
    """Whether an INSERT gets past rights and policies. Foreign keys, unique keys and triggers come after them."""
    cell = cell_of(table.name)
    connection = matrix.services[role.schema]
    try:
        async with taken_back(connection):
            await _become(connection, role, named)
            await connection.execute(table.insert(*row, cell.values if cell else {}))
    except asyncpg.InsufficientPrivilegeError:
        return False
    except asyncpg.IntegrityConstraintViolationError:
        return True
    return True


@pytest.mark.parametrize("role", ROLES, ids=[role.name for role in ROLES])
async def test_a_role_changes_and_removes_its_cells_and_no_other(matrix: Matrix, role: Role) -> None:
    wrong = []
    for table in matrix.tables:
        for named in NAMED:
            for letter, changed in (("U", _updates), ("D", _deletes)):
                count = await changed(matrix, role, table, named)
                touchable = [row for row in _rows_of(table) if may_touch(role, table, named, row)]
                expected = len(touchable) if letter in rights_of(role, table) else None
                if count != expected:
                    wrong.append((table.name, named, letter, count, expected))
    assert wrong == []


async def _updates(matrix: Matrix, role: Role, table: Table, named: str) -> int | None:
    column = await _updatable(matrix, role, table)
    sql = f"UPDATE {table.name} SET {column} = {column}"
    return await _count(matrix, role, named, sql) if column else None


async def _updatable(matrix: Matrix, role: Role, table: Table) -> str | None:
    """A column that the role may change and read. Looked up, since some tables let only some columns be changed."""
    if role.schema != table.schema:
        return None
    connection = matrix.services[role.schema]
    found: str | None = await connection.fetchval(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($2) AND attnum > 0 AND NOT attisdropped"
        " AND attgenerated = '' AND has_column_privilege($1, attrelid, attnum, 'UPDATE')"
        " AND has_column_privilege($1, attrelid, attnum, 'SELECT') ORDER BY attnum LIMIT 1",
        role.name,
        table.name,
    )
    return found


async def _deletes(matrix: Matrix, role: Role, table: Table, named: str) -> int | None:
    return await _count(matrix, role, named, f"DELETE FROM {table.name}")


async def _count(matrix: Matrix, role: Role, named: str, sql: str) -> int | None:
    connection = matrix.services[role.schema]
    try:
        async with taken_back(connection):
            await _become(connection, role, named)
            return int((await connection.execute(sql)).rsplit(" ", 1)[1])
    except asyncpg.InsufficientPrivilegeError:
        return None


@pytest.mark.parametrize("lower", [role for role in ROLES if not role.is_login], ids=lambda role: role.name)
async def test_only_its_own_service_becomes_a_role(matrix: Matrix, lower: Role) -> None:
    became = []
    for schema, connection in matrix.services.items():
        async with taken_back(connection):
            try:
                await connection.execute(f"SET LOCAL ROLE {lower.name}")
                became.append(schema)
            except asyncpg.InsufficientPrivilegeError:
                continue
    assert became == [lower.schema]


async def test_a_key_tells_nobody_what_another_tenant_has(whole: Database, matrix: Matrix) -> None:
    """The same row for another tenant is no duplicate, whichever unique key it could meet."""
    superuser = await asyncpg.connect(whole.superuser)
    await superuser.execute("SET session_replication_role = replica")
    told = []
    try:
        for table in matrix.tables:
            if table.has_tenant and (cell := cell_of(table.name)) is not None and cell.scope != "all":
                told += await _told(superuser, table)
    finally:
        await superuser.close()
    assert told == []


async def _told(superuser: Any, table: Table) -> list[str]:
    rows = await superuser.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass($1) AND attgenerated <> ''", table.name
    )
    columns = [name for name in table.columns if name not in {"tenant", *(row["attname"] for row in rows)}]
    names = ", ".join(columns)
    # Identity columns too: the same number for another tenant is what a key could tell.
    sql = (
        f"INSERT INTO {table.name} (tenant, {names}) OVERRIDING SYSTEM VALUE"
        f" SELECT 'third', {names} FROM {table.name} WHERE tenant = 'mine'"
    )
    try:
        async with taken_back(superuser):
            await superuser.execute(sql)
    except asyncpg.UniqueViolationError as violation:
        return [f"{table.name}: {violation.constraint_name}"]
    return []


async def test_the_matrix_catches_a_policy_that_is_gone(whole: Database, matrix: Matrix) -> None:
    """A seeded bug: without its tier's policy a lower role reads everything."""
    superuser = await asyncpg.connect(whole.superuser)
    await superuser.execute("DROP POLICY up_to_public ON retriever.chunks")
    try:
        role = next(role for role in ROLES if role.name == "headrace_retriever_public")
        table = next(table for table in matrix.tables if table.name == "retriever.chunks")
        assert await _read(matrix, role, table, "mine") == {("mine", tier) for tier in TIERS}
        assert _readable(role, table, "mine") == {("mine", 1)}
    finally:
        await superuser.execute(
            "CREATE POLICY up_to_public ON retriever.chunks AS RESTRICTIVE TO headrace_retriever_public"
            " USING (tier = 1)"
        )
        await superuser.close()


async def test_a_lower_role_could_not_write_above_its_tier_if_it_could_write(whole: Database, matrix: Matrix) -> None:
    """Nobody grants it; should somebody, the policy holds for what is written too."""
    superuser = await asyncpg.connect(whole.superuser)
    await superuser.execute("GRANT INSERT ON retriever.tallies TO headrace_retriever_public")
    try:
        role = next(role for role in ROLES if role.name == "headrace_retriever_public")
        table = next(table for table in matrix.tables if table.name == "retriever.tallies")
        outcomes = [await _inserts(matrix, role, table, "mine", ("mine", tier)) for tier in TIERS]
        assert outcomes == [True, False, False]
        assert not await _inserts(matrix, role, table, "mine", ("theirs", 1))
    finally:
        await superuser.execute("REVOKE INSERT ON retriever.tallies FROM headrace_retriever_public")
        await superuser.close()
