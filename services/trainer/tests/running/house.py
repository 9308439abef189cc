"""Runs over books in memory or in Postgres, with everything around them small and told what to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

from headrace import topics
from headrace.training.v1.training_pb2 import TrainingEnded
from headrace_database import Database
from headrace_models.prompting import Layout, Prompt
from headrace_privacy import Tier
from headrace_runtime.errors import NotFound, Unavailable
from headrace_stream import Event, Ledger
from headrace_stream.memory import MemoryLedger
from headrace_trainer.running.asking import Origin, Wish, ask, change_rules
from headrace_trainer.running.conducting import Conductor, Limits, Parts, Turn
from headrace_trainer.running.consumers import RunConsumers
from headrace_trainer.running.failures import Died, Stopped
from headrace_trainer.running.loop import BookedLoop
from headrace_trainer.running.memory import MemoryBooks
from headrace_trainer.running.ports import Ended, Laying, Row, Standing, Stepped, Trained, Verdict
from headrace_trainer.running.postgres import PostgresBooks
from headrace_trainer.running.rules import Rules
from headrace_trainer.running.runs import (
    BY_ITSELF,
    Base,
    Cause,
    Made,
    Person,
    Point,
    Progress,
    Run,
    Snapshot,
    Target,
)

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DORA = Person("developer", "dora")
QUICK = Limits(turn=2.0, beat=0.02, look=0.02, soon=0.02, later=0.02, retry=0.02, progress=0.0, sweep=3600.0)
LAYOUT = Layout(Prompt("grounded", "1", "Answer from the passages.", (), "{passages}\n\n{question}"), 3, 700, 96)
SNAPSHOT = Snapshot("d" * 64, Tier.TIER_1, (), rows=8, held_out_rows=2, without_grant=3)
VERSION = "0123456789abcdef"


@dataclass
class Clock:
    """Time stands still unless it is moved."""

    seconds: float = 0.0

    def __call__(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)


@dataclass
class SomeDatasets:
    """One snapshot. failing: what the next calls raise."""

    snapshot: Snapshot = SNAPSHOT
    failing: list[Exception] = field(default_factory=list)
    built: int = 0

    async def build(self, run: Run) -> Snapshot:
        del run
        self.built += 1
        if self.failing:
            raise self.failing.pop(0)
        return self.snapshot

    async def find(self, tenant: str, dataset: str) -> Snapshot:
        del tenant
        if dataset != self.snapshot.dataset_id:
            raise NotFound("dataset", dataset)
        return self.snapshot

    async def read(self, run: Run) -> AsyncIterator[Row]:
        del run
        for place in range(self.snapshot.rows):
            yield Row(str(place), "Why?", "Because.", ("Because.",), "", "", held_out=place == 0)


@dataclass
class OneLayout:
    """The prompt of every variant. failing: what the next calls raise."""

    failing: list[Exception] = field(default_factory=list)

    async def layout(self, tenant: str, variant: str) -> Layout:
        del tenant, variant
        if self.failing:
            raise self.failing.pop(0)
        return LAYOUT


async def laid() -> Layout:
    """The same, for a run."""
    return LAYOUT


Act = Callable[[], AsyncIterator[Any]]


@dataclass
class SomeWorker:
    """Does what it is told, attempt by attempt; two steps and a model where it is told nothing."""

    script: list[Any] = field(default_factory=list)
    attempts: int = 0
    working: int = 0
    forgotten: list[UUID] = field(default_factory=list)
    folders: set[UUID] = field(default_factory=set)

    targets: tuple[Target, ...] = (Target.GENERATOR, Target.EMBEDDER)

    async def train(
        self, run: Run, laying: Laying, rows: AsyncIterator[Row]
    ) -> AsyncGenerator[Stepped | Trained, None]:
        await laying()
        self.attempts, self.working = self.attempts + 1, self.working + 1
        self.folders.add(run.run_id)
        try:
            async for _ in rows:
                pass
            for step in (1, 2):
                yield stepped(step, of=2)
            told = self.script.pop(0) if self.script else None
            if isinstance(told, Exception):
                raise told
            if isinstance(told, float):
                await asyncio.sleep(told)
            yield Trained(Path("/nowhere"), VERSION, {"model.safetensors": "00"}, Base("tiny", "ff"), 1.0, 2.0)
        finally:
            self.working -= 1

    def base_of(self, name: str) -> str:
        if name not in ("", "tiny"):
            raise Stopped("no_such_base")
        return name

    async def forget(self, run_id: UUID) -> None:
        self.forgotten.append(run_id)
        self.folders.discard(run_id)

    async def remembered(self) -> Collection[UUID]:
        return set(self.folders)


def stepped(step: int, *, of: int) -> Stepped:
    """A step with a loss of its number's inverse."""
    return Stepped(Progress(step, of, 1 / step, 0.0, 100 * step, 50.0), (Point(step, 1 / step),))


@dataclass
class SomeShelf:
    """Takes everything. failing: what the next calls raise."""

    failing: list[Exception] = field(default_factory=list)

    async def put(self, folder: Path, *, model: str, files: Mapping[str, str]) -> str:
        del folder, files
        if self.failing:
            raise self.failing.pop(0)
        return f"file:///models/{model}"


@dataclass
class SomeRegistry:
    """Registers what it is given, and says what it is told to. raising: what the next judgements raise."""

    verdict: Verdict = field(default_factory=lambda: Verdict(passed=True))
    raising: list[Exception] = field(default_factory=list)
    registered: list[tuple[UUID, Made]] = field(default_factory=list)
    rolled_out: list[str] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)
    taken_out: list[str] = field(default_factory=list)
    seconds: float = 0.0

    async def register(self, run: Run, made: Made) -> str:
        self.registered.append((run.run_id, made))
        return made.model

    async def judge(self, run: Run, model: str) -> Verdict:
        del run, model
        if self.raising:
            raise self.raising.pop(0)
        await asyncio.sleep(self.seconds)
        return self.verdict

    async def roll_out(self, run: Run, model: str) -> None:
        del run
        self.rolled_out.append(model)

    async def take_out(self, tenant: str) -> Sequence[str]:
        self.taken_out.append(tenant)
        return ["canary@1"]

    async def standing(self, unit: Any, tenant: str) -> Standing:
        del unit, tenant
        return Standing(live={Target.GENERATOR: "live@1"})

    async def dataset_ended(self, unit: Any, ended: Ended) -> None:
        del unit
        self.ended.append(ended)


class House:
    """Asking, conducting and following over one set of books."""

    def __init__(self, tenant: str, ledger: Any) -> None:
        self.tenant, self.ledger = tenant, ledger
        self.datasets, self.worker, self.shelf, self.registry = (
            SomeDatasets(),
            SomeWorker(),
            SomeShelf(),
            SomeRegistry(),
        )
        self.layouts = OneLayout()
        self.loop = BookedLoop(self.books_on, uuid4)
        self.consumers = RunConsumers(ledger, self.books_on, self.loop, self.registry, wake=lambda: None)

    # What stands behind it.

    def books_on(self, unit: Any) -> Any:
        raise NotImplementedError

    async def pass_time(self, seconds: float) -> None:
        """The database's clock moves on."""
        raise NotImplementedError

    async def tick(self) -> None:
        """Waits a moment."""
        await asyncio.sleep(0.02)

    async def endings(self) -> list[TrainingEnded]:
        """training.ended, as published so far."""
        raise NotImplementedError

    # What all books have.

    def parts(self) -> Parts:
        return Parts(
            ledger=self.ledger,
            books_on=self.books_on,
            turns_on=self.books_on,
            loop=self.loop,
            datasets=self.datasets,
            layouts=self.layouts,
            worker=self.worker,
            shelf=self.shelf,
            registry=self.registry,
            limits=QUICK,
        )

    def conductor(self) -> Conductor:
        """Another instance."""
        return Conductor(self.parts(), new_id=uuid4)

    async def put_rules(self, **changes: Any) -> None:
        async with self.ledger.unit(tenant=self.tenant) as unit:
            books = self.books_on(unit)
            version = (await books.rules(self.tenant)).version + 1
            rules = replace(Rules(), version=version, changed_by="dora", changed_at=NOW)
            await change_rules(books, self.tenant, replace(rules, **changes))

    async def ask(
        self,
        cause: Cause = Cause.PERSON,
        *because: str,
        traceparent: str = "",
        cause_id: UUID | None = None,
        **wish: Any,
    ) -> tuple[Run, bool] | None:
        origin = Origin(cause_id or uuid4(), uuid4(), traceparent, DORA if cause is Cause.PERSON else BY_ITSELF)
        async with self.ledger.unit(tenant=self.tenant) as unit:
            return await ask(self.books_on(unit), Wish(self.tenant, Target.GENERATOR, cause, because, **wish), origin)

    async def asked(self, cause: Cause = Cause.PERSON, *because: str, **wish: Any) -> Run:
        found = await self.ask(cause, *because, **wish)
        assert found is not None
        return found[0]

    async def run(self, run: Run) -> Run:
        """The run as it stands."""
        async with self.ledger.unit(tenant=self.tenant) as unit:
            found: Run | None = await self.books_on(unit).get(self.tenant, run.run_id)
        assert found is not None
        return found

    async def runs(self) -> Sequence[Run]:
        async with self.ledger.unit(tenant=self.tenant) as unit:
            found: Sequence[Run] = await self.books_on(unit).newest(self.tenant, 100)
        return found

    async def conduct(self, conductor: Conductor | None = None) -> bool:
        """Has an instance take what may be taken, once; says whether there was anything."""
        one = conductor or self.conductor()
        turn = await one.take()
        if turn is not None:
            await one.conduct(turn)
        return turn is not None

    async def finish(self, run: Run) -> Run:
        """Conducts a run to its end."""
        async with asyncio.timeout(20):
            while not (now := await self.run(run)).state.has_ended:
                if not await self.conduct():
                    await self.tick()
        return now

    async def until(self, fits: Callable[[], Any], *, seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while not (await held if asyncio.iscoroutine(held := fits()) else held):
                await asyncio.sleep(0.01)


class MemoryHouse(House):
    """All in memory."""

    def __init__(self, tenant: str) -> None:
        self.clock = Clock()
        self.books = MemoryBooks(self.clock)
        super().__init__(tenant, MemoryLedger())

    def books_on(self, unit: Any) -> Any:
        del unit
        return self.books

    async def pass_time(self, seconds: float) -> None:
        self.clock.seconds += seconds

    async def tick(self) -> None:
        await asyncio.sleep(0)
        self.clock.seconds += 0.02

    async def endings(self) -> list[TrainingEnded]:
        mine = [event for event in self.ledger.published if event.topic is topics.TRAINING_ENDED]
        return [event.message for event in cast("list[Event[Any]]", mine)]


class PostgresHouse(House):
    """On a real Postgres. What is published rests in the outbox. Time passes by moving what is stored into the past."""

    def __init__(self, tenant: str, database: Database) -> None:
        self.database = database
        super().__init__(tenant, Ledger(database))

    def conductor(self) -> Conductor:
        return _OwnConductor(self.parts(), self.tenant, self.database)

    def books_on(self, unit: Any) -> Any:
        return PostgresBooks(unit.connection)

    async def pass_time(self, seconds: float) -> None:
        back = timedelta(seconds=seconds)
        async with self.database.transaction(tenant=self.tenant) as connection:
            await connection.execute(
                "UPDATE runs SET created_at = created_at - $1::interval, begin_at = begin_at - $1::interval,"
                " begun_at = begun_at - $1::interval, ended_at = ended_at - $1::interval",
                back,
            )
            await connection.execute("UPDATE run_turns SET held_until = held_until - $1::interval", back)
            await connection.execute("UPDATE loops SET next_scheduled_at = next_scheduled_at - $1::interval", back)

    async def endings(self) -> list[TrainingEnded]:
        async with self.database.transaction() as connection:
            rows = await connection.fetch(
                "SELECT value FROM outbox WHERE topic = 'training.ended' AND headers->>'ce_tenant' = $1 ORDER BY id",
                self.tenant,
            )
        return [TrainingEnded.FromString(row["value"]) for row in rows]


class _OwnConductor(Conductor):
    """Leaves the runs of other tests alone."""

    def __init__(self, parts: Parts, tenant: str, database: Database) -> None:
        super().__init__(parts, new_id=uuid4)
        self._tenant, self._database = tenant, database

    async def take(self) -> Turn | None:
        async with self._database.transaction() as connection:
            await connection.execute("DELETE FROM run_turns WHERE tenant <> $1", self._tenant)
        return await super().take()


def delivery_of(message: Any, topic: Any, *, traceparent: str = "") -> Any:
    """A record as the bus hands it over."""
    headers = {"traceparent": traceparent} if traceparent else {}
    arrival = SimpleNamespace(topic=topic.name, event_id=uuid4(), headers=headers)
    return SimpleNamespace(message=message, event_id=arrival.event_id, arrival=arrival, received_at=NOW)


__all__ = ["Died", "Stopped", "Unavailable"]
