"""Queries and documents in ingest's own schema."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from headrace_database import Connection, Database
from headrace_privacy import Tier
from headrace_stream import Delivery, Event, Ledger, Unit
from headrace_stream.erasing import Kind, enter, is_buried

from headrace_ingest.domain import (
    DELETION,
    Applied,
    Change,
    DocumentAddress,
    DocumentRecord,
    DocumentState,
    Outcome,
    QueryRecord,
    QueryState,
    SourceRecord,
    Submission,
)

ROWS_A_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class PostgresUnit:
    """One transaction; see ports.Unit."""

    unit: Unit

    @property
    def _connection(self) -> Connection:
        return self.unit.connection

    def emit(self, *events: Event[Any]) -> None:
        self.unit.emit(*events)

    async def accept_query(self, record: QueryRecord, *, product: str) -> bool:
        inserted = await self._connection.fetchval(
            "WITH noted AS (INSERT INTO tenants (tenant) VALUES ($1) ON CONFLICT DO NOTHING)"
            " INSERT INTO queries (tenant, query_id, product, state, accepted_at, trace_id)"
            " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING true",
            record.tenant,
            record.query_id,
            product,
            record.state,
            record.accepted_at,
            record.trace_id,
        )
        return bool(inserted)

    async def answer_query(self, tenant: str, query_id: UUID, *, answer: bytes, event_id: UUID, tier: Tier) -> bool:
        # An answer may still come for a query that was given up on and replayed; nothing replaces an answer.
        ended = await self._connection.fetchval(
            "UPDATE queries SET state = $3, answer = $4, answer_event_id = $5, tier = $6, ended_at = now()"
            " WHERE tenant = $1 AND query_id = $2 AND answer IS NULL AND state <> $7 RETURNING true",
            tenant,
            query_id,
            QueryState.ANSWERED,
            answer,
            event_id,
            tier,
            QueryState.ERASED,
        )
        return bool(ended)

    async def bury_query(self, tenant: str, query_id: UUID, *, state: QueryState) -> bool:
        ended = await self._connection.fetchval(
            "UPDATE queries SET state = $3, ended_at = now()"
            " WHERE tenant = $1 AND query_id = $2 AND answer IS NULL AND state <> $4 RETURNING true",
            tenant,
            query_id,
            state,
            QueryState.ERASED,
        )
        return bool(ended)

    async def apply(self, change: Change, *, now: datetime) -> Applied | None:
        existing = await self._connection.fetchrow(
            "SELECT version, fingerprint, state FROM documents"
            " WHERE tenant = $1 AND source = $2 AND document_id = $3 FOR UPDATE",
            *_address(change.address),
        )
        if _is_unchanged(existing, change):
            version, outcome = _unchanged(existing)
            await self._note(change.submission_id, change.address, version=version, outcome=outcome, now=now)
            return None
        tier = await self._source_tier(change, now)
        version = existing["version"] + 1 if existing else 1
        await self._write(change, version, now)
        await self._note(change.submission_id, change.address, version=version, outcome=Outcome.SUBMITTED, now=now)
        return Applied(version, tier)

    async def refuse(self, submission_id: UUID, address: DocumentAddress, *, violations: bytes, now: datetime) -> None:
        await self._note(submission_id, address, version=0, outcome=Outcome.REFUSED, violations=violations, now=now)

    async def index(self, address: DocumentAddress, version: int, *, tier: Tier, chunks: int, now: datetime) -> None:
        await self._connection.execute(
            "UPDATE documents SET tier = $5, chunks = $6, changed_at = $7,"
            " state = CASE WHEN fingerprint = $8 THEN $9::smallint ELSE $10::smallint END"
            " WHERE tenant = $1 AND source = $2 AND document_id = $3 AND version = $4",
            *_address(address),
            version,
            tier,
            chunks,
            now,
            DELETION,
            DocumentState.DELETED,
            DocumentState.INDEXED,
        )

    async def note_asker(self, tenant: str, query_id: UUID, subject: bytes) -> None:
        await self._connection.execute(
            "UPDATE queries SET subject = $3 WHERE tenant = $1 AND query_id = $2", tenant, query_id, subject
        )

    async def is_erased_query(self, tenant: str, query_id: UUID) -> bool:
        found = await self._connection.fetchval(
            "SELECT true FROM queries WHERE tenant = $1 AND query_id = $2 AND state = $3",
            tenant,
            query_id,
            QueryState.ERASED,
        )
        return bool(found)

    async def is_buried(self, tenant: str, names: Sequence[tuple[Kind, bytes]], *, at: datetime | None = None) -> bool:
        await enter(self._connection, tenant)
        return await is_buried(self._connection, tenant, names, at=at)

    async def note_grounds(self, tenant: str, query_id: UUID, documents: Collection[tuple[str, str]]) -> None:
        await self._connection.executemany(
            "INSERT INTO answer_documents (tenant, query_id, source, document_id) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT DO NOTHING",
            [(tenant, query_id, *document) for document in sorted(documents)],
        )

    async def note_content(self, address: DocumentAddress, content: bytes) -> None:
        await self._connection.execute(
            "INSERT INTO document_contents (tenant, source, document_id, content) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT DO NOTHING",
            *_address(address),
            content,
        )

    async def bury_document(self, address: DocumentAddress, *, state: DocumentState, now: datetime) -> None:
        await self._connection.execute(
            "UPDATE documents SET state = $4, changed_at = $5"
            " WHERE tenant = $1 AND source = $2 AND document_id = $3 AND state IN ($6, $7)",
            *_address(address),
            state,
            now,
            DocumentState.ACCEPTED,
            DocumentState.DELETING,
        )

    async def _source_tier(self, change: Change, now: datetime) -> Tier:
        """Makes the source if need be, and returns what it stands for: the strictest that was ever declared."""
        # One statement, so that two first documents at once agree on the stricter of their tiers.
        tier = await self._connection.fetchval(
            "INSERT INTO sources AS s (tenant, name, tier, changed_at) VALUES ($1, $2, coalesce($3, $4::smallint), $5)"
            " ON CONFLICT (tenant, name) DO UPDATE SET tier = greatest(s.tier, $3::smallint), changed_at = $5"
            " RETURNING tier",
            change.address.tenant,
            change.address.source,
            change.declared,
            Tier.TIER_2,
            now,
        )
        return Tier(tier)

    async def _write(self, change: Change, version: int, now: datetime) -> None:
        state = DocumentState.DELETING if change.is_deletion else DocumentState.ACCEPTED
        await self._connection.execute(
            "INSERT INTO documents (tenant, source, document_id, version, fingerprint, labels, tier, state, chunks,"
            " changed_at) VALUES ($1, $2, $3, $4, $5, $6, 0, $7, 0, $8)"
            " ON CONFLICT (tenant, source, document_id) DO UPDATE SET version = $4, fingerprint = $5, labels = $6,"
            " state = $7, changed_at = $8",
            *_address(change.address),
            version,
            change.fingerprint,
            change.labels,
            state,
            now,
        )

    async def _note(
        self,
        submission_id: UUID,
        address: DocumentAddress,
        *,
        version: int,
        outcome: Outcome,
        violations: bytes | None = None,
        now: datetime,
    ) -> None:
        await self._connection.execute(
            "INSERT INTO submissions (tenant, submission_id, source, document_id, version, outcome, violations,"
            " submitted_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            address.tenant,
            submission_id,
            address.source,
            address.document_id,
            version,
            outcome,
            violations,
            now,
        )


class PostgresStore:
    """See ports.Store."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger

    @asynccontextmanager
    async def once(self, delivery: Delivery[Any], *, tenant: str) -> AsyncIterator[PostgresUnit | None]:
        async with self._ledger.once(delivery, tenant=tenant) as unit:
            yield None if unit is None else PostgresUnit(unit)

    @asynccontextmanager
    async def unit(self, *, tenant: str) -> AsyncIterator[PostgresUnit]:
        async with self._ledger.unit(tenant=tenant) as unit:
            yield PostgresUnit(unit)

    async def query(self, tenant: str, query_id: UUID) -> QueryRecord | None:
        async with self._database.transaction(tenant=tenant) as connection:
            row = await connection.fetchrow(
                "SELECT * FROM queries WHERE tenant = $1 AND query_id = $2", tenant, query_id
            )
        return None if row is None else _query(row, answer=row["answer"])

    async def queries(self, tenant: str) -> AsyncIterator[list[QueryRecord]]:
        for one in [tenant] if tenant else await self._tenants():
            after = UUID(int=0)
            while records := await self._page(one, after):
                yield records
                after = records[-1].query_id

    async def _tenants(self) -> list[str]:
        async with self._database.transaction() as connection:
            return [row["tenant"] for row in await connection.fetch("SELECT tenant FROM tenants ORDER BY tenant")]

    async def _page(self, tenant: str, after: UUID) -> list[QueryRecord]:
        async with self._database.transaction(tenant=tenant) as connection:
            rows = await connection.fetch(
                "SELECT tenant, query_id, state, accepted_at, trace_id, answer_event_id FROM queries"
                " WHERE tenant = $1 AND query_id > $2 ORDER BY query_id LIMIT $3",
                tenant,
                after,
                ROWS_A_PAGE,
            )
        return [_query(row, answer=None) for row in rows]

    async def submission(self, tenant: str, submission_id: UUID) -> Submission | None:
        async with self._database.transaction(tenant=tenant) as connection:
            row = await connection.fetchrow(
                "SELECT s.*, d.version AS latest, d.tier, d.state, d.chunks FROM submissions s LEFT JOIN documents d"
                " USING (tenant, source, document_id) WHERE s.tenant = $1 AND s.submission_id = $2",
                tenant,
                submission_id,
            )
        return None if row is None else _submission(row)

    async def document(self, address: DocumentAddress) -> DocumentRecord | None:
        async with self._database.transaction(tenant=address.tenant) as connection:
            row = await connection.fetchrow(
                "SELECT * FROM documents WHERE tenant = $1 AND source = $2 AND document_id = $3", *_address(address)
            )
        return None if row is None else _document(row)

    async def sources(self, tenant: str) -> list[SourceRecord]:
        async with self._database.transaction(tenant=tenant) as connection:
            rows = await connection.fetch(
                "SELECT s.tenant, s.name, s.tier, s.changed_at, count(d.document_id) AS documents,"
                " coalesce(sum(d.chunks), 0) AS chunks FROM sources s LEFT JOIN documents d"
                " ON d.tenant = s.tenant AND d.source = s.name AND d.fingerprint <> $2"
                " WHERE s.tenant = $1 GROUP BY s.tenant, s.name ORDER BY s.name",
                tenant,
                DELETION,
            )
        return [
            SourceRecord(
                row["tenant"], row["name"], Tier(row["tier"]), row["documents"], row["chunks"], row["changed_at"]
            )
            for row in rows
        ]

    async def documents(self, tenant: str, source: str, *, after: str, limit: int) -> list[DocumentRecord]:
        async with self._database.transaction(tenant=tenant) as connection:
            rows = await connection.fetch(
                "SELECT * FROM documents WHERE tenant = $1 AND source = $2 AND document_id > $3 AND fingerprint <> $4"
                " ORDER BY document_id LIMIT $5",
                tenant,
                source,
                after,
                DELETION,
                limit,
            )
        return [_document(row) for row in rows]


def _address(address: DocumentAddress) -> tuple[str, str, str]:
    return address.tenant, address.source, address.document_id


def _is_unchanged(existing: asyncpg.Record | None, change: Change) -> bool:
    if existing is None:
        return change.is_deletion
    is_lost = existing["state"] == DocumentState.DEAD_LETTERED
    return bool(existing["fingerprint"] == change.fingerprint) and not is_lost


def _unchanged(existing: asyncpg.Record | None) -> tuple[int, Outcome]:
    """What a submission that changes nothing comes to: what the index holds, or what is still on its way there."""
    if existing is None:
        return 0, Outcome.UNCHANGED
    is_under_way = existing["state"] in {DocumentState.ACCEPTED, DocumentState.DELETING}
    return existing["version"], Outcome.SUBMITTED if is_under_way else Outcome.UNCHANGED


def _query(row: asyncpg.Record, *, answer: bytes | None) -> QueryRecord:
    return QueryRecord(
        tenant=row["tenant"],
        query_id=row["query_id"],
        state=QueryState(row["state"]),
        accepted_at=row["accepted_at"],
        trace_id=row["trace_id"],
        answer=answer,
        answer_event_id=row["answer_event_id"],
    )


def _submission(row: asyncpg.Record) -> Submission:
    outcome = Outcome(row["outcome"])
    is_latest = row["latest"] == row["version"]
    if outcome == Outcome.SUBMITTED and (row["latest"] or 0) > row["version"]:
        outcome = Outcome.INDEXED  # a later change took its place: nothing more will come of this one
    elif outcome == Outcome.SUBMITTED and is_latest and row["state"] == DocumentState.INDEXED:
        outcome = Outcome.INDEXED
    elif outcome == Outcome.SUBMITTED and is_latest and row["state"] == DocumentState.DELETED:
        outcome = Outcome.DELETED
    return Submission(
        address=DocumentAddress(row["tenant"], row["source"], row["document_id"]),
        version=row["version"],
        outcome=outcome,
        tier=Tier(row["tier"]) if row["tier"] else None,
        chunks=row["chunks"] or 0,
        violations=row["violations"],
    )


def _document(row: asyncpg.Record) -> DocumentRecord:
    return DocumentRecord(
        address=DocumentAddress(row["tenant"], row["source"], row["document_id"]),
        version=row["version"],
        labels=row["labels"],
        tier=Tier(row["tier"]) if row["tier"] else None,
        state=DocumentState(row["state"]),
        chunks=row["chunks"],
        changed_at=row["changed_at"],
    )
