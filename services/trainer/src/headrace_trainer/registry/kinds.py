"""How what recognises kinds is judged, and how it comes into service.

Inference reads a candidate as soon as it is registered, and can be asked what it would say. Which model is in service
follows from the registry's own word: whoever recognises hears `model.changed`, so that the switch is the event.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace_runtime.errors import Conflict, Denied, NotFound, Unavailable

from headrace_trainer.registry import shelf as shelves
from headrace_trainer.registry.gate import KindsFindings, lines_of_kinds
from headrace_trainer.registry.models import Model
from headrace_trainer.registry.moves import Moves
from headrace_trainer.registry.ports import HOUSE, Loaded
from headrace_trainer.registry.recognising import Guessed, findings_of, guess_of
from headrace_trainer.registry.rules import Gate
from headrace_trainer.registry.switching import sound
from headrace_trainer.registry.targets import Examined
from headrace_trainer.registry.waiting import until_up
from headrace_trainer.running.runs import Run, Target

#: Whom to ask for the tenant's examples alone, and for whatever is in service.
EXAMPLES, IN_SERVICE = "examples", ""
#: What the champion is called in reports where no trained model is in service.
TENANTS_EXAMPLES = "the tenant's examples"
#: Questions that are asked at a time.
AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Asked:
    """A held-out question in the clear, in memory alone, and the kind that people stated."""

    kind: str
    group: str
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Told:
    """What was said of a question. by: the trained model that said it; "" for examples. shares: how likely each kind
    is; empty where nothing tells kinds yet."""

    by: str
    shares: Mapping[str, float]


class Recogniser(Protocol):
    """Inference, as far as it recognises kinds. May raise Unavailable."""

    async def loaded(self, model: Model) -> Loaded:
        """How a model stands there."""

    async def kinds(self, tenant: str) -> frozenset[str]:
        """The tenant's kinds, "other" among them. Raises NotFound where it has none."""

    async def recognise(self, tenant: str, question: str, *, by: str) -> Told:
        """What a model says, by its name, or EXAMPLES, or IN_SERVICE. Raises Conflict for one that cannot be asked."""


class StatedRows(Protocol):
    """Rows of snapshots whose kind people stated. May raise Unavailable; NotFound, Conflict and Denied for what may not
    be read."""

    async def held_out(self, tenant: str, dataset_id: str, *, most: int) -> Sequence[Asked]:
        """The held-out ones, in the snapshot's order, at most so many."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long is waited, in seconds; see generators.Patience."""

    look: float = 0.5
    loading: float = 120.0
    failing: float = 20.0


@dataclass(frozen=True, slots=True)
class KindsBench:
    """See targets.Examiner. sleep, clock: in seconds."""

    moves: Moves
    recogniser: Recogniser
    rows: StatedRows
    gate: Gate
    sleep: Callable[[float], Awaitable[None]]
    clock: Callable[[], float]
    patience: Patience = Patience()

    async def tried(self, model: Model) -> Loaded:
        """See Examiner. Inference tries again what it could not read, so one failure is none yet."""
        patience = self.patience
        return await until_up(
            lambda: self.recogniser.loaded(model),
            look=patience.look,
            loading=patience.loading,
            failing=patience.failing,
            sleep=self.sleep,
            clock=self.clock,
        )

    async def examined(self, run: Run, model: Model) -> Examined:
        """See Examiner."""
        try:
            champion, found = await self._patiently(run, model)
        except (Conflict, Denied, NotFound):
            # The snapshot may not be read any more, or the kinds are others by now than it learned: nothing was
            # measured, which opens nothing.
            champion, found = "", KindsFindings()
        return Examined(lines_of_kinds(self.gate, found), champion or TENANTS_EXAMPLES)

    async def _patiently(self, run: Run, model: Model) -> tuple[str, KindsFindings]:
        """Another instance of inference may not have heard of the candidate yet, so one refusal is none yet."""
        began = self.clock()
        while True:
            try:
                return await self._findings(run, model)
            except Conflict:
                if self.clock() - began > self.patience.failing:
                    raise
            await self.sleep(self.patience.look)

    async def _findings(self, run: Run, model: Model) -> tuple[str, KindsFindings]:
        most = (await self.moves.rules(model.tenant)).gate_cases
        held_out = await self.rows.held_out(model.tenant, run.snapshot.dataset_id, most=most)
        kinds = await self.recogniser.kinds(model.tenant)
        asked = [one for one in held_out if one.kind in kinds]
        by = await self._champion(model.tenant)
        guessed: list[Guessed] = []
        champions: set[str] = set()
        for start in range(0, len(asked), AT_ONCE):
            batch = [self._guessed(model, one, by) for one in asked[start : start + AT_ONCE]]
            for said_by, guess in await asyncio.gather(*batch):
                champions.add(said_by)
                guessed.append(guess)
        if len(champions) > 1:
            raise Unavailable("one champion for all questions")
        return next(iter(champions), ""), findings_of(guessed)

    async def _champion(self, tenant: str) -> str:
        """Whom to ask for what recognises kinds now; what is condemned goes in any case, and is no bar for what comes
        after it."""
        models = await self.moves.shelf.all(tenant)
        live = shelves.live_of(models, Target.KINDS)
        if live is None or not live.is_condemned:
            return IN_SERVICE
        return sound(models, live.model) or EXAMPLES

    async def _guessed(self, model: Model, asked: Asked, by: str) -> tuple[str, Guessed]:
        champion = await self.recogniser.recognise(model.tenant, asked.text, by=by)
        candidate = await self.recogniser.recognise(model.tenant, asked.text, by=model.model)
        if not champion.shares or candidate.by != model.model:
            raise Unavailable("what recognises kinds")  # the examples are being learned
        guesses = [guess_of(told.shares, asked.kind) for told in (champion, candidate)]
        return champion.by, Guessed(asked.kind, asked.group, *guesses)


@dataclass(frozen=True, slots=True)
class KindsSwitch:
    """See ports.Switch. There is nobody to ask for a switch: what the books say is what inference hears."""

    moves: Moves
    recogniser: Recogniser

    async def loaded(self, model: Model) -> Loaded:
        """See Switch."""
        return await self.recogniser.loaded(model)

    async def answers(self, tenant: str) -> str:
        """See Switch."""
        live = shelves.live_of(await self.moves.shelf.all(tenant), Target.KINDS)
        return live.model if live else HOUSE

    async def switch(self, tenant: str, to: str, *, instead_of: str) -> None:
        """See Switch. The event that tells of the step is the switch, in one transaction with it."""
