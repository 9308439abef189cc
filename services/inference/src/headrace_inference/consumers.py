"""The Kafka edge: queries that somebody waits for. Trials: see trial_consumers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from headrace import topics
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.query.v1.events_pb2 import QueryRetrieved
from headrace.query.v1.query_pb2 import Query
from headrace_privacy import Opener, Seal, Text, Tier, Vault, owner_of_query, strictest
from headrace_runtime.errors import Denied, Failure, Overloaded, Rejected, Unavailable
from headrace_stream import Delivery, Event, Ledger, Unit
from headrace_telemetry.metrics import counter
from headrace_telemetry.tracing import describe, trace_id
from opentelemetry.trace import get_current_span

from headrace_inference import route_translate, translate, trials
from headrace_inference.domain import Answer, Question, Sending, Variant
from headrace_inference.erasing import Askers, NoAskers
from headrace_inference.handlers import answer_question
from headrace_inference.ports import AnswerIndex, Answers, Gate
from headrace_inference.reading import read
from headrace_inference.route_choosing import Answerer, Arriving, Router, Way
from headrace_inference.routing import Choice, Chosen, Obstacle


class Publisher(Protocol):
    """What takes chunks to the bus at once."""

    async def publish_soon(self, event: Event[Any]) -> None:
        """Hands an event over without waiting for the bus."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer with who gave it, and how it came to them."""

    answer: Answer
    answerer: Answerer
    chosen: Chosen
    shadows: tuple[QueryRetrieved, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Consumer:
    """Answers queries. The model's work stands outside the transaction: of several answers the first to commit wins."""

    ledger: Ledger
    answers_on: Callable[[Unit], Answers]
    index: AnswerIndex
    publisher: Publisher
    router: Router
    vault: Vault
    new_id: Callable[[], UUID]
    now: Callable[[], datetime]
    askers: Askers = NoAskers()  # noqa: RUF009 - it has no state

    async def on_query(self, delivery: Delivery[QueryRetrieved]) -> Sequence[Event[Any]]:
        """query.retrieved → answer.chunk …, answer.completed. A query that has its answer costs nothing.

        Raises Erased, and Denied when neither a model nor its sources alone may answer.
        """
        message = delivery.message
        if message.query.HasField("trial"):  # answered apart, so that it holds up nobody who waits
            return [delivery.follow(topics.QUERY_SHADOWED, message)]
        query_id = translate.query_id(message)
        if await self.index.is_answered(message.query.tenant, query_id):
            describe(get_current_span(), {"headrace.query.id": message.query.query_id, "headrace.duplicate": True})
            return ()
        opener = await self.vault.opener_for(message)
        question = translate.question(message, opener)
        seal = await self.vault.seal_like(message.text, owner_of_query(message.query))
        way = await self.router.way(arriving(message, question, opener))
        answered = await self._answer(delivery, question, seal, way=way)
        await self._commit(delivery, query_id, answered, seal=seal)
        return ()

    async def _answer(
        self, delivery: Delivery[QueryRetrieved], question: Question, seal: Seal, *, way: Way
    ) -> Answered:
        """Has the first answer that can. Raises what the last one raised."""
        choice = way.choice
        while len(choice.candidates) > 1:
            try:
                return await self._answer_by(delivery, question, seal, way=way, choice=choice)
            except (Unavailable, Overloaded, Rejected, Denied) as error:
                choice = choice.without_first(_obstacle(error))
        try:
            return await self._answer_by(delivery, question, seal, way=way, choice=choice)
        except Overloaded as error:  # on the bus a query waits; it is never turned away
            raise Unavailable("the model") from error

    async def _answer_by(
        self, delivery: Delivery[QueryRetrieved], question: Question, seal: Seal, *, way: Way, choice: Choice
    ) -> Answered:
        chosen = way.taken(choice)
        answerer = way.answerers[choice.candidates[0].variant]
        _describe(delivery.message, question, answerer.variant, chosen)
        tier = strictest(_strictest(question), answerer.model.tier)
        chunks = _Chunks(delivery, self.publisher, self.new_id(), tier, seal)
        await chunks.start()

        async def admit(tier: Tier, sources: Sequence[str]) -> bool:
            is_admitted = await admits(answerer.gate, delivery.message.query, tier, sources)
            if not is_admitted and len(choice.candidates) > 1:  # what one model may not see, another may
                raise Denied("this model may not see it")
            return is_admitted

        asked = read(question, answerer.variant)
        answer = await answer_question(asked, answerer.variant, model=answerer.model, admit=admit, emit=chunks.text)
        shadows = [trials.shadow_of(delivery.message, key, route=chosen.route) for key in way.shadows]
        shadows = [one for one in shadows if trials.variant_of(one.query.trial) != answerer.variant.key]
        return Answered(answer, answerer, chosen, tuple(shadows))

    async def _commit(
        self, delivery: Delivery[QueryRetrieved], query_id: UUID, answered: Answered, *, seal: Seal
    ) -> None:
        tenant, answer = delivery.message.query.tenant, answered.answer
        event = delivery.follow(
            topics.ANSWER_COMPLETED,
            completed(delivery, answered, seal, finished_at=self.now()),
            tenant=tenant,
            tier=answer.tier,
        )
        async with self.ledger.once(delivery, tenant=tenant) as unit:
            if unit is None:
                return
            if await self.answers_on(unit).add(
                tenant, query_id, answer, event_id=event.event_id, variant=answered.answerer.variant.key, at=self.now(),
                chosen=answered.chosen,
            ):  # fmt: skip
                await self.askers.note(unit, delivery.message.query)
                unit.emit(event, *_shadowed(delivery, answered.shadows))
        self.router.spending.note(tenant, answered.chosen.route, answer.spent.cost_micro_usd)
        describe(get_current_span(), {"headrace.grounding": answer.grounding.value})
        counter("headrace.answers").add(
            1, {"headrace.grounding": answer.grounding.value, "headrace.tier": answer.tier.label}
        )


def arriving(message: QueryRetrieved, question: Question, opener: Opener) -> Arriving:
    """What routing needs of a query."""
    query = message.query
    return Arriving(
        query.tenant,
        query.query_id,
        query.conversation_id,
        _strictest(question),
        query.accepted_at.ToDatetime(tzinfo=UTC) if query.HasField("accepted_at") else None,
        translate.vector(message, opener),
        translate.embedder(message.embedder),
    )


async def admits(gate: Gate, query: Query, tier: Tier, sources: Sequence[str]) -> bool:
    """Whether a model may be given text of a tier from these sources, to answer the one who asked."""
    return await gate.admits(
        Sending("product", query.product, query.tenant, tier, sources=sources, records=(query.query_id,))
    )


def completed(
    delivery: Delivery[QueryRetrieved], answered: Answered, seal: Seal, *, finished_at: datetime
) -> AnswerCompleted:
    """The answer as it travels."""
    return translate.answer_completed(
        delivery.message,
        answered.answer,
        seal,
        identity=answered.answerer.model.identity,
        variant=answered.answerer.variant,
        routing=route_translate.from_chosen(answered.chosen),
        trace_id=trace_id(),
        received_at=delivery.received_at,
        finished_at=finished_at,
    )


def _shadowed(delivery: Delivery[QueryRetrieved], shadows: Sequence[QueryRetrieved]) -> list[Event[Any]]:
    return [
        delivery.follow(
            topics.QUERY_SHADOWED, one, key=one.query.query_id, correlation_id=one.query.query_id, ordinal=i
        )
        for i, one in enumerate(shadows)
    ]


def _strictest(question: Question) -> Tier:
    # A chunk may hold what only an uncited passage says of its subject: it has the tier of all that were given.
    return strictest(question.tier, *(passage.tier for passage in question.passages))


def _obstacle(error: Failure) -> Obstacle:
    match error:
        case Overloaded():
            return "rate"
        case Denied():
            return "tier"
        case _:
            return "failed"


def _describe(message: QueryRetrieved, question: Question, variant: Variant, chosen: Chosen) -> None:
    describe(
        get_current_span(),
        {
            "headrace.query.id": message.query.query_id,
            "headrace.tier": question.tier.label,
            "headrace.passages": len(question.passages),
            "headrace.variant": f"{variant.name} {variant.version}",
            "headrace.kind": chosen.kind,
            "headrace.routing": chosen.reason,
        },
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
