"""Numbered SQL files, each applied once, by the owner of the schema."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from headrace_runtime.errors import Conflict

OWNER = "headrace_owner"

# Row-level security holds for the owner too (FORCE), so its own bookkeeping needs a policy.
_RECORD = f"""
CREATE TABLE IF NOT EXISTS applied_migrations
    (name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now());
ALTER TABLE applied_migrations ENABLE ROW LEVEL SECURITY;
ALTER TABLE applied_migrations FORCE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS kept_by_the_owner ON applied_migrations;
CREATE POLICY kept_by_the_owner ON applied_migrations TO {OWNER} USING (true);
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its name, unique within a schema, and its SQL."""

    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """The hash by which a file that changed after it was applied is found out."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def read_migrations(folder: Path) -> list[Migration]:
    """Reads <part>/migrations/NNNN_*.sql in order, named "<part>/NNNN_…"."""
    return [
        Migration(f"{folder.parent.name}/{path.stem}", path.read_text()) for path in sorted(folder.glob("[0-9]*.sql"))
    ]


def migrations_of(service: str, *, root: Path) -> list[Migration]:
    """Reads what a service's schema is made of, from a checkout: the ledger and its own tables, if it has any."""
    own = read_migrations(root / "services" / service / "migrations")
    return [*read_migrations(root / "libs" / "stream" / "migrations"), *own] if own else []


async def migrate(
    connection: asyncpg.Connection[asyncpg.Record], *, schema: str, migrations: list[Migration]
) -> list[str]:
    """Applies what is missing, each file in its own transaction, and returns the names applied.

    The connection may become headrace_owner; the SQL may say {service_role} for the service's role, with _tier_1 or
    _public behind it for the roles of a lower clearance. Row-level security holds for the owner too: a file that must
    see a guarded table's rows takes FORCE off and puts it on again. Raises Conflict when an applied file has changed
    since.
    """
    await connection.execute(f"SET ROLE {OWNER}")
    await connection.execute(f'SET search_path = "{schema}", public')
    try:
        await connection.execute("SELECT pg_advisory_lock(hashtext($1))", f"headrace migrations {schema}")
        await connection.execute(_RECORD)
        applied = {row["name"]: row["sha256"] for row in await connection.fetch("SELECT * FROM applied_migrations")}
        missing = [migration for migration in migrations if migration.name not in applied]
        for migration in migrations:
            if applied.get(migration.name, migration.sha256) != migration.sha256:
                raise Conflict(f"migration {migration.name} of schema {schema} changed after it was applied")
        for migration in missing:
            await _apply(connection, schema, migration)
        # To vacuum what it deleted: an erasure does not wait for the server's own time.
        await connection.execute(f'GRANT MAINTAIN ON ALL TABLES IN SCHEMA "{schema}" TO headrace_{schema}')
    finally:
        await connection.execute("SELECT pg_advisory_unlock_all()")
        await connection.execute("RESET ROLE")
    return [migration.name for migration in missing]


async def _apply(connection: asyncpg.Connection[asyncpg.Record], schema: str, migration: Migration) -> None:
    async with connection.transaction():
        await connection.execute(migration.sql.replace("{service_role}", f"headrace_{schema}"))
        await connection.execute(
            "INSERT INTO applied_migrations (name, sha256) VALUES ($1, $2)", migration.name, migration.sha256
        )
