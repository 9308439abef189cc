"""Sees an erasure through: from the request, over every service's word, to the signed receipt.

Each step is one transaction that also holds what it announces, and none is a step that has been done: so whatever is
killed where, the same event again, or the next look at what is due, takes it up where it stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from headrace import topics
from headrace.privacy.v1.erasure_pb2 import ErasureApplied, ErasureCompleted, ErasureVerified
from headrace_database import Connection, Database
from headrace_identity import Principal, PrivateKey
from headrace_identity.tokens import sign_json
from headrace_privacy import Owner, Tier, Vault
from headrace_privacy.policy import Policy
from headrace_runtime.errors import Conflict, NotFound
from headrace_stream import Delivery, Event, Ledger, Unit
from headrace_stream.envelope import derived_id
from headrace_stream.erasing import Document, Expired, Source, Subject, What, names_of
from headrace_telemetry.tracing import trace_id

from headrace_classifier import completions
from headrace_classifier.adapters import postgres_erasures as store
from headrace_classifier.adapters.postgres_audit import PostgresAudit
from headrace_classifier.adapters.postgres_keys import PostgresKeys
from headrace_classifier.audit import Action, Entry, Row
from headrace_classifier.completions import Completion
from headrace_classifier.erasure_translate import read_report, stamp, to_requested, to_scope, to_verifying
from headrace_classifier.erasures import BASE, Record, Report, State, last_day_of_all, left, said_of, waiting_for
from headrace_classifier.keys import Rotation
from headrace_classifier.model_changes import ModelChange
from headrace_classifier.receipts import KIND, Aftermath, Receipt, make_receipt, page, tier_of

log = structlog.get_logger()

EVERYBODY = "*"
#: What runs by itself, by the policy, is asked for by the classifier.
ITSELF = Principal("service:classifier", EVERYBODY, "retention")
#: What follows from the end of a model by itself.
FOLLOWING = Principal("service:classifier", EVERYBODY, "classifier")


@dataclass(frozen=True, slots=True)
class Coordinator:
    """Erasures of everybody. `forget_named` takes off the bus the events that name an end user; False where it cannot.
    `checkpoint` seals the audit log outside the database."""

    database: Database
    ledger: Ledger
    keys: PostgresKeys
    vault: Vault
    audit: PostgresAudit
    policy: Policy
    signer: PrivateKey
    forget_named: Callable[[], Awaitable[bool]]
    checkpoint: Callable[[], Awaitable[object]]
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]

    async def begin(self, tenant: str, what: What, *, reason: str, by: Principal) -> Record:
        """Records an erasure, destroys its keys and tells every store, at once; one under way is that one.

        Raises NotFound for what has no key: nobody ever gave us anything of it, or it is erased.
        """
        scope, row = to_scope(tenant, what), None
        async with self.ledger.unit(tenant=tenant) as unit:
            if (under_way := await store.hold_open(unit.connection, scope)) is not None:
                return under_way
            record = await self._new(unit.connection, tenant, what, reason=reason, by=by)
            await store.add(unit.connection, record)
            unit.emit(_requested(record))
            if not isinstance(what, Expired):  # what finds nothing to expire leaves no row
                row = await self._note(unit.connection, "erasure.requested", record, by=by, at=record.requested_at)
        self.vault.forget()
        await self.audit.seal(row)
        return record

    async def _new(self, connection: Connection, tenant: str, what: What, *, reason: str, by: Principal) -> Record:
        keys = await self._destroy(connection, tenant, what)
        if not keys and not isinstance(what, Expired):
            raise NotFound(_kind(what), f"tenant {tenant} never had it, or it is erased")
        return Record(
            erasure_id=self.new_id(),
            tenant=tenant,
            what=what,
            reason=reason,
            requested_by=by.subject,
            requested_role=by.role,
            requested_at=self.now(),
            keys=keys,
        )

    async def _destroy(self, connection: Connection, tenant: str, what: What) -> int:
        """Destroys what opens it; returns how many keys there were."""
        match what:
            case Subject(name):
                return await self.keys.destroy(connection, Owner.subject(tenant, name))
            case Source(source):
                return await self.keys.destroy_source(connection, tenant, source)
            case Document(source, document_id):
                return await self.keys.destroy(connection, Owner.document(tenant, source, document_id))
            case Expired(_, before):
                last = last_day_of_all(self.policy, self.now())
                if last is None or before > last:
                    return 0
                # A day's key is as old as the day's first question; its last is a day younger.
                return await self.keys.destroy_anonymous(connection, tenant, before=before - timedelta(days=1))

    async def on_applied(self, delivery: Delivery[ErasureApplied]) -> Sequence[Event[Any]]:
        """erasure.applied → erasure.verifying, once every service has applied it."""
        async with self.ledger.unit(tenant=EVERYBODY) as unit:
            record = await self._hear(unit, delivery.message)
            if record is not None and not waiting_for(record, await store.reports_of(unit.connection, record)):
                verifying = record.verifying()
                await store.change(unit.connection, verifying)
                unit.emit(_verifying(verifying))
        return ()

    async def on_verified(self, delivery: Delivery[ErasureVerified]) -> Sequence[Event[Any]]:
        """erasure.verified → erasure.completed, once every service has nothing left; else the next round."""
        async with self.ledger.unit(tenant=EVERYBODY) as unit:
            record = await self._hear(unit, delivery.message)
            if record is None:
                return ()
            reports = await store.reports_of(unit.connection, record)
            if waiting_for(record, reports):
                return ()
            if still := left(record, reports):
                log.warning("erasure goes into another round", erasure=str(record.erasure_id), left=still)
                await store.change(unit.connection, record.again(self.now()))
                return ()
        await self._close(record, reports)
        return ()

    async def _hear(self, unit: Unit, message: ErasureApplied | ErasureVerified) -> Record | None:
        """Stores what a service said; None when it is of an erasure, round or state that is over."""
        record, report = await store.hold(unit.connection, UUID(message.erasure_id)), read_report(message)
        if record is None or not record.expects(report):
            return None
        await store.add_report(unit.connection, record, report)
        return record

    async def announce_due(self) -> int:
        """Announces the next round of those that had something left; returns how many."""
        async with self.ledger.unit(tenant=EVERYBODY) as unit:
            records = await store.due(unit.connection, self.now())
            for record in records:
                announced = record.announced()
                await store.change(unit.connection, announced)
                unit.emit(_requested(announced))
        return len(records)

    async def _close(self, record: Record, reports: Sequence[Report]) -> None:
        """Every step before the last can be done twice; the last one is done once."""
        names = await names_of(self.vault, record.tenant)
        aftermath = await self._aftermath(record)
        receipt = make_receipt(record, reports, aftermath=aftermath, names=names, closed_at=self.now())
        async with self.ledger.unit(tenant=EVERYBODY) as unit:
            current = await store.hold(unit.connection, record.erasure_id)
            if current is None or current.state is not State.VERIFYING or current.round != record.round:
                return
            if isinstance(record.what, Expired) and not receipt.removed:
                await store.drop(unit.connection, record)
                return
            rows = await self._finish(unit, receipt)
        for row in rows:
            await self.audit.seal(row)
        await self.checkpoint()
        # What named an end user is in dead rows until now.
        await self.database.rewrite("erasures", "outbox")

    async def _finish(self, unit: Unit, receipt: Receipt) -> list[Row]:
        record, now = receipt.record, receipt.closed_at
        signed = sign_json(receipt.claims(), self.signer, kind=KIND)
        closed = record.closed(now, receipt=signed, receipt_text=page(receipt))
        await store.change(unit.connection, closed)
        unit.emit(_completed(closed, signed, now))
        by = Principal(record.requested_role, record.tenant, record.requested_by)
        rows = [await self._note(unit.connection, "erasure.closed", record, by=by, at=now)]
        await store.add_reached(unit.connection, closed, receipt.models)
        return [*rows, *await self._complete(unit.connection, closed)]

    async def note_deleted(self, unit: Unit, change: ModelChange) -> list[Row]:
        """Notes that a model's weights are deleted, and completes the receipts that waited for nothing else; returns
        the rows of the audit log."""
        tenant, replaced_by = change.tenant, change.replaced_by or BASE
        waiting = await store.note_deleted(
            unit.connection, tenant, change.model, at=change.changed_at, replaced_by=replaced_by
        )
        rows: list[Row] = []
        for erasure_id in waiting:
            record = await store.hold(unit.connection, erasure_id)
            if record is not None:
                rows += await self._complete(unit.connection, record)
        return rows

    async def _complete(self, connection: Connection, record: Record) -> list[Row]:
        """Signs what became of the models, once, when the last of them is gone; returns the row of the audit log."""
        models = await store.reached_of(connection, record)
        if record.completion or not models or any(model.retired_at is None for model in models):
            return []
        completion = Completion(record, models, self.now())
        signed = sign_json(completion.claims(), self.signer, kind=completions.KIND)
        await store.change(
            connection, record.completed(completion=signed, completion_text=completions.page(completion))
        )
        return [await self._note(connection, "erasure.completed", record, by=FOLLOWING, at=completion.completed_at)]

    async def _aftermath(self, record: Record) -> Aftermath:
        return Aftermath(
            rotation=await self._rotate() if record.keys else None,
            wal_removed=await self._remove_wal(),
            named_trimmed=await self.forget_named() if isinstance(record.what, Subject) else True,
            bus_hours=max(topic.retention_hours for topic in topics.ALL if topic.name not in _ERASURES),
        )

    async def _rotate(self) -> Rotation | None:
        """Makes the wrapped keys in backups worthless; None where the master key is not in our hands."""
        try:
            return await self.keys.rotate()
        except Conflict as conflict:
            log.warning("the master key stays", reason=str(conflict))
            return None

    async def _remove_wal(self) -> bool:
        try:
            await self.database.checkpoint()
        except asyncpg.InsufficientPrivilegeError:
            log.warning("the write-ahead log stays", mend="GRANT pg_checkpoint, and EXECUTE on pg_switch_wal")
            return False
        return True

    async def _note(
        self, connection: Connection, action: Action, record: Record, *, by: Principal, at: datetime
    ) -> Row:
        entry = Entry(
            recorded_at=at,
            action=action,
            role=by.role,
            actor=by.subject,
            tenant=record.tenant,
            tier=tier_of(record.what),
            object=str(record.erasure_id),
            reason=said_of(record.what),
            policy_version=self.policy.version,
            trace_id=trace_id(),
        )
        return await self.audit.append(connection, entry)


_ERASURES = {topic.name for topic in topics.ALL if topic.name.startswith("erasure.")}


def _kind(what: What) -> str:
    return {Subject: "end user", Source: "source", Document: "document", Expired: "tier"}[type(what)]


def _requested(record: Record) -> Event[Any]:
    return _event(record, topics.ERASURE_REQUESTED, to_requested(record))


def _verifying(record: Record) -> Event[Any]:
    return _event(record, topics.ERASURE_VERIFYING, to_verifying(record))


def _completed(record: Record, signed: str, now: datetime) -> Event[Any]:
    message = ErasureCompleted(
        erasure_id=str(record.erasure_id),
        tenant=record.tenant,
        receipt_sha256=hashlib.sha256(signed.encode()).hexdigest(),
        completed_at=stamp(now),
    )
    return _event(record, topics.ERASURE_COMPLETED, message)


def _event(record: Record, topic: Any, message: Any) -> Event[Any]:
    """The same step of the same round is the same event."""
    erasure_id = str(record.erasure_id)
    return Event(
        topic=topic,
        message=message,
        key=erasure_id,
        event_id=derived_id("erasure", erasure_id, record.round, topic.name),
        source="classifier",
        correlation_id=erasure_id,
        causation_id="",
        tenant=record.tenant,
        tier=Tier.TIER_2,
    )
