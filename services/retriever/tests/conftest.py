"""A migrated schema in a real Postgres, and makers of documents and questions with seeded vectors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest_asyncio
from headrace_database import Database, open_database
from headrace_database.migrations import migrate, migrations_of
from headrace_embedded import testing

ROOT = Path(__file__).parents[3]


@pytest_asyncio.fixture(scope="module")
async def schema(database: testing.Database) -> testing.Database:
    """A fresh database with the retriever's schema, nothing indexed."""
    connection = await asyncpg.connect(database.superuser)
    try:
        await migrate(connection, schema="retriever", migrations=migrations_of("retriever", root=ROOT))
    finally:
        await connection.close()
    return database


@pytest_asyncio.fixture(scope="module")
async def store(schema: testing.Database) -> AsyncIterator[Database]:
    """The schema as the service itself sees it."""
    async with open_database(schema.dsn("retriever"), schema="retriever") as opened:
        yield opened
