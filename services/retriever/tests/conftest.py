"""A migrated schema in a real Postgres, and makers of documents and questions with seeded vectors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest_asyncio
from headrace_database import Database, open_database
from headrace_database.migrations import migrate, read_migrations
from headrace_embedded import testing

MIGRATIONS = Path(__file__).parents[1] / "migrations"
LEDGER = Path(__file__).parents[3] / "libs" / "stream" / "migrations"


@pytest_asyncio.fixture(scope="module")
async def schema(database: testing.Database) -> testing.Database:
    """A fresh database with the retriever's schema, nothing indexed."""
    connection = await asyncpg.connect(database.superuser)
    try:
        migrations = [*read_migrations(LEDGER, prefix="stream_"), *read_migrations(MIGRATIONS)]
        await migrate(connection, schema="retriever", migrations=migrations)
    finally:
        await connection.close()
    return database


@pytest_asyncio.fixture(scope="module")
async def store(schema: testing.Database) -> AsyncIterator[Database]:
    """The schema as the service itself sees it."""
    async with open_database(schema.dsn("retriever"), schema="retriever") as opened:
        yield opened
