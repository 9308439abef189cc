"""The index on a real Postgres: what a search sees, and what a change does."""

from __future__ import annotations

import asyncio
import random
import uuid

import asyncpg
import numpy as np
import pytest
from headrace_database import Database
from headrace_embedded import testing
from headrace_privacy import Tier
from headrace_retriever.adapters import statements
from headrace_retriever.adapters.postgres import PostgresIndex, PostgresShelf
from headrace_retriever.domain import Embedder, Found, Question, Tuning
from headrace_retriever.testing import (
    BLINDING,
    NOW,
    SMALL,
    ask,
    document,
    labels_of,
    put,
    question,
    removal,
    text_of,
    towards,
    write,
)
from headrace_runtime.errors import Conflict

pytestmark = pytest.mark.real

EXACT, HNSW = Tuning(), Tuning(exact_below=0)


@pytest.fixture(params=[EXACT, HNSW], ids=["exact", "hnsw"])
def index(request: pytest.FixtureRequest, store: Database) -> PostgresIndex:
    """The index, searched in each of the two ways."""
    return PostgresIndex(store, tuning=request.param)


@pytest.fixture
def tenant() -> str:
    """A tenant that no other test has."""
    return f"tenant-{uuid.uuid4().hex[:12]}"


def names(found: Found) -> list[str]:
    """Which documents were found, best first."""
    return [passage.document.document_id for passage in found.passages]


async def test_nothing_is_found_in_an_empty_index(store: Database) -> None:
    found = await ask(PostgresIndex(store, tuning=EXACT), question("what", towards(0), tenant="nobody"))
    assert (found.passages, found.vector_search) == ((), "exact")


async def test_finds_by_vector_and_by_words(store: Database, index: PostgresIndex) -> None:
    await write(store, put(document("near", tenant="both"), ["Loops go on."], [towards(1)]))
    await write(store, put(document("worded", tenant="both"), ["The nonlocal statement."], [towards(5)]))
    found = await ask(index, question("What is nonlocal?", towards(1, tilt=0.1), tenant="both"))
    ranks = {p.document.document_id: (p.vector_rank, p.text_rank) for p in found.passages}
    assert ranks == {"near": (1, 0), "worded": (2, 1)}
    assert found.passages[0].document == document("worded", tenant="both")
    assert found.passages[1].similarity == pytest.approx(1 / np.sqrt(1.01), abs=1e-3)
    assert text_of(found.passages[1]) == "Loops go on."


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("what does nonlocal do", "nonlocal"),
        ("where is __init__ called", "dunder"),
        ("how does async with work", "async"),
        ("and the `with` statement?", "with"),
        ("os.path.join of two paths", "dotted"),
    ],
)
async def test_identifiers_are_found_by_their_words(
    store: Database, index: PostgresIndex, asked: str, answer: str
) -> None:
    texts = {
        "nonlocal": "Names the nonlocal statement lists refer to enclosing scopes.",
        "dunder": "The class calls __init__ with its arguments.",
        "dunder-not": "The init of things is in the beginning.",
        "async": "An `async with` block enters and leaves a context.",
        "async-not": "Some async thing, and what comes with it.",
        "with": "The `with` block.",
        "with-not": "What comes with it, comes with all of it, with or without.",
        "dotted": "Use os.path.join here.",
        "dotted-not": "Join a path of stones.",
    }
    for name, text in texts.items():
        await write(store, put(document(name, tenant="words"), [text], [towards(0)]))
    found = await ask(index, question(asked, towards(0), tenant="words"))
    by_words = [p.document.document_id for p in found.passages if p.text_rank == 1]
    assert by_words == [answer]


async def test_the_fusion_is_reciprocal_rank_fusion(store: Database, index: PostgresIndex) -> None:
    seeded = random.Random(7)
    vocabulary = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"]
    for number in range(40):
        text = " ".join(seeded.choices(vocabulary, k=5))
        vector = [seeded.gauss(0, 1) for _ in range(8)]
        await write(store, put(document(f"d{number}", tenant="fused"), [text], [vector]))
    found = await ask(index, question("alpha gamma zeta", towards(2, tilt=0.4), tenant="fused", top_k=20))
    expected = [sum(1 / (60 + rank) for rank in (p.vector_rank, p.text_rank) if rank) for p in found.passages]
    assert [p.score for p in found.passages] == pytest.approx(expected)
    assert expected == sorted(expected, reverse=True)
    similarities = {p.vector_rank: p.similarity for p in found.passages if p.vector_rank}
    assert [similarities[r] for r in sorted(similarities)] == sorted(similarities.values(), reverse=True)


async def test_a_tenant_sees_its_own_only(store: Database, index: PostgresIndex) -> None:
    for tenant in ("mine", "theirs"):
        await write(store, put(document(f"of-{tenant}", tenant=tenant), ["The nonlocal statement."], [towards(0)]))
    assert names(await ask(index, question("nonlocal", towards(0), tenant="mine"))) == ["of-mine"]
    assert names(await ask(index, question("nonlocal", towards(0), tenant="strangers"))) == []


async def test_nothing_stricter_than_the_limit_is_found(store: Database, index: PostgresIndex) -> None:
    for tier in Tier:
        which = document(tier.label, tenant="tiers")
        await write(store, put(which, ["The nonlocal statement."], [towards(0, tilt=0.1 * tier)], tier=tier))
    for limit in Tier:
        found = await ask(index, question("nonlocal", towards(0), tenant="tiers", max_tier=limit))
        assert sorted(p.tier for p in found.passages) == [tier for tier in Tier if tier <= limit]
        assert all(labels_of(p).title == f"Title of {p.tier.label}" for p in found.passages)


async def test_only_the_given_sources_are_found(store: Database, index: PostgresIndex) -> None:
    for source in ("one", "two", "three"):
        await write(store, put(document("x", tenant="sourced", source=source), ["nonlocal"], [towards(0)]))
    found = await ask(index, question("nonlocal", towards(0), tenant="sourced", sources=("one", "three")))
    assert sorted(p.document.source for p in found.passages) == ["one", "three"]


async def test_as_many_as_asked_for_are_found(store: Database, index: PostgresIndex) -> None:
    vectors = [towards(0, tilt=i / 100) for i in range(120)]
    await write(store, put(document("long", tenant="many"), ["words " * 3] * 120, vectors))
    for top_k in (1, 8, 100):
        found = await ask(index, question("unrelated", towards(0), tenant="many", top_k=top_k))
        assert len(found.passages) == top_k
        assert found.candidates == max(40, top_k)


HOSTILE = [
    "'; DROP TABLE chunks; --",
    "a & b | !c <-> (d) : * \\ ' \"",
    "'''' \\\\ '\\'' `'` \"'\" \\",
    "&|!()<->:*",
    "%s {nearest} $1 ${x}",
    "\u202e\ufeff\u200b\U0001f600 émigré ŒUVRE ß",
    "`" * 50 + '"' * 51,
    "x" * 8_000,
    "\U0001f600" * 2_000,
    " ".join(f"w{i}" for i in range(1_300)),
    "\t\r\n ",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_any_text_can_be_indexed_and_asked(store: Database, index: PostgresIndex, text: str) -> None:
    which = document(text[:512], tenant="hostile")
    await write(store, put(which, [text], [towards(0)]))
    found = await ask(index, question(text, towards(0), tenant="hostile", top_k=100))
    assert text in [text_of(p) for p in found.passages]


async def test_vectors_of_another_embedder_are_refused_by_name(store: Database, index: PostgresIndex) -> None:
    await write(store, put(document(), ["text"], [towards(0)]))
    for other in (Embedder("large", 9, "00"), Embedder("small", 8, "retrained")):
        vector = towards(0, dimensions=other.dimensions)
        with pytest.raises(Conflict) as refused:
            await write(store, put(document("b"), ["text"], [vector], embedder=other))
        assert str(SMALL) in str(refused.value)
        assert str(other) in str(refused.value)
        with pytest.raises(Conflict):
            await ask(index, question("text", vector, embedder=other))
    assert "b" not in names(await ask(index, question("text", towards(0))))


async def test_a_newer_version_takes_the_place_of_all_chunks(
    store: Database, index: PostgresIndex, tenant: str
) -> None:
    first = await write(store, put(document("v", tenant=tenant), ["nonlocal"] * 3, [towards(i) for i in range(3)]))
    assert first is not None
    assert (first.chunks, first.indexed_at) == (3, NOW)
    second = document("v", tenant=tenant, version=2)
    done = await write(store, put(second, ["fresh"], [towards(4)], tier=Tier.TIER_1))
    assert done is not None
    assert done.chunks == 1
    found = await ask(index, question("nonlocal", towards(0), tenant=tenant))
    assert [(p.document.version, text_of(p), p.tier) for p in found.passages] == [(2, "fresh", Tier.TIER_1)]


async def test_an_older_version_changes_nothing(store: Database, index: PostgresIndex, tenant: str) -> None:
    newer = document("late", tenant=tenant, version=5)
    await write(store, put(newer, ["newer"], [towards(0)]))
    for version in (4, 5):
        older = document("late", tenant=tenant, version=version)
        assert await write(store, put(older, ["older"], [towards(0)])) is None
        assert await write(store, removal(older)) is None
    found = await ask(index, question("older", towards(0), tenant=tenant))
    assert [text_of(p) for p in found.passages] == ["newer"]


async def test_what_is_deleted_is_gone_from_every_search(store: Database, index: PostgresIndex, tenant: str) -> None:
    which = document("gone", tenant=tenant)
    await write(store, put(which, ["nonlocal"] * 5, [towards(i) for i in range(5)]))
    done = await write(store, removal(document("gone", tenant=tenant, version=2)))
    assert done is not None
    assert done.chunks == 0
    for limit in Tier:
        for asked in ("nonlocal", "Title of gone"):
            asking = question(asked, towards(0), tenant=tenant, max_tier=limit, top_k=100)
            assert names(await ask(index, asking)) == []
    assert await write(store, put(which, ["nonlocal"], [towards(0)])) is None  # an old version cannot return


async def test_a_deletion_before_the_document_keeps_it_out(store: Database, tenant: str) -> None:
    done = await write(store, removal(document("never", tenant=tenant, version=2)))
    assert done is not None
    assert done.chunks == 0
    assert await write(store, put(document("never", tenant=tenant), ["nonlocal"], [towards(0)])) is None


async def test_two_instances_take_turns_at_one_document(store: Database) -> None:
    changes = [
        put(
            document("raced", tenant="raced", version=v),
            [f"v{v}"] * (v % 4 + 1),
            [towards(i) for i in range(v % 4 + 1)],
        )
        for v in range(1, 31)
    ]
    random.Random(3).shuffle(changes)
    done = await asyncio.gather(*(write(store, change) for change in changes))
    last = max((indexed for indexed in done if indexed), key=lambda i: i.change.document.version)
    assert last.change.document.version == 30
    found = await ask(PostgresIndex(store, tuning=EXACT), question("any", towards(0), tenant="raced"))
    assert {text_of(p) for p in found.passages} == {"v30"}
    assert len(found.passages) == 30 % 4 + 1


async def test_the_tallies_count_what_is_there(schema: testing.Database, store: Database) -> None:
    seeded = random.Random(5)
    for version in range(1, 40):
        which = document(f"t{seeded.randrange(6)}", tenant="tallied", source=f"s{version % 2}", version=version)
        count = seeded.randrange(4)
        tier = seeded.choice(list(Tier))
        change = put(which, ["text"] * count, [towards(i) for i in range(count)], tier=tier)
        await write(store, change if count else removal(which))
    connection = await asyncpg.connect(schema.superuser)
    counted = "SELECT source, tier, {} FROM retriever.{} WHERE tenant = 'tallied' GROUP BY 1, 2 HAVING {} <> 0"
    try:
        chunks = await connection.fetch(counted.format("count(*)", "chunks", "count(*)"))
        tallies = await connection.fetch(counted.format("sum(chunks)::bigint", "tallies", "sum(chunks)"))
    finally:
        await connection.close()
    assert chunks
    assert sorted(map(tuple, chunks)) == sorted(map(tuple, tallies))


async def test_the_size_decides_how_vectors_are_searched(store: Database) -> None:
    which = document("sized", tenant="sized")
    await write(store, put(which, ["text"] * 5, [towards(i) for i in range(5)], tier=Tier.TIER_1))
    index = PostgresIndex(store, tuning=Tuning(exact_below=5))

    async def how(**limits: object) -> str:
        asking: Question = question("text", towards(0), tenant="sized", **limits)  # type: ignore[arg-type]
        return (await ask(index, asking)).vector_search

    assert await how() == "hnsw"
    assert await how(max_tier=Tier.PUBLIC) == "exact"  # none of the five is visible
    assert await how(sources=("elsewhere",)) == "exact"
    assert await how(sources=("docs",)) == "hnsw"


async def test_row_level_security_stands_behind_the_queries(store: Database) -> None:
    for tenant in ("secure", "insecure"):
        await write(store, put(document(tenant=tenant), ["text"], [towards(0)]))
    tables = ("documents", "chunks", "tallies")
    for table in tables:
        tenants = f"SELECT DISTINCT tenant FROM {table}"
        async with store.transaction(tenant="secure") as connection:
            assert [row["tenant"] for row in await connection.fetch(tenants)] == ["secure"]
        async with store.transaction() as connection:  # the same connection, the setting now ''
            assert await connection.fetch(tenants) == []
    async with store.transaction(tenant="secure") as connection:
        assert await connection.execute("UPDATE documents SET version = 9 WHERE tenant = 'insecure'") == "UPDATE 0"
        assert await connection.execute("DELETE FROM chunks WHERE tenant = 'insecure'") == "DELETE 0"


async def test_a_change_for_a_tenant_that_the_transaction_did_not_name_is_refused(store: Database) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with store.transaction(tenant="secure") as connection:
            await PostgresShelf(connection).apply(
                put(document(tenant="other"), ["t"], [towards(0)]), blinding=BLINDING, now=NOW
            )


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE index_identity SET name = 'mine'",
        "DELETE FROM index_identity",
        "ALTER TABLE chunks DISABLE ROW LEVEL SECURITY",
        "DROP INDEX chunks_words",
        "TRUNCATE chunks",
        "SET ROLE headrace_owner",
    ],
)
async def test_the_service_cannot_step_out_of_its_role(store: Database, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with store.transaction(tenant="acme") as connection:
            await connection.execute(statement)


async def test_vectors_without_graphs_are_refused_with_the_mend(schema: testing.Database, store: Database) -> None:
    """Comes before the last test, and leaves the index as it was: it only ever looks at an index that has nobody's."""
    connection = await asyncpg.connect(schema.superuser)
    odd = Embedder("odd", 3, "01")
    change = put(document("odd", tenant="odd"), ["text"], [towards(1, dimensions=3)], embedder=odd)
    try:
        await connection.execute("CREATE TABLE public.kept AS SELECT * FROM retriever.index_identity")
        await connection.execute("TRUNCATE retriever.index_identity")
        with pytest.raises(Conflict, match=r"odd \(3 dimensions, 01\).*SELECT retriever\.make_graphs\(3\)"):
            await write(store, change)
        await connection.execute("INSERT INTO retriever.index_identity SELECT * FROM public.kept")
    finally:
        await connection.close()


@pytest.mark.parametrize("dimensions", [384, 512, 768, 1024, 1536])
async def test_the_embedders_in_use_have_their_graphs(store: Database, dimensions: int) -> None:
    async with store.transaction() as connection:
        assert await connection.fetchval(statements.HAS_GRAPHS, dimensions)
        assert not await connection.fetchval(statements.HAS_GRAPHS, dimensions + 1)


async def test_only_the_owner_makes_graphs(store: Database) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with store.transaction() as connection:
            await connection.execute("SELECT make_graphs(9)")


async def test_an_emptied_index_takes_another_embedder(schema: testing.Database, store: Database) -> None:
    """As the README says. It runs last: it empties the index of this module."""
    await write(store, put(document("old", tenant="emptied"), ["text"], [towards(0)]))
    connection = await asyncpg.connect(schema.superuser)
    try:
        await connection.execute(
            "SET ROLE headrace_owner;"
            "TRUNCATE retriever.chunks, retriever.trained_vectors, retriever.tallies, retriever.index_identity;"
            "SELECT retriever.make_graphs(3);"
        )
    finally:
        await connection.close()
    other = Embedder("other", 3, "01")
    vector = towards(1, dimensions=3)
    await write(store, put(document("old", tenant="emptied", version=2), ["text"], [vector], embedder=other))
    for tuning in (EXACT, HNSW):
        asking = question("text", vector, tenant="emptied", embedder=other)
        assert names(await ask(PostgresIndex(store, tuning=tuning), asking)) == ["old"]
