"""The Kafka edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from headrace import topics
from headrace.query.v1.events_pb2 import QueryRetrieved
from headrace.query.v1.query_pb2 import Query
from headrace_privacy import Seal, Text, Tier, Vault, owner_of_query, strictest
from headrace_runtime.errors import Overloaded, Unavailable
from headrace_stream import Delivery, Event, Ledger, Unit
from headrace_telemetry.metrics import counter
from headrace_telemetry.tracing import describe, trace_id
from opentelemetry.trace import get_current_span

from headrace_inference import translate
from headrace_inference.domain import Answer, Question, Sending, Variant
from headrace_inference.erasing import Askers, NoAskers
from headrace_inference.handlers import answer_question
from headrace_inference.ports import AnswerIndex, Answers, Gate, Model


class Publisher(Protocol):
    """What takes chunks to the bus at once."""

    async def publish_soon(self, event: Event[Any]) -> None:
        """Hands an event over without waiting for the bus."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """Answers queries. The model's work stands outside the transaction: of several answers the first to commit wins."""

    ledger: Ledger
    answers_on: Callable[[Unit], Answers]
    index: AnswerIndex
    publisher: Publisher
    model: Model
    gate: Gate
    vault: Vault
    variant: Variant
    new_id: Callable[[], UUID]
    now: Callable[[], datetime]
    askers: Askers = NoAskers()  # noqa: RUF009 - it has no state

    async def on_query(self, delivery: Delivery[QueryRetrieved]) -> Sequence[Event[Any]]:
        """query.retrieved → answer.chunk …, answer.completed. A query that has its answer costs nothing.

        Raises Erased, and Denied when neither the model nor its sources alone may answer.
        """
        message, query_id = delivery.message, translate.query_id(delivery.message)
        if await self.index.is_answered(message.query.tenant, query_id):
            describe(get_current_span(), {"headrace.query.id": message.query.query_id, "headrace.duplicate": True})
            return ()
        question = translate.question(message, await self.vault.opener_for(message))
        seal = await self.vault.seal_like(message.text, owner_of_query(message.query))
        describe(
            get_current_span(),
            {
                "headrace.query.id": message.query.query_id,
                "headrace.tier": question.tier.label,
                "headrace.passages": len(question.passages),
                "headrace.variant": f"{self.variant.name} {self.variant.version}",
            },
        )
        answer = await self._answer(delivery, question, seal)
        await self._commit(delivery, query_id, answer, seal)
        return ()

    async def _answer(self, delivery: Delivery[QueryRetrieved], question: Question, seal: Seal) -> Answer:
        # A chunk may hold what only an uncited passage says of its subject: it has the tier of all that were given.
        tier = strictest(question.tier, *(passage.tier for passage in question.passages))
        chunks = _Chunks(delivery, self.publisher, self.new_id(), tier, seal)
        await chunks.start()
        admit = partial(self._admits, delivery.message.query)
        try:
            return await answer_question(question, self.variant, model=self.model, admit=admit, emit=chunks.text)
        except Overloaded as error:  # on the bus a query waits; it is never turned away
            raise Unavailable("the model") from error

    async def _admits(self, query: Query, tier: Tier, sources: Sequence[str]) -> bool:
        return await self.gate.admits(
            Sending("product", query.product, query.tenant, tier, sources=sources, records=(query.query_id,))
        )

    async def _commit(self, delivery: Delivery[QueryRetrieved], query_id: UUID, answer: Answer, seal: Seal) -> None:
        tenant = delivery.message.query.tenant
        completed = translate.answer_completed(
            delivery.message,
            answer,
            seal,
            identity=self.model.identity,
            variant=self.variant,
            trace_id=trace_id(),
            received_at=delivery.received_at,
            finished_at=self.now(),
        )
        event = delivery.follow(topics.ANSWER_COMPLETED, completed, tenant=tenant, tier=answer.tier)
        async with self.ledger.once(delivery, tenant=tenant) as unit:
            if unit is None:
                return
            if await self.answers_on(unit).add(
                tenant, query_id, answer, event_id=event.event_id, variant=self.variant, at=self.now()
            ):
                await self.askers.note(unit, delivery.message.query)
                unit.emit(event)
        describe(get_current_span(), {"headrace.grounding": answer.grounding.value})
        counter("headrace.answers").add(
            1, {"headrace.grounding": answer.grounding.value, "headrace.tier": answer.tier.label}
        )


@dataclass(slots=True)
class _Chunks:
    """One writing of an answer, as those who wait for it see it."""

    delivery: Delivery[QueryRetrieved]
    publisher: Publisher
    generation_id: UUID
    tier: Tier
    seal: Seal
    index: int = 0

    async def start(self) -> None:
        await self._publish(translate.started(self.delivery.message, self.generation_id))

    async def text(self, piece: str) -> None:
        self.index += 1
        text = self.seal.protect(Text(piece, self.tier))
        await self._publish(translate.chunk(self.delivery.message, self.generation_id, self.index, text))

    async def _publish(self, message: Any) -> None:
        event = self.delivery.follow(topics.ANSWER_CHUNK, message, tier=self.tier, ordinal=self.index)
        # A chunk may be lost, the answer is not: nothing waits for the bus here.
        await self.publisher.publish_soon(event)
