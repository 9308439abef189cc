"""An interaction: a question, its answer, and all that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from headrace_privacy import Owner, Tier


@dataclass(frozen=True, slots=True)
class Versioned:
    """A prompt, model, variant or embedder, by name and version; empty where the answer did without."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read, written and read from a cache, and the cost in millionths of a US dollar."""

    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    cost_micro_usd: int


#: The kind of what is like none of the tenant's kinds, and of all that was logged before there were any.
OTHER_KIND = "other"


@dataclass(frozen=True, slots=True)
class Routed:
    """How a query came to its variant. kind: in the tenant's words. confidence: of the kind, 0 to 1. version:
    the route's, 0 for the default of the house."""

    kind: str = OTHER_KIND
    confidence: float = 0.0
    route: str = ""
    version: int = 0
    reason: str = ""
    backend: str = ""


@dataclass(frozen=True, slots=True)
class ChunkUse:
    """How an answer used a chunk. `rank`: its place among the retrieved, from 1; `citation`: its number, or 0."""

    chunk_id: str
    document_version: int
    source: str
    document_id: str
    tier: Tier
    rank: int
    citation: int


@dataclass(frozen=True, slots=True)
class Interaction:
    """What is logged. `record` is the whole event (AnswerCompleted); the rest is taken from it, to be searched by.

    `timings_ms` has the milliseconds in each service, and "total" from acceptance to completion. `traceparent` is the
    W3C context of the event, so that what happens days later can link to it.
    """

    tenant: str
    query_id: UUID
    trace_id: str
    traceparent: str
    answer_event_id: UUID
    product: str
    subject: str
    conversation_id: str
    tier: Tier
    grounding: str
    finish_reason: str
    prompt: Versioned
    model: Versioned
    provider: str
    variant: Versioned
    embedder: Versioned
    usage: Usage
    time_to_first_token_ms: float
    timings_ms: Mapping[str, float]
    chunks: tuple[ChunkUse, ...]
    accepted_at: datetime | None
    completed_at: datetime
    record: bytes = field(repr=False)
    routed: Routed = Routed()


#: When a query that does not say so was accepted: as protobuf reads a time that is not set.
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def owner_of_interaction(tenant: str, subject: str, accepted_at: datetime | None) -> Owner:
    """Whose it is, as headrace_privacy.owner_of_query has it of the query: the end user's, or the day's."""
    return Owner.subject(tenant, subject) if subject else Owner.anonymous(tenant, accepted_at or _NEVER)


@dataclass(frozen=True, slots=True)
class Known:
    """What feedback needs to know of the interaction that it judges."""

    query_id: UUID
    trace_id: str
    tier: Tier
    traceparent: str
    product: str
    kind: str
    owner: Owner

    @classmethod
    def of(cls, interaction: Interaction) -> Known:
        """Takes it from a whole interaction."""
        return cls(
            interaction.query_id,
            interaction.trace_id,
            interaction.tier,
            interaction.traceparent,
            interaction.product,
            interaction.routed.kind,
            owner_of_interaction(interaction.tenant, interaction.subject, interaction.accepted_at),
        )


@dataclass(frozen=True, slots=True)
class Outline:
    """What must be known of an interaction before anybody may read it, and no word of it.

    tier: the strictest of everything that a reader would see: the interaction's, its chunks' and its words'. sources:
    those of all its chunks, cited or not, by name: the model had read them all.
    """

    query_id: UUID
    tier: Tier
    sources: tuple[str, ...]
    completed_at: datetime


@dataclass(frozen=True, slots=True)
class Logged:
    """An interaction as it rests: the event's bytes and when they were stored."""

    query_id: UUID
    record: bytes = field(repr=False)
    stored_at: datetime


@dataclass(frozen=True, slots=True)
class Judgement:
    """One feedback of an interaction as it rests: the submission without its words, and these sealed, if it had any."""

    record: bytes = field(repr=False)
    words: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Exported:
    """An interaction as it rests, and its latest correction, if it has one."""

    query_id: UUID
    record: bytes = field(repr=False)
    correction: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tallied:
    """One line of the tally."""

    tenant: str
    query_id: UUID
    answer_event_id: UUID
