"""The event that a judgement was recorded over gRPC: of the same id for the same feedback."""

from __future__ import annotations

from headrace import topics
from headrace.feedback.v1.feedback_pb2 import FeedbackRecorded
from headrace_stream import Event
from headrace_stream.envelope import derived_id

from headrace_feedback.handlers import Recording
from headrace_feedback.translate import to_recorded


def recorded_event(recording: Recording) -> Event[FeedbackRecorded]:
    """Makes it."""
    message = to_recorded(recording.feedback, recording.interaction, replaces=recording.replaces)
    return Event(
        topic=topics.FEEDBACK_RECORDED,
        message=message,
        key=message.query_id or message.trace_id,
        event_id=derived_id("record", message.tenant, message.feedback_id),
        source="feedback",
        correlation_id=message.query_id,
        causation_id=message.feedback_id,
        tenant=message.tenant,
        tier=recording.feedback.tier,
    )
