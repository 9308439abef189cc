"""The Kafka edge of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from headrace import topics
from headrace.document.v1.document_pb2 import DocumentIndexed
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace_stream import Bus, Delivery, Event, Ledger, Unit

from headrace_feedback.running.ports import Evaluations, Runs, Shelf, Tombstones
from headrace_feedback.running.settling import settle
from headrace_feedback.running.translate import accepted_at, read_indexed, read_trial

#: Each event under way holds a connection; the pool has ten.
IN_FLIGHT = 2


@dataclass(frozen=True, slots=True)
class RunConsumers:
    """Each event takes effect once. wake: tells the conductor that an answer is in."""

    ledger: Ledger
    runs_on: Callable[[Unit], Runs]
    shelf_on: Callable[[Unit], Shelf]
    evaluations_on: Callable[[Unit], Evaluations]
    tombstones: Tombstones
    wake: Callable[[], None]

    def subscribe(self, bus: Bus) -> None:
        """Wires each topic."""
        bus.subscribe(topics.ANSWER_TRIALED, self.on_trial, in_flight=IN_FLIGHT)
        bus.subscribe(topics.DOCUMENT_INDEXED, self.on_document, in_flight=IN_FLIGHT)

    async def on_trial(self, delivery: Delivery[AnswerCompleted]) -> Sequence[Event[Any]]:
        """Stores a trial's answer, and has it measured. Raises Erased."""
        traceparent = delivery.arrival.headers.get("traceparent", "")
        answer = read_trial(delivery.message, event_id=delivery.event_id, traceparent=traceparent)
        async with self.ledger.once(delivery, tenant=answer.interaction.tenant) as unit:
            if unit is not None:
                await self.tombstones.keep_out_trial(unit, delivery.message)
                evaluations = self.evaluations_on(unit)
                await settle(answer, self.runs_on(unit), evaluations, now=delivery.received_at)
        self.wake()
        return ()

    async def on_document(self, delivery: Delivery[DocumentIndexed]) -> Sequence[Event[Any]]:
        """Notes what is indexed of a document now. Raises Erased."""
        indexed = read_indexed(delivery.message)
        async with self.ledger.once(delivery, tenant=indexed.tenant) as unit:
            if unit is not None:
                await self.tombstones.keep_out_document(unit, indexed, accepted_at=accepted_at(delivery.message))
                await self.shelf_on(unit).note(indexed)
        return ()
