"""Snapshots' books, and the log as they read it, in Postgres; migrations/0009_datasets.sql says what columns hold."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
from headrace.feedback.v1.datasets_pb2 import DatasetCard
from headrace_database import Connection, Database
from headrace_database.connection import statement
from headrace_privacy import Tier
from headrace_privacy.policy import Purpose
from headrace_stream.erasing import enter

from headrace_feedback.datasets.candidates import Candidate, Page
from headrace_feedback.datasets.snapshots import Excluded, Row, Snapshot, State
from headrace_feedback.datasets.translate import read_card, to_card
from headrace_feedback.interaction import Exported, Versioned
from headrace_feedback.uses import Span

_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
# A reviewer's correction counts before a user's; of these the latest.
_CORRECTION = """
    SELECT f.tier, f.words FROM feedback f
    WHERE f.tenant = i.tenant AND f.query_id = i.query_id AND f.kind = 'correction'
    ORDER BY EXISTS (
        SELECT FROM review_labels l WHERE l.tenant = f.tenant AND l.query_id = f.query_id AND l.reviewer = f.subject
    ) DESC, f.recorded_at DESC, f.feedback_id DESC LIMIT 1
"""
# The kind that more than half of those who named one name; of each reviewer the last word counts, silence too.
_STATED = """
    SELECT named.kind FROM (
        SELECT said.kind, count(*) AS votes, sum(count(*)) OVER () AS votes_in_all
        FROM (
            SELECT DISTINCT ON (l.reviewer) l.kind FROM review_labels l
            WHERE l.tenant = i.tenant AND l.query_id = i.query_id
            ORDER BY l.reviewer, l.labelled_at DESC, l.label_id DESC
        ) said WHERE said.kind <> '' GROUP BY said.kind
    ) named WHERE named.votes * 2 > named.votes_in_all
"""
_WITHIN = """
    i.tenant = $1 AND ($2::timestamptz IS NULL OR i.completed_at >= $2)
        AND ($3::timestamptz IS NULL OR i.completed_at < $3)
"""
_COUNT = f"SELECT count(*) FROM interactions i WHERE {_WITHIN}"  # noqa: S608 - our own words
# Of one person's judgements the last of each kind counts: a thumb as it is, a rating of 4 or 5 for, of 1 or 2 against.
# A review passes when every criterion got its rubric's best label, which for most is "pass".
_PAGE = f"""
    SELECT i.query_id, i.completed_at, i.accepted_at, GREATEST(i.tier, used.tier, fix.tier) AS tier,
        COALESCE(stated.kind, i.kind) AS kind, stated.kind IS NOT NULL AS kind_stated,
        i.product, i.subject, i.conversation_id, i.grounding, i.finish_reason,
        i.variant_name, i.variant_version, i.prompt_name, i.prompt_version,
        COALESCE(used.sources, '{{}}') AS sources, COALESCE(used.documents, '{{}}') AS documents,
        COALESCE(used.cited, '{{}}') AS cited, COALESCE(used.chunks, '{{}}') AS chunks,
        COALESCE(used.stale, false) AS stale, fix.tier IS NOT NULL AS corrected,
        COALESCE(judged.liking, 0) AS liking, COALESCE(reviewed.passed, false) AS passed, scored.scores
    FROM interactions i
    LEFT JOIN LATERAL (
        SELECT max(c.tier) AS tier, array_agg(DISTINCT c.source ORDER BY c.source) AS sources,
            array_agg(DISTINCT c.source || '/' || c.document_id) AS documents,
            array_agg(DISTINCT c.source || '/' || c.document_id) FILTER (WHERE c.citation > 0) AS cited,
            array_agg(c.chunk_id ORDER BY c.rank) AS chunks,
            bool_or(c.citation > 0 AND d.version IS NOT NULL) AS stale
        FROM interaction_chunks c
        LEFT JOIN documents d ON d.tenant = c.tenant AND d.source = c.source AND d.document_id = c.document_id
            AND d.version > c.document_version
        WHERE c.tenant = i.tenant AND c.query_id = i.query_id
    ) used ON true
    LEFT JOIN LATERAL ({_CORRECTION}) fix ON true
    LEFT JOIN LATERAL (
        SELECT sum(CASE WHEN last.kind = 'thumb' THEN last.score WHEN last.score >= 4 THEN 1
            WHEN last.score <= 2 THEN -1 ELSE 0 END) AS liking
        FROM (
            SELECT DISTINCT ON (f.subject, f.kind) f.kind, f.score FROM feedback f
            WHERE f.tenant = i.tenant AND f.query_id = i.query_id AND f.kind IN ('thumb', 'rating')
            ORDER BY f.subject, f.kind, f.recorded_at DESC
        ) last
    ) judged ON true
    LEFT JOIN LATERAL (
        SELECT bool_and(NOT last.labels @? '$.* ? (@ != "pass")') AS passed
        FROM (
            SELECT DISTINCT ON (l.reviewer) l.labels FROM review_labels l
            WHERE l.tenant = i.tenant AND l.query_id = i.query_id ORDER BY l.reviewer, l.labelled_at DESC
        ) last
    ) reviewed ON true
    LEFT JOIN LATERAL ({_STATED}) stated ON true
    LEFT JOIN LATERAL (
        SELECT jsonb_object_agg(each.evaluator, each.value) AS scores
        FROM (
            SELECT last.evaluator, min(last.value) AS value
            FROM (
                SELECT DISTINCT ON (s.evaluator, s.criterion) s.evaluator, s.value FROM scores s
                WHERE s.tenant = i.tenant AND s.query_id = i.query_id AND s.run_id = '' AND s.decides
                    AND s.evaluator = ANY($6)
                ORDER BY s.evaluator, s.criterion, s.scored_at DESC
            ) last GROUP BY last.evaluator
        ) each
    ) scored ON cardinality($6::text[]) > 0
    WHERE i.tenant = $1 AND (i.completed_at, i.query_id) > ($2, $3)
        AND i.completed_at >= $2 AND ($4::timestamptz IS NULL OR i.completed_at < $4)
    ORDER BY i.completed_at, i.query_id LIMIT $5
"""  # noqa: S608 - our own words
_CONTENTS = f"""
    SELECT i.query_id, i.record, fix.words FROM interactions i LEFT JOIN LATERAL ({_CORRECTION}) fix ON true
    WHERE i.tenant = $1 AND i.query_id = ANY($2)
"""  # noqa: S608 - our own words


class PostgresLog:
    """See ports.Log."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def count(self, tenant: str, span: Span) -> int:
        """See ports.Log."""
        return int(await self._connection.fetchval(_COUNT, tenant, span.since, span.until))

    async def page(self, tenant: str, span: Span, page: Page) -> Sequence[Candidate]:
        """See ports.Log."""
        after = page.after
        start = (after.completed_at, after.query_id) if after else (span.since or _BEGINNING, UUID(int=0))
        with statement("SELECT interactions", operation="SELECT", collection="interactions"):
            rows = await self._connection.fetch(_PAGE, tenant, *start, span.until, page.most, list(page.evaluators))
        return [_candidate(row) for row in rows]

    async def contents(self, tenant: str, query_ids: Collection[UUID]) -> Sequence[Exported]:
        """See ports.Log."""
        with statement("SELECT interactions", operation="SELECT", collection="interactions"):
            rows = await self._connection.fetch(_CONTENTS, tenant, list(query_ids))
        return [Exported(row["query_id"], row["record"], row["words"]) for row in rows]


class PostgresLogReader:
    """See ports.LogReader."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def open(self, tenant: str, *, clearance: Tier = Tier.TIER_2) -> AsyncIterator[PostgresLog]:
        """See ports.LogReader."""
        async with self._database.transaction(tenant=tenant, clearance=clearance) as connection:
            yield PostgresLog(connection)


def _candidate(row: asyncpg.Record) -> Candidate:
    return Candidate(
        query_id=row["query_id"],
        tier=Tier(row["tier"]),
        sources=tuple(row["sources"]),
        completed_at=row["completed_at"],
        kind=row["kind"],
        product=row["product"],
        subject=row["subject"],
        conversation_id=row["conversation_id"],
        grounding=row["grounding"],
        finish_reason=row["finish_reason"],
        variant=Versioned(row["variant_name"], row["variant_version"]),
        prompt=Versioned(row["prompt_name"], row["prompt_version"]),
        accepted_at=row["accepted_at"],
        cited=tuple(row["cited"]),
        documents=tuple(row["documents"]),
        chunks=tuple(row["chunks"]),
        is_stale=row["stale"],
        is_corrected=row["corrected"],
        liking=row["liking"],
        passed_review=row["passed"],
        scores=json.loads(row["scores"]) if row["scores"] else {},
        kind_stated=row["kind_stated"],
    )


_INSERT = """
    INSERT INTO snapshots (
        tenant, dataset_id, name, purpose, state, query, seed, rows, test_rows, tier, kinds, tiers, grants, exclusions,
        card, policy_version, data_sha256, created_by, created_at
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19)
"""
# Arrays of arrays have one shape: what belongs together travels joined by a character that no name holds.
_INSERT_ROWS = """
    INSERT INTO snapshot_rows (tenant, dataset_id, row_id, subject, sources, documents, tier, asked_at, completed_at)
    SELECT $1, $2, row_id, subject, string_to_array(sources, E'\\x1f'), string_to_array(documents, E'\\x1f'), tier,
        asked_at, completed_at
    FROM unnest($3::text[], $4::bytea[], $5::text[], $6::text[], $7::smallint[], $8::timestamptz[], $9::timestamptz[])
        AS r (row_id, subject, sources, documents, tier, asked_at, completed_at)
"""
_ROWS_AT_ONCE = 5_000
# One keeps at a time: what stands on a grant that ends meanwhile, or on a folder that is swept, must not slip through.
_HOLD_KEEPING = "SELECT pg_advisory_xact_lock(hashtextextended('datasets ' || $1, 0))"
_FIND = """
    SELECT * FROM snapshots
    WHERE tenant = $1 AND (dataset_id = $2 OR name = $2
        OR ($2 ~ '^[0-9a-f]{8,63}$' AND starts_with(dataset_id, $2)))
    ORDER BY dataset_id = $2 DESC, starts_with(dataset_id, $2) DESC, state <> 1, created_at DESC LIMIT 1
"""


class PostgresBooks:
    """See ports.Books."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def hold(self, tenant: str) -> None:
        """See ports.Books."""
        await enter(self._connection, tenant)
        await self._connection.execute(_HOLD_KEEPING, tenant)

    async def add(self, snapshot: Snapshot, rows: Sequence[Row]) -> None:
        """See ports.Books."""
        key = (snapshot.tenant, snapshot.dataset_id)
        with statement("INSERT snapshots", operation="INSERT", collection="snapshots"):
            await self._connection.execute(
                "DELETE FROM snapshots WHERE tenant = $1 AND dataset_id = $2 AND state = 3", *key
            )
            await self._connection.execute(_INSERT, *_cells(snapshot))
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                await self._connection.execute(_INSERT_ROWS, *key, *_columns(rows[start : start + _ROWS_AT_ONCE]))

    async def get(self, tenant: str, dataset_id: str) -> Snapshot | None:
        """See ports.Books."""
        row = await self._connection.fetchrow(
            "SELECT * FROM snapshots WHERE tenant = $1 AND dataset_id = $2", tenant, dataset_id
        )
        return read_snapshot(row) if row else None

    async def find(self, tenant: str, reference: str) -> Snapshot | None:
        """See ports.Books."""
        row = await self._connection.fetchrow(_FIND, tenant, reference)
        return read_snapshot(row) if row else None

    async def newest(self, tenant: str, *, name: str, most: int) -> Sequence[Snapshot]:
        """See ports.Books."""
        rows = await self._connection.fetch(
            "SELECT * FROM snapshots WHERE tenant = $1 AND ($2 = '' OR name = $2)"
            " ORDER BY created_at DESC, dataset_id LIMIT $3",
            tenant,
            name,
            most,
        )
        return [read_snapshot(row) for row in rows]

    async def has_ended(self, tenant: str, grants: Collection[str]) -> bool:
        """See ports.Books."""
        found = await self._connection.fetchval(
            "SELECT true FROM ended_grants WHERE tenant = $1 AND grant_id = ANY($2) LIMIT 1", tenant, list(grants)
        )
        return bool(found)

    async def end_grant(self, tenant: str, grant_id: str, *, now: datetime) -> Sequence[Snapshot]:
        """See ports.Books."""
        await self._connection.execute(_HOLD_KEEPING, tenant)
        await self._connection.execute(
            "INSERT INTO ended_grants (tenant, grant_id, ended_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            tenant,
            grant_id,
            now,
        )
        rows = await self._connection.fetch(
            "UPDATE snapshots SET state = 2, ended_by = 'grant ' || $2, ended_at = $3"
            " WHERE tenant = $1 AND state = 1 AND grants @> ARRAY[$2::text] RETURNING *",
            tenant,
            grant_id,
            now,
        )
        return [read_snapshot(row) for row in rows]

    async def untold(self, tenant: str) -> Sequence[Snapshot]:
        """See ports.Books."""
        rows = await self._connection.fetch(
            "SELECT * FROM snapshots WHERE tenant = $1 AND NOT is_told FOR UPDATE", tenant
        )
        return [read_snapshot(row) for row in rows]

    async def told(self, tenant: str, dataset_ids: Collection[str]) -> None:
        """See ports.Books."""
        await self._connection.execute(
            "UPDATE snapshots SET is_told = true WHERE tenant = $1 AND dataset_id = ANY($2)", tenant, list(dataset_ids)
        )

    async def ids(self, tenant: str, state: State | None = None) -> Sequence[str]:
        """See ports.Books."""
        rows = await self._connection.fetch(
            "SELECT dataset_id FROM snapshots WHERE tenant = $1 AND ($2::smallint IS NULL OR state = $2)",
            tenant,
            int(state) if state else None,
        )
        return [row["dataset_id"] for row in rows]

    async def exclude_keepers(self, tenant: str) -> None:
        """See ports.Books."""
        await self._connection.execute(_HOLD_KEEPING, tenant)

    async def begin_export(self, tenant: str, export_id: UUID, dataset_id: str, *, role: str, by: str) -> None:
        """See ports.Books."""
        await self._connection.execute(
            "INSERT INTO exports (tenant, export_id, dataset_id, role, read_by, started_at)"
            " VALUES ($1, $2, $3, $4, $5, now())",
            tenant,
            export_id,
            dataset_id,
            role,
            by,
        )

    async def extend_export(self, tenant: str, export_id: UUID, *, rows: int, grants: Collection[str]) -> None:
        """See ports.Books."""
        await self._connection.execute(
            "UPDATE exports SET rows = $3, grants = $4 WHERE tenant = $1 AND export_id = $2",
            tenant,
            export_id,
            rows,
            sorted(grants),
        )

    async def end_export(self, tenant: str, export_id: UUID) -> None:
        """See ports.Books."""
        await self._connection.execute(
            "UPDATE exports SET ended_at = now() WHERE tenant = $1 AND export_id = $2", tenant, export_id
        )


def _columns(rows: Sequence[Row]) -> tuple[list[Any], ...]:
    return (
        [row.row_id for row in rows],
        [row.subject for row in rows],
        ["\x1f".join(row.sources) for row in rows],
        ["\x1f".join(row.documents) for row in rows],
        [int(row.tier) for row in rows],
        [row.asked_at for row in rows],
        [row.completed_at for row in rows],
    )


def _cells(one: Snapshot) -> tuple[object, ...]:
    return (
        one.tenant,
        one.dataset_id,
        one.name,
        int(one.purpose),
        int(one.state),
        one.record,
        str(one.seed),
        one.rows,
        one.test_rows,
        int(one.tier),
        json.dumps(dict(one.kinds)),
        json.dumps(dict(one.tiers)),
        list(one.grants),
        json.dumps([[each.reason, int(each.tier), each.rows] for each in one.exclusions]),
        to_card(one.card).SerializeToString(),
        one.policy_version,
        one.data_sha256,
        one.created_by,
        one.created_at,
    )


def read_snapshot(row: asyncpg.Record) -> Snapshot:
    """Reads a row of the table snapshots."""
    return Snapshot(
        dataset_id=row["dataset_id"],
        tenant=row["tenant"],
        name=row["name"],
        purpose=Purpose(row["purpose"]),
        seed=int(row["seed"]),
        rows=row["rows"],
        test_rows=row["test_rows"],
        tier=Tier(row["tier"]),
        kinds=json.loads(row["kinds"]),
        tiers=json.loads(row["tiers"]),
        grants=tuple(row["grants"]),
        exclusions=tuple(Excluded(reason, Tier(tier), n) for reason, tier, n in json.loads(row["exclusions"])),
        card=read_card(DatasetCard.FromString(row["card"])),
        policy_version=row["policy_version"],
        created_by=row["created_by"],
        created_at=row["created_at"],
        record=row["query"],
        state=State(row["state"]),
        ended_by=row["ended_by"],
        ended_at=row["ended_at"],
        data_sha256=row["data_sha256"] if row["state"] != State.ERASED else "",
    )
