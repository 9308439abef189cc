"""A model comes to another state: what is written down then, in one transaction with the event that tells of it.

Nothing here reaches those who serve. Ways of coming into service (targets.Way) carry out first, and come here after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from headrace_trainer.registry import shelf as shelves
from headrace_trainer.registry.models import (
    BASE,
    Because,
    Change,
    Doing,
    Model,
    Rollout,
    State,
    Step,
    became_live,
    restored,
    retired,
    stood_by,
    went_back,
)
from headrace_trainer.registry.shelf import Books, Shelf
from headrace_trainer.registry.telling import Outgoing, tell
from headrace_trainer.running.ports import Loop
from headrace_trainer.running.rules import Rules
from headrace_trainer.running.runs import BY_ITSELF

#: How soon what could not be done is tried again, in seconds.
RETRY_SECONDS = 2.0
_NEVER = timedelta(days=3_650)

#: Finds the last good version before a model, among all; None: the base.
Before = Callable[[Sequence[Model], Model], Model | None]


@dataclass(frozen=True, slots=True)
class Moves:
    """Writes down what became of models. awake: set when something may be due."""

    shelf: Shelf
    loop: Loop
    awake: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Something may be due."""
        self.awake.set()

    def soon(self) -> datetime:
        """At once."""
        return self.shelf.now()

    def later(self) -> datetime:
        """When what cannot be done now is tried again."""
        return self.shelf.now() + timedelta(seconds=RETRY_SECONDS)

    def never(self) -> datetime:
        """Not before something makes it due."""
        return self.shelf.now() + _NEVER

    async def rules(self, tenant: str) -> Rules:
        """The loop's rules of now."""
        async with self.shelf.ledger.unit(tenant=tenant) as unit:
            return await self.loop.rules_of(unit, tenant)

    async def waits_for_pause(self, model: Model) -> bool:
        """Whether what the gate has begun by itself waits, since the loop is paused. A person's word does not."""
        if model.step is None or model.step.because != "gate":
            return False
        async with self.shelf.ledger.unit(tenant=model.tenant) as unit:
            return await self.loop.is_paused(unit, model.tenant)

    async def intend(self, model: Model, step: Step) -> None:
        """Writes down what is to be done, and has it done."""
        async with self.shelf.open(model.tenant) as (_, books):
            current = await books.get(model.tenant, model.model)
            if current is not None and current.state is not State.RETIRED:
                await self.intended(books, current, step)
        self.wake()

    async def intended(self, books: Books, model: Model, step: Step) -> None:
        """The same of a model that was just read, in the transaction at hand."""
        await books.save(replace(model, step=step))
        await self.watch(books, model)

    async def drop_step(self, model: Model) -> None:
        """Forgets what was to be done."""
        async with self.shelf.open(model.tenant) as (_, books):
            current = await books.get(model.tenant, model.model)
            if current is not None and current.doing is model.doing:
                await books.save(replace(current, step=None))

    async def noted(self, model: Model, rollout: Rollout) -> Model:
        """How far its rollout has come."""
        async with self.shelf.open(model.tenant) as (_, books):
            current = await books.get(model.tenant, model.model)
            noted = replace(current or model, rollout=rollout)
            await books.save(noted)
        return noted

    async def promoted(self, model: Model, written: Rollout | None) -> None:
        """It answers: what answered stands by, what stood by retires. Nothing where that is not to be done any more."""
        async with self.shelf.open(model.tenant) as (unit, books):
            current = await books.get(model.tenant, model.model)
            if current is not None and current.doing is Doing.PROMOTING:
                await self._is_live(unit, books, current, written)

    async def _is_live(self, unit: Outgoing, books: Books, model: Model, written: Rollout | None) -> None:
        now, previous = self.shelf.now(), BASE
        for other in await books.newest(model.tenant, shelves.MOST):
            if other.target is not model.target or other.model == model.model or other.state is not State.LIVE:
                continue
            if other.answers:
                previous = other.model
            if other.answers and not other.is_condemned:
                await books.save(stood_by(other, replaced_by=model.model, now=now))
            else:
                await self.retire(unit, books, other, replaced_by=model.model, now=now)
        live = became_live(model, written, previous=previous, now=now)
        await books.save(live)
        await books.forget(model.tenant, model.model)
        await self.watch(books, live)
        because = model.step.because if model.step else "evidence"
        self.tell(unit, live, Change.PROMOTED, before=model, because=because, now=now)

    async def rolled_back(self, model: Model, written: Rollout | None, *, before: Before) -> None:
        """It answers no more: a canary without its share, or a live one whose place the one before has again."""
        async with self.shelf.open(model.tenant) as (unit, books):
            current = await books.get(model.tenant, model.model)
            if current is not None and current.doing is Doing.ROLLING_BACK:
                await self._is_back(unit, books, current, written, before=before)

    async def _is_back(
        self, unit: Outgoing, books: Books, model: Model, written: Rollout | None, *, before: Before
    ) -> None:
        now, step = self.shelf.now(), model.step
        models = await books.newest(model.tenant, shelves.MOST)
        answered = model.answers
        found = before(models, model) if answered else shelves.live_of(models, model.target)
        gone = went_back(model, written, replaced_by=found.model if found else BASE, now=now)
        await books.save(gone)
        await books.forget(model.tenant, model.model)
        because = step.because if step else "person"
        self.tell(unit, gone, Change.ROLLED_BACK, before=model, because=because, now=now)
        if answered and found is not None:
            again = restored(found, now=now)
            await books.save(again)
            self.tell(unit, again, Change.PROMOTED, before=found, because=because, now=now, step=step)
        await self.watch(books, gone)

    async def made_room(self, model: Model) -> bool:
        """Retires the oldest other candidate of its target, which waits for a person, or was never judged since its run
        was stopped; says whether there was one."""
        async with self.shelf.open(model.tenant) as (unit, books):
            waiting = [one for one in await books.newest(model.tenant, shelves.MOST) if _waits_beside(one, model)]
            if waiting:
                await self.retire(unit, books, waiting[-1], replaced_by=model.model, now=self.shelf.now())
        return bool(waiting)

    async def retire(self, unit: Outgoing, books: Books, model: Model, *, replaced_by: str, now: datetime) -> None:
        """It answers no more, and is not stood by for either."""
        because: Because = "erasure" if model.is_condemned else "replaced"
        gone = retired(model, because, replaced_by=replaced_by, now=now)
        await books.save(gone)
        await self.watch(books, gone)
        self.tell(unit, gone, Change.RETIRED, before=model, because=because, now=now)

    async def watch(self, books: Books, model: Model) -> None:
        """Has it looked after. Its answers are counted while it is a canary; later only the first is awaited."""
        watched = int(shelves.is_watched(model))
        await books.put(model.tenant, model.model, due_at=self.shelf.now(), watched=watched)

    def tell(
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
        """Says what became of it, by whom the step says."""
        by = (step or before.step or Step(Doing.NOTHING, "run", BY_ITSELF)).by
        tell(unit, model, change, before=before.state, because=because, by=by, now=now)


def _waits_beside(one: Model, model: Model) -> bool:
    is_other = one.model != model.model and one.target is model.target
    return is_other and one.state is State.CANDIDATE and one.step is None
