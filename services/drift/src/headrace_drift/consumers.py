"""The Kafka edge: each event is read and counted, in a commit that it shares with others. It causes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from headrace.feedback.v1.evaluation_pb2 import AnswerEvaluated
from headrace.feedback.v1.feedback_pb2 import FeedbackRecorded
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.query.v1.events_pb2 import QueryEmbedded
from headrace_privacy import Vault
from headrace_stream import Delivery, Event
from headrace_stream.envelope import derived_id

from headrace_drift.gathering import Gatherer
from headrace_drift.keys import Keys
from headrace_drift.reading import read_answer, read_feedback, read_scores, read_vector
from headrace_drift.traffic import Seen


@dataclass(frozen=True, slots=True)
class Consumers:
    """Counts events."""

    gatherer: Gatherer
    vault: Vault
    keys: Keys

    async def on_answer(self, delivery: Delivery[AnswerCompleted]) -> Sequence[Event[Any]]:
        """answer.completed. Raises Erased, Unavailable."""
        message = delivery.message
        keys, opener = await self.keys.of(message.query.tenant), await self.vault.opener_for(message.question)
        trace_parent = delivery.arrival.headers.get("traceparent", "")
        published = delivery.arrival.published_at
        return await self._count(delivery, read_answer(message, keys, opener, trace_parent=trace_parent, now=published))

    async def on_vector(self, delivery: Delivery[QueryEmbedded]) -> Sequence[Event[Any]]:
        """query.embedded. Raises Erased, Unavailable."""
        message = delivery.message
        keys, opener = await self.keys.of(message.query.tenant), await self.vault.opener_for(message.vector)
        return await self._count(delivery, read_vector(message, keys, opener, now=delivery.arrival.published_at))

    async def on_feedback(self, delivery: Delivery[FeedbackRecorded]) -> Sequence[Event[Any]]:
        """feedback.recorded. What waited for its answer is told of twice, and counts once. Raises Unavailable."""
        message = delivery.message
        keys = await self.keys.of(message.tenant)
        arrival = replace(delivery.arrival, event_id=derived_id("thumb", message.tenant, message.feedback_id))
        seen = read_feedback(message, keys, now=delivery.arrival.published_at)
        return await self._count(Delivery(message, arrival), seen)

    async def on_scores(self, delivery: Delivery[AnswerEvaluated]) -> Sequence[Event[Any]]:
        """answer.evaluated. Raises Unavailable."""
        keys = await self.keys.of(delivery.message.tenant)
        return await self._count(delivery, read_scores(delivery.message, keys, now=delivery.arrival.published_at))

    async def _count(self, delivery: Delivery[Any], seen: Seen | None) -> Sequence[Event[Any]]:
        if seen is not None:
            await self.gatherer.count(delivery, seen)
        return ()
