"""What travels: events going out, deliveries coming in, and the CloudEvents headers between them.

Headers follow the CloudEvents Kafka binding in binary mode, with its correlation and data-classification extensions,
and W3C Trace Context beside them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Generic, TypedDict, TypeVar, Unpack
from uuid import UUID, uuid5

from google.protobuf.message import Message
from headrace.topics import Topic
from headrace_identity.signatures import About
from headrace_privacy import Tier
from headrace_runtime.errors import Rejected, Violation
from opentelemetry.context import Context

M = TypeVar("M", bound=Message)
N = TypeVar("N", bound=Message)

PROTOBUF = "application/protobuf"
JSON = "application/json"

#: Set on a record that was taken out of the dead letters and published again: a new offset, so a new chance.
REPLAY_HEADER = "headrace-replay"

# The namespace of every id that we derive from another.
_NAMESPACE = UUID("6f1d7b0e-6a5e-5d0c-9a63-4f0c8f4c5b11")


_ID = re.compile(r"[\w.:@+~=-]{1,512}|[a-z0-9_-]{1,64}/[a-z0-9_-]{1,64}/.{1,512}", re.ASCII | re.DOTALL)


def derived_id(*parts: object) -> UUID:
    """Returns the UUIDv5 that these parts always give."""
    return uuid5(_NAMESPACE, "\x1f".join(map(str, parts)))


@dataclass(frozen=True, slots=True)
class Event(Generic[M]):
    """What a service publishes. `source` is the service; the correlation is the query's id or the document's key."""

    topic: Topic[M]
    message: M
    key: str
    event_id: UUID
    source: str
    correlation_id: str
    causation_id: str
    tenant: str
    tier: Tier

    def headers(self, now: datetime) -> dict[str, str]:
        """Returns the CloudEvents headers."""
        return {
            "content-type": PROTOBUF,
            "ce_specversion": "1.0",
            "ce_id": str(self.event_id),
            "ce_type": self.message.DESCRIPTOR.full_name,
            "ce_source": f"/headrace/{self.source}",
            "ce_time": now.astimezone(UTC).isoformat(),
            "ce_correlationid": self.correlation_id,
            "ce_causationid": self.causation_id,
            "ce_tenant": self.tenant,
            "ce_dataclassification": self.tier.label,
        }


class Details(TypedDict, total=False):
    """What may differ between an event and its cause. `ordinal` tells apart several events on one topic."""

    key: str
    tenant: str
    tier: Tier
    correlation_id: str
    ordinal: int


@dataclass(frozen=True, slots=True)
class Arrival:
    """Where a record came from and what its headers say, before its value is looked at."""

    service: str
    topic: str
    partition: int
    offset: int
    key: str
    headers: Mapping[str, str]
    event_id: UUID
    received_at: datetime
    published_at: datetime
    attempt: int
    context: Context
    #: For whom it speaks, as its publisher signed it; None on topics that only services publish to.
    publisher: About | None = None

    def of_nobody(self) -> Arrival:
        """Returns the same without what its headers claim, so that it is of no tenant and of the strictest tier."""
        claimed = ("ce_tenant", "ce_dataclassification")
        headers = {name: value for name, value in self.headers.items() if name not in claimed}
        return replace(self, headers=headers, publisher=None)

    @property
    def correlation_id(self) -> str:
        """The query's id or the document's key; the record's key where the header is missing."""
        return an_id(self.headers.get("ce_correlationid", "")) or self.key

    @property
    def tenant(self) -> str:
        """The tenant as the header has it; empty when a foreign publisher left it out, or wrote no tenant's name."""
        return an_id(self.headers.get("ce_tenant", ""))

    @property
    def tier(self) -> Tier:
        """The tier as the header has it; a missing or unknown one is the strictest."""
        return Tier.from_label(self.headers.get("ce_dataclassification", ""))

    def event(self, topic: Topic[N], message: N, **details: Unpack[Details]) -> Event[N]:
        """Makes an event that this one causes. Its id is derived, so a replay makes the same event again.

        What is not given in `details` is taken over from the cause.
        """
        return Event(
            topic=topic,
            message=message,
            key=details.get("key", self.key),
            event_id=derived_id(self.event_id, self.service, topic.name, details.get("ordinal", 0)),
            source=self.service,
            correlation_id=details.get("correlation_id", self.correlation_id),
            causation_id=str(self.event_id),
            tenant=details.get("tenant", self.tenant),
            tier=details.get("tier", self.tier),
        )


@dataclass(frozen=True, slots=True)
class Delivery(Generic[M]):
    """What a service receives: the message and where it came from."""

    message: M
    arrival: Arrival

    @property
    def event_id(self) -> UUID:
        """The id by which the event takes effect once."""
        return self.arrival.event_id

    @property
    def tenant(self) -> str:
        """The tenant as the header has it."""
        return self.arrival.tenant

    @property
    def tier(self) -> Tier:
        """The tier as the header has it."""
        return self.arrival.tier

    @property
    def key(self) -> str:
        """The record's key."""
        return self.arrival.key

    @property
    def correlation_id(self) -> str:
        """The query's id or the document's key."""
        return self.arrival.correlation_id

    @property
    def received_at(self) -> datetime:
        """When the service took the record."""
        return self.arrival.received_at

    def follow(self, topic: Topic[N], message: N, **details: Unpack[Details]) -> Event[N]:
        """As Arrival.event."""
        return self.arrival.event(topic, message, **details)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that can never be handled, for those who must answer it: what is wrong, and where it came from."""

    violations: tuple[Violation, ...]
    arrival: Arrival
    value: bytes

    def speaks_for(self, tenant: str) -> bool:
        """Says whether its publisher may be answered in this tenant's name: not one who is unknown, or another's."""
        if any(violation.reason == "unauthenticated" for violation in self.violations):
            return False
        return self.arrival.publisher is None or self.arrival.publisher.tenant == tenant


def check_size(topic: Topic[Any], size: int) -> None:
    """Raises Rejected for an event that its topic cannot take."""
    if size > topic.max_message_bytes:
        raise Rejected(
            Violation("", "too_large", f"The event has {size} bytes; {topic.name} takes {topic.max_message_bytes}.")
        )


def an_id(given: str) -> str:
    """Returns what a publisher gave as an id, a key or a name, if it can be one; else "".

    Ids travel in the clear: in dead letters, spans and refusals. What has blanks is people's words, put where an id
    belongs; the last part of a document's key is the one exception, which its steward chose.
    """
    return given if _ID.fullmatch(given) else ""


def readable_headers(headers: Iterable[tuple[str, Any]]) -> dict[str, str]:
    """Reads a record's headers. A null or non-UTF-8 one, which any publisher can send, is left out."""
    readable: dict[str, str] = {}
    for name, value in headers:
        try:
            readable[name] = bytes(value).decode()
        except (TypeError, UnicodeDecodeError):
            continue
    return readable


def event_id_of(headers: Mapping[str, str], *, topic: str, partition: int, offset: int) -> UUID:
    """Returns a record's event id: its ce_id when that is a UUID, else one derived from what identifies the event.

    By CloudEvents an id is unique within its source: without one, two products' "1" would be the same event.
    """
    given, source = headers.get("ce_id", ""), headers.get("ce_source", "")
    try:
        return UUID(given) if given else derived_id("record", topic, partition, offset)
    except ValueError:
        return derived_id("foreign", source, given) if source else derived_id("record", topic, partition, offset)
