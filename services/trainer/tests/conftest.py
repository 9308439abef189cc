"""A tenant for each test, and the migrated schema for the `real` ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio
from headrace_database import Database, open_database
from headrace_embedded import testing


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test has."""
    return f"t-{uuid4().hex[:12]}"


@pytest_asyncio.fixture(scope="module")
async def schema(database: testing.Database) -> testing.Database:
    """A fresh database with the service's schema, and nothing in it."""
    await database.migrate("trainer")
    return database


@pytest_asyncio.fixture(scope="module")
async def opened(schema: testing.Database) -> AsyncIterator[Database]:
    """The schema as the service itself sees it."""
    async with open_database(schema.dsn("trainer"), schema="trainer") as database:
        yield database
