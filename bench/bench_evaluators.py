"""How many answers are measured in a second without a judge, and what storing an answer pays for being measured later.

The evaluators by themselves, beside what a plain script does: difflib's best match of each sentence among those of the
passages. Then a worker on a real Postgres: taking from the queue, opening sealed answers and passages, measuring,
storing scores, event and all; the retriever and the embedder are in memory, so what is theirs is not in the number.
"""

from __future__ import annotations

import asyncio
import difflib
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from statistics import median, quantiles
from uuid import UUID, uuid4, uuid5

import numpy as np
from headrace.privacy.v1 import privacy_pb2
from headrace.query.v1.answer_pb2 import GROUNDING_GROUNDED, AnswerCompleted, Citation
from headrace.query.v1.query_pb2 import Query
from headrace.retrieval.v1.retrieval_pb2 import ChunkReference, RetrievedChunk
from headrace_database import Database, open_database
from headrace_embedded import testing
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import postgres
from headrace_feedback.adapters.postgres import PostgresLog
from headrace_feedback.evaluating import evaluators, language
from headrace_feedback.evaluating.measuring import Counts, Passage, Words
from headrace_feedback.evaluating.ports import Neighbours, Vector
from headrace_feedback.evaluating.postgres import PostgresDesk
from headrace_feedback.evaluating.queue import put_live, put_task
from headrace_feedback.evaluating.reading import Reader
from headrace_feedback.evaluating.tasks import Depth, Task
from headrace_feedback.evaluating.working import Parts, Worker
from headrace_feedback.translate import read_answer
from headrace_feedback.uses import Use, Verdict
from headrace_privacy import Owner, Seal, Text, Tier, Vault, owner_of_query
from headrace_privacy.memory import MemoryKeyring
from headrace_stream import Ledger

from bench.harness import Budget, Row, paired, seconds

GROUP = "evaluators"
TENANT = "bench"
PASSAGES, SENTENCES = 8, 3
NOW = datetime(2026, 11, 21, tzinfo=UTC)
#: An answer takes a small model a second: measuring must not be what lags.
GOAL_ANSWERS = 100.0
_WORDS = """weir keeper mill gate spring melt water channel stone wheel river bank flood level sluice upper lower
northern opens closes holds carries turns reaches lies before after beside when height metre day night""".split()  # noqa: SIM905 - a table of words
_CHUNKS = UUID("0e6dd0b2-8f0c-5a2f-8b8e-4f6a2c7d9e11")


def rows(budget: Budget) -> list[Row]:
    """Measures the evaluators, and the worker."""
    return [*_pure(budget), *asyncio.run(_working(budget))]


# The evaluators by themselves


def _pure(budget: Budget) -> list[Row]:
    answers = [_words(random.Random(seed)) for seed in range(budget.pick(quick=50, full=300))]
    counts = Counts("grounded", "stop", 200, (1, 2), (True, True), frozenset(), {"total": 900.0}, 0)

    def ours() -> None:
        for words in answers:
            evaluators.by_counts(counts)
            evaluators.by_words(counts, replace(words))  # anew, or the passages would be taken apart already

    def plain() -> None:
        for words in answers:
            _matched(words)

    def rate(function: object) -> float:
        return len(answers) / seconds(function)()  # type: ignore[arg-type]

    found = paired(lambda: rate(ours), lambda: rate(plain), budget.repeats)
    note = f"{SENTENCES} sentences against {PASSAGES} passages, one core; the peer is difflib, support alone"
    row = Row(GROUP, "measuring", found.ours, found.peer, "answers/s", found.ratio, 1.0, note=note, extra=found.extra)
    return [row]


def _words(drawn: random.Random) -> Words:
    passages = [_text(drawn, sentences=10) for _ in range(PASSAGES)]
    said = [drawn.choice(language.sentences(passages[n])) for n in range(SENTENCES)]
    answer = " ".join(f"{sentence[:-1]} [{n + 1}]." for n, sentence in enumerate(said))
    shown = tuple(Passage(text, (n + 1,) if n < SENTENCES else ()) for n, text in enumerate(passages))
    return Words(_text(drawn, sentences=1), answer, shown, similarity=0.5)


def _text(drawn: random.Random, *, sentences: int) -> str:
    made = (" ".join(drawn.choices(_WORDS, k=15)) for _ in range(sentences))
    return " ".join(f"{sentence.capitalize()} {drawn.randrange(100)}." for sentence in made)


def _matched(words: Words) -> list[float]:
    """How near each sentence comes to any of the passages', as a plain script has it."""
    known = [sentence for passage in words.passages or () for sentence in language.sentences(passage.text)]
    said = language.sentences(words.answer)
    return [max(difflib.SequenceMatcher(None, one, other).ratio() for other in known) for one in said]


# The worker


class Allowing:
    """Allows everything."""

    async def authorize(self, use: Use) -> Verdict:
        del use
        return Verdict(allowed=True, reason="the policy allows it")


class Shelf:
    """Passages in memory, sealed as they would rest."""

    def __init__(self, chunks: Sequence[RetrievedChunk]) -> None:
        self._chunks = {chunk.reference.chunk_id: chunk for chunk in chunks}

    async def fetch(self, tenant: str, chunk_ids: Sequence[str], *, clearance: Tier) -> Sequence[RetrievedChunk]:
        del tenant, clearance
        return [self._chunks[identity] for identity in chunk_ids if identity in self._chunks]


class Fixed:
    """The same vector for every text."""

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        one = np.full(384, 384**-0.5, dtype=np.float32)
        return [one for _ in texts]


async def _working(budget: Budget) -> list[Row]:
    with testing.state_folder() as folder:
        server = postgres.open_server(folder / "postgres", 0, lifetime=Lifetime.PARENTS)
        server.start()
        try:
            where = await testing.open_database(server, "bench_evaluators")
            await where.migrate("feedback")
            async with open_database(where.dsn("feedback"), schema="feedback") as database:
                return await _measure(database, budget)
        finally:
            server.stop()


async def _measure(database: Database, budget: Budget) -> list[Row]:
    keyring = MemoryKeyring()
    count = budget.pick(quick=100, full=1_000)
    drawn = random.Random(1)
    shelf = [await _chunk(keyring, drawn, number) for number in range(PASSAGES * 10)]
    ids = [await _store(database, keyring, shelf, drawn) for _ in range(count)]
    neighbours = Neighbours(Shelf(shelf), Fixed())
    reader = Reader(Vault(keyring, clock=time.monotonic), neighbours)
    desk = PostgresDesk(Ledger(database))
    parts = Parts(desk, reader, Allowing(), lambda: datetime.now(UTC), lambda: "0" * 16)
    by_counts = [await _rate(database, parts, ids, Depth.COUNTS, run) for run in range(budget.repeats)]
    by_words = [await _rate(database, parts, ids, Depth.WORDS, run) for run in range(budget.repeats)]
    puts = [await _put(database) for _ in range(count)]
    spread = {"counts": by_counts, "words": by_words}
    return [
        Row(
            GROUP,
            "worker, by words",
            median(by_words),
            None,
            "answers/s",
            None,
            GOAL_ANSWERS,
            goal_of="ours",
            note="queue, unsealing, seven scores, event and span, on Postgres; one worker of two",
            extra=spread,
        ),
        Row(GROUP, "worker, by counts", median(by_counts), None, "answers/s", None, extra=spread),
        Row(
            GROUP,
            "put into the queue",
            median(puts),
            None,
            "ms",
            None,
            2.0,
            higher_is_better=False,
            goal_of="ours",
            note="what storing an answer takes longer, p50",
            extra={"p99": quantiles(puts, n=100)[98] if len(puts) > 1 else puts[0]},
        ),
    ]


async def _rate(database: Database, parts: Parts, ids: Sequence[UUID], depth: Depth, run: int) -> float:
    async with database.transaction(tenant=TENANT) as connection:
        for query_id in ids:
            await put_task(connection, Task(TENANT, query_id, run_id=f"bench:{depth}:{run}", depth=depth))
    worker = Worker(parts, uuid4())
    begin = time.perf_counter()
    while await worker.work():
        pass
    return len(ids) / (time.perf_counter() - begin)


async def _put(database: Database) -> float:
    async with database.transaction(tenant=TENANT) as connection:
        begin = time.perf_counter()
        await put_live(connection, TENANT, uuid4())
        return (time.perf_counter() - begin) * 1000


async def _chunk(keyring: MemoryKeyring, drawn: random.Random, number: int) -> RetrievedChunk:
    document = Owner.document(TENANT, "handbook", f"d{number}")
    seal = Seal(document, await keyring.issue(document))
    reference = ChunkReference(
        chunk_id=str(uuid5(_CHUNKS, str(number))),
        version=1,
        source="handbook",
        document_id=f"d{number}",
        tier=privacy_pb2.TIER_2,
    )
    return RetrievedChunk(reference=reference, text=seal.protect(Text(_text(drawn, sentences=10), Tier.TIER_2)))


async def _store(
    database: Database, keyring: MemoryKeyring, shelf: Sequence[RetrievedChunk], drawn: random.Random
) -> UUID:
    """Logs an answer of an end user's, sealed."""
    query = Query(query_id=str(uuid4()), tenant=TENANT, product="bench", subject=f"user-{drawn.randrange(50)}")
    query.accepted_at.FromDatetime(NOW)
    owner = owner_of_query(query)
    seal = Seal(owner, await keyring.issue(owner))
    chunks = drawn.sample(list(shelf), PASSAGES)
    said = Text(f"{_text(drawn, sentences=1)[:-1]} [1]. {_text(drawn, sentences=1)[:-1]} [2].", Tier.TIER_2)
    message = AnswerCompleted(
        query=query,
        question=seal.protect(Text(_text(drawn, sentences=1), Tier.TIER_2)),
        text=seal.protect(said),
        tier=privacy_pb2.TIER_2,
        grounding=GROUNDING_GROUNDED,
        citations=[Citation(number=n + 1, chunk=chunks[n].reference) for n in range(2)],
        retrieved=[chunk.reference for chunk in chunks],
        finish_reason="stop",
    )
    message.completed_at.FromDatetime(NOW + timedelta(seconds=1))
    query_id = UUID(query.query_id)
    async with database.transaction(tenant=TENANT) as connection:
        await PostgresLog(connection).add_interaction(read_answer(message, event_id=query_id), stored_at=NOW)
    return query_id
