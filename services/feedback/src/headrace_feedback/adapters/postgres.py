"""The log in Postgres; migrations/*.sql say what each column holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
from headrace_database import Connection, Database
from headrace_database.connection import statement
from headrace_privacy import Tier

from headrace_feedback.feedback import Feedback, Reference, Words
from headrace_feedback.interaction import (
    ChunkUse,
    Exported,
    Interaction,
    Judgement,
    Known,
    Logged,
    Outline,
    Routed,
    Tallied,
    owner_of_interaction,
)
from headrace_feedback.uses import Span

TALLY_BATCH = 500

_INSERT_INTERACTION = """
    INSERT INTO interactions (
        tenant, query_id, trace_id, traceparent, answer_event_id, product, subject, conversation_id, tier, grounding,
        finish_reason, prompt_name, prompt_version, model_name, model_version, model_provider, variant_name,
        variant_version, embedder_name, embedder_hash, input_tokens, output_tokens, cached_input_tokens, cost_micro_usd,
        time_to_first_token_ms, timings_ms, accepted_at, completed_at, stored_at, record, kind, kind_confidence, route,
        route_version, routing_reason, backend
    ) VALUES (
        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24,
        $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36
    ) ON CONFLICT DO NOTHING RETURNING true
"""
_INSERT_CHUNK = """
    INSERT INTO interaction_chunks (
        tenant, query_id, chunk_id, document_version, source, document_id, tier, rank, citation
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
"""
_INSERT_FEEDBACK = """
    INSERT INTO feedback (
        tenant, feedback_id, query_id, trace_id, subject, kind, score, tier, submitted_at, recorded_at, joined_at,
        record, words, words_tier, detail
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
"""
_HAS_EARLIER = """
    SELECT EXISTS (
        SELECT FROM feedback
        WHERE tenant = $1 AND (query_id = $2 OR (query_id IS NULL AND trace_id = $3 AND trace_id <> ''))
            AND subject = $4 AND kind = $5 AND detail = $6
    )
"""
_FIND = """
    SELECT query_id, trace_id, tier, traceparent, product, kind, tenant, subject, accepted_at FROM interactions
"""
_FIND_BY_QUERY = f"{_FIND} WHERE tenant = $1 AND query_id = $2"
_FIND_BY_TRACE = f"{_FIND} WHERE tenant = $1 AND trace_id = $2 AND trace_id <> ''"
_PENDING = """
    SELECT * FROM feedback
    WHERE tenant = $1 AND joined_at IS NULL AND (query_id = $2 OR (query_id IS NULL AND trace_id = $3))
    ORDER BY recorded_at, feedback_id
"""
# The strictest of an interaction, its chunks and `words`, which is one row or none for each; and its chunks' sources.
_OUTLINE = """
    SELECT i.query_id, i.completed_at, GREATEST(i.tier, used.tier, words.tier) AS tier,
        COALESCE(used.sources, '{{}}') AS sources
    FROM interactions i
    LEFT JOIN LATERAL (
        SELECT max(c.tier) AS tier, array_agg(DISTINCT c.source ORDER BY c.source) AS sources
        FROM interaction_chunks c WHERE c.tenant = i.tenant AND c.query_id = i.query_id
    ) used ON true
    LEFT JOIN LATERAL ({words}) words ON true
"""
_ALL_WORDS = "SELECT max(f.tier) AS tier FROM feedback f WHERE f.tenant = i.tenant AND f.query_id = i.query_id"
_LATEST_CORRECTION = """
    SELECT f.tier, f.words FROM feedback f
    WHERE f.tenant = i.tenant AND f.query_id = i.query_id AND f.kind = 'correction'
    ORDER BY f.recorded_at DESC, f.feedback_id DESC LIMIT 1
"""
_OUTLINE_OF_ONE = _OUTLINE.format(words=_ALL_WORDS) + "WHERE i.tenant = $1 AND i.query_id = $2"
_OUTLINES = (
    _OUTLINE.format(words=_LATEST_CORRECTION)
    + """
    WHERE i.tenant = $1 AND (i.completed_at, i.query_id) > ($2, $3)
        AND i.completed_at >= $2 AND ($4::timestamptz IS NULL OR i.completed_at < $4)
    ORDER BY i.completed_at, i.query_id LIMIT $5
"""
)
_RECORDS = """
    SELECT i.query_id, i.record, words.words FROM interactions i LEFT JOIN LATERAL ({words}) words ON true
    WHERE i.tenant = $1 AND i.query_id = ANY($2)
"""
_EXPORTED = _RECORDS.format(words=_LATEST_CORRECTION)
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
_TALLY = """
    SELECT tenant, query_id, answer_event_id FROM interactions
    WHERE tenant = $1 AND query_id > $2 ORDER BY query_id LIMIT $3
"""


class PostgresLog:
    """The log on one connection, inside its transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def hold(self, about: Reference, *, feedback_id: UUID | None = None) -> None:
        """Takes a lock for each id, always in the same order, until the transaction ends."""
        keys = _keys(about.tenant, about.query_id, about.trace_id, feedback_id)
        await self._connection.execute("SELECT pg_advisory_xact_lock(key) FROM unnest($1::bigint[]) AS key", keys)

    async def add_interaction(self, interaction: Interaction, *, stored_at: datetime) -> bool:
        with statement("INSERT interactions", operation="INSERT", collection="interactions"):
            await self._connection.execute(
                "INSERT INTO tenants (tenant) VALUES ($1) ON CONFLICT DO NOTHING", interaction.tenant
            )
            is_new = await self._connection.fetchval(_INSERT_INTERACTION, *_row(interaction, stored_at))
            if is_new:
                rows = [_chunk_row(interaction, chunk) for chunk in interaction.chunks]
                await self._connection.executemany(_INSERT_CHUNK, rows)
        return bool(is_new)

    async def find(self, about: Reference) -> list[Known]:
        if about.query_id:
            rows = await self._connection.fetch(_FIND_BY_QUERY, about.tenant, about.query_id)
        else:
            rows = await self._connection.fetch(_FIND_BY_TRACE, about.tenant, about.trace_id)
        return [_known(row) for row in rows]

    async def add_feedback(self, feedback: Feedback) -> None:
        with statement("INSERT feedback", operation="INSERT", collection="feedback"):
            await self._connection.execute(_INSERT_FEEDBACK, *_feedback_row(feedback))

    async def has_earlier(self, feedback: Feedback) -> bool:
        about = feedback.about
        found = await self._connection.fetchval(
            _HAS_EARLIER, about.tenant, about.query_id, about.trace_id, feedback.subject, feedback.kind, feedback.detail
        )
        return bool(found)

    async def get_feedback(self, tenant: str, feedback_id: UUID) -> Feedback | None:
        row = await self._connection.fetchrow(
            "SELECT * FROM feedback WHERE tenant = $1 AND feedback_id = $2", tenant, feedback_id
        )
        return _feedback(row) if row else None

    async def pending(self, about: Reference) -> list[Feedback]:
        rows = await self._connection.fetch(_PENDING, about.tenant, about.query_id, about.trace_id)
        return [_feedback(row) for row in rows]

    async def join(self, feedback: Feedback) -> None:
        await self._connection.execute(
            "UPDATE feedback SET query_id = $3, trace_id = $4, tier = $5, joined_at = $6, words = $7"
            " WHERE tenant = $1 AND feedback_id = $2",
            feedback.about.tenant,
            feedback.feedback_id,
            feedback.about.query_id,
            feedback.about.trace_id,
            feedback.tier.value,
            feedback.joined_at,
            feedback.words.sealed if feedback.words else None,
        )

    async def outline(self, tenant: str, query_id: UUID) -> Outline | None:
        row = await self._connection.fetchrow(_OUTLINE_OF_ONE, tenant, query_id)
        return _outline(row) if row else None

    async def outlines(self, tenant: str, span: Span, *, after: Outline | None, most: int) -> Sequence[Outline]:
        start = (after.completed_at, after.query_id) if after else (span.since or _BEGINNING, UUID(int=0))
        rows = await self._connection.fetch(_OUTLINES, tenant, *start, span.until, most)
        return [_outline(row) for row in rows]

    async def read(self, tenant: str, query_id: UUID) -> Logged | None:
        row = await self._connection.fetchrow(
            "SELECT record, stored_at FROM interactions WHERE tenant = $1 AND query_id = $2", tenant, query_id
        )
        return Logged(query_id, row["record"], row["stored_at"]) if row else None

    async def feedback_of(self, tenant: str, query_id: UUID) -> Sequence[Judgement]:
        rows = await self._connection.fetch(
            "SELECT record, words FROM feedback WHERE tenant = $1 AND query_id = $2 ORDER BY recorded_at, feedback_id",
            tenant,
            query_id,
        )
        return [Judgement(row["record"], row["words"]) for row in rows]

    async def exported(self, tenant: str, query_ids: Collection[UUID]) -> Sequence[Exported]:
        with statement("SELECT interactions", operation="SELECT", collection="interactions"):
            rows = await self._connection.fetch(_EXPORTED, tenant, list(query_ids))
        return [Exported(row["query_id"], row["record"], row["words"]) for row in rows]


class PostgresReader:
    """The log of a schema, from outside a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def open(self, tenant: str, *, clearance: Tier = Tier.TIER_2) -> AsyncIterator[PostgresLog]:
        """Opens a transaction that sees one tenant's rows up to a tier."""
        async with self._database.transaction(tenant=tenant, clearance=clearance) as connection:
            yield PostgresLog(connection)

    async def tally(self, tenant: str) -> AsyncIterator[Sequence[Tallied]]:
        """Goes through a tenant's interactions by id, or through everybody's tenant by tenant."""
        for one in [tenant] if tenant else await self._tenants():
            last = UUID(int=0)
            while batch := await self._batch(one, last):
                yield batch
                last = batch[-1].query_id

    async def _tenants(self) -> list[str]:
        async with self._database.transaction() as connection:
            return [row["tenant"] for row in await connection.fetch("SELECT tenant FROM tenants ORDER BY tenant")]

    async def _batch(self, tenant: str, after: UUID) -> list[Tallied]:
        async with self._database.transaction(tenant=tenant) as connection:
            rows = await connection.fetch(_TALLY, tenant, after, TALLY_BATCH)
        return [Tallied(row["tenant"], row["query_id"], row["answer_event_id"]) for row in rows]


def _keys(tenant: str, *ids: object) -> list[int]:
    return sorted({_key(f"{tenant}\0{identity}") for identity in ids if identity})


def _key(name: str) -> int:
    """64 bits for an advisory lock: two names that collide only wait for each other."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


def _row(interaction: Interaction, stored_at: object) -> tuple[object, ...]:
    versions = (interaction.prompt, interaction.model)
    return (
        interaction.tenant,
        interaction.query_id,
        interaction.trace_id,
        interaction.traceparent,
        interaction.answer_event_id,
        interaction.product,
        interaction.subject,
        interaction.conversation_id,
        interaction.tier.value,
        interaction.grounding,
        interaction.finish_reason,
        *(part for versioned in versions for part in (versioned.name, versioned.version)),
        interaction.provider,
        interaction.variant.name,
        interaction.variant.version,
        interaction.embedder.name,
        interaction.embedder.version,
        interaction.usage.input_tokens,
        interaction.usage.output_tokens,
        interaction.usage.cached_input_tokens,
        interaction.usage.cost_micro_usd,
        interaction.time_to_first_token_ms,
        json.dumps(dict(interaction.timings_ms)),
        interaction.accepted_at,
        interaction.completed_at,
        stored_at,
        interaction.record,
        *_routed(interaction.routed),
    )


def _routed(routed: Routed) -> tuple[object, ...]:
    return (routed.kind, routed.confidence, routed.route, routed.version, routed.reason, routed.backend)


def _chunk_row(interaction: Interaction, chunk: ChunkUse) -> tuple[object, ...]:
    return (
        interaction.tenant,
        interaction.query_id,
        chunk.chunk_id,
        chunk.document_version,
        chunk.source,
        chunk.document_id,
        chunk.tier.value,
        chunk.rank,
        chunk.citation,
    )


def _feedback_row(feedback: Feedback) -> tuple[object, ...]:
    return (
        feedback.about.tenant,
        feedback.feedback_id,
        feedback.about.query_id,
        feedback.about.trace_id,
        feedback.subject,
        feedback.kind,
        feedback.score,
        feedback.tier.value,
        feedback.submitted_at,
        feedback.recorded_at,
        feedback.joined_at,
        feedback.record,
        feedback.words.sealed if feedback.words else None,
        feedback.words.tier.value if feedback.words else None,
        feedback.detail,
    )


def _known(row: asyncpg.Record) -> Known:
    owner = owner_of_interaction(row["tenant"], row["subject"], row["accepted_at"])
    tier = Tier(row["tier"])
    return Known(row["query_id"], row["trace_id"], tier, row["traceparent"], row["product"], row["kind"], owner)


def _outline(row: asyncpg.Record) -> Outline:
    return Outline(row["query_id"], Tier(row["tier"]), tuple(row["sources"]), row["completed_at"])


def _feedback(row: asyncpg.Record) -> Feedback:
    return Feedback(
        feedback_id=row["feedback_id"],
        about=Reference(row["tenant"], row["query_id"], row["trace_id"]),
        subject=row["subject"],
        kind=row["kind"],
        score=row["score"],
        submitted_at=row["submitted_at"],
        recorded_at=row["recorded_at"],
        record=row["record"],
        joined_at=row["joined_at"],
        tier=Tier(row["tier"]),
        words=Words(Tier(row["words_tier"]), row["words"]) if row["words"] is not None else None,
        detail=row["detail"],
    )
