"""Searching and indexing chunks, beside stock pgvector on the same server.

The peer is what pgvector's README shows: a `vector` column, one plain HNSW index, a WHERE clause, the defaults. It does
vectors only; ours is the whole search, full text and fusion included. Three tenants share the chunks: one has 94 %,
one 5 %, one 1 %. "Unfiltered" asks for the first, the peer without any filter. As the service does, ours looks at all
of a tenant's chunks below 10,000 and goes through the graphs above; rows that say "by graph" force the graphs.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import asyncpg
import numpy as np
import numpy.typing as npt
from headrace_database import Connection, Database, open_database
from headrace_database.migrations import migrate, migrations_of
from headrace_embedded import testing
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import postgres
from headrace_privacy import Tier
from headrace_retriever.adapters.postgres import PostgresIndex
from headrace_retriever.domain import Change, Embedder, Found, Tuning
from headrace_retriever.testing import BLINDING, Bulk, clusters, document, load, put, question, write

from bench.harness import Budget, Paired, Row, paired_async

GROUP = "retriever"
ROOT = Path(__file__).parents[1]
DIMENSIONS, NEAREST, TOP_K, VOCABULARY = 384, 10, 8, 20_000
EMBEDDER = Embedder("clusters", DIMENSIONS, "")
#: Tenants by their share of the chunks, in hundredths.
SHARES = {"most": 94, "five": 5, "one": 1}
AS_SERVED, BY_GRAPH = Tuning(), Tuning(exact_below=0)
CHUNKS_A_DOCUMENT = 20

Search = Callable[[int], Awaitable[set[int]]]


def rows(budget: Budget) -> list[Row]:
    """Measures searches at each size, then the write path."""
    return asyncio.run(_rows(budget))


async def _rows(budget: Budget) -> list[Row]:
    measured: list[Row] = []
    with testing.state_folder() as folder:
        server = postgres.open_server(folder / "postgres", 0, lifetime=Lifetime.PARENTS)
        server.start()
        try:
            for size in budget.pick(quick=[2_000], full=[10_000, 100_000]):
                measured += await _measure_searches(server, size, budget)
            measured += await _measure_writes(server, budget)
        finally:
            server.stop()
    return measured


async def _open(server: postgres.PostgresServer, name: str) -> testing.Database:
    """Makes a database with the retriever's schema."""
    database = await testing.open_database(server, name)
    connection = await asyncpg.connect(database.superuser)
    try:
        await migrate(connection, schema="retriever", migrations=migrations_of("retriever", root=ROOT))
    finally:
        await connection.close()
    return database


def _say(what: str) -> None:
    sys.stderr.write(f"retriever: {what}\n")


# --- what is searched -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Corpus:
    """Chunks with their tenants, and questions near them."""

    bulk: Bulk
    tenants: npt.NDArray[np.str_]
    asked: npt.NDArray[np.float32]
    questions: Sequence[str]

    def truth(self, i: int, tenant: str | None) -> set[int]:
        """The chunks nearest to question i, of a tenant or of all, by looking at each."""
        visible = np.flatnonzero((self.tenants == tenant) | (tenant is None))
        return set(visible[np.argsort(-(self.bulk.vectors[visible] @ self.asked[i]))[:NEAREST]].tolist())


def make_corpus(size: int, questions: int) -> Corpus:
    """Makes seeded chunks of 90 words: vectors in clusters, words as often as in real text (Zipf's law)."""
    vectors = clusters(size + questions, dimensions=DIMENSIONS, centres=200, seed=1)
    random = np.random.default_rng(2)
    words = np.minimum(random.zipf(1.3, size=(size, 90)), VOCABULARY)
    asked = np.minimum(random.zipf(1.3, size=(questions, 8)), VOCABULARY)
    place = np.arange(size) // CHUNKS_A_DOCUMENT % 100
    tenants = np.where(place < 94, "most", np.where(place < 99, "five", "one"))
    cycle = (Tier.PUBLIC, Tier.PUBLIC, Tier.TIER_1, Tier.TIER_2)
    tiers = [cycle[i // CHUNKS_A_DOCUMENT % 7 % 4] for i in range(size)]
    return Corpus(
        Bulk(EMBEDDER, vectors[:size], tenants.tolist(), tiers, _texts(words)), tenants, vectors[size:], _texts(asked)
    )


def _texts(words: npt.NDArray[np.int64]) -> list[str]:
    return [" ".join(f"word{number}" for number in line) for line in words.tolist()]


async def _fill_peer(superuser_dsn: str, corpus: Corpus) -> None:
    connection = await asyncpg.connect(superuser_dsn)
    bulk = corpus.bulk
    rows = (
        (tenant, i, vector.tolist()) for i, (tenant, vector) in enumerate(zip(bulk.tenants, bulk.vectors, strict=True))
    )
    try:
        await connection.execute("SET maintenance_work_mem = '512MB'")
        await connection.execute("CREATE TEMP TABLE plain_staged (tenant text, ordinal integer, embedding real[])")
        await connection.copy_records_to_table("plain_staged", records=rows)
        await connection.execute(
            f"CREATE TABLE plain AS SELECT tenant, ordinal, embedding::vector({DIMENSIONS}) FROM plain_staged"
        )
        await connection.execute("CREATE INDEX ON plain USING hnsw (embedding vector_cosine_ops)", timeout=900)
        await connection.execute("VACUUM ANALYZE plain")
    finally:
        await connection.close()


# --- searches ---------------------------------------------------------------------------------------------------------


async def _measure_searches(server: postgres.PostgresServer, size: int, budget: Budget) -> list[Row]:
    _say(f"filling an index and a plain pgvector table with {size:,} chunks")
    corpus = await asyncio.to_thread(make_corpus, size, budget.pick(quick=20, full=50))
    where = await _open(server, f"search_{size}")
    await load(where.superuser, corpus.bulk)
    await _fill_peer(where.superuser, corpus)
    cases = [(tenant, AS_SERVED) for tenant in SHARES]
    if size > AS_SERVED.exact_below:
        cases += [(tenant, BY_GRAPH) for tenant in ("five", "one")]
    measured: list[Row] = []
    async with open_database(where.dsn("retriever"), schema="retriever", connections=1) as database:
        peer = await asyncpg.connect(where.superuser)
        try:
            for tenant, tuning in cases:
                measured += await _measure_case(Case(corpus, tenant, tuning, database, peer), budget)
        finally:
            await peer.close()
    await testing.drop_database(where)
    return measured


@dataclass(frozen=True, slots=True)
class Case:
    """One tenant's searches, ours and the peer's."""

    corpus: Corpus
    tenant: str
    tuning: Tuning
    database: Database
    peer: Connection

    @property
    def name(self) -> str:
        """What the rows are called."""
        filtered = "unfiltered" if self.tenant == "most" else f"{SHARES[self.tenant]} % filter"
        return f"{len(self.corpus.tenants):,} chunks, {filtered}{', by graph' if self.tuning is BY_GRAPH else ''}"

    @property
    def questions(self) -> int:
        """How many are asked a turn; a graph under a filter takes its time, and never has to in the service."""
        return 10 if self.tuning is BY_GRAPH else len(self.corpus.asked)

    async def ours(self, i: int, *, top_k: int = TOP_K) -> Found:
        """The whole search for question i."""
        asking = question(
            self.corpus.questions[i], self.corpus.asked[i], tenant=self.tenant, top_k=top_k, embedder=EMBEDDER
        )
        return await PostgresIndex(self.database, tuning=self.tuning).search(asking, blinding=BLINDING)

    async def plain(self, i: int) -> set[int]:
        """As pgvector's README has it."""
        where, more = ("", []) if self.tenant == "most" else ("WHERE tenant = $2", [self.tenant])
        sql = f"SELECT ordinal FROM plain {where} ORDER BY embedding <=> $1::real[]::vector LIMIT {NEAREST}"
        return {row["ordinal"] for row in await self.peer.fetch(sql, self.corpus.asked[i].tolist(), *more)}

    async def recalls(self) -> tuple[float, float, str]:
        """The mean share of the true nearest, ours and the peer's, and how ours searched."""
        ours, peers, way = [], [], ""
        for i in range(self.questions):
            found = await self.ours(i, top_k=2 * self.tuning.candidates)  # so that no neighbour is cut off by fusion
            way = found.vector_search
            nearest = {p.ordinal for p in found.passages if 0 < p.vector_rank <= NEAREST}
            ours.append(len(nearest & self.corpus.truth(i, self.tenant)) / NEAREST)
            seen = None if self.tenant == "most" else self.tenant
            peers.append(len(await self.plain(i) & self.corpus.truth(i, seen)) / NEAREST)
        return sum(ours) / len(ours), sum(peers) / len(peers), way


@dataclass(slots=True)
class Series:
    """One side's latencies, in milliseconds."""

    taken: list[float] = field(default_factory=list)

    async def turn(self, search: Callable[[int], Awaitable[object]], count: int) -> float:
        """Asks every question once, one after the other; returns the median."""
        before = len(self.taken)
        for i in range(count):
            started = time.perf_counter()
            await search(i)
            self.taken.append((time.perf_counter() - started) * 1000)
        return median(self.taken[before:])

    @property
    def p99(self) -> float:
        """The 99th percentile."""
        return quantiles(self.taken, n=100)[98]


async def _measure_case(case: Case, budget: Budget) -> list[Row]:
    _say(case.name)
    ours, peer, count = Series(), Series(), case.questions
    pair = await paired_async(lambda: ours.turn(case.ours, count), lambda: peer.turn(case.plain, count), budget.repeats)
    our_recall, peer_recall, way = await case.recalls()
    note = f"{way}, with full text; peer: vectors only, recall {peer_recall:.3f}"
    return [
        _row(f"search p50, {case.name}", pair.ours, pair.peer, "ms", ratio=pair.ratio, note=note, **pair.extra),
        _row(f"search p99, {case.name}", ours.p99, peer.p99, "ms", ratio=ours.p99 / peer.p99, note=note),
        Row(
            GROUP, f"recall@10, {case.name}", our_recall, peer_recall, "", ratio=our_recall / max(peer_recall, 0.001),
            goal=0.95, goal_of="ours", note=way,
        ),
    ]  # fmt: skip


def _row(name: str, ours: float, peer: float, unit: str, *, ratio: float, note: str, **extra: Any) -> Row:
    return Row(GROUP, name, ours, peer, unit, ratio, higher_is_better=False, note=note, extra=extra)


# --- writes -----------------------------------------------------------------------------------------------------------

_PLAIN_TABLE = f"""
CREATE TABLE plain (tenant text, document_id text, ordinal integer, text text, embedding vector({DIMENSIONS}),
    words tsvector, PRIMARY KEY (tenant, document_id, ordinal));
CREATE INDEX ON plain USING hnsw (embedding vector_cosine_ops);
CREATE INDEX ON plain USING gin (words);
"""

_PLAIN_INSERT = """
INSERT INTO plain VALUES ($1, $2, $3, $4, $5::real[]::vector, to_tsvector('english', $4))
"""


async def _measure_writes(server: postgres.PostgresServer, budget: Budget) -> list[Row]:
    """Documents of 20 chunks, one after the other: a change each, against an INSERT for each chunk."""
    count = budget.pick(quick=10, full=100)
    _say(f"indexing {count} documents a turn")
    corpus = await asyncio.to_thread(make_corpus, count * CHUNKS_A_DOCUMENT * (budget.repeats + 1), 1)
    where = await _open(server, "writes")
    async with open_database(where.dsn("retriever"), schema="retriever", connections=1) as database:
        peer = await asyncpg.connect(where.superuser)
        try:
            await peer.execute(_PLAIN_TABLE)
            pair = await _write_by_turns(database, peer, corpus, count, budget)
        finally:
            await peer.close()
    note = f"{CHUNKS_A_DOCUMENT} chunks each; a transaction each, with read-back; peer: an INSERT a chunk"
    return [
        Row(GROUP, "documents indexed", pair.ours, pair.peer, "documents/s", pair.ratio, note=note, extra=pair.extra)
    ]


async def _write_by_turns(database: Database, peer: Connection, corpus: Corpus, count: int, budget: Budget) -> Paired:
    turns = {"ours": 0, "peer": 0}

    def changes(side: str) -> list[Change]:
        first = turns[side] * count
        turns[side] += 1
        return [_change(corpus, number) for number in range(first, first + count)]

    async def write_ours() -> float:
        batch = changes("ours")
        started = time.perf_counter()
        for change in batch:
            await write(database, change)
        return count / (time.perf_counter() - started)

    async def write_peer() -> float:
        batch = changes("peer")
        started = time.perf_counter()
        for change in batch:
            for chunk in change.chunks:
                key = (change.document.tenant, change.document.document_id, chunk.ordinal)
                await peer.execute(_PLAIN_INSERT, *key, chunk.text.reveal(), chunk.vector.tolist())
        return count / (time.perf_counter() - started)

    return await paired_async(write_ours, write_peer, budget.repeats)


def _change(corpus: Corpus, number: int) -> Change:
    chunks = slice(number * CHUNKS_A_DOCUMENT, (number + 1) * CHUNKS_A_DOCUMENT)
    which = document(f"d{number}", tenant="writer")
    return put(which, corpus.bulk.texts[chunks], corpus.bulk.vectors[chunks], embedder=EMBEDDER)
