"""Inference, the feedback logger and the loop as ten-line classes, and a registry on top of them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from headrace.training.v1.models_pb2 import ModelChange
from headrace_privacy import Tier
from headrace_runtime.errors import Conflict, NotFound
from headrace_trainer.registry import embedders, kinds
from headrace_trainer.registry.canaries import Canaries
from headrace_trainer.registry.conducting import Conductor
from headrace_trainer.registry.embedders import SearchBench
from headrace_trainer.registry.evidence import Answer, Side
from headrace_trainer.registry.gate import Line
from headrace_trainer.registry.generators import Bench, Patience
from headrace_trainer.registry.judging import Court
from headrace_trainer.registry.kinds import EXAMPLES, Asked, KindsBench, KindsSwitch, Told
from headrace_trainer.registry.models import Model, Route, Variant
from headrace_trainer.registry.moves import Moves
from headrace_trainer.registry.office import Office
from headrace_trainer.registry.ports import HOUSE, Compared, Found, Loaded, Question, Standing, Stored, Traced
from headrace_trainer.registry.rules import load_gate
from headrace_trainer.registry.shelf import Shelf
from headrace_trainer.registry.switching import Switching
from headrace_trainer.registry.targets import Handling, Targets
from headrace_trainer.running.rules import Rules
from headrace_trainer.running.runs import BY_ITSELF, Base, Cause, Made, Memorisation, Recipe, Run, Snapshot, Target

CHAMPION = Variant("default", 1)
_MEMORISATION = Memorisation(planted=8, controls=64, exposure=0.9, controls_limit=5.2)
BEGIN = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)


class Killed(BaseException):
    """As if the process had been killed."""


class Clock:
    """Time that is told to pass."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return (self.now - BEGIN).total_seconds()

    async def sleep(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class FakeServing:
    """See ports.Serving. calls: how many writes are let through before the process is killed, before or after one."""

    def __init__(self) -> None:
        self.models: dict[str, Loaded] = {}
        self.variants: dict[Variant, str] = {CHAMPION: ""}
        self.stored: dict[str, list[Stored]] = {}
        self.kill_at: int | None = None
        self.writes = 0
        self.meanwhile: Callable[[], None] | None = None

    async def loaded(self, tenant: str, version: str) -> Loaded:
        del tenant
        return self.models.get(version, Loaded("up"))

    async def variant(self, tenant: str, name: str) -> Variant | None:
        del tenant
        return max((v for v in self.variants if v.name == name), key=lambda v: v.version, default=None)

    async def put_variant(self, tenant: str, champion: Variant, *, name: str, model_version: str) -> Variant:
        del tenant, champion
        for known, version in self.variants.items():
            if (known.name, version) == (name, model_version):
                return known
        new = Variant(name, 1 + sum(variant.name == name for variant in self.variants))
        self.variants[new] = model_version
        return new

    async def routes(self, tenant: str) -> Sequence[Route]:
        del tenant
        return [versions[0].route for versions in self.stored.values() if versions[0].route]

    async def versions(self, tenant: str, kind: str) -> Sequence[Stored]:
        del tenant
        return list(self.stored.get(kind, ()))

    async def put_route(self, tenant: str, route: Route, *, reason: str) -> Stored:
        del tenant, reason
        return self._write(route.kind, route)

    async def delete_route(self, tenant: str, kind: str, *, reason: str) -> None:
        del tenant, reason
        self._write(kind, None)

    def _write(self, kind: str, route: Route | None) -> Stored:
        self._die_at(2 * self.writes)
        if self.meanwhile is not None:
            self.meanwhile()
            self.meanwhile = None
        self.writes += 1
        stored = self.put(kind, route, by_us=1)
        self._die_at(2 * self.writes - 1)
        return stored

    def _die_at(self, moment: int) -> None:
        if self.kill_at is not None and moment == self.kill_at:
            self.kill_at = None
            raise Killed

    def put(self, kind: str, route: Route | None, *, by_us: int = 0) -> Stored:
        """Somebody stores a version."""
        versions = self.stored.setdefault(kind, [])
        versions.insert(0, Stored(route, 1 + (versions[0].version if versions else 0), by_us))
        return versions[0]

    def now(self, kind: str = "*") -> dict[str, float]:
        """Who answers a kind, by share; the fallbacks have 0."""
        versions = self.stored.get(kind)
        route = versions[0].route if versions else None
        if route is None:
            return {}
        total = sum(arm.weight for arm in route.arms)
        shares = {str(arm.variant): round(arm.weight / total, 6) for arm in route.arms}
        return {**{str(variant): 0.0 for variant in route.fallbacks}, **shares}


@dataclass
class FakeAsking:
    """See ports.Asking. lines: of the report, by setting."""

    lines: dict[str, list[Line]] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)
    known: dict[tuple[Any, ...], str] = field(default_factory=dict)
    answers: int = 100
    refuse: Exception | None = None

    async def begin(self, tenant: str, dataset_id: str, arms: Sequence[tuple[Variant, Any]], *, most: int) -> str:
        del most
        if self.refuse:
            raise self.refuse
        key = (tenant, dataset_id, tuple(arms))
        if key not in self.known:
            self.known[key] = f"run {len(self.known) + 1}"
            self.begun.append(self.known[key])
        return self.known[key]

    async def standing(self, tenant: str, run_id: str) -> Standing:
        del tenant, run_id
        return Standing(is_over=True, cases=self.answers)

    async def compare(self, tenant: str, run_id: str, a: Variant, b: Variant, setting: Any) -> Compared:
        del tenant, run_id, a, b
        return Compared(self.lines.get(setting, []), self.answers, self.answers)

    async def newest_of(self, tenant: str, series: str) -> str:
        del tenant
        if series == "gone":
            raise NotFound("dataset", series)
        return f"id of {series}"


@dataclass
class FakeIndexes:
    """See ports.Indexes. places: at which place an embedder finds what bears an answer out. kill_at: how many writes
    are let through before the process is killed, before or after one."""

    live: str = HOUSE
    indexes: dict[str, Loaded] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=lambda: {HOUSE: 3})
    lacking: set[str] = field(default_factory=set)
    refuse: bool = False
    switched: list[str] = field(default_factory=list)
    kill_at: int | None = None
    writes: int = 0

    async def prepare(self, model: Model) -> None:
        if self.refuse:
            raise Conflict("too many")
        with self._writing():
            self.indexes.setdefault(model.model, Loaded("up", "", 9, 9))

    async def loaded(self, model: Model) -> Loaded:
        return self.indexes.get(model.model, Loaded("absent"))

    async def answers(self, tenant: str) -> str:
        del tenant
        return self.live

    async def switch(self, tenant: str, to: str, *, instead_of: str) -> None:
        del tenant
        if self.live == to:
            return
        if self.live != instead_of or to in self.lacking:
            raise Conflict("not now")
        with self._writing():
            self.live = to
            self.switched.append(to)

    async def search(self, tenant: str, question: str, *, embedder: str, most: int) -> Sequence[Found]:
        del tenant
        place = self.places.get(embedder, 1)
        others = [Found(f"other {number}", "handbook/else") for number in range(most)]
        right = Found(f"passage of {question}", f"handbook/{question}")
        return [*others[: place - 1], right, *others[place:]] if place else others

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._die_at(2 * self.writes)
        self.writes += 1
        yield
        self._die_at(2 * self.writes - 1)

    def _die_at(self, moment: int) -> None:
        if self.kill_at is not None and moment == self.kill_at:
            self.kill_at = None
            raise Killed


@dataclass
class FakeQuestions:
    """See ports.Questions."""

    count: int = 40
    refuse: Exception | None = None

    async def held_out(self, tenant: str, dataset_id: str, *, most: int) -> Sequence[Question]:
        del tenant
        if self.refuse:
            raise self.refuse
        some = range(min(self.count, most))
        if dataset_id == "id of ours":
            return [Question(f"m{n}", f"must {n}", documents=frozenset({f"handbook/must {n}"})) for n in some]
        return [
            Question(f"r{n}", f"why {n}", "how-to", f"g{n}", frozenset({f"passage of why {n}", "one more"}))
            for n in some
        ]

    async def newest_of(self, tenant: str, series: str) -> str:
        del tenant
        if series == "gone":
            raise NotFound("dataset", series)
        return f"id of {series}"


@dataclass
class FakeRecogniser:
    """See kinds.Recogniser. sure: how likely each says the kind is that a question begins with; of the rest "other" has
    all. in_service: what it heard of. states: where a model is not "up"."""

    in_service: Callable[[], str] = lambda: HOUSE
    sure: dict[str, float] = field(default_factory=lambda: {HOUSE: 0.55})
    states: dict[str, Loaded] = field(default_factory=dict)
    defined: frozenset[str] = frozenset({"how-to", "why", "other"})
    asked: list[tuple[str, str]] = field(default_factory=list)
    refuse: Exception | None = None

    async def loaded(self, model: Model) -> Loaded:
        return self.states.get(model.model, Loaded("up"))

    async def kinds(self, tenant: str) -> frozenset[str]:
        del tenant
        return self.defined

    async def recognise(self, tenant: str, question: str, *, by: str) -> Told:
        del tenant
        if self.refuse:
            raise self.refuse
        who = HOUSE if by == EXAMPLES else by or self.in_service()
        self.asked.append((by, question))
        kind, _, number = question.partition(" ")
        sure = self.sure.get(who, 0.9) - int(number) % 5 / 100
        return Told(who, {kind: sure, "other": 1 - sure})


@dataclass
class FakeStated:
    """See kinds.StatedRows."""

    count: int = 40
    kinds: tuple[str, ...] = ("how-to", "why")
    refuse: Exception | None = None

    async def held_out(self, tenant: str, dataset_id: str, *, most: int) -> Sequence[Asked]:
        del tenant, dataset_id
        if self.refuse:
            raise self.refuse
        some = [self.kinds[n % len(self.kinds)] for n in range(min(self.count, most))]
        return [Asked(kind, f"g{n}", f"{kind} {n}") for n, kind in enumerate(some)]


@dataclass
class FakeLoop:
    """See running.ports.Loop."""

    rules: Rules = field(default_factory=lambda: Rules(promote_by_itself=True, automatic=True, canary_share=0.25))
    paused: bool = False
    causes: list[tuple[Cause, tuple[str, ...], UUID]] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    async def rules_of(self, unit: Any, tenant: str) -> Rules:
        del unit, tenant
        return self.rules

    async def is_paused(self, unit: Any, tenant: str) -> bool:
        del unit, tenant
        return self.paused

    async def add_cause(self, unit: Any, tenant: str, target: Target, cause: Cause, **more: Any) -> UUID | None:
        del unit, tenant
        self.targets.append(target)
        known = any(cause_id == more["cause_id"] for _, _, cause_id in self.causes)
        if not known:
            self.causes.append((cause, tuple(more["because"]), more["cause_id"]))
        return None

    async def runs_of(self, unit: Any, tenant: str, dataset_id: str) -> Sequence[Run]:
        del unit, tenant
        return [run for run in self.runs if run.snapshot.dataset_id == dataset_id]

    async def run_of(self, unit: Any, tenant: str, run_id: UUID) -> Run | None:
        del unit, tenant
        return next((run for run in self.runs if run.run_id == run_id), None)


@dataclass
class FakeWeights:
    """See ports.Weights."""

    deleted: list[str] = field(default_factory=list)

    async def delete(self, address: str) -> None:
        self.deleted.append(address)

    async def is_there(self, address: str) -> bool:
        return address not in self.deleted


@dataclass
class FakeRows:
    """See ports.Rows."""

    traced: dict[tuple[str, str], Traced] = field(default_factory=dict)
    ended: dict[str, list[str]] = field(default_factory=dict)

    async def trace(self, tenant: str, what: str, value: str) -> Traced:
        del tenant
        if what == "dataset" and (what, value) not in self.traced:
            raise NotFound("dataset", value)
        return self.traced.get((what, value), Traced())

    async def ended_by(self, tenant: str, by: str) -> Sequence[str]:
        del tenant
        return self.ended.get(by, [])


class House:
    """A registry on books of either kind."""

    def __init__(self, ledger: Any, books_on: Callable[[Any], Any], *, tenant: str = "acme") -> None:
        self.tenant = tenant
        self.clock, self.serving, self.asking, self.loop = Clock(), FakeServing(), FakeAsking(), FakeLoop()
        self.weights, self.rows, self.ledger = FakeWeights(), FakeRows(), ledger
        self.indexes, self.questions = FakeIndexes(), FakeQuestions()
        self.recogniser, self.stated = FakeRecogniser(self.heard), FakeStated()
        self.shelf = Shelf(ledger, books_on, self.clock)
        self.bench = Bench(
            shelf=self.shelf,
            serving=self.serving,
            asking=self.asking,
            loop=self.loop,
            gate=load_gate(None),
            sleep=self.clock.sleep,
            clock=self.clock.seconds,
            patience=Patience(look=1.0),
        )
        self.restart()
        self._numbers = itertools.count(1)

    def restart(self) -> None:
        """Another process: it knows nothing but what is written down."""
        moves = Moves(self.shelf, self.loop)
        targets = Targets(
            {
                Target.GENERATOR: Handling(self.bench, Canaries(moves, self.serving)),
                Target.EMBEDDER: Handling(self._search_bench(moves), Switching(moves, self.indexes)),
                Target.KINDS: Handling(self._kinds_bench(moves), Switching(moves, KindsSwitch(moves, self.recogniser))),
            }
        )
        self.conductor = Conductor(moves, targets, self.weights, new_id=uuid4)
        court = Court(self.shelf, targets, self.bench.gate.version)
        self.office = Office(moves, targets, court, self._look_after)

    def _search_bench(self, moves: Moves) -> SearchBench:
        return SearchBench(
            moves,
            self.indexes,
            self.questions,
            self.bench.gate,
            self.clock.sleep,
            self.clock.seconds,
            embedders.Patience(look=1.0),
        )

    def _kinds_bench(self, moves: Moves) -> KindsBench:
        patience = kinds.Patience(look=1.0)
        clock = self.clock
        return KindsBench(
            moves, self.recogniser, self.stated, self.bench.gate, clock.sleep, clock.seconds, patience=patience
        )

    def heard(self) -> str:
        """What recognises kinds after all that was said: the last that was promoted, and has not gone since."""
        promoted: list[str] = []
        for change, name, _ in (told for told in self.told() if "-kinds@" in told[1]):
            if change == "PROMOTED":
                promoted.append(name)
            elif change in ("ROLLED_BACK", "RETIRED", "DELETED") and promoted[-1:] == [name]:
                promoted.clear()
        return promoted[-1] if promoted else HOUSE

    async def _look_after(self, seconds: float) -> None:
        await self.settle()
        await self.clock.sleep(seconds)

    async def settle(self, *, most: int = 40) -> None:
        """Lets the conductor do what is due now."""
        holder = uuid4()
        for _ in range(most):
            if not await self.conductor.step(holder):
                return

    def run(self, *, dataset: str = "d1", target: Target = Target.GENERATOR) -> Run:
        """A run that has made something."""
        number = next(self._numbers)
        run = Run(
            run_id=uuid4(),
            tenant=self.tenant,
            target=target,
            wanted="",
            query=b"",
            base=Base("SmolLM2", "b" * 16),
            recipe=Recipe(),
            seed=1,
            causes=(Cause.DRIFT,),
            because=("alert 1",),
            traceparent=f"00-{number:032x}-{1:016x}-01",
            by=BY_ITSELF,
            created_at=BEGIN,
            snapshot=Snapshot(dataset_id=dataset, tier=Tier.TIER_1, rows=100, held_out_rows=20),
        )
        self.loop.runs.append(run)
        return run

    def made(self, run: Run) -> Made:
        """What it made."""
        version = f"{run.run_id.int:032x}"[:16]
        return Made(
            model=f"acme-{run.target.label}@{version}",
            address=f"file:///models/acme-{run.target.label}@{version}",
            files={"model.safetensors": "a" * 64},
            base=run.base,
            held_out_loss=1.2,
            base_held_out_loss=1.9,
            memorisation=_MEMORISATION if run.target is Target.GENERATOR else None,
            bytes=300 * 2**20,
        )

    async def candidate(self, *, dataset: str = "d1", target: Target = Target.GENERATOR) -> tuple[Run, str]:
        """A model that the gate let through."""
        run = self.run(dataset=dataset, target=target)
        self.clock.now += timedelta(seconds=1)
        name = await self.office.register(run, self.made(run))
        assert (await self.office.judge(run, name)).passed
        return run, name

    async def canary(self, *, dataset: str = "d1") -> str:
        """A model with a share."""
        run, name = await self.candidate(dataset=dataset)
        await self.office.roll_out(run, name)
        await self.settle()
        return name

    async def live(self, *, dataset: str = "d1") -> str:
        """A model that answers."""
        name = await self.canary(dataset=dataset)
        await self.prove(name)
        await self.look()
        assert (await self.get(name)).answers
        return name

    async def get(self, name: str) -> Model:
        """How it stands."""
        found = await self.shelf.get(self.tenant, name)
        assert found is not None
        return found

    async def prove(self, name: str, *, canary: int = 260, failing: int = 0, refusing: int = 0) -> None:
        """Answers of both, all alike; of the canary's the first some fail, or refuse."""
        model = await self.get(name)
        assert model.rollout is not None
        async with self.shelf.open(self.tenant) as (_, books):
            for number in range(canary):
                for side in ("champion", "champion", "champion", "canary"):
                    is_canary = side == "canary"
                    answer = seen(side, failed=is_canary and number < failing, refused=is_canary and number < refusing)
                    await books.count(self.tenant, name, uuid4(), answer)

    async def look(self, seconds: float = 1.5) -> None:
        """Lets time pass, and the conductor look."""
        self.clock.now += timedelta(seconds=seconds)
        await self.settle()

    def told(self) -> list[tuple[str, str, str]]:
        """What was said: change, model, because."""
        return [
            (ModelChange.Name(e.message.change).removeprefix("MODEL_CHANGE_"), e.message.model.model, e.message.because)
            for e in self.ledger.published
            if e.topic.name == "model.changed"
        ]


def seen(side: Side, *, failed: bool = False, refused: bool = False) -> Answer:
    """An answer."""
    said = not (failed or refused)
    return Answer(side, failed=failed, grounded=said, refused=refused, latency_ms=None if failed else 800.0)


@asynccontextmanager
async def unmade() -> AsyncIterator[None]:
    """What is expected to be killed."""
    try:
        yield
    except Killed:
        return


def refused() -> Conflict:
    """A snapshot that may not be used."""
    return Conflict("it may not be used")


def moved(route: Route, variant: Variant) -> Route:
    """A person's change: everything goes to another variant."""
    return replace(route, arms=(replace(route.arms[0], variant=variant, weight=1.0),), fallbacks=())
