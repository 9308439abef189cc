"""The Kafka edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from headrace import topics
from headrace.feedback.v1.feedback_pb2 import FeedbackRecorded, FeedbackSubmitted
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace_stream import Delivery, Event, Ledger, Unit

from headrace_feedback.feedback import Feedback
from headrace_feedback.handlers import Door, log_interaction, record_feedback, take_in
from headrace_feedback.interaction import Known
from headrace_feedback.links import link_to_answer
from headrace_feedback.ports import Evaluations, Log, NoEvaluations, NoSampler, NoTombstones, Sampler, Tombstones
from headrace_feedback.translate import read_answer, read_feedback, read_words, to_recorded


class Consumers:
    """Each event takes effect once: it is stored, and what that causes is published, in one transaction."""

    def __init__(
        self,
        ledger: Ledger,
        log_on: Callable[[Unit], Log],
        *,
        door: Door,
        tombstones: Tombstones = NoTombstones(),  # noqa: B008 - it has no state
        sampler: Sampler = NoSampler(),  # noqa: B008 - it has no state
        evaluations: Evaluations = NoEvaluations(),  # noqa: B008 - it has no state
    ) -> None:
        self._ledger = ledger
        self._log_on = log_on
        self._door = door
        self._tombstones = tombstones
        self._sampler = sampler
        self._evaluations = evaluations

    async def on_answer(self, delivery: Delivery[AnswerCompleted]) -> Sequence[Event[Any]]:
        """Stores the interaction, and joins the feedback that came before it. Raises Erased."""
        traceparent = delivery.arrival.headers.get("traceparent", "")
        interaction = read_answer(delivery.message, event_id=delivery.event_id, traceparent=traceparent)
        words = await self._sampler.words(delivery.message)
        async with self._ledger.once(delivery, tenant=interaction.tenant) as unit:
            if unit is not None:
                await self._tombstones.keep_out_answer(unit, delivery.message)
                log = self._log_on(unit)
                joined = await log_interaction(interaction, log, keeper=self._door.keeper, now=delivery.received_at)
                await self._sampler.on_answer(unit, interaction, words, now=delivery.received_at)
                await self._evaluations.on_answer(unit, interaction)
                for feedback in joined:
                    await self._sampler.on_judgement(unit, feedback, now=delivery.received_at)
                known = Known.of(interaction)
                unit.emit(*(_recorded(delivery, feedback, known, ordinal=n) for n, feedback in enumerate(joined)))
        return ()

    async def on_feedback(self, delivery: Delivery[FeedbackSubmitted]) -> Sequence[Event[Any]]:
        """Stores the judgement, joined if its interaction is there. Raises Erased."""
        submitted = read_feedback(delivery.message, now=delivery.received_at)
        feedback = await take_in(submitted, read_words(delivery.message), self._door)
        async with self._ledger.once(delivery, tenant=feedback.about.tenant) as unit:
            if unit is not None:
                sent_at = delivery.arrival.published_at
                await self._tombstones.keep_out_feedback(unit, feedback, sent_at=sent_at)
                recording = await record_feedback(feedback, self._log_on(unit), keeper=self._door.keeper)
                link_to_answer(recording.interaction)
                if recording.is_new:
                    await self._sampler.on_judgement(unit, recording.feedback, now=delivery.received_at)
                    known = recording.interaction
                    unit.emit(_recorded(delivery, recording.feedback, known, replaces=recording.replaces))
        return ()


def _recorded(
    delivery: Delivery[Any], feedback: Feedback, known: Known | None, *, ordinal: int = 0, replaces: bool = False
) -> Event[FeedbackRecorded]:
    message = to_recorded(feedback, known, replaces=replaces)
    return delivery.follow(
        topics.FEEDBACK_RECORDED,
        message,
        key=message.query_id or message.trace_id,
        tenant=message.tenant,
        tier=feedback.tier,
        correlation_id=message.query_id,
        ordinal=ordinal,
    )
