"""The registry on books in memory and in Postgres: the same tests run on both."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from headrace_database import Database, open_database
from headrace_embedded import testing
from headrace_stream import Ledger
from headrace_stream.memory import MemoryLedger
from headrace_trainer.registry.memory import MemoryBooks
from headrace_trainer.registry.postgres import PostgresBooks

from services.trainer.tests.registry import house, test_gate


class ListeningLedger(Ledger):
    """Remembers what is said, beside putting it into the outbox."""

    def __init__(self, database: Any) -> None:
        super().__init__(database)
        self.published: list[Any] = []

    @asynccontextmanager
    async def unit(self, *, tenant: str = "") -> AsyncIterator[Any]:
        async with super().unit(tenant=tenant) as unit:
            yield unit
        self.published += unit.events

    @asynccontextmanager
    async def once(self, delivery: Any, *, tenant: str = "") -> AsyncIterator[Any]:
        async with super().once(delivery, tenant=tenant) as unit:
            yield unit
        self.published += unit.events if unit else ()


@pytest_asyncio.fixture(scope="module")
async def opened(database: testing.Database) -> AsyncIterator[Database]:
    """The migrated schema as the service itself sees it."""
    await database.migrate("trainer")
    async with open_database(database.dsn("trainer"), schema="trainer") as opened:
        yield opened


@pytest_asyncio.fixture
async def alone(opened: Database) -> Database:
    """The same, with no model of another test to look after."""
    async with opened.transaction() as connection:
        await connection.execute("DELETE FROM model_turns")
    return opened


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.real)])
def home(request: pytest.FixtureRequest) -> house.House:
    """A registry whose gate has everything that a sound candidate needs, for a tenant that no other test has."""
    if request.param == "memory":
        books = MemoryBooks()
        return sound(house.House(MemoryLedger(), lambda _: books))
    ledger = ListeningLedger(request.getfixturevalue("alone"))
    tenant = f"acme-{uuid4().hex[:8]}"
    return sound(house.House(ledger, lambda unit: PostgresBooks(unit.connection), tenant=tenant))


def sound(made: house.House) -> house.House:
    """With a gate that lets everything through."""
    made.asking.lines = {"as_served": test_gate.served(), "own_words": test_gate.own()}
    return made
