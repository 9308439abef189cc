"""Between the contract of erasures and what the classifier knows of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from headrace.privacy.v1 import erasure_pb2
from headrace.privacy.v1.erasure_pb2 import (
    ErasureApplied,
    ErasureRequested,
    ErasureScope,
    ErasureVerified,
    ErasureVerifying,
    ReachedModel,
    StoreReport,
)
from headrace.privacy.v1.privacy_pb2 import Tier as WireTier
from headrace_runtime.errors import Rejected, Violation
from headrace_stream.erasing import Document, Expired, Source, Subject, What, read_what

from headrace_classifier.erasures import LONGEST_REASON, Reached, Record, Report, State, Stored, waiting_for

_LONGEST_NAME, _LONGEST_SUBJECT, _LONGEST_DOCUMENT = 64, 512, 512


def read_request(request: erasure_pb2.EraseRequest) -> tuple[str, What, str]:
    """Reads whose, what and why. Raises Rejected with each wrong field."""
    what = read_what(request.scope)
    if violations := list(_wrong(request, what)):
        raise Rejected(*violations)
    assert what is not None
    return request.scope.tenant, what, request.reason.strip()


def _wrong(request: erasure_pb2.EraseRequest, what: What | None) -> Iterator[Violation]:
    if not request.scope.tenant:
        yield Violation("scope.tenant", "missing", "Say whose records.")
    if len(request.reason) > LONGEST_REASON:
        yield Violation("reason", "too_long", f"A reason has at most {LONGEST_REASON} characters.")
    match what:
        case Subject(name) if not 0 < len(name) <= _LONGEST_SUBJECT:
            yield Violation("scope.subject", "missing", f"An end user's id has 1 to {_LONGEST_SUBJECT} characters.")
        case Source(source) if not 0 < len(source) <= _LONGEST_NAME:
            yield Violation("scope.source", "missing", f"A source's name has 1 to {_LONGEST_NAME} characters.")
        case Document(source, name) if not (0 < len(source) <= _LONGEST_NAME and 0 < len(name) <= _LONGEST_DOCUMENT):
            yield Violation("scope.document", "missing", "A document has a source and an id.")
        case None:
            yield Violation("scope", "missing", "Say what is to be erased: a subject, a source or a document.")
        case Expired():
            yield Violation("scope.expired", "unsupported", "What expires is erased by the policy, on its own.")


def read_id(value: str) -> UUID:
    """Reads an erasure's id. Raises Rejected."""
    try:
        return UUID(value)
    except ValueError:
        raise Rejected(Violation("erasure_id", "not_a_uuid", "An erasure's id is a UUID.")) from None


def read_report(message: ErasureApplied | ErasureVerified) -> Report:
    """Reads what a service said."""
    is_applied = isinstance(message, ErasureApplied)
    reported = message.applied_at if isinstance(message, ErasureApplied) else message.verified_at
    return Report(
        service=message.service,
        round=message.round,
        state=State.REQUESTED if is_applied else State.VERIFYING,
        stores=tuple(map(to_stored, message.stores)),
        reported_at=reported.ToDatetime(tzinfo=UTC),
        models=tuple(map(to_reached, message.models)) if isinstance(message, ErasureVerified) else (),
    )


def to_reached(message: ReachedModel) -> Reached:
    """Reads a model that learned from what is erased."""
    reached = Reached(message.model, message.dataset_id, message.retire_by.ToDatetime(tzinfo=UTC))
    if not message.HasField("retired_at"):
        return reached
    return reached.retired(message.retired_at.ToDatetime(tzinfo=UTC), replaced_by=message.replaced_by)


def from_reached(model: Reached) -> ReachedModel:
    """Writes a model that learned from what is erased."""
    return ReachedModel(
        model=model.model,
        dataset_id=model.dataset_id,
        retire_by=stamp(model.retire_by),
        retired_at=stamp(model.retired_at) if model.retired_at else None,
        replaced_by=model.replaced_by,
    )


def to_stored(report: StoreReport) -> Stored:
    """Reads one store's report."""
    return Stored(report.store, report.records, report.how)


def to_what(scope: ErasureScope) -> What:
    """Reads a scope of ours."""
    what = read_what(scope)
    assert what is not None, "a scope that we stored says what"
    return what


def to_scope(tenant: str, what: What) -> ErasureScope:
    """Writes a scope."""
    match what:
        case Subject(name):
            return ErasureScope(tenant=tenant, subject=name)
        case Source(source):
            return ErasureScope(tenant=tenant, source=source)
        case Document(source, name):
            document = erasure_pb2.ErasedDocument(source=source, document_id=name)
            return ErasureScope(tenant=tenant, document=document)
        case Expired(tier, before):
            expired = erasure_pb2.Expired(tier=WireTier.ValueType(tier), before=stamp(before))
            return ErasureScope(tenant=tenant, expired=expired)


def to_requested(record: Record) -> ErasureRequested:
    """Writes the event that every store acts on."""
    return ErasureRequested(
        erasure_id=str(record.erasure_id),
        scope=to_scope(record.tenant, record.what),
        round=record.round,
        requested_at=stamp(record.requested_at),
    )


def to_verifying(record: Record) -> ErasureVerifying:
    """Writes the event that every store reads back at."""
    return ErasureVerifying(
        erasure_id=str(record.erasure_id),
        scope=to_scope(record.tenant, record.what),
        round=record.round,
        requested_at=stamp(record.requested_at),
    )


def to_erasure(record: Record, reports: Sequence[Report] = (), models: Sequence[Reached] = ()) -> erasure_pb2.Erasure:
    """Writes where an erasure stands."""
    return erasure_pb2.Erasure(
        erasure_id=str(record.erasure_id),
        scope=to_scope(record.tenant, record.what),
        state=erasure_pb2.ErasureState.ValueType(record.state),
        round=record.round,
        requested_by=record.requested_by,
        requested_at=stamp(record.requested_at),
        closed_at=stamp(record.closed_at) if record.closed_at else None,
        waiting_for=waiting_for(record, reports),
        receipt=record.receipt,
        receipt_text="\n".join(text for text in (record.receipt_text, record.completion_text) if text),
        models=map(from_reached, models),
        completion=record.completion,
    )


def to_listed(record: Record) -> erasure_pb2.Erasure:
    """Writes one of a list: without its receipt."""
    erasure = to_erasure(record)
    for name in ("waiting_for", "receipt", "receipt_text", "completion"):
        erasure.ClearField(name)
    return erasure


def stamp(moment: datetime) -> Timestamp:
    """Writes a moment."""
    written = Timestamp()
    written.FromDatetime(moment)
    return written
