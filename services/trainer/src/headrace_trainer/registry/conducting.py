"""Looks after every model that needs it: canaries, what is being carried out, and what was condemned.

Any instance does, one at a time for each model, by a turn that lasts some seconds: when the process that has it is
killed, another takes it. What a visit finds written down it carries out, however far the last one came.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from uuid import UUID

import structlog
from headrace_runtime.errors import Failure, Unavailable

from headrace_trainer.registry import shelf as shelves
from headrace_trainer.registry.models import BASE, Change, Doing, Model, State, Step
from headrace_trainer.registry.moves import Moves
from headrace_trainer.registry.ports import Weights
from headrace_trainer.registry.targets import Targets
from headrace_trainer.running.runs import BY_ITSELF

log = structlog.get_logger()

#: How long a turn lasts without its holder.
TURN_SECONDS = 20.0
#: Nothing is due sooner than this after nothing was.
IDLE_SECONDS = 1.0


class Conductor:
    """See the module."""

    def __init__(self, moves: Moves, targets: Targets, weights: Weights, *, new_id: Callable[[], UUID]) -> None:
        self._moves = moves
        self._shelf = moves.shelf
        self._targets = targets
        self._weights = weights
        self._new_id = new_id

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
        holder, awake = self._new_id(), self._moves.awake
        while True:
            try:
                if await self.step(holder):
                    continue
            except Unavailable as failure:
                log.warning("models wait", dependency=failure.dependency)
            awake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await awake.wait()

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
        soon = self._moves.later()
        try:
            return await self.visit(tenant, name)
        except Unavailable as failure:
            log.warning("a model waits", model=name, dependency=failure.dependency)
        except Failure as failure:
            # What is not taken now may be taken later: a variant that is broken, a prompt that is gone, an index that
            # lacks a vector.
            log.warning("a model's step was refused", model=name, reason=type(failure).__name__)
        return soon

    async def visit(self, tenant: str, name: str) -> datetime:
        """Does what is to be done for a model now, and returns when to come again. Raises Unavailable, Conflict."""
        model = await self._shelf.get(tenant, name)
        if model is None:
            return self._moves.never()
        if model.step or model.state is State.CANARY:
            return await self._targets.of(model).way.go_on(model)
        return await self._after(model)

    async def _after(self, model: Model) -> datetime:
        """What was condemned is retired as soon as nobody needs it, at the deadline at the latest; then its weights
        go."""
        if not model.is_condemned or model.deleted_at:
            await self._rest(model)
            return self._moves.never()
        if model.answers and model.retire_by and self._shelf.now() < model.retire_by:
            return model.retire_by
        if model.answers:
            words = "Something that it learned from was erased, and nothing took its place in time."
            await self._moves.intend(model, Step(Doing.ROLLING_BACK, "erasure", BY_ITSELF, words))
            return self._moves.soon()
        if model.stands_by:
            await self._targets.of(model).way.stand_down(model)
        await self._delete(model)
        return self._moves.soon()

    async def _delete(self, model: Model) -> None:
        """The weights go first; what is said is true then."""
        async with self._shelf.open(model.tenant) as (unit, books):
            current = await books.get(model.tenant, model.model)
            if current is not None and current.state is not State.RETIRED:
                models = await books.newest(model.tenant, shelves.MOST)
                live = shelves.live_of(models, model.target)
                name = live.model if live else BASE
                await self._moves.retire(unit, books, current, replaced_by=name, now=self._shelf.now())
        await self._weights.delete(model.address)
        async with self._shelf.open(model.tenant) as (unit, books):
            current = await books.get(model.tenant, model.model)
            if current is not None and current.deleted_at is None:
                now = self._shelf.now()
                live = shelves.live_of(await books.newest(model.tenant, shelves.MOST), model.target)
                # What took its place is what answers now, which may have come later than its retirement.
                gone = replace(current, deleted_at=now, replaced_by=live.model if live else BASE)
                await books.save(gone)
                self._moves.tell(unit, gone, Change.DELETED, before=current, because="erasure", now=now)

    async def _rest(self, model: Model) -> None:
        """Nothing is to be done for it: who watches answers need not look for its own."""
        async with self._shelf.open(model.tenant) as (_, books):
            if not shelves.is_watched(model):
                await books.drop(model.tenant, model.model)
