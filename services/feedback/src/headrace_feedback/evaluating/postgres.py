"""Scores, judges and settings in Postgres; migrations/0007_evaluations.sql says what each column holds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace_database import Connection
from headrace_privacy import Tier
from headrace_stream import Event, Ledger, Unit

from headrace_feedback.evaluating.judging import Agreement, Calibration, Judge, Model
from headrace_feedback.evaluating.measuring import Score, Scored, Subject, counts_of
from headrace_feedback.evaluating.pairs import PairScore
from headrace_feedback.evaluating.ports import Corrected, Labelled
from headrace_feedback.evaluating.queue import PostgresQueue, sampling_of
from headrace_feedback.evaluating.tasks import Sampling, Task
from headrace_feedback.interaction import Versioned
from headrace_feedback.reviewing.criteria import Rubric
from headrace_feedback.reviewing.handlers import Intake
from headrace_feedback.reviewing.postgres import PostgresQueue as ReviewQueue
from headrace_feedback.reviewing.postgres import PostgresRubrics
from headrace_feedback.reviewing.sampling import Reason
from headrace_feedback.translate import read_answer

_RECORDS = """
    SELECT query_id, record, traceparent FROM interactions WHERE tenant = $1 AND query_id = ANY($2)
    UNION ALL
    SELECT query_id, record, traceparent FROM trial_answers WHERE tenant = $1 AND query_id = ANY($2)
"""
_REFERENCES = """
    SELECT run_id::text AS run_id, case_id, reference FROM run_cases
    WHERE tenant = $1 AND run_id = ANY($2::uuid[]) AND case_id = ANY($3) AND reference IS NOT NULL
"""
_ADD_SCORE = """
    INSERT INTO scores (
        tenant, query_id, run_id, evaluator, version, rubric, rubric_version, criterion, value, label, tier, decides,
        votes, unread, scored_at
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
    ON CONFLICT DO NOTHING
"""
_THERE = "SELECT evaluator, version, rubric, rubric_version, criterion FROM scores WHERE tenant = $1 AND query_id = $2"
_ADD_PAIR = """
    INSERT INTO pair_scores (
        tenant, run_id, case_id, arm_a, arm_b, judge, version, rubric, rubric_version, criterion, outcome, preference,
        a_first, b_first, unread, length_a, length_b, tier, decides, scored_at
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
    ON CONFLICT DO NOTHING
"""
_SCORES = """
    SELECT * FROM scores WHERE tenant = $1 AND query_id = $2
    ORDER BY run_id, evaluator, length(version) DESC, version DESC, criterion
"""
_KNOWN = """
    SELECT EXISTS (SELECT FROM interactions WHERE tenant = $1 AND query_id = $2)
        OR EXISTS (SELECT FROM trial_answers WHERE tenant = $1 AND query_id = $2)
"""
_JUDGES = """
    SELECT j.*, c.calibrated_at, c.state, c.agreement, c.first_position_rate, c.length_effect, c.unread, c.model_name,
        c.model_version, c.model_provider, c.took_seconds, c.calibrated_by
    FROM judges j LEFT JOIN LATERAL (
        SELECT * FROM calibrations c WHERE c.tenant = j.tenant AND c.judge = j.name AND c.version = j.version
        ORDER BY calibrated_at DESC LIMIT 1
    ) c ON true
    WHERE j.tenant = $1
"""
_NEWEST = f"""
    SELECT DISTINCT ON (name) * FROM ({_JUDGES} AND (cardinality($2::text[]) = 0 OR j.name = ANY($2))) AS found
    ORDER BY name, version DESC
"""  # noqa: S608 - our own words
_VERSIONS = f"{_JUDGES} AND j.name = $2 ORDER BY j.version DESC"
_ADD_JUDGE = """
    INSERT INTO judges (
        tenant, name, version, backend, rubric, rubric_version, mode, votes, max_output_tokens, created_by, created_at
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
"""
_ADD_CALIBRATION = """
    INSERT INTO calibrations (
        tenant, judge, version, calibrated_at, state, agreement, first_position_rate, length_effect, unread, model_name,
        model_version, model_provider, took_seconds, calibrated_by
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
"""
_PUT_SAMPLING = """
    INSERT INTO evaluation_settings (tenant, share, judges, judged_share, set_by, set_at)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (tenant) DO UPDATE
    SET (share, judges, judged_share, set_by, set_at)
        = (excluded.share, excluded.judges, excluded.judged_share, excluded.set_by, excluded.set_at)
"""
# Of one reviewer the last labels of an answer count.
_LABELLED = """
    SELECT DISTINCT ON (query_id, reviewer) query_id, reviewer, labels FROM review_labels
    WHERE tenant = $1 AND rubric = $2 AND rubric_version = $3
    ORDER BY query_id, reviewer, labelled_at DESC, label_id DESC
"""
_CORRECTED = """
    SELECT DISTINCT ON (query_id) query_id, words, tier FROM feedback
    WHERE tenant = $1 AND query_id = ANY($2) AND kind = 'correction'
    ORDER BY query_id, recorded_at DESC, feedback_id DESC
"""


class PostgresBooks:
    """See ports.Books, in the caller's transaction, which has named the tenant."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def subjects(self, tenant: str, tasks: Sequence[Task]) -> Mapping[UUID, Subject]:
        """See ports.Books."""
        ids = [identity for task in tasks for identity in (task.query_id, task.against) if identity is not None]
        rows = await self._connection.fetch(_RECORDS, tenant, ids)
        references = await self._references(tenant, tasks)
        return {row["query_id"]: _subject(row, references.get(row["query_id"])) for row in rows}

    async def _references(self, tenant: str, tasks: Sequence[Task]) -> Mapping[UUID, bytes]:
        """What runs know of these answers' cases. A shadow belongs to no run."""
        of_runs = {(task.run_id, task.case_id): task.query_id for task in tasks if _is_run(task) and not task.against}
        if not of_runs:
            return {}
        runs, cases = sorted({run for run, _ in of_runs}), sorted({case for _, case in of_runs})
        rows = await self._connection.fetch(_REFERENCES, tenant, runs, cases)
        held = {(row["run_id"], row["case_id"]): row["reference"] for row in rows}
        asked = ((task.query_id, held.get((task.run_id, task.case_id))) for task in tasks if not task.against)
        return {query_id: reference for query_id, reference in asked if reference is not None}

    async def add_scores(self, task: Task, scores: Sequence[Score], *, tier: Tier, at: datetime) -> Sequence[Score]:
        """See ports.Books. Nobody else stores scores of this task: whoever does holds it."""
        rows = await self._connection.fetch(f"{_THERE} AND run_id = $3", task.tenant, task.query_id, task.run_id)
        there = {tuple(row) for row in rows}
        added = [score for score in scores if _key(score) not in there]
        await self._connection.executemany(_ADD_SCORE, [_score_row(task, score, tier, at) for score in added])
        return added

    async def add_pairs(self, task: Task, scores: Sequence[PairScore], *, tier: Tier, at: datetime) -> None:
        """See ports.Books."""
        await self._connection.executemany(_ADD_PAIR, [_pair_row(task, score, tier, at) for score in scores])

    async def scores(self, tenant: str, query_id: UUID) -> Sequence[Scored] | None:
        """See ports.Books."""
        if not await self._connection.fetchval(_KNOWN, tenant, query_id):
            return None
        return [_scored(row) for row in await self._connection.fetch(_SCORES, tenant, query_id)]

    async def judges(self, tenant: str, names: Sequence[str]) -> Sequence[Judge]:
        """See ports.Books."""
        return [_judge(row) for row in await self._connection.fetch(_NEWEST, tenant, list(names))]

    async def judge_versions(self, tenant: str, name: str) -> Sequence[Judge]:
        """See ports.Books."""
        return [_judge(row) for row in await self._connection.fetch(_VERSIONS, tenant, name)]

    async def hold(self, tenant: str, name: str) -> None:
        """See ports.Books."""
        await self._connection.execute("SELECT pg_advisory_xact_lock(hashtext($1))", f"judge {tenant}/{name}")

    async def add_judge(self, tenant: str, judge: Judge) -> None:
        """See ports.Books."""
        await self._connection.execute(_ADD_JUDGE, tenant, *_judge_row(judge))

    async def add_calibration(self, tenant: str, judge: Judge, calibration: Calibration) -> None:
        """See ports.Books."""
        row = _calibration_row(calibration)
        await self._connection.execute(_ADD_CALIBRATION, tenant, judge.name, judge.version, *row)

    async def sampling(self, tenant: str) -> Sampling:
        """See ports.Books."""
        return await sampling_of(self._connection, tenant)

    async def put_sampling(self, tenant: str, sampling: Sampling, *, by: str, at: datetime) -> None:
        """See ports.Books."""
        judges = list(sampling.judges)
        await self._connection.execute(_PUT_SAMPLING, tenant, sampling.share, judges, sampling.judged_share, by, at)

    async def rubric(self, tenant: str, name: str, version: int) -> Rubric | None:
        """See ports.Books."""
        return await PostgresRubrics(self._connection).get(tenant, name, version)

    async def labelled(self, tenant: str, rubric: Versioned) -> Sequence[Labelled]:
        """See ports.Books."""
        rows = await self._connection.fetch(_LABELLED, tenant, rubric.name, int(rubric.version))
        by_query: dict[UUID, dict[str, list[str]]] = {}
        for row in rows:
            criteria = by_query.setdefault(row["query_id"], {})
            for criterion, label in json.loads(row["labels"]).items():
                criteria.setdefault(criterion, []).append(label)
        return [
            Labelled(query_id, {criterion: tuple(labels) for criterion, labels in criteria.items()})
            for query_id, criteria in by_query.items()
        ]

    async def corrected(self, tenant: str, query_ids: Sequence[UUID]) -> Mapping[UUID, Corrected]:
        """See ports.Books."""
        rows = await self._connection.fetch(_CORRECTED, tenant, list(query_ids))
        return {row["query_id"]: Corrected(row["words"], Tier(row["tier"])) for row in rows}


@dataclass(frozen=True, slots=True)
class PostgresEntry:
    """See ports.Entry."""

    unit: Unit

    @property
    def queue(self) -> PostgresQueue:
        """See ports.Entry."""
        return PostgresQueue(self.unit.connection)

    @property
    def books(self) -> PostgresBooks:
        """See ports.Entry."""
        return PostgresBooks(self.unit.connection)

    async def offer(self, task: Task, scores: Sequence[Score], *, at: datetime) -> None:
        """See ports.Entry."""
        intake = Intake(ReviewQueue(self.unit.connection), PostgresRubrics(self.unit.connection))
        sampling = await intake.queue.sampling(task.tenant)
        wanted = {rule.evaluator for rule in sampling.rules if rule.reason is Reason.LOW_SCORE} if sampling else ()
        for score in scores:
            if score.evaluator in wanted and score.decides:
                await intake.score(task.tenant, task.query_id, evaluator=score.evaluator, value=score.value, now=at)

    def emit(self, *events: Event[Any]) -> None:
        """See ports.Entry."""
        self.unit.emit(*events)


class PostgresDesk:
    """See ports.Desk."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    @asynccontextmanager
    async def open(self, tenant: str = "") -> AsyncIterator[PostgresEntry]:
        """See ports.Desk."""
        async with self._ledger.unit(tenant=tenant) as unit:
            yield PostgresEntry(unit)


def subject_of(message: AnswerCompleted, *, query_id: UUID, traceparent: str, reference: bytes | None) -> Subject:
    """An answer to be measured. Its event's id is not needed, and its query's stands in for it."""
    interaction = read_answer(message, event_id=query_id, traceparent=traceparent)
    citations = [(citation.number, citation.chunk.chunk_id) for citation in message.citations]
    counts = counts_of(interaction, characters=message.text.characters, citations=citations)
    return Subject(interaction, counts, reference)


def _subject(row: Any, reference: bytes | None) -> Subject:
    message = AnswerCompleted.FromString(row["record"])
    return subject_of(message, query_id=row["query_id"], traceparent=row["traceparent"], reference=reference)


def _is_run(task: Task) -> bool:
    try:
        UUID(task.run_id)
    except ValueError:
        return False
    return True


def _key(score: Score) -> tuple[object, ...]:
    return (score.evaluator, score.version, score.rubric, score.rubric_version, score.criterion)


def _score_row(task: Task, score: Score, tier: Tier, at: datetime) -> tuple[object, ...]:
    of_judge = (score.decides, score.votes, score.unread)
    return (task.tenant, task.query_id, task.run_id, *_key(score), score.value, score.label, tier.value, *of_judge, at)


def _scored(row: Any) -> Scored:
    names = ("evaluator", "version", "value", "label", "rubric", "rubric_version", "criterion", "decides", "votes")
    return Scored(Score(**{name: row[name] for name in names}, unread=row["unread"]), row["run_id"], row["scored_at"])


def _pair_row(task: Task, score: PairScore, tier: Tier, at: datetime) -> tuple[object, ...]:
    judged = score.judged
    return (
        task.tenant,
        task.run_id,
        task.case_id,
        task.query_id,
        task.against,
        score.judge,
        score.version,
        score.rubric,
        score.rubric_version,
        score.criterion,
        score.outcome,
        judged.preference,
        [seat.value for seat in judged.a_first],
        [seat.value for seat in judged.b_first],
        score.unread,
        *score.lengths,
        tier.value,
        score.decides,
        at,
    )


def _judge_row(judge: Judge) -> tuple[object, ...]:
    return (
        judge.name,
        judge.version,
        judge.backend,
        judge.rubric.name,
        int(judge.rubric.version),
        judge.mode,
        judge.votes,
        judge.max_output_tokens,
        judge.created_by,
        judge.created_at,
    )


def _judge(row: Any) -> Judge:
    return Judge(
        name=row["name"],
        version=row["version"],
        backend=row["backend"],
        rubric=Versioned(row["rubric"], str(row["rubric_version"])),
        mode=row["mode"],
        votes=row["votes"],
        max_output_tokens=row["max_output_tokens"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        calibration=_calibration(row) if row["calibrated_at"] else None,
    )


def _calibration_row(calibration: Calibration) -> tuple[object, ...]:
    return (
        calibration.calibrated_at,
        calibration.state,
        json.dumps([asdict(agreement) for agreement in calibration.agreement]),
        calibration.first_position_rate,
        calibration.length_effect,
        calibration.unread,
        calibration.model.name,
        calibration.model.version,
        calibration.model.provider,
        calibration.took_seconds,
        calibration.calibrated_by,
    )


def _calibration(row: Any) -> Calibration:
    return Calibration(
        state=row["state"],
        agreement=tuple(_agreements(json.loads(row["agreement"]))),
        first_position_rate=row["first_position_rate"],
        length_effect=row["length_effect"],
        unread=row["unread"],
        model=Model(row["model_name"], row["model_version"], row["model_provider"]),
        calibrated_at=row["calibrated_at"],
        took_seconds=row["took_seconds"],
        calibrated_by=row["calibrated_by"],
    )


def _agreements(rows: Iterable[Mapping[str, Any]]) -> Iterator[Agreement]:
    for row in rows:
        yield Agreement(**row)
