"""Queries and documents in memory, for tests: the same behaviour, and nothing survives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from headrace_privacy import Tier, strictest
from headrace_stream import Delivery, Event
from headrace_stream.erasing import Kind
from headrace_stream.memory import MemoryLedger, MemoryUnit

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

_UNDER_WAY = {DocumentState.ACCEPTED, DocumentState.DELETING}


@dataclass(slots=True)
class MemoryStore:
    """See ports.Store. A unit's changes show at once and are not taken back: there are no transactions."""

    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    asked: dict[tuple[str, UUID], QueryRecord] = field(default_factory=dict)
    kept: dict[DocumentAddress, tuple[DocumentRecord, bytes]] = field(default_factory=dict)
    tiers: dict[tuple[str, str], tuple[Tier, datetime]] = field(default_factory=dict)
    noted: dict[tuple[str, UUID], Submission] = field(default_factory=dict)
    buried: set[tuple[str, Kind, bytes]] = field(default_factory=set)
    askers: dict[tuple[str, UUID], bytes] = field(default_factory=dict)
    grounds: dict[tuple[str, UUID], set[tuple[str, str]]] = field(default_factory=dict)
    contents: dict[DocumentAddress, set[bytes]] = field(default_factory=dict)

    @asynccontextmanager
    async def once(self, delivery: Delivery[Any], *, tenant: str) -> AsyncIterator[MemoryStoreUnit | None]:  # noqa: ARG002 - there are no policies here
        async with self.ledger.once(delivery) as unit:
            yield None if unit is None else MemoryStoreUnit(self, unit)

    @asynccontextmanager
    async def unit(self, *, tenant: str) -> AsyncIterator[MemoryStoreUnit]:  # noqa: ARG002 - as above
        async with self.ledger.unit() as unit:
            yield MemoryStoreUnit(self, unit)

    async def query(self, tenant: str, query_id: UUID) -> QueryRecord | None:
        return self.asked.get((tenant, query_id))

    async def queries(self, tenant: str) -> AsyncIterator[list[QueryRecord]]:
        found = [replace(record, answer=None) for record in self.asked.values() if tenant in {"", record.tenant}]
        if found:
            yield sorted(found, key=lambda record: (record.tenant, record.query_id))

    async def submission(self, tenant: str, submission_id: UUID) -> Submission | None:
        noted = self.noted.get((tenant, submission_id))
        document = await self.document(noted.address) if noted else None
        if noted is None or document is None:
            return noted
        return replace(noted, outcome=_settled(noted, document), tier=document.tier, chunks=document.chunks)

    async def document(self, address: DocumentAddress) -> DocumentRecord | None:
        return self.kept[address][0] if address in self.kept else None

    async def sources(self, tenant: str) -> list[SourceRecord]:
        return [
            self._source(tenant, name, tier, changed_at)
            for (owner, name), (tier, changed_at) in sorted(self.tiers.items())
            if owner == tenant
        ]

    def _source(self, tenant: str, name: str, tier: Tier, changed_at: datetime) -> SourceRecord:
        documents = self._documents(tenant, name)
        chunks = sum(document.chunks for document in documents)
        return SourceRecord(tenant, name, tier, len(documents), chunks, changed_at)

    def _documents(self, tenant: str, source: str) -> list[DocumentRecord]:
        return [
            record
            for address, (record, fingerprint) in self.kept.items()
            if (address.tenant, address.source) == (tenant, source) and fingerprint != DELETION
        ]

    async def documents(self, tenant: str, source: str, *, after: str, limit: int) -> list[DocumentRecord]:
        found = sorted(self._documents(tenant, source), key=lambda record: record.address.document_id)
        return [record for record in found if record.address.document_id > after][:limit]


@dataclass(frozen=True, slots=True)
class MemoryStoreUnit:
    """See ports.Unit."""

    store: MemoryStore
    collected: MemoryUnit

    def emit(self, *events: Event[Any]) -> None:
        self.collected.emit(*events)

    async def accept_query(self, record: QueryRecord, *, product: str) -> bool:  # noqa: ARG002 - nothing here reads it
        key = (record.tenant, record.query_id)
        is_new = key not in self.store.asked
        self.store.asked.setdefault(key, record)
        return is_new

    async def answer_query(
        self,
        tenant: str,
        query_id: UUID,
        *,
        answer: bytes,
        event_id: UUID,
        tier: Tier,  # noqa: ARG002 - nothing here reads it
    ) -> bool:
        return self._end(tenant, query_id, state=QueryState.ANSWERED, answer=answer, answer_event_id=event_id)

    async def bury_query(self, tenant: str, query_id: UUID, *, state: QueryState) -> bool:
        return self._end(tenant, query_id, state=state)

    def _end(self, tenant: str, query_id: UUID, **changes: Any) -> bool:
        record = self.store.asked.get((tenant, query_id))
        if record is None or record.answer is not None or record.state == QueryState.ERASED:
            return False
        self.store.asked[tenant, query_id] = replace(record, **changes)
        return True

    async def apply(self, change: Change, *, now: datetime) -> Applied | None:
        existing = self.store.kept.get(change.address)
        if _is_unchanged(existing, change):
            version, outcome = _unchanged(existing)
            self._note(change.submission_id, change.address, version, outcome)
            return None
        tier = self._source_tier(change, now)
        version = existing[0].version + 1 if existing else 1
        state = DocumentState.DELETING if change.is_deletion else DocumentState.ACCEPTED
        tier_before, chunks = (existing[0].tier, existing[0].chunks) if existing else (None, 0)
        record = DocumentRecord(change.address, version, change.labels, tier_before, state, chunks, now)
        self.store.kept[change.address] = (record, change.fingerprint)
        self._note(change.submission_id, change.address, version, Outcome.SUBMITTED)
        return Applied(version, tier)

    def _source_tier(self, change: Change, now: datetime) -> Tier:
        key = (change.address.tenant, change.address.source)
        known = [tier for tier in (change.declared, self.store.tiers.get(key, (None, now))[0]) if tier]
        self.store.tiers[key] = (strictest(*known), now)
        return strictest(*known)

    async def refuse(self, submission_id: UUID, address: DocumentAddress, *, violations: bytes, now: datetime) -> None:  # noqa: ARG002 - nothing here reads it
        self._note(submission_id, address, 0, Outcome.REFUSED, violations)

    def _note(
        self,
        submission_id: UUID,
        address: DocumentAddress,
        version: int,
        outcome: Outcome,
        violations: bytes | None = None,
    ) -> None:
        noted = Submission(address, version, outcome, None, 0, violations)
        self.store.noted.setdefault((address.tenant, submission_id), noted)

    async def index(self, address: DocumentAddress, version: int, *, tier: Tier, chunks: int, now: datetime) -> None:
        record, fingerprint = self.store.kept.get(address, (None, b""))
        if record is not None and record.version == version:
            state = DocumentState.DELETED if fingerprint == DELETION else DocumentState.INDEXED
            indexed = replace(record, tier=tier, chunks=chunks, state=state, changed_at=now)
            self.store.kept[address] = (indexed, fingerprint)

    async def note_asker(self, tenant: str, query_id: UUID, subject: bytes) -> None:
        self.store.askers[tenant, query_id] = subject

    async def is_erased_query(self, tenant: str, query_id: UUID) -> bool:
        record = self.store.asked.get((tenant, query_id))
        return record is not None and record.state == QueryState.ERASED

    async def is_buried(
        self,
        tenant: str,
        names: Sequence[tuple[Kind, bytes]],
        *,
        at: datetime | None = None,  # noqa: ARG002 - what is buried here is so for good
    ) -> bool:
        return any((tenant, *name) in self.store.buried for name in names)

    async def note_grounds(self, tenant: str, query_id: UUID, documents: Collection[tuple[str, str]]) -> None:
        self.store.grounds.setdefault((tenant, query_id), set()).update(documents)

    async def note_content(self, address: DocumentAddress, content: bytes) -> None:
        self.store.contents.setdefault(address, set()).add(content)

    async def bury_document(self, address: DocumentAddress, *, state: DocumentState, now: datetime) -> None:
        record, fingerprint = self.store.kept.get(address, (None, b""))
        if record is not None and record.state in _UNDER_WAY:
            self.store.kept[address] = (replace(record, state=state, changed_at=now), fingerprint)


def _is_unchanged(existing: tuple[DocumentRecord, bytes] | None, change: Change) -> bool:
    if existing is None:
        return change.is_deletion
    record, fingerprint = existing
    return fingerprint == change.fingerprint and record.state != DocumentState.DEAD_LETTERED


def _unchanged(existing: tuple[DocumentRecord, bytes] | None) -> tuple[int, Outcome]:
    if existing is None:
        return 0, Outcome.UNCHANGED
    record, _ = existing
    return record.version, Outcome.SUBMITTED if record.state in _UNDER_WAY else Outcome.UNCHANGED


def _settled(noted: Submission, document: DocumentRecord) -> Outcome:
    if noted.outcome != Outcome.SUBMITTED:
        return noted.outcome
    if document.version > noted.version:
        return Outcome.INDEXED
    settled = {DocumentState.INDEXED: Outcome.INDEXED, DocumentState.DELETED: Outcome.DELETED}
    return settled.get(document.state, Outcome.SUBMITTED)
