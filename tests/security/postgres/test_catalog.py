"""The catalog of the whole database, every service's schema in it: nothing goes round row-level security."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from headrace_database.lint import lint
from headrace_embedded.servers import provision
from headrace_embedded.servers.exemptions import EXEMPT
from headrace_embedded.testing import Database

pytestmark = pytest.mark.real


@pytest_asyncio.fixture
async def superuser(whole: Database) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(whole.superuser)
    yield connection
    await connection.close()


async def test_the_lint_finds_nothing(superuser: Any) -> None:
    assert [str(fault) for fault in await lint(superuser, provision.SCHEMAS, exempt=EXEMPT)] == []


async def test_every_exemption_is_needed(superuser: Any) -> None:
    """One that covers nothing would cover a later mistake."""
    faults = await lint(superuser, provision.SCHEMAS)
    idle = [exemption for exemption in EXEMPT if not any(exemption.covers(fault) for fault in faults)]
    assert idle == []
    assert all(exemption.reason for exemption in EXEMPT)
