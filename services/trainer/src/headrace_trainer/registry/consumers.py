"""The Kafka edge of the registry: what canaries are judged by."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from headrace import topics
from headrace.feedback.v1.feedback_pb2 import JUDGEMENT_KIND_THUMB, FeedbackRecorded
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace_runtime.errors import Unavailable
from headrace_stream import Bus, Delivery, Event, Unit
from headrace_telemetry.tracing import extract, link_to, span

from headrace_trainer.registry import shelf as shelves
from headrace_trainer.registry.counting import Answered, Grounding, count
from headrace_trainer.registry.models import State, Variant
from headrace_trainer.registry.shelf import Shelf

IN_FLIGHT = 4
#: How often an instance looks whose answers are to be counted, in seconds.
LOOK_SECONDS = 1.0
_GROUNDINGS: tuple[Grounding, ...] = ("", "grounded", "extracted", "not_in_sources")


@dataclass(slots=True)
class Watchlist:
    """Whose answers are looked at, by tenant: while it names nobody, an answer costs no transaction."""

    shelf: Shelf
    models: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Keeps it up to date while the context is open."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._for_ever())
            try:
                yield
            finally:
                task.cancel()

    async def _for_ever(self) -> None:
        while True:
            with contextlib.suppress(Unavailable):
                await self.refresh()
            await asyncio.sleep(LOOK_SECONDS)

    async def refresh(self) -> None:
        """Looks once. Raises Unavailable."""
        async with self.shelf.ledger.unit() as unit:
            watched = await self.shelf.books_on(unit).watched()
        found: dict[str, tuple[str, ...]] = {}
        for tenant, model in watched:
            found[tenant] = (*found.get(tenant, ()), model)
        self.models = found


@dataclass(frozen=True, slots=True)
class CanaryConsumers:
    """Each event takes effect once. wake: tells the conductor that a canary is to be looked at."""

    shelf: Shelf
    watchlist: Watchlist
    wake: Callable[[], None]

    def subscribe(self, bus: Bus) -> None:
        """Wires both topics."""
        bus.subscribe(topics.ANSWER_COMPLETED, self.on_answer, in_flight=IN_FLIGHT)
        bus.subscribe(topics.FEEDBACK_RECORDED, self.on_feedback, in_flight=IN_FLIGHT)

    async def on_answer(self, delivery: Delivery[AnswerCompleted]) -> Sequence[Event[Any]]:
        """Counts it for the tenant's canary, and notes a model's first."""
        tenant = delivery.message.query.tenant
        watched = self.watchlist.models.get(tenant, ())
        if not watched:
            return ()
        answered = read_answer(delivery.message)
        async with self.shelf.ledger.once(delivery, tenant=tenant) as unit:
            if unit is not None:
                for name in watched:
                    await self._count(unit, answered, name, delivery)
        return ()

    async def _count(self, unit: Unit, answered: Answered, name: str, delivery: Delivery[AnswerCompleted]) -> None:
        books = self.shelf.books_on(unit)
        model = await books.get(answered.tenant, name)
        if model is None:
            return
        if model.first_answer_at is None and answered.variant is not None and answered.variant == model.variant:
            await self._first(unit, model.model, delivery)
        counted = count(answered, model) if model.state is State.CANARY else None
        if counted is not None:
            await books.count(answered.tenant, name, answered.query_id, counted)
            if counted.failed:
                self.wake()

    async def _first(self, unit: Unit, name: str, delivery: Delivery[AnswerCompleted]) -> None:
        """The first answer of a model ends the trace of what made it: a short span there, linked to the answer's."""
        books = self.shelf.books_on(unit)
        await books.hold(delivery.message.query.tenant)
        model = await books.get(delivery.message.query.tenant, name)
        if model is None or model.first_answer_at is not None:
            return
        context = extract({"traceparent": model.traceparent})
        links = link_to(extract(delivery.arrival.headers))
        attributes = {"headrace.tenant": model.tenant, "headrace.query.id": delivery.message.query.query_id}
        with span(f"first answer {model.model}", parent=context, links=links, attributes=attributes):  # type: ignore[arg-type]
            first = replace(model, first_answer_at=self.shelf.now())
            await books.save(first)
            await books.put(model.tenant, model.model, due_at=self.shelf.now(), watched=int(shelves.is_watched(first)))

    async def on_feedback(self, delivery: Delivery[FeedbackRecorded]) -> Sequence[Event[Any]]:
        """Keeps a thumb while the tenant has a canary."""
        message = delivery.message
        is_thumb = message.kind == JUDGEMENT_KIND_THUMB and message.query_id
        if not is_thumb or not self.watchlist.models.get(message.tenant):
            return ()
        async with self.shelf.ledger.once(delivery, tenant=message.tenant) as unit:
            if unit is not None:
                books = self.shelf.books_on(unit)
                await books.thumb(message.tenant, UUID(message.query_id), up=int(message.score > 0))
        return ()


def read_answer(message: AnswerCompleted) -> Answered:
    """Reads what counts of an answer."""
    passed_over = ((read_variant(one.variant), one.reason) for one in message.routing.passed_over)
    return Answered(
        tenant=message.query.tenant,
        query_id=UUID(message.query.query_id),
        variant=read_variant(message.variant),
        route=message.routing.route or "*",
        grounding=_GROUNDINGS[message.grounding] if message.grounding < len(_GROUNDINGS) else "",
        finish_reason=message.finish_reason,
        passed_over=tuple((variant, reason) for variant, reason in passed_over if variant is not None),
        service_ms=_service_ms(message),
        tokens=message.usage.input_tokens + message.usage.output_tokens,
    )


def read_variant(message: Any) -> Variant | None:
    """A variant by name and version; None where it is none of ours: the versions of all are numbers."""
    return Variant(message.name, int(message.version)) if message.version.isdecimal() else None


def _service_ms(message: AnswerCompleted) -> float | None:
    """The model's service's own time: what waited on the bus before it is nobody's doing."""
    for hop in message.query.hops:
        if hop.service == "inference":
            return max((hop.finished_at.ToNanoseconds() - hop.received_at.ToNanoseconds()) / 1e6, 0.0)
    return None
