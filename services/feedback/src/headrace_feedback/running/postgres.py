"""Runs in Postgres; migrations/0008_runs.sql says what each column holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg
from headrace_database import Connection
from headrace_database.connection import statement
from headrace_privacy import Tier
from headrace_stream.erasing import enter

from headrace_feedback.interaction import Versioned
from headrace_feedback.running.runs import (
    Arm,
    Ask,
    Candidate,
    Case,
    Excluded,
    Indexed,
    Kind,
    Person,
    Progress,
    Reason,
    Run,
    Setting,
    StaleAnswer,
    StaleDocument,
    Standing,
    State,
    TrialAnswer,
    Wish,
)

_INSERT_RUN = """
    INSERT INTO runs (
        tenant, run_id, kind, dataset_id, arms, judges, seed, state, cases, exclusions, role, created_by, created_at
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9, $10, $11, $12)
"""
_INSERT_CASE = """
    INSERT INTO run_cases (
        tenant, run_id, case_id, place, tier, subject, kind, sources, documents, of_time, question, reference
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
"""
_RUNS = """
    SELECT r.*, asked.answered, asked.under_way, asked.evaluated
    FROM runs r LEFT JOIN LATERAL (
        SELECT count(*) FILTER (WHERE a.state = 2) AS answered, count(*) FILTER (WHERE a.state = 1) AS under_way,
            count(*) FILTER (WHERE a.state = 2 AND EXISTS (
                SELECT FROM scores s WHERE s.tenant = a.tenant AND s.query_id = a.query_id)) AS evaluated
        FROM run_asks a WHERE a.tenant = r.tenant AND a.run_id = r.run_id
    ) asked ON true
    WHERE r.tenant = $1
"""
_END = """
    UPDATE runs SET state = $3, ended_at = $4, failure = $5 WHERE tenant = $1 AND run_id = $2 AND state = 1
    RETURNING true
"""
_BEGIN = """
    UPDATE runs SET begun = begun + 1 WHERE tenant = $1 AND run_id = $2 AND state = 1 AND begun = $3 RETURNING true
"""
_ASK = """
    INSERT INTO run_asks (tenant, query_id, run_id, case_id, arm, state, asked_at)
    SELECT $1, $2, $3, $4, $5, 1, $6
    WHERE EXISTS (SELECT FROM run_cases WHERE tenant = $1 AND run_id = $3 AND case_id = $4)
    ON CONFLICT DO NOTHING RETURNING true
"""
_TIME_OUT = """
    UPDATE run_asks SET state = 3, reason = 'timed_out'
    WHERE tenant = $1 AND run_id = $2 AND state = 1 AND asked_at < $3 RETURNING case_id
"""
_INSERT_ANSWER = """
    INSERT INTO trial_answers (
        tenant, query_id, run_id, case_id, trial_kind, setting, trace_id, traceparent, product, subject,
        conversation_id, tier, kind, grounding, finish_reason, prompt_name, prompt_version, model_name, model_version,
        model_provider, variant_name, variant_version, backend, input_tokens, output_tokens, cached_input_tokens,
        cost_micro_usd, time_to_first_token_ms, timings_ms, sources, documents, accepted_at, completed_at, stored_at,
        record
    ) VALUES (
        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
        $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35
    ) ON CONFLICT DO NOTHING RETURNING true
"""
_TAKE = """
    UPDATE run_turns SET holder = $1, held_until = clock_timestamp() + make_interval(secs => $2)
    WHERE (tenant, run_id) = (
        SELECT tenant, run_id FROM run_turns WHERE held_until < clock_timestamp()
        ORDER BY held_until LIMIT 1 FOR UPDATE SKIP LOCKED
    ) RETURNING tenant, run_id
"""
_KEEP = """
    UPDATE run_turns SET held_until = clock_timestamp() + make_interval(secs => $3)
    WHERE run_id = $2 AND holder = $1 RETURNING true
"""
# An answer is stale when a later version of something that the model had is indexed; a deletion is one.
_CHANGED = (
    "d.tenant = c.tenant AND d.source = c.source AND d.document_id = c.document_id AND d.version > c.document_version"
)
# The sample is taken first: what is joined to it is looked up a thousand times, not for the whole log.
_CANDIDATES = f"""
    WITH sample AS (
        SELECT i.tenant, i.query_id, i.tier, md5($9 || i.query_id::text) AS lot FROM interactions i
        WHERE i.tenant = $1 AND (cardinality($2::uuid[]) = 0 OR i.query_id = ANY($2))
            AND ($3 = '' OR i.kind = $3) AND ($4 = '' OR i.product = $4) AND ($5 = '' OR i.variant_name = $5)
            AND ($6::timestamptz IS NULL OR i.completed_at >= $6) AND ($7::timestamptz IS NULL OR i.completed_at < $7)
            AND (NOT $8 OR EXISTS (
                SELECT FROM interaction_chunks c JOIN documents d ON {_CHANGED}
                WHERE c.tenant = i.tenant AND c.query_id = i.query_id))
        ORDER BY lot, i.query_id LIMIT $10
    )
    SELECT s.query_id, GREATEST(s.tier, used.tier) AS tier, COALESCE(used.sources, '{{}}') AS sources
    FROM sample s LEFT JOIN LATERAL (
        SELECT max(c.tier) AS tier, array_agg(DISTINCT c.source ORDER BY c.source) AS sources
        FROM interaction_chunks c WHERE c.tenant = s.tenant AND c.query_id = s.query_id
    ) used ON true
    ORDER BY s.lot, s.query_id
"""  # noqa: S608 - our own words
_ORIGINALS = """
    SELECT i.query_id, i.kind, i.completed_at, i.record, COALESCE(used.documents, '{}') AS documents
    FROM interactions i LEFT JOIN LATERAL (
        SELECT array_agg(DISTINCT c.source || '/' || c.document_id) AS documents
        FROM interaction_chunks c WHERE c.tenant = i.tenant AND c.query_id = i.query_id
    ) used ON true
    WHERE i.tenant = $1 AND i.query_id = ANY($2)
"""
_NOTE = """
    INSERT INTO documents AS d (tenant, source, document_id, version, deleted, tier, indexed_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (tenant, source, document_id) DO UPDATE
    SET version = $4, deleted = $5, tier = $6, indexed_at = $7 WHERE d.version < $4
"""
_STALE = f"""
    FROM documents d JOIN interaction_chunks c ON {_CHANGED}
    WHERE d.tenant = $1 AND ($2 = '' OR d.source = $2) AND ($3 = '' OR d.document_id = $3)
"""
_COUNT_STALE = f"SELECT count(DISTINCT c.query_id) {_STALE}"
_LIST_STALE = f"""
    WITH stale AS (SELECT DISTINCT c.query_id {_STALE})
    SELECT i.query_id, i.completed_at, i.tier FROM interactions i JOIN stale s USING (query_id)
    WHERE i.tenant = $1 ORDER BY i.completed_at DESC, i.query_id LIMIT $4
"""  # noqa: S608
_STALE_DOCUMENTS = f"""
    SELECT c.query_id, d.source, d.document_id, min(c.document_version) AS version, d.version AS current_version,
        d.deleted, bool_or(c.citation > 0) AS cited
    {_STALE} AND c.query_id = ANY($4)
    GROUP BY c.query_id, d.source, d.document_id, d.version, d.deleted
    ORDER BY d.source, d.document_id
"""


class PostgresRuns:
    """See ports.Runs and ports.Turns. On one connection, inside its transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def hold(self, tenant: str) -> None:
        """Shares the erasures' lock."""
        await enter(self._connection, tenant)

    async def add(self, run: Run) -> None:
        await self._connection.execute(_INSERT_RUN, *_run_row(run))
        await self._connection.execute(
            "INSERT INTO run_turns (tenant, run_id, held_until) VALUES ($1, $2, '-infinity')", run.tenant, run.run_id
        )

    async def add_cases(self, run: Run, cases: Sequence[Case]) -> None:
        with statement("INSERT run_cases", operation="INSERT", collection="run_cases"):
            await self._connection.executemany(_INSERT_CASE, [_case_row(run, case) for case in cases])

    async def get(self, tenant: str, run_id: UUID) -> Run | None:
        row = await self._connection.fetchrow(f"{_RUNS} AND r.run_id = $2", tenant, run_id)
        return _run(row) if row else None

    async def newest(self, tenant: str, most: int) -> Sequence[Run]:
        query = f"{_RUNS} ORDER BY r.created_at DESC, r.run_id LIMIT $2"
        return [_run(row) for row in await self._connection.fetch(query, tenant, most)]

    async def end(self, run: Run, state: State, *, now: datetime, failure: str = "") -> bool:
        which = (run.tenant, run.run_id)
        if not await self._connection.fetchval(_END, *which, int(state), now, failure):
            return False
        await self._connection.execute(
            "UPDATE run_asks SET state = 3, reason = 'run_ended' WHERE tenant = $1 AND run_id = $2 AND state = 1",
            *which,
        )
        await self._connection.execute("DELETE FROM run_turns WHERE tenant = $1 AND run_id = $2", *which)
        return True

    async def cases(self, run: Run, *, first: int, most: int) -> Sequence[Case]:
        rows = await self._connection.fetch(
            "SELECT * FROM run_cases WHERE tenant = $1 AND run_id = $2 AND place >= $3 AND place < $4 ORDER BY place",
            run.tenant,
            run.run_id,
            first,
            first + most,
        )
        return [_case(row) for row in rows]

    async def case(self, run: Run, case_id: str) -> Case | None:
        row = await self._connection.fetchrow(
            "SELECT * FROM run_cases WHERE tenant = $1 AND run_id = $2 AND case_id = $3",
            run.tenant,
            run.run_id,
            case_id,
        )
        return _case(row) if row else None

    async def begin(self, run: Run, ask: Ask | None, *, begun: int) -> bool | None:
        if not await self._connection.fetchval(_BEGIN, run.tenant, run.run_id, begun):
            return None
        if ask is None:
            return False
        row = (run.tenant, ask.query_id, ask.run_id, ask.case_id, ask.arm, ask.asked_at)
        return bool(await self._connection.fetchval(_ASK, *row))

    async def under_way(self, run: Run) -> Sequence[Ask]:
        rows = await self._connection.fetch(
            "SELECT * FROM run_asks WHERE tenant = $1 AND run_id = $2 AND state = 1 ORDER BY asked_at",
            run.tenant,
            run.run_id,
        )
        return [_ask(row) for row in rows]

    async def time_out(self, run: Run, *, before: datetime) -> Sequence[str]:
        rows = await self._connection.fetch(_TIME_OUT, run.tenant, run.run_id, before)
        return sorted({row["case_id"] for row in rows})

    async def find(self, tenant: str, query_id: UUID) -> Ask | None:
        select = "SELECT * FROM run_asks WHERE tenant = $1 AND query_id = $2"
        if (row := await self._connection.fetchrow(select, tenant, query_id)) is None:
            return None
        await self._hold_case(tenant, row["run_id"], row["case_id"])
        row = await self._connection.fetchrow(select, tenant, query_id)
        return _ask(row) if row else None

    async def settle(self, tenant: str, ask: Ask, standing: Standing, reason: Reason = "") -> None:
        await self._connection.execute(
            "UPDATE run_asks SET state = $3, reason = $4 WHERE tenant = $1 AND query_id = $2",
            tenant,
            ask.query_id,
            int(standing),
            reason,
        )

    async def standings(self, run: Run, case_id: str) -> Mapping[int, Standing]:
        await self._hold_case(run.tenant, run.run_id, case_id)
        rows = await self._connection.fetch(
            "SELECT arm, state FROM run_asks WHERE tenant = $1 AND run_id = $2 AND case_id = $3",
            run.tenant,
            run.run_id,
            case_id,
        )
        return {row["arm"]: Standing(row["state"]) for row in rows}

    async def _hold_case(self, tenant: str, run_id: UUID, case_id: str) -> None:
        """Two answers that arrive together would each miss that the other settles the case."""
        name = "\x1f".join((tenant, str(run_id), case_id))
        await self._connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", name)

    async def add_answer(self, answer: TrialAnswer, *, stored_at: datetime) -> bool:
        with statement("INSERT trial_answers", operation="INSERT", collection="trial_answers"):
            await self._connection.execute(
                "INSERT INTO tenants (tenant) VALUES ($1) ON CONFLICT DO NOTHING", answer.interaction.tenant
            )
            return bool(await self._connection.fetchval(_INSERT_ANSWER, *_answer_row(answer, stored_at)))

    async def take(self, holder: UUID, *, seconds: float) -> tuple[str, UUID] | None:
        """By the server's clock: those of two machines may differ by more than a turn."""
        row = await self._connection.fetchrow(_TAKE, holder, seconds)
        return (row["tenant"], row["run_id"]) if row else None

    async def keep(self, holder: UUID, run_id: UUID, *, seconds: float) -> bool:
        return bool(await self._connection.fetchval(_KEEP, holder, run_id, seconds))


@dataclass(frozen=True, slots=True)
class LoggedQuery:
    """See ports.Original."""

    query_id: UUID
    kind: str
    completed_at: datetime
    documents: Sequence[str]
    record: bytes


class PostgresQuestions:
    """See ports.Questions."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def candidates(self, tenant: str, wish: Wish, *, limit: int, seed: int) -> Sequence[Candidate]:
        with statement("SELECT interactions", operation="SELECT", collection="interactions"):
            rows = await self._connection.fetch(_CANDIDATES, tenant, *_wish_row(wish), f"{seed}:", limit)
        return [Candidate(str(row["query_id"]), Tier(row["tier"]), tuple(row["sources"])) for row in rows]

    async def originals(self, tenant: str, query_ids: Sequence[UUID]) -> Sequence[LoggedQuery]:
        rows = await self._connection.fetch(_ORIGINALS, tenant, query_ids)
        return [
            LoggedQuery(row["query_id"], row["kind"], row["completed_at"], tuple(row["documents"]), row["record"])
            for row in rows
        ]


class PostgresShelf:
    """See ports.Shelf."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def note(self, indexed: Indexed) -> None:
        row = (indexed.tenant, indexed.source, indexed.document_id, indexed.version)
        await self._connection.execute(_NOTE, *row, indexed.deleted, int(indexed.tier), indexed.indexed_at)

    async def stale(
        self, tenant: str, *, source: str, document_id: str, limit: int
    ) -> tuple[Sequence[StaleAnswer], int]:
        which = (tenant, source, document_id)
        total = await self._connection.fetchval(_COUNT_STALE, *which)
        answers = await self._connection.fetch(_LIST_STALE, *which, limit)
        ids = [row["query_id"] for row in answers]
        documents: dict[UUID, list[StaleDocument]] = {query_id: [] for query_id in ids}
        for row in await self._connection.fetch(_STALE_DOCUMENTS, *which, ids):
            documents[row["query_id"]].append(_stale_document(row))
        found = [
            StaleAnswer(row["query_id"], row["completed_at"], Tier(row["tier"]), tuple(documents[row["query_id"]]))
            for row in answers
        ]
        return found, total


def _wish_row(wish: Wish) -> tuple[object, ...]:
    return (list(wish.query_ids), wish.kind, wish.product, wish.variant, wish.since, wish.until, wish.stale_only)


def _run_row(run: Run) -> tuple[object, ...]:
    return (
        run.tenant,
        run.run_id,
        int(run.kind),
        run.dataset_id,
        json.dumps([[arm.variant.name, arm.variant.version, int(arm.setting)] for arm in run.arms]),
        list(run.judges),
        str(run.seed),
        run.cases,
        json.dumps([[one.reason, int(one.tier), one.cases] for one in run.exclusions]),
        run.by.role,
        run.by.subject,
        run.created_at,
    )


def _run(row: asyncpg.Record) -> Run:
    return Run(
        tenant=row["tenant"],
        run_id=row["run_id"],
        kind=Kind(row["kind"]),
        arms=tuple(
            Arm(Versioned(name, version), Setting(setting)) for name, version, setting in json.loads(row["arms"])
        ),
        seed=int(row["seed"]),
        cases=row["cases"],
        by=Person(row["role"], row["created_by"]),
        created_at=row["created_at"],
        dataset_id=row["dataset_id"],
        judges=tuple(row["judges"]),
        exclusions=tuple(Excluded(reason, Tier(tier), cases) for reason, tier, cases in json.loads(row["exclusions"])),
        state=State(row["state"]),
        failure=row["failure"],
        ended_at=row["ended_at"],
        progress=Progress(row["begun"], row["answered"], row["under_way"], row["evaluated"]),
    )


def _case_row(run: Run, case: Case) -> tuple[object, ...]:
    return (
        run.tenant,
        run.run_id,
        case.case_id,
        case.place,
        int(case.tier),
        case.subject,
        case.kind,
        list(case.sources),
        list(case.documents),
        case.of_time,
        case.question,
        case.reference,
    )


def _case(row: asyncpg.Record) -> Case:
    return Case(
        case_id=row["case_id"],
        place=row["place"],
        tier=Tier(row["tier"]),
        subject=row["subject"],
        kind=row["kind"],
        sources=tuple(row["sources"]),
        documents=tuple(row["documents"]),
        of_time=row["of_time"],
        question=row["question"],
        reference=row["reference"],
    )


def _ask(row: asyncpg.Record) -> Ask:
    return Ask(
        query_id=row["query_id"],
        run_id=row["run_id"],
        case_id=row["case_id"],
        arm=row["arm"],
        asked_at=row["asked_at"],
        standing=Standing(row["state"]),
        reason=row["reason"],
    )


def _answer_row(answer: TrialAnswer, stored_at: datetime) -> tuple[object, ...]:
    interaction, usage = answer.interaction, answer.interaction.usage
    return (
        interaction.tenant,
        interaction.query_id,
        answer.run_id,
        answer.case_id,
        int(answer.kind),
        int(answer.setting),
        interaction.trace_id,
        interaction.traceparent,
        interaction.product,
        interaction.subject,
        interaction.conversation_id,
        int(interaction.tier),
        interaction.routed.kind,
        interaction.grounding,
        interaction.finish_reason,
        *(part for one in (interaction.prompt, interaction.model) for part in (one.name, one.version)),
        interaction.provider,
        interaction.variant.name,
        interaction.variant.version,
        interaction.routed.backend,
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.cost_micro_usd,
        interaction.time_to_first_token_ms,
        json.dumps(dict(interaction.timings_ms)),
        sorted({chunk.source for chunk in interaction.chunks}),
        sorted({f"{chunk.source}/{chunk.document_id}" for chunk in interaction.chunks}),
        interaction.accepted_at,
        interaction.completed_at,
        stored_at,
        interaction.record,
    )


def _stale_document(row: asyncpg.Record) -> StaleDocument:
    return StaleDocument(
        source=row["source"],
        document_id=row["document_id"],
        version=row["version"],
        current_version=row["current_version"],
        deleted=row["deleted"],
        cited=row["cited"],
    )
