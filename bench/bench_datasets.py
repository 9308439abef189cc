"""How many interactions a second become rows of a snapshot, and what memory that takes.

The log lies in a real Postgres, sealed, of a thousand end users; a fifth of the questions were asked before in nearly
the same words. Ours is the whole build: filtered, authorized in batches (by an authorizer in memory, so what the
classifier takes is not in the number), opened, sealed anew, near-duplicates out, split by group, hashed, synced to
disk, in the books.

The peer is what a script does with asyncpg, pandas and pyarrow: it reads the same rows in one go, opens them, drops
equal questions, splits rows at random, and writes a Parquet file in the clear. No leave, no lineage, no groups.
"""

from __future__ import annotations

import asyncio
import random
import resource
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from headrace.privacy.v1.privacy_pb2 import TIER_1
from headrace.query.v1.answer_pb2 import GROUNDING_GROUNDED, AnswerCompleted, Citation
from headrace.query.v1.query_pb2 import Query
from headrace.retrieval.v1.retrieval_pb2 import ChunkReference
from headrace_database import Database, open_database
from headrace_embedded import testing
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import postgres
from headrace_feedback.datasets.building import Site, building
from headrace_feedback.datasets.erasing import DatasetTombstones
from headrace_feedback.datasets.keeping import Library, keep
from headrace_feedback.datasets.postgres import PostgresBooks, PostgresLogReader
from headrace_feedback.datasets.shelf import open_shelf
from headrace_feedback.datasets.snapshots import Order, Snapshot, Wanted
from headrace_feedback.opening import open_text
from headrace_feedback.uses import Use, Verdict
from headrace_identity import Principal
from headrace_privacy import Seal, Text, Tier, Vault, owner_of_query
from headrace_privacy.memory import MemoryKeyring
from headrace_privacy.policy import Purpose
from headrace_runtime.policy import load_policy
from headrace_stream import Ledger

from bench.harness import Budget, Row

GROUP = "datasets"
TENANT = "bench"
SUBJECTS, CHUNKS, DOCUMENTS = 1_000, 5, 400
#: A log of 100,000 becomes a snapshot within a minute and a half.
GOAL_ROWS = 1_100.0
NOW = datetime(2026, 11, 21, tzinfo=UTC)
_WORDS = """weir keeper mill gate spring melt water channel stone wheel river bank flood level sluice upper lower
northern opens closes holds carries turns reaches lies before after beside when height metre day night""".split()  # noqa: SIM905 - a table of words
_INTERACTIONS = [
    "tenant",
    "query_id",
    "trace_id",
    "traceparent",
    "answer_event_id",
    "product",
    "subject",
    "conversation_id",
    "tier",
    "grounding",
    "finish_reason",
    "prompt_name",
    "prompt_version",
    "model_name",
    "model_version",
    "model_provider",
    "variant_name",
    "variant_version",
    "embedder_name",
    "embedder_hash",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "cost_micro_usd",
    "time_to_first_token_ms",
    "timings_ms",
    "accepted_at",
    "completed_at",
    "stored_at",
    "record",
    "kind",
]
_USED = ["tenant", "query_id", "chunk_id", "document_version", "source", "document_id", "tier", "rank", "citation"]


def rows(budget: Budget) -> list[Row]:
    """Measures a build beside its peer, and the memory that it takes."""
    return asyncio.run(_measured(budget))


async def _measured(budget: Budget) -> list[Row]:
    count = budget.pick(quick=2_000, full=100_000)
    with testing.state_folder() as folder:
        server = postgres.open_server(folder / "postgres", 0, lifetime=Lifetime.PARENTS)
        await asyncio.to_thread(server.start)
        try:
            where = await testing.open_database(server, "bench_datasets")
            await where.migrate("feedback")
            return await _on(where, count)
        finally:
            await asyncio.to_thread(server.stop)


async def _on(where: testing.Database, count: int) -> list[Row]:
    keyring = MemoryKeyring()
    vault = Vault(keyring, clock=time.monotonic, ttl_seconds=3600.0)
    await _fill(where.superuser, keyring, count)
    async with open_database(where.dsn("feedback"), schema="feedback") as database:
        before = _resident_mebibytes()
        start = time.perf_counter()
        built = await _build(database, vault)
        ours = count / (time.perf_counter() - start)
        grown = _resident_mebibytes() - before
        start = time.perf_counter()
        left = await _plain(database, vault)
        peer = count / (time.perf_counter() - start)
    note = f"{count:,} interactions → {built.rows:,} rows; peer: asyncpg, pandas, pyarrow, in the clear ({left:,} rows)"
    extra = {"interactions": count, "rows": built.rows, "test_rows": built.test_rows}
    return [
        Row(
            GROUP, "build", ours, peer, "interactions/s", ours / peer, GOAL_ROWS, note=note, goal_of="ours", extra=extra
        ),
        Row(
            GROUP,
            "memory of a build",
            grown,
            None,
            "MiB more at most",
            None,
            512.0,
            higher_is_better=False,
            goal_of="ours",
            note=f"{count:,} interactions; a batch of texts, and numbers and names of every row",
        ),
    ]


def _resident_mebibytes() -> float:
    """The most that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class _Anybody:
    """Allows everything."""

    async def authorize(self, use: Use) -> Verdict:
        del use
        return Verdict(True, "the policy allows it")


async def _build(database: Database, vault: Vault) -> Snapshot:
    ledger = Ledger(database)
    with tempfile.TemporaryDirectory() as folder:
        shelf = open_shelf(folder)
        site = Site(PostgresLogReader(database), _Anybody(), load_policy(None), vault, shelf)
        library = Library(ledger, lambda unit: PostgresBooks(unit.connection), shelf, DatasetTombstones(vault))
        order = Order(TENANT, "bench", Wanted(Purpose.TRAIN), seed=1)
        async with building(order, site, by=Principal("developer", TENANT, "dora"), now=datetime.now(UTC)) as build:
            async for _ in build.steps():
                pass
            kept, _ = await keep(await build.finish(now=NOW), library)
    return kept


async def _plain(database: Database, vault: Vault) -> int:
    """What a script does."""
    async with database.transaction(tenant=TENANT) as connection:
        found = await connection.fetch("SELECT query_id, kind, record FROM interactions ORDER BY completed_at")
    answers = [AnswerCompleted.FromString(row["record"]) for row in found]
    opener = await vault.opener_for(*answers)
    frame = pd.DataFrame(
        {
            "row_id": [str(row["query_id"]) for row in found],
            "kind": [row["kind"] for row in found],
            "question": [open_text(answer.question, opener) for answer in answers],
            "answer": [open_text(answer.text, opener) for answer in answers],
        }
    ).drop_duplicates("question")
    frame["split"] = np.where(np.random.default_rng(1).random(len(frame)) < 0.2, "test", "train")
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.Table.from_pandas(frame), str(Path(folder) / "data.parquet"), compression="zstd")
    return len(frame)


async def _fill(dsn: str, keyring: MemoryKeyring, count: int) -> None:
    """Puts a log into the tables, as a superuser does it fast."""
    drawn = random.Random(1)
    connection = await asyncpg.connect(dsn, server_settings={"search_path": "feedback"})
    try:
        await connection.execute("INSERT INTO tenants (tenant) VALUES ($1)", TENANT)
        asked: list[str] = []
        for start in range(0, count, 5_000):
            made = [await _interaction(keyring, n, drawn, asked) for n in range(start, min(start + 5_000, count))]
            await connection.copy_records_to_table(
                "interactions", records=[one for one, _ in made], columns=_INTERACTIONS
            )
            used = [chunk for _, chunks in made for chunk in chunks]
            await connection.copy_records_to_table("interaction_chunks", records=used, columns=_USED)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


async def _interaction(
    keyring: MemoryKeyring, number: int, drawn: random.Random, asked: list[str]
) -> tuple[tuple[object, ...], list[tuple[object, ...]]]:
    query_id, subject = uuid4(), f"user-{drawn.randrange(SUBJECTS)}"
    question = _question(drawn, asked)
    answer = " ".join(drawn.choices(_WORDS, k=80))
    moment = NOW - timedelta(seconds=number)
    query = Query(tenant=TENANT, query_id=str(query_id), product="docs", subject=subject)
    query.accepted_at.FromDatetime(moment)
    owner = owner_of_query(query)
    seal = Seal(owner, await keyring.issue(owner))
    documents = [f"d{drawn.randrange(DOCUMENTS)}-{number // 50}" for _ in range(CHUNKS)]
    chunks = [
        ChunkReference(chunk_id=f"{name}", source="handbook", document_id=name, tier=TIER_1) for name in documents
    ]
    message = AnswerCompleted(
        query=query,
        question=seal.protect(Text(question, Tier.TIER_1)),
        text=seal.protect(Text(answer, Tier.TIER_1)),
        tier=TIER_1,
        grounding=GROUNDING_GROUNDED,
        retrieved=chunks,
        citations=[Citation(number=1, chunk=chunks[0])],
    )
    return _cells(query_id, subject, number, moment, message.SerializeToString()), _used(query_id, documents)


def _question(drawn: random.Random, asked: list[str]) -> str:
    if asked and drawn.random() < 0.2:
        return f"{drawn.choice(asked)} please"
    asked.append(" ".join(drawn.choices(_WORDS, k=drawn.randrange(12, 24))))
    return asked[-1]


def _cells(query_id: UUID, subject: str, number: int, moment: datetime, record: bytes) -> tuple[object, ...]:
    numbers = (300, 80, 0, 5, 40.0, "{}")
    names = ("grounded", "stop", "grounded-answer", "1", "model", "1", "local", "default", "1", "embedder", "abc")
    talk = f"talk-{number // 3}"
    whose = (TENANT, query_id, "", "", uuid4(), "docs", subject, talk, 2)
    return (*whose, *names, *numbers, moment, moment, moment, record, f"kind-{number % 4}")


def _used(query_id: UUID, documents: list[str]) -> list[tuple[object, ...]]:
    return [
        (TENANT, query_id, name, 1, "handbook", name, 2, rank, int(rank == 1))
        for rank, name in enumerate(dict.fromkeys(documents), start=1)
    ]
