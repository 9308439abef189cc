"""Workers over queue and books in memory or in Postgres, and ten-line neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

import numpy as np
from headrace.feedback.v1.evaluation_pb2 import AnswerEvaluated
from headrace.privacy.v1.privacy_pb2 import ProtectedText
from headrace.retrieval.v1.retrieval_pb2 import ChunkReference, RetrievedChunk
from headrace_database import Database
from headrace_feedback.adapters.postgres import PostgresLog
from headrace_feedback.evaluating.judging import Ballot, Calibration, Judge, Model
from headrace_feedback.evaluating.memory import MemoryDesk
from headrace_feedback.evaluating.ports import Desk, Labelled, Neighbours, Said, Vector
from headrace_feedback.evaluating.postgres import PostgresDesk, subject_of
from headrace_feedback.evaluating.queue import put_task
from headrace_feedback.evaluating.reading import Reader
from headrace_feedback.evaluating.tasks import Task
from headrace_feedback.evaluating.working import Limits, Parts, Worker
from headrace_feedback.interaction import Versioned
from headrace_feedback.reviewing.criteria import Criterion, Rubric
from headrace_feedback.translate import read_answer
from headrace_privacy import Owner, Seal, Text, Tier, Vault
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.errors import Unavailable
from headrace_stream import Ledger

from services.feedback.tests.makers import NOW, SomeAuthorizer, sealed_answer

PASSAGE = "A headrace is the channel that brings the stream to the mill wheel. It does not carry the tail water."
OTHER = "The tailrace takes the water away. It is 40 metres long."
MODEL = Model("judge-model", "abc", "local")
RUBRIC = Rubric("quality", 1, "Judge.", (Criterion("correct", "Is it true?"), Criterion("helpful", "Does it help?")))
CHUNKS = UUID("7d0c2c6e-5c8e-5b60-9b27-0d2f4f1f7a55")
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def chunk_id(name: str) -> str:
    return str(uuid5(CHUNKS, name))


def cited(name: str, tier: str) -> dict[str, Any]:
    return {"chunkId": chunk_id(name), "version": "3", "source": "handbook", "documentId": name, "tier": tier}


@dataclass
class SomePassages:
    """The passages that are indexed; those of a TIER_2 document sealed."""

    keyring: MemoryKeyring
    texts: dict[str, str] = field(default_factory=lambda: {"mills": PASSAGE, "rivers": OTHER})
    tier: Tier = Tier.TIER_1
    is_down: bool = False
    clearances: list[Tier] = field(default_factory=list)

    async def fetch(self, tenant: str, chunk_ids: Sequence[str], *, clearance: Tier) -> Sequence[RetrievedChunk]:
        if self.is_down:
            raise Unavailable("the retriever")
        self.clearances.append(clearance)
        found = []
        for name, text in self.texts.items():
            if chunk_id(name) in chunk_ids and self.tier <= clearance:
                owner = Owner.document(tenant, "handbook", name)
                seal = Seal(owner, await self.keyring.issue(owner))
                labels = ChunkReference(chunk_id=chunk_id(name), title="Mills", headings=["Mills", "Water"])
                reference = seal.seal_labels(labels, self.tier)
                found.append(RetrievedChunk(reference=reference, text=seal.protect(Text(text, self.tier))))
        return found


class SomeEmbedder:
    """Texts as what words they have, of unit length."""

    is_down = False

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        if self.is_down:
            raise Unavailable("the embedder")
        return [self._vector(text) for text in texts]

    @staticmethod
    def _vector(text: str) -> Vector:
        vector = np.full(64, 1e-3, dtype=np.float32)
        for word in text.lower().strip("?.").split():
            vector[sum(map(ord, word)) % 64] += 1
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


@dataclass
class SomeBackend:
    """Says what `say` says to each ballot."""

    say: Callable[[Ballot], str] = lambda _: "pass"
    model: Model = MODEL
    is_down: bool = False
    ballots: list[Ballot] = field(default_factory=list)
    on_ask: Callable[[], None] = lambda: None

    async def ask(self, judge: Judge, ballot: Ballot, *, tenant: str, tier: Tier) -> Said:
        del judge, tenant, tier
        if self.is_down:
            raise Unavailable("inference")
        self.ballots.append(ballot)
        self.on_ask()
        return Said(self.say(ballot), self.model)


def judge(
    name: str = "strict", *, mode: Any = "single", votes: int = 1, calibration: Calibration | None = None
) -> Judge:
    rubric = Versioned(RUBRIC.name, str(RUBRIC.version))
    return Judge(name, 1, "", rubric, mode, votes, created_by="dora", created_at=NOW, calibration=calibration)


def a_calibration(state: Any = "calibrated", model: Model = MODEL) -> Calibration:
    return Calibration(state, (), 0.5, 0.0, 0, model, NOW, 1.0, "dora")


class EvaluationHouse:
    """What the tests of both stores share. The clock stands still unless it is moved."""

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.keyring = MemoryKeyring()
        self.vault = Vault(self.keyring, clock=itertools.count(0, 100).__next__)
        self.authorizer = SomeAuthorizer()
        self.passages, self.embedder, self.backend = SomePassages(self.keyring), SomeEmbedder(), SomeBackend()
        self.moment = NOW

    @property
    def desk(self) -> Desk:
        raise NotImplementedError

    def now(self) -> datetime:
        return self.moment

    def pass_time(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)

    def parts(self, **limits: Any) -> Parts:
        neighbours = Neighbours(self.passages, self.embedder, self.backend)
        reader = Reader(self.vault, neighbours)
        nonces = (f"{n:016x}" for n in itertools.count(1))
        chosen = Limits(**({"failed_seconds": 0.0, "longest_wait": 0.01} | limits))
        return Parts(self.desk, reader, self.authorizer, self.now, lambda: next(nonces), chosen)

    def worker(self, **limits: Any) -> Worker:
        return Worker(self.parts(**limits), uuid4())

    async def answered(self, **changes: Any) -> UUID:
        """An answer that cites the passage about mills, as inference seals it, is logged."""
        tier = changes.get("tier", "TIER_1")
        whole = {
            "citations": [{"number": 1, "chunk": cited("mills", tier)}],
            "retrieved": [cited("rivers", tier), cited("mills", tier)],
        }
        query_id = uuid4()
        message = await sealed_answer(self.keyring, self.tenant, query_id, **(whole | changes))
        await self.store(query_id, message)
        return query_id

    async def store(self, query_id: UUID, message: Any) -> None:
        raise NotImplementedError

    async def put(self, query_id: UUID, **changes: Any) -> Task:
        raise NotImplementedError

    async def add_judge(self, made: Judge) -> None:
        async with self.desk.open(self.tenant) as entry:
            await entry.books.add_judge(self.tenant, made)
            if made.calibration:
                await entry.books.add_calibration(self.tenant, made, made.calibration)

    async def values(self, query_id: UUID) -> Mapping[str, float]:
        """The scores of an answer by "evaluator" or "evaluator/criterion"."""
        return {name: score.value for name, score in (await self.scores(query_id)).items()}

    async def scores(self, query_id: UUID) -> Mapping[str, Any]:
        async with self.desk.open(self.tenant) as entry:
            found = await entry.books.scores(self.tenant, query_id)
        assert found is not None
        scores = [one.score for one in found]
        return {f"{s.evaluator}/{s.criterion}" if s.criterion else s.evaluator: s for s in scores}

    async def waiting(self) -> int:
        async with self.desk.open(self.tenant) as entry:
            return await entry.queue.waiting(self.tenant)

    async def events(self) -> list[AnswerEvaluated]:
        raise NotImplementedError


class MemoryHouse(EvaluationHouse):
    """In memory."""

    def __init__(self, tenant: str) -> None:
        super().__init__(tenant)
        self.memory = MemoryDesk()
        self.memory.books.rubrics[RUBRIC.name, RUBRIC.version] = RUBRIC

    @property
    def desk(self) -> MemoryDesk:
        return self.memory

    async def store(self, query_id: UUID, message: Any) -> None:
        subject = subject_of(message, query_id=query_id, traceparent=TRACEPARENT, reference=None)
        self.memory.books.answers[self.tenant, query_id] = subject

    async def put(self, query_id: UUID, **changes: Any) -> Task:
        task = Task(self.tenant, query_id, **changes)
        await self.memory.queue.put(task)
        return task

    async def events(self) -> list[AnswerEvaluated]:
        return [event.message for event in self.memory.published]

    def label(self, query_id: UUID, **labels: str) -> None:
        """An expert labels an answer."""
        said = {criterion: (label,) for criterion, label in labels.items()}
        self.memory.books.labels[self.tenant, query_id] = Labelled(query_id, said)

    async def correct(self, query_id: UUID, text: str) -> None:
        """An expert says what it should have said."""
        from headrace_feedback.evaluating.ports import Corrected

        owner = Owner.subject(self.tenant, "user-7")
        seal = Seal(owner, await self.keyring.issue(owner))
        words = ProtectedText(sealed=seal.close(text.encode()), characters=len(text)).SerializeToString()
        self.memory.books.corrections[self.tenant, query_id] = Corrected(words, Tier.TIER_1)


class PostgresHouse(EvaluationHouse):
    """In Postgres; other tests' tasks are taken off the queue."""

    def __init__(self, tenant: str, database: Database) -> None:
        super().__init__(tenant)
        self.database = database
        self._desk = PostgresDesk(Ledger(database))

    @property
    def desk(self) -> PostgresDesk:
        return self._desk

    async def store(self, query_id: UUID, message: Any) -> None:
        interaction = read_answer(message, event_id=query_id, traceparent=TRACEPARENT)
        async with self.database.transaction(tenant=self.tenant) as connection:
            await PostgresLog(connection).add_interaction(interaction, stored_at=NOW)

    async def put(self, query_id: UUID, **changes: Any) -> Task:
        task = Task(self.tenant, query_id, **changes)
        async with self.database.transaction(tenant=self.tenant) as connection:
            await connection.execute("DELETE FROM evaluation_tasks WHERE tenant <> $1", self.tenant)
            await put_task(connection, task)
        return task

    async def events(self) -> list[AnswerEvaluated]:
        async with self.database.transaction() as connection:
            rows = await connection.fetch("SELECT value FROM outbox WHERE topic = 'answer.evaluated' ORDER BY id")
        found = [AnswerEvaluated.FromString(row["value"]) for row in rows]
        return [message for message in found if message.tenant == self.tenant]
