"""Where events go that cannot be handled: a pointer to the record, never its payload."""

from __future__ import annotations

import hashlib
from datetime import datetime

from google.protobuf.timestamp_pb2 import Timestamp
from headrace.stream.v1.dead_letter_pb2 import DeadLetter
from headrace.topics import Topic
from headrace_runtime.errors import Failure, Rejected
from headrace_telemetry.tracing import trace_id

from headrace_stream.envelope import Arrival, Event, M

#: So many events in a row that fail stop the consumer: something is misconfigured, and draining the topic into the dead
#: letters would hide it (as in arroyo). Rejected ones don't count, or a careless publisher could stop everybody.
FAILURES_IN_A_ROW = 20


class CrashedRepeatedly(Failure):
    """The record ended its process every time it was tried."""


def dead_letter(
    topic: Topic[M], arrival: Arrival, value: bytes | None, *, error: Exception, now: datetime
) -> Event[DeadLetter]:
    """Makes the dead letter of a record."""
    failed_at = Timestamp()
    failed_at.FromDatetime(now)
    letter = DeadLetter(
        service=arrival.service,
        topic=arrival.topic,
        partition=arrival.partition,
        offset=arrival.offset,
        event_id=str(arrival.event_id),
        correlation_id=arrival.correlation_id,
        tenant=arrival.tenant,
        error=type(error).__name__,
        reasons=[str(violation) for violation in error.violations] if isinstance(error, Rejected) else [],
        attempts=arrival.attempt,
        sha256=hashlib.sha256(value or b"").hexdigest(),
        bytes=len(value or b""),
        trace_id=trace_id(),
        failed_at=failed_at,
    )
    return arrival.event(topic.dead_letters, letter)
