"""The audit log in a real Postgres: the service adds and reads, and nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import asyncpg
import pytest
from headrace_classifier.adapters.postgres_audit import PostgresAudit
from headrace_classifier.audit import Entry
from headrace_database import Database
from headrace_privacy import Tier

from services.classifier.tests.makers import AUDIT_KEY

pytestmark = pytest.mark.real
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
READ = Entry(
    recorded_at=NOW, action="read.allowed", role="reviewer", actor="maria", tenant="acme", purpose=4, tier=Tier.TIER_2,
    object="q", records=("a", "b"), reason="under a grant", policy_version="1",
)  # fmt: skip


async def test_rows_follow_each_other_without_a_gap(opened: Database) -> None:
    audit = PostgresAudit(AUDIT_KEY)

    async def append(number: int) -> int:
        async with opened.transaction() as connection:
            return (await audit.append(connection, replace(READ, object=str(number)))).sequence

    assert sorted(await asyncio.gather(*(append(n) for n in range(20)))) == list(range(1, 21))


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit"])
async def test_the_service_may_change_nothing(opened: Database, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with opened.transaction() as connection:
            await connection.execute(statement)
