"""Looks after every model that needs it: canaries, what is being carried out, and what was condemned.

Any instance does, one at a time for each model, by a turn that lasts some seconds: when the process that has it is
killed, another takes it. What a visit finds written down it carries out, however far the last one came.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from headrace_runtime.errors import Failure, Unavailable
from headrace_telemetry.tracing import extract, span

from headrace_trainer.registry import rollout as rolling
from headrace_trainer.registry import shelf as shelves
from headrace_trainer.registry.evidence import MOST_ANSWERS, Sample
from headrace_trainer.registry.judging import champion_of
from headrace_trainer.registry.models import (
    BASE,
    Change,
    Doing,
    Model,
    Rollout,
    State,
    Step,
    became_canary,
    became_live,
    restored,
    retired,
    stood_by,
    went_back,
)
from headrace_trainer.registry.ports import Serving, Weights
from headrace_trainer.registry.rollout import Field
from headrace_trainer.registry.routing import Writer
from headrace_trainer.registry.shelf import Books, Shelf
from headrace_trainer.registry.telling import Outgoing, tell
from headrace_trainer.running.ports import Loop
from headrace_trainer.running.rules import Rules
from headrace_trainer.running.runs import BY_ITSELF

log = structlog.get_logger()

#: How long a turn lasts without its holder.
TURN_SECONDS = 20.0
#: How often a canary is looked at, and how soon what could not be done is tried again.
LOOK_SECONDS = 1.0
RETRY_SECONDS = 2.0
#: Nothing is due sooner than this after nothing was.
IDLE_SECONDS = 1.0
_NEVER = timedelta(days=3_650)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a conductor works with."""

    shelf: Shelf
    serving: Serving
    weights: Weights
    loop: Loop


class Conductor:
    """See the module."""

    def __init__(self, parts: Parts, *, new_id: Callable[[], UUID]) -> None:
        self._parts = parts
        self._shelf = parts.shelf
        self._new_id = new_id
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    @asynccontextmanager
    async def conducting(self) -> AsyncIterator[None]:
        """Looks after models while the context is open. A bug ends the context, and with it the service."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._for_ever())
            try:
                yield
            finally:
                task.cancel()

    async def _for_ever(self) -> None:
        holder = self._new_id()
        while True:
            try:
                if await self.step(holder):
                    continue
            except Unavailable as failure:
                log.warning("models wait", dependency=failure.dependency)
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), IDLE_SECONDS)

    async def step(self, holder: UUID) -> bool:
        """Visits the model that is due; False when none is. Raises Unavailable where the books cannot be reached."""
        async with self._shelf.ledger.unit() as unit:
            taken = await self._shelf.books_on(unit).take(holder, now=self._shelf.now(), seconds=TURN_SECONDS)
        if taken is None:
            return False
        due = await self._visit_or_wait(*taken)
        async with self._shelf.ledger.unit() as unit:
            books = self._shelf.books_on(unit)
            await books.release(holder, *taken, due_at=due)
        return True

    async def _visit_or_wait(self, tenant: str, name: str) -> datetime:
        soon = self._shelf.now() + timedelta(seconds=RETRY_SECONDS)
        try:
            return await self.visit(tenant, name)
        except Unavailable as failure:
            log.warning("a model waits", model=name, dependency=failure.dependency)
        except Failure as failure:
            # What inference does not take now it may take later: a variant that is broken there, a prompt that is gone.
            log.warning("a model's step was refused", model=name, reason=type(failure).__name__)
        return soon

    async def visit(self, tenant: str, name: str) -> datetime:
        """Does what is to be done for a model now, and returns when to come again. Raises Unavailable, Conflict."""
        model = await self._shelf.get(tenant, name)
        if model is None:
            return self._shelf.now() + _NEVER
        match model.doing:
            case Doing.BEGINNING_CANARY:
                return await self._begin_canary(model)
            case Doing.PROMOTING:
                return await self._promote(model)
            case Doing.ROLLING_BACK:
                return await self._roll_back(model)
        if model.state is State.CANARY:
            return await self._look(model)
        return await self._after(model)

    # A canary begins.

    async def _begin_canary(self, model: Model) -> datetime:
        if model.step and model.step.because == "gate" and await self._is_paused(model.tenant):
            return self._shelf.now() + timedelta(seconds=RETRY_SECONDS)
        models = await self._shelf.all(model.tenant)
        other = shelves.canary_of(models, model.target)
        if other is not None and other.model != model.model:
            # The newer one has learned from more: it takes the older one's place.
            words = f"{model.model} takes its place."
            await self.intend(other, Step(Doing.ROLLING_BACK, "replaced", BY_ITSELF, words))
            return self._shelf.now() + timedelta(seconds=LOOK_SECONDS)
        model = await self._planned(model)
        if model.rollout is None or not model.rollout.routes:
            return await self._nowhere(model)
        written = await self._write(model, "canary")
        async with self._shelf.open(model.tenant) as (unit, books):
            current = await books.get(model.tenant, model.model)
            if current is None or current.doing is not Doing.BEGINNING_CANARY:
                return self._soon()
            now = self._shelf.now()
            canary = became_canary(current, rolling.started(written, now=now), now=now)
            await books.save(canary)
            await self._watch(books, canary)
            because = current.step.because if current.step else "gate"
            self._tell(unit, canary, Change.CANARY, before=current, because=because, now=now)
        return self._soon()

    async def _planned(self, model: Model) -> Model:
        """With a rollout by the rules of now, and the routes that it touches as found before any is written."""
        if model.rollout is not None and model.rollout.routes:
            return model
        rules, serving = await self._rules(model.tenant), self._parts.serving
        champion = await champion_of(self._shelf, serving, model.tenant, model.target, rules)
        routes = rolling.plan(await serving.routes(model.tenant), champion, rules)
        return await self._noted(model, rolling.begin(rules, champion, routes))

    async def _nowhere(self, model: Model) -> datetime:
        """It stays a candidate, and says why."""
        champion = model.rollout.champion if model.rollout else BASE
        words = f"No route sends queries to {champion}, so there was nothing to take a share of."
        async with self._shelf.open(model.tenant) as (_, books):
            current = await books.get(model.tenant, model.model)
            if current is not None and current.doing is model.doing and current.rollout is not None:
                ended = replace(current.rollout, ended="rolled_back", because=words)
                await books.save(replace(current, step=None, rollout=ended))
        return self._shelf.now() + _NEVER

    # A canary runs.

    async def _look(self, model: Model) -> datetime:
        if model.rollout is None:
            return self._shelf.now() + _NEVER
        models = await self._shelf.all(model.tenant)
        routes = await self._writer(model).yielded(model.rollout.routes, self._field(model, models))
        async with self._shelf.ledger.unit(tenant=model.tenant) as unit:
            share = model.rollout.share
            sample = await self._shelf.books_on(unit).sample(
                model.tenant, model.model, share=share, most=2 * MOST_ANSWERS
            )
            paused = await self._parts.loop.is_paused(unit, model.tenant)
        seen = replace(model, rollout=replace(model.rollout, routes=routes))
        looked, decision = await asyncio.to_thread(_weigh, seen, sample, now=self._shelf.now(), paused=int(paused))
        async with self._shelf.open(model.tenant) as (_, books):
            current = await books.get(model.tenant, model.model)
            if current is None or current.state is not State.CANARY or current.step:
                return self._soon()
            await books.save(_with_step(replace(current, rollout=looked.rollout), decision))
        due = timedelta(seconds=0 if decision.does in ("promote", "roll_back") else LOOK_SECONDS)
        return self._shelf.now() + due

    # It answers.

    async def _promote(self, model: Model) -> datetime:
        model = await self._planned(model)
        if model.rollout is None or not model.rollout.routes:
            return await self._nowhere(model)
        written = await self._write(model, "live")
        if written.has_given_way:
            words = "Somebody changed every route that it was to answer; theirs stand."
            await self.intend(model, Step(Doing.ROLLING_BACK, "person", BY_ITSELF, words))
            return self._soon()
        async with self._shelf.open(model.tenant) as (unit, books):
            current = await books.get(model.tenant, model.model)
            if current is None or current.doing is not Doing.PROMOTING:
                return self._soon()
            await self._is_live(unit, books, current, written)
        return self._soon()

    async def _is_live(self, unit: Outgoing, books: Books, model: Model, written: Rollout) -> None:
        """In one transaction: what answered stands by, what stood by retires, and this one answers."""
        now, previous = self._shelf.now(), BASE
        for other in await books.newest(model.tenant, shelves.MOST):
            if other.target is not model.target or other.model == model.model or other.state is not State.LIVE:
                continue
            if other.answers:
                previous = other.model
            if other.answers and not other.is_condemned:
                await books.save(stood_by(other, replaced_by=model.model, now=now))
            else:
                await self._retire(unit, books, other, replaced_by=model.model, now=now)
        live = became_live(model, written, previous=previous, now=now)
        await books.save(live)
        await books.forget(model.tenant, model.model)
        await self._watch(books, live)
        because = model.step.because if model.step else "evidence"
        self._tell(unit, live, Change.PROMOTED, before=model, because=because, now=now)

    # It answers no more.

    async def _roll_back(self, model: Model) -> datetime:
        written = await self._write(model, "as_found") if model.rollout else None
        async with self._shelf.open(model.tenant) as (unit, books):
            current = await books.get(model.tenant, model.model)
            if current is None or current.doing is not Doing.ROLLING_BACK:
                return self._soon()
            await self._is_back(unit, books, current, written)
        return self._soon()

    async def _is_back(self, unit: Outgoing, books: Books, model: Model, written: Rollout | None) -> None:
        now, step = self._shelf.now(), model.step
        models = await books.newest(model.tenant, shelves.MOST)
        answered = model.answers
        before = self._before(models, model) if answered else shelves.live_of(models, model.target)
        gone = went_back(model, written, replaced_by=before.model if before else BASE, now=now)
        await books.save(gone)
        await books.forget(model.tenant, model.model)
        because = step.because if step else "person"
        self._tell(unit, gone, Change.ROLLED_BACK, before=model, because=because, now=now)
        if answered and before is not None:
            again = restored(before, now=now)
            await books.save(again)
            self._tell(unit, again, Change.PROMOTED, before=before, because=because, now=now, step=step)
        await self._watch(books, gone)

    def _before(self, models: Sequence[Model], model: Model) -> Model | None:
        """The last good version; None: the base."""
        champion = model.rollout.champion if model.rollout else None
        if champion is None:
            return None
        found = shelves.by_variant(models, shelves.sound(models, champion))
        return found if found and found.model != model.model and found.state is State.LIVE else None

    async def _after(self, model: Model) -> datetime:
        """What was condemned is retired as soon as nobody needs it, at the deadline at the latest; then its weights
        go."""
        if not model.is_condemned or model.deleted_at:
            await self._rest(model)
            return self._shelf.now() + _NEVER
        if model.answers and model.retire_by and self._shelf.now() < model.retire_by:
            return model.retire_by
        if model.answers:
            words = "Something that it learned from was erased, and nothing took its place in time."
            await self.intend(model, Step(Doing.ROLLING_BACK, "erasure", BY_ITSELF, words))
            return self._soon()
        if model.stands_by:
            await self._stand_down(model)
        await self._delete(model)
        return self._soon()

    async def _stand_down(self, model: Model) -> None:
        """Takes one that stands by out of the live one's routes."""
        now = self._shelf.now()
        known = await self._shelf.all(model.tenant)
        models = [retired(one, "erasure", replaced_by="", now=now) if one == model else one for one in known]
        live = shelves.live_of(models, model.target)
        if live is not None and live.rollout is not None and not live.step:
            await self._write(live, "live", models=models)

    async def _delete(self, model: Model) -> None:
        """The weights go first; what is said is true then."""
        async with self._shelf.open(model.tenant) as (unit, books):
            current = await books.get(model.tenant, model.model)
            if current is not None and current.state is not State.RETIRED:
                models = await books.newest(model.tenant, shelves.MOST)
                live = shelves.live_of(models, model.target)
                name = live.model if live else BASE
                await self._retire(unit, books, current, replaced_by=name, now=self._shelf.now())
        await self._parts.weights.delete(model.address)
        async with self._shelf.open(model.tenant) as (unit, books):
            current = await books.get(model.tenant, model.model)
            if current is not None and current.deleted_at is None:
                now = self._shelf.now()
                live = shelves.live_of(await books.newest(model.tenant, shelves.MOST), model.target)
                # What took its place is what answers now, which may have come later than its retirement.
                gone = replace(current, deleted_at=now, replaced_by=live.model if live else BASE)
                await books.save(gone)
                self._tell(unit, gone, Change.DELETED, before=current, because="erasure", now=now)

    async def _retire(self, unit: Outgoing, books: Books, model: Model, *, replaced_by: str, now: datetime) -> None:
        because = "erasure" if model.is_condemned else "replaced"
        gone = retired(model, "erasure" if model.is_condemned else "replaced", replaced_by=replaced_by, now=now)
        await books.save(gone)
        await self._watch(books, gone)
        self._tell(unit, gone, Change.RETIRED, before=model, because=because, now=now)

    # What all of them use.

    async def intend(self, model: Model, step: Step) -> None:
        """Writes down what is to be done, and has it done."""
        async with self._shelf.open(model.tenant) as (_, books):
            current = await books.get(model.tenant, model.model)
            if current is not None and current.state is not State.RETIRED:
                await books.save(replace(current, step=step))
                await self._watch(books, current)
        self.wake()

    async def _write(self, model: Model, phase: rolling.Phase, *, models: Sequence[Model] = ()) -> Rollout:
        """Brings the model's routes into a phase, and notes each as it is written. Returns the rollout."""
        if model.rollout is None:
            raise ValueError("a model without a rollout has no routes")
        known = models or await self._shelf.all(model.tenant)
        rollout, on = model.rollout, self._field(model, known)
        context = extract({"traceparent": model.traceparent})
        with span(f"routes {phase} {model.model}", parent=context, attributes={"headrace.tenant": model.tenant}):
            async for routes in self._writer(model).write(rollout.routes, phase, on):
                rollout = replace(rollout, routes=routes)
                await self._noted(model, rollout)
        return rollout

    async def _noted(self, model: Model, rollout: Rollout) -> Model:
        async with self._shelf.open(model.tenant) as (_, books):
            current = await books.get(model.tenant, model.model)
            noted = replace(current or model, rollout=rollout)
            await books.save(noted)
        return noted

    def _field(self, model: Model, models: Sequence[Model]) -> Field:
        if model.rollout is None or model.variant is None:
            raise ValueError("a model without a rollout has no field")
        if model.doing is Doing.PROMOTING:
            models = [_without_standing_by(one) for one in models]
        return Field(
            champion=model.rollout.champion,
            candidate=model.variant,
            share=model.rollout.share,
            stand_ins=shelves.stand_ins(models, but=model),
        )

    def _writer(self, model: Model) -> Writer:
        words = model.step.words if model.step else ""
        return Writer(self._parts.serving, model.tenant, f"{model.model}: {words}"[:500])

    async def _rules(self, tenant: str) -> Rules:
        async with self._shelf.ledger.unit(tenant=tenant) as unit:
            return await self._parts.loop.rules_of(unit, tenant)

    async def _is_paused(self, tenant: str) -> bool:
        async with self._shelf.ledger.unit(tenant=tenant) as unit:
            return await self._parts.loop.is_paused(unit, tenant)

    async def _watch(self, books: Books, model: Model) -> None:
        """Its answers are counted while it is a canary; later only the first is awaited."""
        watched = int(shelves.is_watched(model))
        await books.put(model.tenant, model.model, due_at=self._shelf.now(), watched=watched)

    async def _rest(self, model: Model) -> None:
        """Nothing is to be done for it: who watches answers need not look for its own."""
        async with self._shelf.open(model.tenant) as (_, books):
            if not shelves.is_watched(model):
                await books.drop(model.tenant, model.model)

    def _tell(
        self,
        unit: Outgoing,
        model: Model,
        change: Change,
        *,
        before: Model,
        because: str,
        now: datetime,
        step: Step | None = None,
    ) -> None:
        by = (step or before.step or Step(Doing.NOTHING, "run", BY_ITSELF)).by
        tell(unit, model, change, before=before.state, because=because, by=by, now=now)

    def _soon(self) -> datetime:
        return self._shelf.now()


def _weigh(model: Model, sample: Sample, *, now: datetime, paused: int) -> tuple[Model, rolling.Decision]:
    """The model with what is seen by now, and what becomes of it. Takes a second for tens of thousands of answers."""
    if model.rollout is None:
        return model, rolling.GOES_ON
    looked = replace(model, rollout=rolling.looked_at(model.rollout, sample))
    return looked, rolling.decide(looked, sample, now=now, paused=bool(paused))


def _with_step(model: Model, decision: rolling.Decision) -> Model:
    match decision.does:
        case "promote":
            return replace(model, step=Step(Doing.PROMOTING, decision.because, BY_ITSELF, decision.words))
        case "roll_back":
            return replace(model, step=Step(Doing.ROLLING_BACK, decision.because, BY_ITSELF, decision.words))
        case _:
            words = decision.words
            return replace(model, rollout=replace(model.rollout, because=words)) if model.rollout else model


def _without_standing_by(model: Model) -> Model:
    """What stands by when another one is promoted will be gone."""
    return retired(model, "replaced", replaced_by="", now=model.changed_at) if model.stands_by else model
