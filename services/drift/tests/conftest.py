"""A tenant for each test, and the migrated schema for the `real` ones."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from headrace_database import Database, open_database
from headrace_embedded import testing


@pytest.fixture
def tenant(request: pytest.FixtureRequest) -> str:
    """A tenant that no other test has. The same in every run: keys, and so the groups of conversations, hang on it."""
    return f"t-{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:12]}"


@pytest_asyncio.fixture(scope="module")
async def schema(database: testing.Database) -> testing.Database:
    """A fresh database with the service's schema, nothing counted."""
    await database.migrate("drift")
    return database


@pytest_asyncio.fixture(scope="module")
async def opened(schema: testing.Database) -> AsyncIterator[Database]:
    """The schema as the service itself sees it."""
    async with open_database(schema.dsn("drift"), schema="drift") as database:
        yield database
