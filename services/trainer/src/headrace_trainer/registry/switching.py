"""The way of what answers for a tenant one at a time: no share, one switch, and the same switch back.

Who answers is known to whoever serves; here it is written down. A process that was killed between the two asks again,
and makes true what is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from headrace_runtime.errors import Conflict, NotFound
from headrace_telemetry.tracing import extract, span

from headrace_trainer.registry import shelf as shelves
from headrace_trainer.registry.models import Doing, Model, State
from headrace_trainer.registry.moves import Moves
from headrace_trainer.registry.ports import HOUSE, Loaded, Switch
from headrace_trainer.running.rules import Rules

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Switching:
    """See targets.Way. serves: who answers with these models."""

    moves: Moves
    serves: Switch

    @property
    def begins(self) -> Doing:
        """See Way."""
        return Doing.PROMOTING

    def begins_by_itself(self, rules: Rules) -> bool:
        """See Way. No share of queries proves anything first, so it is for the rules to say."""
        return rules.promote_by_itself

    async def loaded(self, model: Model) -> Loaded:
        """See Way."""
        return await self.serves.loaded(model)

    async def go_on(self, model: Model) -> datetime:
        """See Way."""
        if model.doing is Doing.ROLLING_BACK:
            await self._roll_back(model)
            return self.moves.soon()
        return await self._promote(model)

    async def stand_down(self, model: Model) -> None:
        """See Way. Nobody is answered by one that stands by, and what is condemned is never gone back to."""

    async def _promote(self, model: Model) -> datetime:
        if model.is_condemned:
            await self.moves.drop_step(model)
            return self.moves.soon()
        if await self.moves.waits_for_pause(model):
            return self.moves.later()
        answers = await self.serves.answers(model.tenant)
        if answers != model.model and not await self._may_switch(model, answers):
            log.warning("a model stays a candidate", model=model.model, answers=answers, reason="switched by somebody")
            await self.moves.drop_step(model)
            return self.moves.soon()
        await self._switch(model, model.model, instead_of=answers)
        await self.moves.promoted(model, None)
        return self.moves.soon()

    async def _may_switch(self, model: Model, answers: str) -> bool:
        """A person goes before whatever is there. What begins by itself gives way to who switched by hand."""
        if model.step and model.step.because == "person":
            return True
        live = shelves.live_of(await self.moves.shelf.all(model.tenant), model.target)
        return answers == (live.model if live else HOUSE)

    async def _roll_back(self, model: Model) -> None:
        answers = await self.serves.answers(model.tenant)
        if answers == model.model:
            answers = await self._go_back(model)
        await self.moves.rolled_back(model, None, before=lambda models, _: _named(models, answers))

    async def _go_back(self, model: Model) -> str:
        """To the last good version; where that is not to be had now, to the house's, which always is. Returns which."""
        models = await self.moves.shelf.all(model.tenant)
        found = before(models, model) if model.answers else shelves.live_of(models, model.target)
        to = found.model if found else HOUSE
        try:
            await self._switch(model, to, instead_of=model.model)
        except (Conflict, NotFound):
            if to == HOUSE or not model.answers:
                raise
            to = HOUSE
            await self._switch(model, to, instead_of=model.model)
        return to

    async def _switch(self, model: Model, to: str, *, instead_of: str) -> None:
        """In the trace of the run that made it."""
        if to == instead_of:
            return
        context = extract({"traceparent": model.traceparent})
        with span(f"switch to {to or 'the house'}", parent=context, attributes={"headrace.tenant": model.tenant}):
            await self.serves.switch(model.tenant, to, instead_of=instead_of)


def sound(models: Sequence[Model], name: str) -> str:
    """Whoever answers, by name; where that one is condemned, what would answer without it."""
    found = _named(models, name)
    if found is None or not found.is_condemned:
        return name
    good = before(models, found)
    return good.model if good else HOUSE


def before(models: Sequence[Model], model: Model) -> Model | None:
    """The last good version: what it took the place of, or what that one had. None: the house's."""
    seen: set[str] = set()
    found = _named(models, model.previous)
    while found is not None and found.model not in seen:
        if found.state is State.LIVE and not found.is_condemned:
            return found
        seen.add(found.model)
        found = _named(models, found.previous)
    return None


def _named(models: Sequence[Model], name: str) -> Model | None:
    return next((one for one in models if one.model == name), None)
