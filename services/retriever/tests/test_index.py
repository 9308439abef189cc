"""The index on a real Postgres: what a search sees, and what a change does."""

from __future__ import annotations

import pytest
from headrace_database import Database
from headrace_retriever.adapters.postgres import PostgresIndex, apply
from headrace_retriever.domain import Change, Indexed, Tuning
from headrace_retriever.testing import NOW, document, put, question, towards

pytestmark = pytest.mark.real


async def change(store: Database, *changes: Change) -> list[Indexed | None]:
    """Applies changes, each in a transaction of its own."""
    done = []
    for one in changes:
        async with store.transaction() as connection:
            done.append(await apply(connection, one, now=NOW))
    return done


async def test_finds_by_vector_and_by_words(store: Database) -> None:
    index = PostgresIndex(store, tuning=Tuning())
    texts = ["The nonlocal statement.", "Loops go on."]
    await change(store, put(document("a"), texts, [towards(0), towards(1)]))
    found = await index.search(question("what is nonlocal", towards(1)))
    assert [(p.vector_rank, p.text_rank) for p in found.passages] == [(2, 1), (1, 0)]
