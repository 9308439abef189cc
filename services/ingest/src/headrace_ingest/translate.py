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
from headrace_privacy import Opener, Seal, Text, Tier, strictest
from headrace_runtime.errors import Violation
from headrace_stream.envelope import derived_id

from headrace_ingest.checks import DocumentFields, QueryFields
from headrace_ingest.domain import (
    DELETION,
    Applied,
    Change,
    DocumentAddress,
    DocumentRecord,
    QueryRecord,
    SourceRecord,
    fingerprint,
    title_of,
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


def submitted(
    question: query_service_pb2.Question, *, query_id: str, clearance: Tier, now: datetime
) -> events_pb2.QuerySubmitted:
    """Makes the event that a product would have published. Nothing stricter than `clearance` may ground the answer."""
    asked = declared_tier(question.max_document_tier) or clearance
    return events_pb2.QuerySubmitted(
        query_id=query_id,
        tenant=question.tenant,
        product=question.product,
        text=question.text,
        subject=question.subject,
        conversation_id=question.conversation_id,
        declared_tier=question.declared_tier,
        sources=question.sources,
        max_document_tier=tier_to_wire(min(asked, clearance)),
        submitted_at=timestamp(now),
    )


def query_of(
    message: events_pb2.QuerySubmitted, *, clearance: Tier, published_at: datetime, received_at: datetime, now: datetime
) -> query_pb2.Query:
    """Writes who asks. No document stricter than `clearance` may ground the answer, whatever was asked for."""
    asked = declared_tier(message.max_document_tier) or clearance
    return query_pb2.Query(
        query_id=str(UUID(message.query_id)),
        tenant=message.tenant,
        product=message.product,
        subject=message.subject,
        conversation_id=message.conversation_id,
        sources=message.sources,
        max_document_tier=tier_to_wire(min(asked, clearance)),
        submitted_at=message.submitted_at if message.HasField("submitted_at") else timestamp(published_at),
        accepted_at=timestamp(now),
        hops=[query_pb2.Hop(service="ingest", received_at=timestamp(received_at), finished_at=timestamp(now))],
    )


def accepted(message: events_pb2.QuerySubmitted, query: query_pb2.Query, seal: Seal) -> events_pb2.QueryAccepted:
    """Makes the event that the classifier reads: the question as it was submitted, sealed."""
    raw = seal.protect(Text(message.text, Tier.TIER_2))
    return events_pb2.QueryAccepted(query=query, raw=raw, declared_tier=message.declared_tier)


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


def labels_of(message: document_pb2.DocumentSubmitted, *, markdown: str, seal: Seal) -> bytes:
    """Writes what people call a document, as it rests and travels until its tier is known: sealed."""
    title = title_of(markdown, message.title, otherwise=message.document_id)
    labels = document_pb2.Document(title=title, uri=message.uri)
    return seal.seal_labels(labels, Tier.TIER_2).SerializeToString()


def change_of(message: document_pb2.DocumentSubmitted, *, labels: bytes, key: bytes) -> Change:
    """Reads what a submission asks for. `labels`: see labels_of. `key` is the tenant's, for the fingerprint."""
    is_deletion = message.WhichOneof("change") == "deletion"
    said = (message.content.media_type, message.title, message.uri, str(message.declared_tier))
    return Change(
        address=DocumentAddress(message.tenant, message.source, message.document_id),
        submission_id=UUID(message.submission_id),
        labels=labels,
        declared=declared_tier(message.declared_tier),
        fingerprint=DELETION if is_deletion else fingerprint(key, message.content.data, *said),
    )


def document_to_wire(address: DocumentAddress, *, version: int, labels: bytes = b"") -> document_pb2.Document:
    """Writes a document's address and version, and its labels as they rest."""
    document = document_pb2.Document.FromString(labels)
    document.tenant, document.source = address.tenant, address.source
    document.document_id, document.version = address.document_id, version
    return document


def document_put(
    change: Change, applied: Applied, markdown: str, seal: Seal, *, now: datetime
) -> document_pb2.DocumentAccepted:
    """Makes the event that the classifier reads: the document's text as it was submitted, sealed."""
    accepted = _document_changed(change, applied, now)
    accepted.raw.CopyFrom(seal.protect(Text(markdown, Tier.TIER_2)))
    return accepted


def document_deleted(change: Change, applied: Applied, *, now: datetime) -> document_pb2.DocumentAccepted:
    """Makes the event that says that a document is gone."""
    accepted = _document_changed(change, applied, now)
    accepted.deletion.CopyFrom(document_pb2.Deletion())
    return accepted


def _document_changed(change: Change, applied: Applied, now: datetime) -> document_pb2.DocumentAccepted:
    declared = change.declared and strictest(change.declared, applied.tier)
    document = document_to_wire(change.address, version=applied.version, labels=change.labels)
    document.accepted_at.CopyFrom(timestamp(now))
    return document_pb2.DocumentAccepted(
        document=document,
        declared_tier=tier_to_wire(declared or applied.tier),
        submission_id=str(change.submission_id),
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


def document_of(record: DocumentRecord) -> document_pb2.Document:
    """Writes a document as it rests, its labels sealed."""
    return document_to_wire(record.address, version=record.version, labels=record.labels)


def source_document_to_wire(record: DocumentRecord, opener: Opener) -> service_pb2.SourceDocument:
    """Writes one document of a source for those who may read its title."""
    return service_pb2.SourceDocument(
        document=opener.readable_labels(document_of(record)),
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


def answer_of(message: answer_pb2.AnswerCompleted, opener: Opener) -> answer_pb2.Answer:
    """Makes the answer as clients see it. Raises Erased when whoever asked is erased."""
    return answer_pb2.Answer(
        text=opener.reveal(message.text, Tier.of(message.tier)).reveal(),
        tier=message.tier,
        grounding=message.grounding,
        citations=[_citation(citation, opener) for citation in message.citations],
        model=message.model,
        prompt=message.prompt,
        variant=message.variant,
        usage=message.usage,
        timings_ms=timings(message),
        trace_id=message.trace_id,
        completed_at=message.completed_at,
    )


def _citation(citation: answer_pb2.Citation, opener: Opener) -> answer_pb2.Citation:
    return answer_pb2.Citation(number=citation.number, chunk=opener.readable_labels(citation.chunk))


def update_of(
    message: answer_pb2.AnswerChunk | answer_pb2.AnswerCompleted, opener: Opener, *, sequence: int
) -> query_service_pb2.Update:
    """Makes what a watcher sees of an answer, or of a piece of it. Raises Erased when whoever asked is erased."""
    if isinstance(message, answer_pb2.AnswerCompleted):
        return query_service_pb2.Update(sequence=sequence, answer=answer_of(message, opener))
    if message.WhichOneof("part") == "started":
        stage = query_service_pb2.Progress(stage=query_service_pb2.STAGE_GENERATING, passages=message.started.passages)
        return query_service_pb2.Update(sequence=sequence, progress=stage)
    return query_service_pb2.Update(sequence=sequence, text=opener.reveal(message.text, Tier.TIER_2).reveal())


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
