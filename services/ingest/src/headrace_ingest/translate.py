"""Between the contracts and what ingest knows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from headrace.document.v1 import document_pb2, service_pb2
from headrace.privacy.v1 import privacy_pb2
from headrace.query.v1 import answer_pb2, events_pb2, query_pb2
from headrace.query.v1 import service_pb2 as query_service_pb2
from headrace_privacy import Tier, reveal
from headrace_runtime.errors import Violation
from headrace_stream.envelope import derived_id

from headrace_ingest.checks import DocumentFields, QueryFields
from headrace_ingest.domain import (
    DELETION,
    Change,
    DocumentAddress,
    DocumentRecord,
    QueryRecord,
    SourceRecord,
    fingerprint,
)


def timestamp(moment: datetime) -> Timestamp:
    """Writes a moment."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp


def tier_to_wire(tier: Tier | None) -> privacy_pb2.Tier.ValueType:
    """Writes a tier; None is unspecified."""
    return privacy_pb2.Tier.ValueType(tier or 0)


def declared_tier(number: int) -> Tier | None:
    """Reads a declared tier; None when nothing was declared. A value of a later version counts as the strictest."""
    return Tier.of(number) if number else None


def query_fields(message: events_pb2.QuerySubmitted | query_service_pb2.Question) -> QueryFields:
    """Reads what is checked of a query."""
    return QueryFields(
        query_id=message.query_id,
        tenant=message.tenant,
        product=message.product,
        text=message.text,
        subject=message.subject,
        conversation_id=message.conversation_id,
        sources=list(message.sources),
    )


def submitted(question: query_service_pb2.Question, *, query_id: str, now: datetime) -> events_pb2.QuerySubmitted:
    """Makes the event that a product would have published."""
    return events_pb2.QuerySubmitted(
        query_id=query_id,
        tenant=question.tenant,
        product=question.product,
        text=question.text,
        subject=question.subject,
        conversation_id=question.conversation_id,
        declared_tier=question.declared_tier,
        sources=question.sources,
        max_document_tier=question.max_document_tier,
        submitted_at=timestamp(now),
    )


def accepted(
    message: events_pb2.QuerySubmitted, *, published_at: datetime, received_at: datetime, now: datetime
) -> events_pb2.QueryAccepted:
    """Makes the event that the classifier reads."""
    query = query_pb2.Query(
        query_id=str(UUID(message.query_id)),
        tenant=message.tenant,
        product=message.product,
        subject=message.subject,
        conversation_id=message.conversation_id,
        sources=message.sources,
        max_document_tier=message.max_document_tier,
        submitted_at=message.submitted_at if message.HasField("submitted_at") else timestamp(published_at),
        accepted_at=timestamp(now),
        hops=[query_pb2.Hop(service="ingest", received_at=timestamp(received_at), finished_at=timestamp(now))],
    )
    return events_pb2.QueryAccepted(query=query, text=message.text, declared_tier=message.declared_tier)


def violations_to_wire(violations: Iterable[Violation]) -> list[query_pb2.FieldViolation]:
    """Writes what is wrong."""
    return [query_pb2.FieldViolation(field=v.field, reason=v.reason, description=v.description) for v in violations]


def violations_from_wire(violations: Iterable[query_pb2.FieldViolation]) -> list[Violation]:
    """Reads what is wrong."""
    return [Violation(v.field, v.reason, v.description) for v in violations]  # type: ignore[arg-type]  # our own words


def document_fields(message: document_pb2.DocumentSubmitted) -> DocumentFields:
    """Reads what is checked of a document."""
    is_deletion = message.WhichOneof("change") == "deletion"
    return DocumentFields(
        submission_id=message.submission_id,
        tenant=message.tenant,
        source=message.source,
        document_id=message.document_id,
        title=message.title,
        uri=message.uri,
        media_type=message.content.media_type,
        content=None if is_deletion else message.content.data,
    )


def change_of(message: document_pb2.DocumentSubmitted) -> Change:
    """Reads what a submission asks for."""
    is_deletion = message.WhichOneof("change") == "deletion"
    said = (message.content.media_type, message.title, message.uri, str(message.declared_tier))
    return Change(
        address=DocumentAddress(message.tenant, message.source, message.document_id),
        submission_id=UUID(message.submission_id),
        title=message.title,
        uri=message.uri,
        declared=declared_tier(message.declared_tier),
        fingerprint=DELETION if is_deletion else fingerprint(message.content.data, *said),
    )


def document_to_wire(address: DocumentAddress, *, version: int, title: str, uri: str) -> document_pb2.Document:
    """Writes a document's address and version."""
    return document_pb2.Document(
        tenant=address.tenant,
        source=address.source,
        document_id=address.document_id,
        version=version,
        title=title,
        uri=uri,
    )


def address_of_refused(message: document_pb2.DocumentRefused) -> DocumentAddress:
    """Reads a refused document's address, as far as there is one."""
    return DocumentAddress(message.tenant, message.source, message.document_id)


def address_of(document: document_pb2.Document) -> DocumentAddress:
    """Reads a document's address."""
    return DocumentAddress(document.tenant, document.source, document.document_id)


def source_to_wire(record: SourceRecord) -> service_pb2.Source:
    """Writes a source."""
    return service_pb2.Source(
        tenant=record.tenant,
        name=record.name,
        tier=tier_to_wire(record.tier),
        documents=record.documents,
        chunks=record.chunks,
        changed_at=timestamp(record.changed_at),
    )


def source_document_to_wire(record: DocumentRecord) -> service_pb2.SourceDocument:
    """Writes one document of a source."""
    return service_pb2.SourceDocument(
        document=document_to_wire(record.address, version=record.version, title=record.title, uri=record.uri),
        tier=tier_to_wire(record.tier),
        state=service_pb2.DocumentState.ValueType(record.state),
        chunks=record.chunks,
        changed_at=timestamp(record.changed_at),
    )


def tallied(record: QueryRecord) -> query_service_pb2.TalliedQuery:
    """Writes how a query ended."""
    return query_service_pb2.TalliedQuery(
        tenant=record.tenant,
        query_id=str(record.query_id),
        state=query_service_pb2.QueryState.ValueType(record.state),
        answer_event_id=str(record.answer_event_id or ""),
        accepted_at=timestamp(record.accepted_at),
    )


def answer_of(message: answer_pb2.AnswerCompleted) -> answer_pb2.Answer:
    """Makes the answer as clients see it."""
    return answer_pb2.Answer(
        text=reveal(message.text, Tier.of(message.tier)).reveal(),
        tier=message.tier,
        grounding=message.grounding,
        citations=message.citations,
        model=message.model,
        prompt=message.prompt,
        variant=message.variant,
        usage=message.usage,
        timings_ms=timings(message),
        trace_id=message.trace_id,
        completed_at=message.completed_at,
    )


def timings(message: answer_pb2.AnswerCompleted) -> dict[str, float]:
    """Returns the milliseconds in each service, in all, and between the services ("bus")."""
    spent = {hop.service: _milliseconds(hop.received_at, hop.finished_at) for hop in message.query.hops}
    total = _milliseconds(message.query.submitted_at, message.completed_at)
    return {**spent, "bus": max(0.0, total - sum(spent.values())), "total": total}


def _milliseconds(start: Timestamp, end: Timestamp) -> float:
    return round(max(0, end.ToMicroseconds() - start.ToMicroseconds()) / 1000, 3)


def submission_event_id(tenant: str, submission_id: str) -> UUID:
    """The id of the event that a gRPC call publishes: the same for the same submission, whoever takes the call."""
    return derived_id("submitted", tenant, submission_id)
