"""One database with every service's tables, as the embedded mode and the compose files make it."""

from __future__ import annotations

import pytest_asyncio
from headrace_embedded.migrations import migrate_all
from headrace_embedded.testing import Database


@pytest_asyncio.fixture(scope="module")
async def whole(database: Database) -> Database:
    """Every schema at its newest state, empty."""
    await migrate_all(database.superuser)
    return database
