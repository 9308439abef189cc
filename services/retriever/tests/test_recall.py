"""How much of the truth the index finds, and that it is the index which finds it.

20,000 chunks: half of them are one tenant's, 1 % another's, the rest belongs to 98 more. Seven of ten are public, two
TIER_1, one TIER_2. The truth is numpy's, over what the tenant may see.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import asyncpg
import numpy as np
import numpy.typing as npt
import pytest
import pytest_asyncio
from headrace_database import Connection, Database
from headrace_embedded import testing
from headrace_privacy import Tier
from headrace_retriever.adapters import statements
from headrace_retriever.adapters.postgres import PostgresIndex
from headrace_retriever.domain import Embedder, Question, Tuning, VectorSearch
from headrace_retriever.testing import BLINDING, Bulk, ask, clusters, load, question

pytestmark = pytest.mark.real

COUNT, DIMENSIONS, QUESTIONS, NEAREST, GOAL = 20_000, 128, 40, 10, 0.95
LARGEST, ONE_PERCENT = "largest", "one-percent"
EMBEDDER = Embedder("clusters", DIMENSIONS, "")
HNSW = Tuning(exact_below=0)

Searcher = Callable[[Question], Awaitable[list[int]]]


def tenant_of(chunk: int) -> str:
    """Every hundredth document is one tenant's, every second another's."""
    place = chunk // 20
    return ONE_PERCENT if place % 100 == 0 else LARGEST if place % 2 else f"small-{place % 98}"


def tier_of(chunk: int) -> Tier:
    """By thirds of a cycle that no tenant's follows."""
    return (*[Tier.PUBLIC] * 7, *[Tier.TIER_1] * 2, Tier.TIER_2)[chunk // 20 % 11 % 10]


_VECTORS = clusters(COUNT + QUESTIONS, dimensions=DIMENSIONS, centres=200, seed=1)
VECTORS, ASKED = _VECTORS[:COUNT], _VECTORS[COUNT:]
TENANTS = np.array([tenant_of(chunk) for chunk in range(COUNT)])
TIERS = np.array([tier_of(chunk) for chunk in range(COUNT)])


@pytest_asyncio.fixture(scope="module")
async def loaded(schema: testing.Database, store: Database) -> Database:
    """The 20,000 chunks, indexed."""
    texts = [f"common word-{chunk % 997} term{chunk}" for chunk in range(COUNT)]
    await load(schema.superuser, Bulk(EMBEDDER, VECTORS, TENANTS.tolist(), TIERS.tolist(), texts))
    return store


def truth(asked: npt.NDArray[np.float32], tenant: str, max_tier: Tier) -> set[int]:
    """The nearest chunks that the tenant may see: by looking at all."""
    visible = np.flatnonzero((tenant == TENANTS) & (max_tier >= TIERS))
    nearest = np.argsort(-(VECTORS[visible] @ asked), kind="stable")[:NEAREST]
    return set(visible[nearest].tolist())


async def recall(search: Searcher, tenant: str, max_tier: Tier) -> float:
    """The share of the true nearest that the search finds, over all questions."""
    shares = []
    for asked in ASKED:
        asking = question("", asked, tenant=tenant, max_tier=max_tier, top_k=NEAREST, embedder=EMBEDDER)
        expected = truth(asked, tenant, max_tier)
        shares.append(len(expected.intersection(await search(asking))) / len(expected))
    return float(np.mean(shares))


def searcher(store: Database, *, tuning: Tuning, expect: VectorSearch) -> Searcher:
    """Searches as the service does."""
    index = PostgresIndex(store, tuning=tuning)

    async def search(asking: Question) -> list[int]:
        found = await ask(index, asking)
        assert found.vector_search == expect
        return [passage.ordinal for passage in found.passages]

    return search


@pytest.mark.parametrize("max_tier", list(Tier), ids=[tier.label for tier in Tier])
@pytest.mark.parametrize("tenant", [LARGEST, ONE_PERCENT])
async def test_the_graphs_find_what_looking_at_all_finds(loaded: Database, tenant: str, max_tier: Tier) -> None:
    assert await recall(searcher(loaded, tuning=HNSW, expect="hnsw"), tenant, max_tier) >= GOAL


async def test_a_small_tenant_is_looked_at_whole(loaded: Database) -> None:
    # Not 1: the index holds half precision, so that two nearly equal neighbours may change places.
    assert await recall(searcher(loaded, tuning=Tuning(), expect="exact"), ONE_PERCENT, Tier.TIER_2) > 0.99


async def test_the_check_catches_a_search_that_does_not_go_on(loaded: Database) -> None:
    index = PostgresIndex(loaded, tuning=HNSW)

    async def search(asking: Question) -> list[int]:
        async with loaded.transaction(tenant=asking.tenant) as connection:
            await tune(connection)
            await connection.execute("SET LOCAL hnsw.iterative_scan = off")
            return [
                row["ordinal"]
                for row in await connection.fetch(*index.statement(asking, "hnsw", COUNT, blinding=BLINDING))
            ]

    assert await recall(search, ONE_PERCENT, Tier.TIER_2) < GOAL


async def test_the_check_catches_one_graph_for_all_tiers(schema: testing.Database, loaded: Database) -> None:
    """Stock pgvector: one graph, the filter behind it."""

    async def search(asking: Question) -> list[int]:
        async with loaded.transaction() as connection:
            await connection.execute("SET LOCAL enable_sort = off")
            rows = await connection.fetch(
                f"SELECT ordinal FROM one_graph WHERE tenant = $1 AND tier = {int(Tier.TIER_2)}"
                f" ORDER BY embedding::halfvec({DIMENSIONS}) <=> $2::real[]::halfvec({DIMENSIONS}) LIMIT {NEAREST}",
                asking.tenant,
                asking.vector.tolist(),
            )
        return [row["ordinal"] for row in rows]

    connection = await asyncpg.connect(schema.superuser)
    try:
        await connection.execute(
            f"CREATE TABLE retriever.one_graph AS SELECT tenant, tier, ordinal, embedding FROM retriever.chunks;"
            f"CREATE INDEX ON retriever.one_graph USING hnsw ((embedding::halfvec({DIMENSIONS})) halfvec_cosine_ops);"
            f"GRANT SELECT ON retriever.one_graph TO headrace_retriever"
        )
    finally:
        await connection.close()
    strict = np.flatnonzero((TENANTS == LARGEST) & (TIERS == Tier.TIER_2))
    shares = []
    for asked in ASKED:
        asking = question("", asked, tenant=LARGEST, embedder=EMBEDDER)
        expected = set(strict[np.argsort(-(VECTORS[strict] @ asked))[:NEAREST]].tolist())
        shares.append(len(expected.intersection(await search(asking))) / NEAREST)
    assert np.mean(shares) < GOAL


async def tune(connection: Connection) -> None:
    """Sets what a search through the graphs sets."""
    await connection.execute(statements.TUNE_HNSW, str(HNSW.ef_search), str(HNSW.scan_tuples))


def reads(plan: dict[str, Any]) -> Iterator[str]:
    """What a plan reads chunks by: the names of indexes, and "all" for a scan of the table."""
    for child in plan.get("Plans", []):
        yield from reads(child)
    if "Index Name" in plan:
        yield plan["Index Name"]
    elif plan["Node Type"] == "Seq Scan" and plan["Relation Name"] == "chunks":
        yield "all"


async def explain(store: Database, how: VectorSearch, asking: Question) -> set[str]:
    """What a search reads."""
    sql, *parameters = PostgresIndex(store, tuning=HNSW).statement(asking, how, COUNT, blinding=BLINDING)
    async with store.transaction(tenant=asking.tenant, clearance=asking.max_tier) as connection:
        if how == "hnsw":
            await tune(connection)
        (plan,) = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", *parameters))
    return set(reads(plan["Plan"]))


@pytest.mark.parametrize("sources", [(), ("docs",)], ids=["all sources", "some sources"])
@pytest.mark.parametrize("max_tier", list(Tier), ids=[tier.label for tier in Tier])
@pytest.mark.parametrize("tenant", [LARGEST, ONE_PERCENT])
async def test_above_the_threshold_only_indexes_are_read(
    loaded: Database, tenant: str, max_tier: Tier, sources: tuple[str, ...]
) -> None:
    asking = question("some word-7", ASKED[0], tenant=tenant, max_tier=max_tier, sources=sources, embedder=EMBEDDER)
    read = await explain(loaded, "hnsw", asking)
    graphs = {name for name in read if name.startswith("chunks_vectors")}
    assert graphs == {f"chunks_vectors_{DIMENSIONS}_tier_{int(tier)}" for tier in Tier if tier <= max_tier}
    assert "all" not in read
    if tenant == LARGEST:
        assert "chunks_words" in read


async def test_an_exact_search_reads_no_graph(loaded: Database) -> None:
    read = await explain(loaded, "exact", question("some word-7", ASKED[0], tenant=ONE_PERCENT, embedder=EMBEDDER))
    assert not {name for name in read if name.startswith("chunks_vectors")}


async def test_common_words_do_not_drown_a_rare_one(loaded: Database) -> None:
    index = PostgresIndex(loaded, tuning=HNSW)
    rare = int(np.flatnonzero(TENANTS == LARGEST)[-1])
    found = await ask(index, question(f"common common term{rare}", ASKED[0], tenant=LARGEST, embedder=EMBEDDER))
    assert [p.ordinal for p in found.passages if p.text_rank == 1] == [rare]
