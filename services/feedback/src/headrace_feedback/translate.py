"""Between the wire and the domain. Whatever is wrong with a message is found here, all of it at once."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from headrace.feedback.v1 import service_pb2
from headrace.feedback.v1.feedback_pb2 import (
    Act,
    CitationJudgement,
    FeedbackRecorded,
    FeedbackSubmitted,
    JudgementKind,
    Thumb,
)
from headrace.privacy.v1.privacy_pb2 import Tier as WireTier
from headrace.query.v1.answer_pb2 import AnswerCompleted, Grounding, Routing
from headrace.query.v1.query_pb2 import Query
from headrace_privacy import Text, Tier
from headrace_privacy.policy import Purpose
from headrace_runtime.errors import Rejected, Violation

from headrace_feedback.feedback import Feedback, Kind, Reference
from headrace_feedback.interaction import OTHER_KIND, ChunkUse, Interaction, Known, Outline, Routed, Usage, Versioned
from headrace_feedback.uses import Reason, Span, Wish

TENANT = re.compile(r"[a-z0-9_-]{1,64}")
TRACE = re.compile(r"(?!0{32})[0-9a-f]{32}")
SUBJECT_CHARACTERS = 128
RATINGS = range(1, 6)
#: The longest comment and the longest correction, in characters.
WORDS = {"comment": 4_000, "correction": 8_000}
#: How many sources an export may name.
SOURCES = 32
#: What an export may be for: the rest is not done with a whole log.
EXPORTS = frozenset(int(one) for one in (Purpose.EVALUATE, Purpose.REVIEW, Purpose.TRAIN, Purpose.SHARE))

_GIVE_ONE = "Give a thumb, a rating, a comment, a correction, a judgement of a citation, or an act."

_SCORES = {Thumb.THUMB_UP: 1, Thumb.THUMB_DOWN: -1}
_KINDS: dict[Kind, JudgementKind.ValueType] = {
    "thumb": JudgementKind.JUDGEMENT_KIND_THUMB,
    "rating": JudgementKind.JUDGEMENT_KIND_RATING,
    "comment": JudgementKind.JUDGEMENT_KIND_COMMENT,
    "correction": JudgementKind.JUDGEMENT_KIND_CORRECTION,
    "citation": JudgementKind.JUDGEMENT_KIND_CITATION,
    "act": JudgementKind.JUDGEMENT_KIND_ACT,
}
#: Each act by name, and whether it speaks for the answer.
_ACTS = {
    Act.ACT_COPIED: ("copied", 1),
    Act.ACT_ASKED_AGAIN: ("asked_again", -1),
    Act.ACT_OPENED_SOURCE: ("opened_source", 1),
    Act.ACT_ABANDONED: ("abandoned", -1),
}
_ACT_NAMES = {name: act for act, (name, _) in _ACTS.items()}
#: An answer has four sentences; more citations than this no text can hold.
CITATIONS = range(1, 1_001)


def read_feedback(message: FeedbackSubmitted, *, now: datetime, path: str = "") -> Feedback:
    """Reads a judgement, but for its words: `read_words` gives them, once this has found them well.

    `path` goes before the names of fields, "feedback.". Raises Rejected with each wrong field.
    """
    violations = [*_check_reference(message, path), *_check_feedback(message, path)]
    if violations:
        raise Rejected(*violations)
    return Feedback(
        feedback_id=UUID(message.feedback_id),
        about=_reference(message.tenant, message.query_id, message.trace_id),
        subject=message.subject,
        kind=_kind(message),
        score=_score(message),
        submitted_at=_moment(message, "submitted_at"),
        recorded_at=now,
        record=_without_words(message).SerializeToString(),
        detail=_detail(message),
    )


def read_words(message: FeedbackSubmitted) -> Text | None:
    """The comment or correction as it came: of the strictest tier until it is classified. None where there is none."""
    kind = message.WhichOneof("judgement")
    return Text(getattr(message, kind), Tier.TIER_2) if kind in WORDS else None


def _without_words(message: FeedbackSubmitted) -> FeedbackSubmitted:
    """The same message, its comment or correction empty: which of them it was can still be told."""
    kind = message.WhichOneof("judgement")
    if kind not in WORDS:
        return message
    copy = FeedbackSubmitted()
    copy.CopyFrom(message)
    setattr(copy, kind, "")
    return copy


def read_reference(tenant: str, query_id: str, trace_id: str) -> Reference:
    """Reads which interaction is meant. Raises Rejected with each wrong field."""
    violations = list(_check_reference(FeedbackSubmitted(tenant=tenant, query_id=query_id, trace_id=trace_id), ""))
    if violations:
        raise Rejected(*violations)
    return _reference(tenant, query_id, trace_id)


def _reference(tenant: str, query_id: str, trace_id: str) -> Reference:
    return Reference(tenant, UUID(query_id) if query_id else None, trace_id.lower())


def read_tenant(tenant: str) -> str:
    """Reads a tenant that may be left out. Raises Rejected."""
    if tenant and not TENANT.fullmatch(tenant):
        raise Rejected(_bad_tenant("tenant"))
    return tenant


def read_wish(request: service_pb2.ExportRequest) -> Wish:
    """Reads what is to be exported. Raises Rejected with each wrong field."""
    violations = list(_check_wish(request))
    if violations:
        raise Rejected(*violations)
    span = Span(_moment(request, "since"), _moment(request, "until"))
    return Wish(request.tenant, Purpose(request.purpose), frozenset(request.sources), span)


def _check_wish(request: service_pb2.ExportRequest) -> Iterator[Violation]:
    if not request.tenant:
        yield Violation("tenant", "missing", "Say whose interactions.")
    elif not TENANT.fullmatch(request.tenant):
        yield _bad_tenant("tenant")
    if not request.purpose:
        yield Violation("purpose", "missing", "Say what for: evaluate, review, train or share.")
    elif request.purpose not in EXPORTS:
        yield Violation("purpose", "unknown_value", "An export is to evaluate, review, train or share.")
    if len(request.sources) > SOURCES:
        yield Violation("sources", "out_of_range", f"At most {SOURCES} sources.")
    for field in ("since", "until"):
        if not _is_moment(request, field):
            yield Violation(field, "unknown_value", "The time lies outside the years 1 to 9999.")


def _bad_tenant(field: str) -> Violation:
    return Violation(field, "malformed", "A tenant is 1 to 64 of a-z, 0-9, _ and -.")


def _check_reference(message: FeedbackSubmitted, path: str) -> Iterator[Violation]:
    if not message.tenant:
        yield Violation(f"{path}tenant", "missing", "Say whose query it is.")
    elif not TENANT.fullmatch(message.tenant):
        yield _bad_tenant(f"{path}tenant")
    if not message.query_id and not message.trace_id:
        yield Violation(f"{path}query_id", "missing", "Give the query's id, or its trace id.")
    if message.query_id and not _is_uuid(message.query_id):
        yield Violation(f"{path}query_id", "not_a_uuid", "The query's id is a UUID.")
    if message.trace_id and not TRACE.fullmatch(message.trace_id.lower()):
        yield Violation(f"{path}trace_id", "malformed", "A trace id is 32 hex digits, not all of them 0.")


def _check_feedback(message: FeedbackSubmitted, path: str) -> Iterator[Violation]:
    if not message.feedback_id:
        yield Violation(f"{path}feedback_id", "missing", "Choose a UUID, so that the same feedback counts once.")
    elif not _is_uuid(message.feedback_id):
        yield Violation(f"{path}feedback_id", "not_a_uuid", "The feedback's id is a UUID.")
    if "\0" in message.subject:
        yield Violation(f"{path}subject", "has_nul", "The subject holds a NUL character.")
    if len(message.subject) > SUBJECT_CHARACTERS:
        yield Violation(f"{path}subject", "too_long", f"The subject has at most {SUBJECT_CHARACTERS} characters.")
    if not _is_moment(message, "submitted_at"):
        yield Violation(f"{path}submitted_at", "unknown_value", "The time lies outside the years 1 to 9999.")
    yield from _check_judgement(message, path)


def _check_judgement(message: FeedbackSubmitted, path: str) -> Iterator[Violation]:
    match message.WhichOneof("judgement"):
        case None:
            yield Violation(f"{path}judgement", "missing", _GIVE_ONE)
        case "thumb" if message.thumb not in _SCORES:
            yield Violation(f"{path}thumb", "unknown_value", "A thumb is THUMB_UP or THUMB_DOWN.")
        case "rating" if message.rating not in RATINGS:
            yield Violation(f"{path}rating", "unknown_value", "A rating is 1 to 5.")
        case "citation":
            yield from _check_citation(message.citation, f"{path}citation")
        case "act" if message.act not in _ACTS:
            yield Violation(f"{path}act", "unknown_value", "Copied, asked again, opened a source or abandoned.")
        case "comment" | "correction" as name:
            yield from _check_words(getattr(message, name), name, f"{path}{name}")


def _check_citation(citation: CitationJudgement, field: str) -> Iterator[Violation]:
    if citation.number not in CITATIONS:
        yield Violation(f"{field}.number", "out_of_range", "The number as it stands in the text, from 1.")
    if citation.thumb not in _SCORES:
        yield Violation(f"{field}.thumb", "unknown_value", "A thumb is THUMB_UP or THUMB_DOWN.")


def _check_words(words: str, name: str, field: str) -> Iterator[Violation]:
    if not words.strip():
        yield Violation(field, "empty", f"The {name} is empty.")
    if len(words) > WORDS[name]:
        yield Violation(field, "too_long", f"The {name} has at most {WORDS[name]} characters.")
    if "\0" in words:
        yield Violation(field, "has_nul", f"The {name} holds a NUL character.")


def _kind(message: FeedbackSubmitted) -> Kind:
    kind = message.WhichOneof("judgement")
    assert kind is not None
    return kind


def _score(message: FeedbackSubmitted) -> int:
    match message.WhichOneof("judgement"):
        case "thumb":
            return _SCORES[message.thumb]
        case "citation":
            return _SCORES[message.citation.thumb]
        case "act":
            return _ACTS[message.act][1]
        case _:
            return message.rating


def _detail(message: FeedbackSubmitted) -> str:
    match message.WhichOneof("judgement"):
        case "citation":
            return str(message.citation.number)
        case "act":
            return _ACTS[message.act][0]
        case _:
            return ""


def to_recorded(feedback: Feedback, interaction: Known | None, *, replaces: bool = False) -> FeedbackRecorded:
    """Makes the event: everything but the words. interaction: what it judges; None while that is unknown."""
    recorded_at = Timestamp()
    recorded_at.FromDatetime(feedback.joined_at or feedback.recorded_at)
    return FeedbackRecorded(
        feedback_id=str(feedback.feedback_id),
        tenant=feedback.about.tenant,
        query_id=str(feedback.about.query_id or ""),
        trace_id=feedback.about.trace_id,
        kind=_KINDS[feedback.kind],
        score=feedback.score,
        tier=WireTier.ValueType(feedback.tier.value),
        recorded_at=recorded_at,
        citation=int(feedback.detail) if feedback.kind == "citation" else 0,
        act=_ACT_NAMES[feedback.detail] if feedback.kind == "act" else Act.ACT_UNSPECIFIED,
        replaces=replaces,
        joined=interaction is not None,
        product=interaction.product if interaction else "",
        query_kind=interaction.kind if interaction else "",
    )


def read_answer(message: AnswerCompleted, *, event_id: UUID, traceparent: str = "") -> Interaction:
    """Reads an answer. Raises Rejected when it does not say whose, which or when; the rest may be missing."""
    violations = list(_check_answer(message))
    if violations:
        raise Rejected(*violations)
    query = message.query
    return Interaction(
        tenant=query.tenant,
        query_id=UUID(query.query_id),
        trace_id=message.trace_id.lower(),
        traceparent=traceparent,
        answer_event_id=event_id,
        product=query.product,
        subject=query.subject,
        conversation_id=query.conversation_id,
        tier=Tier.of(message.tier),
        grounding=_grounding(message.grounding),
        finish_reason=message.finish_reason,
        prompt=Versioned(message.prompt.name, message.prompt.version),
        model=Versioned(message.model.name, message.model.version),
        provider=message.model.provider,
        variant=Versioned(message.variant.name, message.variant.version),
        embedder=Versioned(message.embedder.name, message.embedder.hash),
        usage=Usage(
            message.usage.input_tokens,
            message.usage.output_tokens,
            message.usage.cached_input_tokens,
            message.usage.cost_micro_usd,
        ),
        time_to_first_token_ms=message.time_to_first_token_ms,
        timings_ms=timings_ms(query, message.completed_at),
        chunks=tuple(_chunks(message)),
        accepted_at=_moment(query, "accepted_at"),
        completed_at=message.completed_at.ToDatetime(tzinfo=UTC),
        record=message.SerializeToString(),
        routed=_routed(message.routing),
    )


def _routed(routing: Routing) -> Routed:
    return Routed(
        kind=routing.kind or OTHER_KIND,
        confidence=routing.confidence,
        route=routing.route,
        version=routing.route_version,
        reason=routing.reason,
        backend=routing.backend,
    )


def _check_answer(message: AnswerCompleted) -> Iterator[Violation]:
    query = message.query
    if not TENANT.fullmatch(query.tenant):
        yield _bad_tenant("query.tenant") if query.tenant else Violation("query.tenant", "missing", "Whose query?")
    if not _is_uuid(query.query_id):
        yield Violation("query.query_id", "not_a_uuid", "The query's id is a UUID.")
    if not message.HasField("completed_at"):
        yield Violation("completed_at", "missing", "When was it finished?")
    elif not _is_moment(message, "completed_at"):
        yield Violation("completed_at", "unknown_value", "The time lies outside the years 1 to 9999.")
    if not _is_moment(query, "accepted_at"):
        yield Violation("query.accepted_at", "unknown_value", "The time lies outside the years 1 to 9999.")
    for field in ("product", "subject", "conversation_id"):
        if "\0" in getattr(query, field):
            yield Violation(f"query.{field}", "has_nul", "It holds a NUL character.")
    for chunk in [*(citation.chunk for citation in message.citations), *message.retrieved]:
        if "\0" in f"{chunk.chunk_id}{chunk.source}{chunk.document_id}":
            yield Violation("retrieved", "has_nul", "A chunk's ids hold a NUL character.")


def timings_ms(query: Query, completed_at: Timestamp) -> dict[str, float]:
    """Milliseconds in each service, and "total" from acceptance to completion."""
    spent = {hop.service: _milliseconds(hop.received_at, hop.finished_at) for hop in query.hops}
    if query.HasField("accepted_at"):
        spent["total"] = _milliseconds(query.accepted_at, completed_at)
    return spent


def _milliseconds(start: Timestamp, end: Timestamp) -> float:
    return (end.ToNanoseconds() - start.ToNanoseconds()) / 1e6


def _chunks(message: AnswerCompleted) -> Iterator[ChunkUse]:
    """Each chunk once: the retrieved by their rank, then what is cited beside them, should there ever be any."""
    citations: dict[str, int] = {}
    for citation in message.citations:
        citations.setdefault(citation.chunk.chunk_id, citation.number)
    ranks = {chunk.chunk_id: rank for rank, chunk in enumerate(message.retrieved, start=1)}
    chunks = {chunk.chunk_id: chunk for chunk in [*(c.chunk for c in message.citations), *message.retrieved]}
    for chunk_id, chunk in chunks.items():
        yield ChunkUse(
            chunk_id=chunk_id,
            document_version=chunk.version,
            source=chunk.source,
            document_id=chunk.document_id,
            tier=Tier.of(chunk.tier),
            rank=ranks.get(chunk_id, 0),
            citation=citations.get(chunk_id, 0),
        )


def _grounding(number: int) -> str:
    """The name in lower case, "not_in_sources"; "unspecified" for a number that this version does not know."""
    known = number in Grounding.values()
    return Grounding.Name(Grounding.ValueType(number if known else 0)).removeprefix("GROUNDING_").lower()


def _is_uuid(value: str) -> bool:
    try:
        UUID(value)
    except ValueError:
        return False
    return True


def _is_moment(message: Message, field: str) -> bool:
    try:
        _moment(message, field)
    except (ValueError, OverflowError):
        return False
    return True


def _moment(message: Message, field: str) -> datetime | None:
    """A timestamp in UTC; None when it is not set. Raises ValueError or OverflowError for one that no calendar has."""
    return getattr(message, field).ToDatetime(tzinfo=UTC) if message.HasField(field) else None


def to_timestamp(moment: datetime) -> Timestamp:
    """Writes a moment."""
    made = Timestamp()
    made.FromDatetime(moment)
    return made


def to_exported(
    outline: Outline, *, grant_id: str, question: str, answer: str, correction: str
) -> service_pb2.ExportedInteraction:
    """Writes one interaction in the clear."""
    return service_pb2.ExportedInteraction(
        query_id=str(outline.query_id),
        tier=WireTier.ValueType(outline.tier.value),
        question=question,
        answer=answer,
        correction=correction,
        sources=outline.sources,
        grant_id=grant_id,
        completed_at=to_timestamp(outline.completed_at),
    )


def to_exclusion(reason: Reason, tier: Tier, number: int) -> service_pb2.Exclusion:
    """Writes what was left out."""
    return service_pb2.Exclusion(reason=reason, tier=WireTier.ValueType(tier.value), interactions=number)
