"""The gRPC edge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import grpc
from headrace import topics
from headrace.feedback.v1 import service_pb2, service_pb2_grpc
from headrace.feedback.v1.feedback_pb2 import FeedbackRecorded, FeedbackSubmitted
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace_stream import Event, Ledger, Unit
from headrace_stream.envelope import derived_id

from headrace_feedback.feedback import Feedback
from headrace_feedback.handlers import Explained, explain, record_feedback
from headrace_feedback.interaction import Tallied
from headrace_feedback.links import link_to_answer
from headrace_feedback.ports import Log, Reader
from headrace_feedback.translate import read_feedback, read_reference, read_tenant, to_recorded, to_timestamp

Context = grpc.aio.ServicerContext[Any, Any]


class FeedbackServicer(service_pb2_grpc.FeedbackServiceServicer):
    """Serves headrace.feedback.v1.FeedbackService. `new_id` and `now` are the sources of ids and time."""

    def __init__(
        self,
        ledger: Ledger,
        log_on: Callable[[Unit], Log],
        reader: Reader,
        *,
        new_id: Callable[[], UUID],
        now: Callable[[], datetime],
    ) -> None:
        self._ledger = ledger
        self._log_on = log_on
        self._reader = reader
        self._new_id = new_id
        self._now = now

    async def Record(self, request: service_pb2.RecordRequest, context: Context) -> service_pb2.RecordResponse:
        del context
        submitted = FeedbackSubmitted()
        submitted.CopyFrom(request.feedback)
        submitted.feedback_id = submitted.feedback_id or str(self._new_id())
        feedback = read_feedback(submitted, now=self._now(), path="feedback.")
        async with self._ledger.unit(tenant=feedback.about.tenant) as unit:
            recording = await record_feedback(feedback, self._log_on(unit))
            link_to_answer(recording.interaction)
            if recording.is_new:
                unit.emit(_recorded(recording.feedback))
        stored = recording.feedback
        return service_pb2.RecordResponse(feedback_id=str(stored.feedback_id), joined=stored.joined_at is not None)

    async def Get(self, request: service_pb2.GetRequest, context: Context) -> service_pb2.GetResponse:
        del context
        about = read_reference(request.tenant, request.query_id, request.trace_id)
        async with self._reader.open(about.tenant) as log:
            return _to_response(await explain(about, log))

    async def Tally(
        self, request: service_pb2.TallyRequest, context: Context
    ) -> AsyncIterator[service_pb2.TallyResponse]:
        del context
        async for batch in self._reader.tally(read_tenant(request.tenant)):
            yield service_pb2.TallyResponse(interactions=map(_to_tallied, batch))


def _recorded(feedback: Feedback) -> Event[FeedbackRecorded]:
    message = to_recorded(feedback)
    return Event(
        topic=topics.FEEDBACK_RECORDED,
        message=message,
        key=message.query_id or message.trace_id,
        event_id=derived_id("record", message.tenant, message.feedback_id),
        source="feedback",
        correlation_id=message.query_id,
        causation_id=message.feedback_id,
        tenant=message.tenant,
        tier=feedback.tier,
    )


def _to_response(explained: Explained) -> service_pb2.GetResponse:
    return service_pb2.GetResponse(
        interaction=AnswerCompleted.FromString(explained.interaction.record),
        stored_at=to_timestamp(explained.interaction.stored_at),
        feedback=[FeedbackSubmitted.FromString(record) for record in explained.feedback],
    )


def _to_tallied(one: Tallied) -> service_pb2.TalliedInteraction:
    return service_pb2.TalliedInteraction(
        tenant=one.tenant, query_id=str(one.query_id), answer_event_id=str(one.answer_event_id)
    )
