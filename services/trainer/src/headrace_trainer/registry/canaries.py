"""The way of generators: a share of the routes first, then everything; both by routes at inference."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from headrace_telemetry.tracing import extract, span

from headrace_trainer.registry import evidence
from headrace_trainer.registry import rollout as rolling
from headrace_trainer.registry import shelf as shelves
from headrace_trainer.registry.evidence import MOST_ANSWERS, Sample
from headrace_trainer.registry.generators import champion_of
from headrace_trainer.registry.models import (
    BASE,
    Change,
    Doing,
    Measure,
    Model,
    Rollout,
    State,
    Step,
    Variant,
    became_canary,
    retired,
)
from headrace_trainer.registry.moves import Moves
from headrace_trainer.registry.ports import Loaded, Serving
from headrace_trainer.registry.rollout import Field
from headrace_trainer.registry.routing import Writer
from headrace_trainer.running.rules import Rules
from headrace_trainer.running.runs import BY_ITSELF

#: How often a canary is looked at, in seconds.
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Canaries:
    """See targets.Way."""

    moves: Moves
    serving: Serving

    @property
    def begins(self) -> Doing:
        """See Way."""
        return Doing.BEGINNING_CANARY

    def begins_by_itself(self, rules: Rules) -> bool:
        """See Way. Whether a canary that has proven itself is promoted is for the rules to say."""
        del rules
        return True

    async def loaded(self, model: Model) -> Loaded:
        """See Way."""
        return await self.serving.loaded(model.tenant, model.version)

    async def go_on(self, model: Model) -> datetime:
        """See Way."""
        match model.doing:
            case Doing.BEGINNING_CANARY | Doing.PROMOTING if model.is_condemned:
                return await self._leave(model)
            case Doing.BEGINNING_CANARY:
                return await self._begin(model)
            case Doing.PROMOTING:
                return await self._promote(model)
            case Doing.ROLLING_BACK:
                return await self._roll_back(model)
            case Doing.NOTHING:
                return await self._look(model)

    async def _leave(self, model: Model) -> datetime:
        """Something that it learned from was erased on its way."""
        if _writes(model):
            words = "Something that it learned from was erased."
            await self.moves.intend(model, Step(Doing.ROLLING_BACK, "erasure", BY_ITSELF, words))
        else:
            await self.moves.drop_step(model)
        return self.moves.soon()

    # It begins.

    async def _begin(self, model: Model) -> datetime:
        if not _writes(model) and await self.moves.waits_for_pause(model):
            return self.moves.later()
        planned = await self._planned(model)
        if planned is None:
            return self._next_look()
        if planned.rollout is None or not planned.rollout.routes:
            return await self._nowhere(planned)
        await self._has_begun(planned, await self._write(planned, "canary"))
        return self.moves.soon()

    async def _has_begun(self, model: Model, written: Rollout) -> None:
        moves = self.moves
        async with moves.shelf.open(model.tenant) as (unit, books):
            current = await books.get(model.tenant, model.model)
            if current is None or current.doing is not Doing.BEGINNING_CANARY:
                return
            now = moves.shelf.now()
            canary = became_canary(current, rolling.started(written, now=now), now=now)
            await books.save(canary)
            await moves.watch(books, canary)
            because = current.step.because if current.step else "gate"
            moves.tell(unit, canary, Change.CANARY, before=current, because=because, now=now)

    async def _planned(self, model: Model) -> Model | None:
        """With a rollout by the rules of now, and the routes that it touches as found before any is written. None while
        another one's are being written, or another has a share: they would be the same routes."""
        if model.rollout is not None and model.rollout.routes:
            return model
        shelf, serving, target = self.moves.shelf, self.serving, model.target
        rules = await self.moves.rules(model.tenant)
        champion = await champion_of(shelf, serving, model.tenant, target, rules)
        if not await self._has_turn(model, rolling.begin(rules, champion, ())):
            return None
        # Another may have been promoted before the turn came.
        champion = await champion_of(shelf, serving, model.tenant, target, rules)
        routes = rolling.plan(await serving.routes(model.tenant), champion, rules)
        return await self.moves.noted(model, rolling.begin(rules, champion, routes))

    async def _has_turn(self, model: Model, rollout: Rollout) -> bool:
        """Notes that it writes routes from now on, unless another does, or has a share and is taken out first. What the
        gate has begun by itself stays a candidate where a newer one is on its way, which has learned from more."""
        async with self.moves.shelf.open(model.tenant) as (_, books):
            current = await books.get(model.tenant, model.model)
            if current is None or current.doing is not model.doing:
                return False
            known = await books.newest(model.tenant, shelves.MOST)
            others = [one for one in known if one.target is model.target and one.model != model.model]
            canary = shelves.canary_of(others, model.target)
            if _is_overtaken(current, others):
                await books.save(replace(current, step=None))
            elif canary is not None and canary.doing is not Doing.ROLLING_BACK:
                step = Step(Doing.ROLLING_BACK, "replaced", BY_ITSELF, f"{model.model} takes its place.")
                await self.moves.intended(books, canary, step)
            elif canary is None and not any(_writes(one) for one in others):
                await books.save(replace(current, rollout=rollout))
                return True
        self.moves.wake()
        return False

    async def _nowhere(self, model: Model) -> datetime:
        """It stays a candidate, and says why."""
        champion = model.rollout.champion if model.rollout else BASE
        words = f"No route sends queries to {champion}, so there was nothing to take a share of."
        async with self.moves.shelf.open(model.tenant) as (_, books):
            current = await books.get(model.tenant, model.model)
            if current is not None and current.doing is model.doing and current.rollout is not None:
                ended = replace(current.rollout, ended="rolled_back", because=words)
                await books.save(replace(current, step=None, rollout=ended))
        return self.moves.never()

    # It runs.

    async def _look(self, model: Model) -> datetime:
        if model.rollout is None:
            return self.moves.never()
        shelf = self.moves.shelf
        known = await shelf.all(model.tenant)
        if _has_gone(known, model.rollout.champion):
            return await self._hold_anew(model, known)
        on = self._field(model, known)
        if rolling.names_gone(model.rollout, on):
            await self._write(model, "canary", models=known)
            return self.moves.soon()
        routes = await self._writer(model).yielded(model.rollout.routes, on)
        async with shelf.ledger.unit(tenant=model.tenant) as unit:
            share = model.rollout.share
            sample = await shelf.books_on(unit).sample(model.tenant, model.model, share=share, most=2 * MOST_ANSWERS)
            paused = await self.moves.loop.is_paused(unit, model.tenant)
        seen = replace(model, rollout=replace(model.rollout, routes=routes))
        looked, decision = await asyncio.to_thread(
            _weigh, seen, sample, now=shelf.now(), paused=int(paused), counts=_counts(known, model.rollout)
        )
        async with shelf.open(model.tenant) as (_, books):
            current = await books.get(model.tenant, model.model)
            if current is None or current.state is not State.CANARY or current.step:
                return self.moves.soon()
            await books.save(_with_step(replace(current, rollout=looked.rollout), decision))
        return self.moves.soon() if decision.does in ("promote", "roll_back") else self._next_look()

    async def _hold_anew(self, model: Model, known: Sequence[Model]) -> datetime:
        """Its champion was rolled back or erased beside it: its own routes still name that one."""
        on = self._field(model, known)
        async with self.moves.shelf.open(model.tenant) as (_, books):
            current = await books.get(model.tenant, model.model)
            if current is not None and current.state is State.CANARY and current.rollout and not current.step:
                await books.save(replace(current, rollout=rolling.held_anew(current.rollout, on)))
                await books.forget(model.tenant, model.model)
        return self.moves.soon()

    def _next_look(self) -> datetime:
        return self.moves.soon() + timedelta(seconds=LOOK_SECONDS)

    # It answers, and answers no more.

    async def _promote(self, model: Model) -> datetime:
        planned = await self._planned(model)
        if planned is None:
            return self._next_look()
        if planned.rollout is None or not planned.rollout.routes:
            return await self._nowhere(planned)
        written = await self._write(planned, "live")
        if written.has_given_way:
            words = "Somebody changed every route that it was to answer; theirs stand."
            await self.moves.intend(model, Step(Doing.ROLLING_BACK, "person", BY_ITSELF, words))
            return self.moves.soon()
        await self.moves.promoted(model, written)
        return self.moves.soon()

    async def _roll_back(self, model: Model) -> datetime:
        written = await self._write(model, "as_found") if model.rollout else None
        await self.moves.rolled_back(model, written, before=before)
        return self.moves.soon()

    async def stand_down(self, model: Model) -> None:
        """See Way. The live one's routes have it as a fallback."""
        now = self.moves.shelf.now()
        known = await self.moves.shelf.all(model.tenant)
        models = [retired(one, "erasure", replaced_by="", now=now) if one == model else one for one in known]
        live = shelves.live_of(models, model.target)
        if live is not None and live.rollout is not None and not live.step:
            await self._write(live, "live", models=models)

    # Routes.

    async def _write(self, model: Model, phase: rolling.Phase, *, models: Sequence[Model] = ()) -> Rollout:
        """Brings the model's routes into a phase, and notes each as it is written. Returns the rollout."""
        if model.rollout is None:
            raise ValueError("a model without a rollout has no routes")
        known = models or await self.moves.shelf.all(model.tenant)
        rollout, on = model.rollout, self._field(model, known)
        context = extract({"traceparent": model.traceparent})
        with span(f"routes {phase} {model.model}", parent=context, attributes={"headrace.tenant": model.tenant}):
            async for routes in self._writer(model).write(rollout.routes, phase, on):
                rollout = replace(rollout, routes=routes)
                await self.moves.noted(model, rollout)
        return rollout

    def _field(self, model: Model, models: Sequence[Model]) -> Field:
        if model.rollout is None or model.variant is None:
            raise ValueError("a model without a rollout has no field")
        is_promoted = model.doing is Doing.PROMOTING
        known = [_without_standing_by(one) for one in models] if is_promoted else models
        stand_ins = dict(shelves.stand_ins(known, but=model))
        if not is_promoted and _answers(models, model.rollout.champion):
            # A condemned champion answers on until somebody takes its place, and is what the canary is held against.
            stand_ins.pop(model.rollout.champion, None)
        return Field(
            champion=model.rollout.champion,
            candidate=model.variant,
            share=model.rollout.share,
            stand_ins=stand_ins,
        )

    def _writer(self, model: Model) -> Writer:
        words = model.step.words if model.step else ""
        return Writer(self.serving, model.tenant, f"{model.model}: {words}"[:500])


def before(models: Sequence[Model], model: Model) -> Model | None:
    """The last good version: whose variant it took the place of. None: the base, or a variant of somebody's own."""
    champion = model.rollout.champion if model.rollout else None
    if champion is None:
        return None
    found = shelves.by_variant(models, shelves.sound(models, champion))
    return found if found and found.model != model.model and found.state is State.LIVE else None


def _answers(models: Sequence[Model], champion: Variant) -> bool:
    found = shelves.by_variant(models, champion)
    return found is not None and found.answers


def _writes(model: Model) -> bool:
    """Whether its routes are being written."""
    if model.step is None:
        return False
    return model.doing is Doing.ROLLING_BACK or (model.rollout is not None and not model.rollout.ended)


def _is_overtaken(model: Model, others: Sequence[Model]) -> bool:
    if model.step is None or model.step.because != "gate":
        return False
    newer = (one for one in others if one.registered_at > model.registered_at and not one.is_condemned)
    ahead = (Doing.BEGINNING_CANARY, Doing.PROMOTING)
    return any(one.doing in ahead or (one.state is State.CANARY and one.step is None) for one in newer)


def _has_gone(models: Sequence[Model], champion: Variant) -> bool:
    """Whether it is of a model that answers no more. Variants of the house, or of somebody's own, stay."""
    return shelves.by_variant(models, champion) is not None and not _answers(models, champion)


def _counts(models: Sequence[Model], rollout: Rollout) -> Sequence[Measure]:
    """By what a canary is held against its champion."""
    champion = shelves.by_variant(models, rollout.champion)
    return evidence.OF_ONE_THAT_GOES if champion is not None and champion.is_condemned else evidence.GUARDED


def _weigh(
    model: Model, sample: Sample, *, now: datetime, paused: int, counts: Sequence[Measure]
) -> tuple[Model, rolling.Decision]:
    """The model with what is seen by now, and what becomes of it. Takes a second for tens of thousands of answers."""
    if model.rollout is None:
        return model, rolling.GOES_ON
    looked = replace(model, rollout=rolling.looked_at(model.rollout, sample))
    return looked, rolling.decide(looked, sample, now=now, paused=bool(paused), counts=counts)


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
