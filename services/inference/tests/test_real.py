"""On a real Postgres: the schema, the catalogue, and the first answer to commit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from headrace_database import Database, open_database
from headrace_database.migrations import migrate, migrations_of
from headrace_embedded import testing
from headrace_inference.adapters.catalogue import DEFAULT, Catalogue, read_catalogue
from headrace_inference.adapters.postgres import PostgresAnswerIndex, PostgresAnswers, seed
from headrace_inference.domain import Answer, Grounding, Spent
from headrace_privacy import Tier
from headrace_runtime.errors import Conflict

pytestmark = pytest.mark.real
ROOT = Path(__file__).parents[3]
ANSWER = Answer("It pours [1].", Grounding.GROUNDED, (), Tier.TIER_1, Spent())
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


@pytest_asyncio.fixture(scope="module")
async def store(database: testing.Database) -> AsyncIterator[Database]:
    """The schema as the service itself sees it, with its catalogue."""
    connection = await asyncpg.connect(database.superuser)
    try:
        await migrate(connection, schema="inference", migrations=migrations_of("inference", root=ROOT))
    finally:
        await connection.close()
    async with open_database(database.dsn("inference"), schema="inference") as opened:
        await seed(opened, read_catalogue())
        yield opened


async def test_the_first_answer_to_commit_wins(store: Database) -> None:
    query, variant = uuid4(), read_catalogue().variant(DEFAULT)
    added = []
    for tenant in ("a", "a", "b"):
        async with store.transaction(tenant=tenant) as connection:
            answers = PostgresAnswers(connection)
            added.append(await answers.add(tenant, query, ANSWER, event_id=uuid4(), variant=variant.key, at=NOW))
    assert added == [True, False, True]
    index = PostgresAnswerIndex(store)
    assert await index.is_answered("a", query)
    assert not await index.is_answered("a", uuid4())


async def test_a_tenant_sees_its_own_answers_only(store: Database) -> None:
    query, variant = uuid4(), read_catalogue().variant(DEFAULT)
    async with store.transaction(tenant="mine") as connection:
        await PostgresAnswers(connection).add("mine", query, ANSWER, event_id=uuid4(), variant=variant.key, at=NOW)
    async with store.transaction(tenant="theirs") as connection:
        assert await connection.fetchval("SELECT count(*) FROM answers") == 0
    async with store.transaction() as connection:
        assert await connection.fetchval("SELECT count(*) FROM answers") == 0


async def test_a_version_that_changed_is_refused_at_the_start(store: Database) -> None:
    catalogue = read_catalogue()
    await seed(store, catalogue)  # again: nothing happens
    changed = tuple(replace(e, sha256="0" * 64) if e.kind == "prompt" else e for e in catalogue.entries)
    with pytest.raises(Conflict, match=r"prompt grounded-answer 1 changed"):
        await seed(store, Catalogue(changed))


async def test_the_service_cannot_change_what_it_recorded(store: Database) -> None:
    for statement in ("UPDATE prompts SET content = ''", "UPDATE answers SET tier = 1", "DELETE FROM variants"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with store.transaction(tenant="a") as connection:
                await connection.execute(statement)
