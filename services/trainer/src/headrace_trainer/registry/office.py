"""The registry as runs and people see it: what they ask for is written down; the conductor carries it out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from headrace_runtime.errors import Conflict, Failure, NotFound
from headrace_stream import Unit
from headrace_stream.envelope import derived_id

from headrace_trainer.registry import shelf as shelves
from headrace_trainer.registry.erasing import condemn
from headrace_trainer.registry.judging import Court
from headrace_trainer.registry.models import (
    BASE,
    Change,
    Doing,
    Losses,
    Model,
    State,
    Step,
)
from headrace_trainer.registry.moves import Moves
from headrace_trainer.registry.ports import Loaded
from headrace_trainer.registry.shelf import Shelf
from headrace_trainer.registry.targets import Targets, Way
from headrace_trainer.registry.telling import tell
from headrace_trainer.running.ports import Ended, Loop, Standing, Verdict
from headrace_trainer.running.runs import BY_ITSELF, Cause, Made, Person, Run

#: What a person is waited for after asking: until it is carried out, or for so many seconds.
WAIT_SECONDS = 15.0
LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Office:
    """See running.ports.Registry; and what ModelService asks for."""

    moves: Moves
    targets: Targets
    court: Court
    sleep: Callable[[float], Awaitable[None]]

    @property
    def shelf(self) -> Shelf:
        """The books."""
        return self.moves.shelf

    @property
    def loop(self) -> Loop:
        """Runs."""
        return self.moves.loop

    # What runs ask for.

    async def register(self, run: Run, made: Made) -> str:
        """See Registry. Raises Conflict for a run that was stopped meanwhile: what it learned from may be erased, and
        whoever condemned its models did not see this one."""
        shelf = self.shelf
        async with shelf.open(run.tenant) as (unit, books):
            current = await self.loop.run_of(unit, run.tenant, run.run_id)
            if current is not None and current.state.has_ended:
                raise Conflict(f"run {run.run_id} has ended")
            known = await books.of_run(run.tenant, run.run_id)
            if known is not None:
                return known.model
            model = _registered(run, made, now=shelf.now())
            # The same rows, base, recipe and seed make the same weights: then it is the model that is there.
            if await books.add(model):
                change = Change.REGISTERED
                tell(unit, model, change, before=State.CANDIDATE, because="run", by=BY_ITSELF, now=model.registered_at)
        return model.model

    async def judge(self, run: Run, model: str) -> Verdict:
        """See Registry."""
        return await self.court.judge(run, model)

    async def roll_out(self, run: Run, model: str) -> None:
        """See Registry."""
        found = await self.shelf.get(run.tenant, model)
        if found is None:
            raise NotFound("model", model)
        way = self.targets.of(found).way
        if not found.may_begin or found.step or not way.begins_by_itself(await self.moves.rules(run.tenant)):
            return
        await self._begin(found, Step(way.begins, "gate", BY_ITSELF, "The gate let it through."))

    async def take_out(self, tenant: str) -> Sequence[str]:
        """See Registry."""
        async with self.shelf.ledger.unit() as unit:
            watched = await self.shelf.books_on(unit).watched()
        taken = []
        for of, name in watched:
            model = await self.shelf.get(of, name) if tenant in ("", of) else None
            if model is not None and model.state is State.CANARY:
                step = Step(Doing.ROLLING_BACK, "person", BY_ITSELF, "The loop was paused, and canaries taken out.")
                await self.moves.intend(model, step)
                taken.append(name)
        return taken

    async def standing(self, unit: Unit, tenant: str) -> Standing:
        """See Registry."""
        models = await self.shelf.books_on(unit).newest(tenant, shelves.MOST)
        canary = next((model.model for model in models if model.state is State.CANARY), "")
        return Standing({model.target: model.model for model in models if model.answers}, canary)

    async def dataset_ended(self, unit: Unit, ended: Ended) -> None:
        """See Registry. A grant that ended keeps the next run from its rows; what was made of them stays: a grant says
        what may be used from now on."""
        if not ended.erased:
            return
        books, loop = self.shelf.books_on(unit), self.loop
        await books.hold(ended.tenant)
        rules = await loop.rules_of(unit, ended.tenant)
        reached = await condemn(unit, books, ended, seconds=rules.erasure_seconds, now=self.shelf.now())
        for model in reached:
            if model.answers or model.state is State.CANARY:
                cause_id = derived_id("erasure", ended.tenant, ended.dataset_id, ended.by)
                because = (ended.by,)
                await loop.add_cause(
                    unit, ended.tenant, model.target, Cause.ERASURE, because=because, cause_id=cause_id
                )
        self.moves.wake()

    # What people ask for.

    async def promote(self, tenant: str, wanted: str, by: Person, *, reason: str, doing: Doing) -> Model:
        """Has a model answer a share, or everything. Raises NotFound, Conflict."""
        model = shelves.find(await self.shelf.all(tenant), wanted)
        way = self.targets.of(model).way
        _may_answer(model)
        await _is_loaded(way, model)
        step = Step(doing if doing is Doing.PROMOTING else way.begins, "person", by, reason or f"By {by.role}.")
        if model.state is State.CANARY and model.rollout is not None:
            if step.doing is Doing.BEGINNING_CANARY:
                raise Conflict(f"{model.model} is a canary already; --at-once has it answer everything")
            await self.moves.intend(model, step)
        else:
            await self._begin(model, step)
        return await self._carried_out(model)

    async def roll_back(self, tenant: str, wanted: str, by: Person, *, reason: str) -> tuple[Model, str]:
        """Takes a canary out, or puts what was before the live one back; returns it, and what answers now. Raises
        NotFound, Conflict."""
        model = shelves.find(await self.shelf.all(tenant), wanted)
        if not (model.answers or model.state is State.CANARY or model.step):
            raise Conflict(f"{model.model} answers nothing: there is nothing to roll back")
        await self.moves.intend(model, Step(Doing.ROLLING_BACK, "person", by, reason or f"By {by.role}."))
        after = await self._carried_out(model)
        await self._left_out(after)
        live = shelves.live_of(await self.shelf.all(tenant), model.target)
        return after, live.model if live else BASE

    async def serving(self, model: Model) -> Loaded | None:
        """How it stands at those who serve it; None for one that nobody needs to serve, and while they cannot be
        asked."""
        if model.state is State.RETIRED:
            return None
        try:
            return await self.targets.of(model).way.loaded(model)
        except Failure:
            return None

    async def _begin(self, model: Model, step: Step) -> None:
        """Writes down that it is to begin. What the gate has begun waits while the loop is paused."""
        async with self.shelf.open(model.tenant) as (_, books):
            current = await books.get(model.tenant, model.model)
            if current is None or current.state is not State.CANDIDATE or not _is_free(current):
                return
            await books.save(replace(current, step=step))
            await books.put(model.tenant, model.model, due_at=self.shelf.now(), watched=0)
        self.moves.wake()

    async def _carried_out(self, model: Model) -> Model:
        """As it stands once the step is done, or after a while."""

        async def is_done() -> bool:
            current = await self.shelf.get(model.tenant, model.model)
            return current is None or current.step is None

        await self._wait(is_done)
        return await self.shelf.get(model.tenant, model.model) or model

    async def _left_out(self, model: Model) -> None:
        """Waits, for a while, until a canary beside it has written its routes without it."""
        gone = None if model.answers else model.variant

        async def is_done() -> bool:
            canary = shelves.canary_of(await self.shelf.all(model.tenant), model.target)
            return not (gone and canary and canary.rollout and canary.rollout.names(gone))

        await self._wait(is_done)

    async def _wait(self, is_done: Callable[[], Awaitable[bool]]) -> None:
        for _ in range(int(WAIT_SECONDS / LOOK_SECONDS)):
            if await is_done():
                return
            await self.sleep(LOOK_SECONDS)


async def _is_loaded(way: Way, model: Model) -> None:
    """Raises Conflict for what those who serve cannot answer with."""
    loaded = await way.loaded(model)
    if loaded.state != "up":
        why = f": {loaded.failure}" if loaded.failure else ""
        raise Conflict(f"what serves it has not loaded {model.model} ({loaded.state}{why})")


def _may_answer(model: Model) -> None:
    """Raises Conflict for what may not."""
    if model.is_condemned:
        raise Conflict(f"{model.model} learned from what was erased since")
    if model.deleted_at is not None:
        raise Conflict(f"the weights of {model.model} are deleted")
    if model.state is State.LIVE:
        raise Conflict(f"{model.model} answers already, or stands by; roll the live one back to return to it")
    if model.gate is not None and not model.gate.passed:
        raise Conflict(f"the gate refused {model.model}; `headrace models show` says why")
    if model.state is State.RETIRED:
        raise Conflict(f"{model.model} answers no more ({model.ended_by}): what it learned can be trained again")
    if model.gate is None:
        raise Conflict(f"the gate has not judged {model.model} yet")
    if not _is_free(model):
        raise Conflict(f"{model.model} is being brought to another state")


def _is_free(model: Model) -> bool:
    """Whether nothing is being carried out, but what the gate has begun by itself."""
    return model.step is None or model.step.because == "gate"


def _registered(run: Run, made: Made, *, now: datetime) -> Model:
    return Model(
        tenant=run.tenant,
        model=made.model,
        target=run.target,
        run_id=run.run_id,
        dataset_id=run.snapshot.dataset_id,
        parent=made.base.name,
        grants=run.snapshot.grants,
        tier=run.snapshot.tier,
        address=made.address,
        files=dict(made.files),
        base=made.base,
        registered_at=now,
        changed_at=now,
        traceparent=run.traceparent,
        bytes=made.bytes,
        losses=Losses(made.held_out_loss, made.base_held_out_loss),
        memorisation=made.memorisation,
    )
