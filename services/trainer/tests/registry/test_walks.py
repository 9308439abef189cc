"""Whatever people, erasures and time do to models, in any order: the routes name those that answer, and no others."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping

import pytest
from headrace_runtime.errors import Conflict
from headrace_stream.memory import MemoryLedger
from headrace_trainer.registry import rollout, shelf
from headrace_trainer.registry.memory import MemoryBooks
from headrace_trainer.registry.models import Doing, Model, Route, State
from headrace_trainer.registry.ports import HOUSE
from headrace_trainer.running.runs import Person, Target

from services.trainer.tests.registry.conftest import sound
from services.trainer.tests.registry.house import House, Killed
from services.trainer.tests.registry.test_lifecycle import erase

ANNA = Person("developer", "anna")
STEPS = 16


class Walk:
    """One tenant's models, and somebody who does anything to them."""

    def __init__(self, seed: int) -> None:
        books = MemoryBooks()
        self.home = sound(House(MemoryLedger(), lambda _: books))
        self.chance = random.Random(seed)
        self.datasets: list[str] = []
        self.done: list[str] = []

    async def go(self) -> None:
        """Takes the steps; some processes are killed in the middle of one."""
        for _ in range(STEPS):
            steps = self._steps()
            (name,) = self.chance.choices(list(steps), weights=[weight for weight, _ in steps.values()])
            self.done.append(name)
            if self.chance.random() < 0.25:
                served = self.chance.choice((self.home.serving, self.home.serving, self.home.indexes))
                served.kill_at = 2 * served.writes + self.chance.randrange(4)
            try:
                await steps[name][1]()
            except Killed:
                self.done[-1] += " (killed)"
                self.home.restart()
            except Conflict:
                self.done[-1] += " (refused)"
            self.home.serving.kill_at = self.home.indexes.kill_at = None

    def _steps(self) -> Mapping[str, tuple[int, Callable[[], Awaitable[object]]]]:
        """How often each, and what is done."""
        return {
            "train": (1, self._train),
            "canary": (4, self._canary),
            "live": (3, self._live),
            "embedder": (3, self._embedder),
            "prove": (2, self._prove),
            "fail": (1, self._fail),
            "erase": (3, self._erase),
            "roll back": (4, self._roll_back),
            "promote": (3, self._promote),
            "a second": (2, lambda: self.home.look(2.0)),
            "a minute": (1, lambda: self.home.look(60.0)),
            "a day": (1, lambda: self.home.look(90_000.0)),
            "a week": (1, lambda: self.home.look(605_000.0)),
        }

    def _dataset(self) -> str:
        """One that nothing has learned from."""
        self.datasets.append(f"d{len(self.datasets)}")
        return self.datasets[-1]

    async def _train(self) -> None:
        await self.home.candidate(dataset=self._dataset())

    async def _canary(self) -> None:
        await self.home.canary(dataset=self._dataset())

    async def _embedder(self) -> None:
        """One that finds first what all before it find later."""
        for place in self.home.indexes.places:
            self.home.indexes.places[place] = 2
        self.home.indexes.places[HOUSE] = 9
        run, name = await self.home.candidate(dataset=self._dataset(), target=Target.EMBEDDER)
        self.home.indexes.places[name] = 1
        await self.home.office.roll_out(run, name)
        await self.home.settle()

    async def _live(self) -> None:
        await self._canary()
        await self._prove()

    async def _prove(self, *, failing: int = 0) -> None:
        canary = shelf.canary_of(await self.models(), Target.GENERATOR)
        if canary is not None and not canary.step:
            await self.home.prove(canary.model, failing=failing)
            await self.home.look()

    async def _fail(self) -> None:
        await self._prove(failing=40)

    async def _erase(self) -> None:
        if self.datasets:
            number = self.chance.randrange(len(self.datasets))
            await erase(self.home, self.datasets[number], number)

    async def _roll_back(self) -> None:
        models = [one for one in await self.models() if one.answers or one.state is State.CANARY]
        if models:
            await self.home.office.roll_back(self.home.tenant, self.chance.choice(models).model, ANNA, reason="")

    async def _promote(self) -> None:
        models = await self.models()
        if models:
            doing = self.chance.choice((Doing.PROMOTING, Doing.BEGINNING_CANARY))
            name = self.chance.choice(models).model
            await self.home.office.promote(self.home.tenant, name, ANNA, reason="", doing=doing)

    async def models(self) -> list[Model]:
        """All of them."""
        return list(await self.home.shelf.all(self.home.tenant))

    async def rest(self) -> None:
        """Until nothing is left to do but to count answers."""
        for _ in range(4):
            await self.home.look(25.0)

    async def wrong(self) -> list[str]:
        """What is not as it must be at rest."""
        everything = await self.models()
        models = [one for one in everything if one.target is Target.GENERATOR]
        stored = self.home.serving.stored.get("*")
        route = stored[0].route if stored else None
        live = [one for one in models if one.answers]
        canaries = [one for one in models if one.state is State.CANARY]
        found = [f"{one.model} is still {one.doing.name}" for one in everything if one.step]
        found += [
            f"the weights of {one.model} are there" for one in everything if one.is_condemned and not _is_gone(one)
        ]
        found += ["two answer"] * (len(live) > 1) + ["two canaries"] * (len(canaries) > 1)
        searched = [one.model for one in everything if one.answers and one.target is Target.EMBEDDER] or [HOUSE]
        found += [f"{self.home.indexes.live} is searched, not {searched}"] * (searched != [self.home.indexes.live])
        found += [
            f"{one.variant} is named, and is {one.state.name}"
            for one in models
            if one.state in (State.RETIRED, State.CANDIDATE) and route and one.variant and route.names(one.variant)
        ]
        found += [f"{one.variant} has no part" for one in [*live, *canaries] if not _has_part(route, one)]
        return found


def _is_gone(model: Model) -> bool:
    """A condemned one that answers has until its deadline."""
    return model.deleted_at is not None or model.answers


def _has_part(route: Route | None, model: Model) -> bool:
    return route is not None and any(arm.variant == model.variant and arm.weight > 0 for arm in route.arms)


async def walked(seeds: range) -> list[str]:
    """What went wrong on any of the walks."""
    found = []
    for seed in seeds:
        walk = Walk(seed)
        await walk.go()
        await walk.rest()
        found += [f"seed {seed}, {', '.join(walk.done)}: {one}" for one in await walk.wrong()]
    return found


@pytest.mark.parametrize("first", range(0, 100, 50))
async def test_at_rest_the_routes_name_those_that_answer_and_no_others(first: int) -> None:
    assert await walked(range(first, first + 50)) == []


async def test_a_canary_that_goes_on_naming_what_has_gone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seeded bug."""
    monkeypatch.setattr(rollout, "names_gone", lambda *_: False)
    walk = Walk(0)
    live = await walk.home.live()
    await walk.home.canary(dataset="d2")
    await walk.home.office.roll_back(walk.home.tenant, live, ANNA, reason="")
    await walk.rest()
    assert any("is named, and is RETIRED" in one for one in await walk.wrong())
