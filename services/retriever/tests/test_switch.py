"""No search sees half of a change: a document's chunks switch all at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from headrace_database import Database
from headrace_retriever.adapters import statements
from headrace_retriever.adapters.postgres import PostgresIndex
from headrace_retriever.domain import Change, Found, Tuning
from headrace_retriever.testing import ask, document, put, question, text_of, towards, write

pytestmark = pytest.mark.real

CHUNKS = 8
PUTS = 100
Writer = Callable[[Database, Change], Awaitable[object]]


def version(number: int, tenant: str) -> Change:
    """The document at a version: as many chunks each time, all of them near the question, each saying its version."""
    which = document("switched", tenant=tenant, version=number)
    vectors = [towards(0, tilt=place / 100) for place in range(CHUNKS)]
    return put(which, [f"the text of version {number}"] * CHUNKS, vectors)


def is_whole(found: Found) -> bool:
    """Whether these are all the chunks of one version, and of no other."""
    versions = Counter(passage.document.version for passage in found.passages)
    texts = Counter(text_of(passage) for passage in found.passages)
    return list(versions.values()) == [CHUNKS] == list(texts.values())


async def torn_searches(store: Database, write_one: Writer, *, tuning: Tuning, tenant: str) -> tuple[int, int]:
    """Puts the document again and again while two others search; counts the searches and the torn ones."""
    index = PostgresIndex(store, tuning=tuning)
    await write(store, version(1, tenant))
    done = asyncio.Event()
    outcomes: list[bool] = []

    async def search_on() -> None:
        while not done.is_set():
            outcomes.append(is_whole(await ask(index, question("text version", towards(0), tenant=tenant, top_k=100))))

    searchers = [asyncio.create_task(search_on()) for _ in range(2)]
    try:
        for number in range(2, PUTS + 2):
            await write_one(store, version(number, tenant))
    finally:
        done.set()
        await asyncio.gather(*searchers)
    return len(outcomes), outcomes.count(False)


@pytest.mark.parametrize("exact_below", [10_000, 0], ids=["exact", "hnsw"])
async def test_every_search_sees_one_version_whole(store: Database, exact_below: int) -> None:
    tuning = Tuning(exact_below=exact_below)
    searches, torn = await torn_searches(store, write, tuning=tuning, tenant=f"whole-{exact_below}")
    assert torn == 0
    assert searches > PUTS / 2  # they did run beside the puts


async def test_the_check_catches_a_change_in_two_transactions(store: Database) -> None:
    async def clear_then_put(database: Database, change: Change) -> None:
        key = (change.document.tenant, change.document.source, change.document.document_id)
        async with database.transaction(tenant=change.document.tenant) as connection:
            await connection.fetch(statements.CLEAR_CHUNKS, *key)
        await write(database, change)

    _, torn = await torn_searches(store, clear_then_put, tuning=Tuning(), tenant="two-transactions")
    assert torn > 0


async def test_the_check_catches_old_chunks_that_stay(store: Database) -> None:
    async def keep_one(database: Database, change: Change) -> None:
        document_, before = change.document, change.document.version - 1
        key = (document_.tenant, document_.source, document_.document_id)
        await write(database, change)
        async with database.transaction(tenant=document_.tenant) as connection:
            await connection.execute(
                "UPDATE chunks SET version = $4 WHERE tenant = $1 AND source = $2 AND document_id = $3 AND ordinal = 0",
                *key,
                before,
            )

    _, torn = await torn_searches(store, keep_one, tuning=Tuning(), tenant="stays")
    assert torn > 0
