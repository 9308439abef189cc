"""Conducting runs: one at a time for each instance, and for each tenant and target.

    WAITING ──▶ BUILDING ──▶ TRAINING ──▶ GATING ──▶ DONE | REFUSED
       any of them ──▶ CANCELLED | FAILED

Whoever holds a run's turn works on it; the turn is held by a heartbeat, and another instance takes it up when that
ends. Every step stores what it came to before the next begins, and each can be done again: what is built anew of the
same rows is the same snapshot, training goes on from its last checkpoint, and the registry knows what it did. Somebody
who ends a run takes its turn away, so its conductor lets go at its next heartbeat, and the worker dies with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID

import structlog
from headrace_models.prompting import Layout
from headrace_runtime.errors import Failure, Unavailable, place_of
from headrace_stream import Ledger, Unit
from headrace_telemetry.metrics import counter
from headrace_telemetry.tracing import describe, extract, span
from opentelemetry.trace import Span

from headrace_trainer.running.asking import Wish, ask
from headrace_trainer.running.failures import Died, Stopped, Word
from headrace_trainer.running.loop import BookedLoop
from headrace_trainer.running.ports import Books, Datasets, Layouts, Registry, Shelf, Stepped, Trained, Turns, Worker
from headrace_trainer.running.rules import Hindrance, Moment, hindrance
from headrace_trainer.running.runs import Cause, Made, Point, Progress, Run, State, name_of

log = structlog.get_logger()

#: What a run does in each state, in the names of its spans.
_STEPS = {State.BUILDING: "build dataset", State.TRAINING: "train", State.GATING: "gate"}
#: What another beginning may heal: so many in all, then the run has failed.
MOST_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things take, in seconds.

    turn: a turn ends so long after its last heartbeat, and another instance takes the run up. beat: between heartbeats;
    so soon a run that was stopped is let go. look: how often one looks for a run to take. soon: until a run that waits
    for a pause or another run is looked at again. later: one that waits for its budget. retry: one whose neighbour is
    down. progress: how often it is stored. sweep: how often what ended runs have left is deleted.
    """

    turn: float = 10.0
    beat: float = 1.0
    look: float = 1.0
    soon: float = 2.0
    later: float = 30.0
    retry: float = 5.0
    progress: float = 1.0
    sweep: float = 60.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What conducting needs."""

    ledger: Ledger
    books_on: Callable[[Unit], Books]
    turns_on: Callable[[Unit], Turns]
    loop: BookedLoop
    datasets: Datasets
    layouts: Layouts
    worker: Worker
    shelf: Shelf
    registry: Registry
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Turn:
    """A run that this instance conducts. holder: a fresh id each time it is taken, so that no two ever conduct it."""

    holder: UUID
    tenant: str
    run_id: UUID


@dataclass(slots=True)
class Heard:
    """What a worker has said. began: by the monotonic clock; points: those that are not stored."""

    progress: Progress
    began: float
    points: list[Point] = field(default_factory=list)

    def add(self, stepped: Stepped) -> None:
        """A step; the loss on held-out rows stays as it was last measured."""
        before = self.progress.held_out_loss
        self.progress, self.points = stepped.progress, [*self.points, *stepped.points]
        self.measure(self.progress.held_out_loss or before)

    def measure(self, held_out_loss: float) -> None:
        """The last loss on held-out rows; 0 says nothing."""
        self.progress = replace(self.progress, held_out_loss=held_out_loss or self.progress.held_out_loss)


class Conductor:
    """Conducts the runs whose turn it holds. new_id: where ids come from."""

    def __init__(self, parts: Parts, new_id: Callable[[], UUID]) -> None:
        self._parts = parts
        self._new_id = new_id
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Has it look at once: a run was asked for."""
        self._wake.set()

    @asynccontextmanager
    async def conducting(self) -> AsyncIterator[None]:
        """Conducts runs, keeps the schedule and sweeps while the context is open."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._conduct_for_ever()), group.create_task(self._keep_house_for_ever())]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    async def _conduct_for_ever(self) -> None:
        while True:
            try:
                while turn := await self.take():
                    await self.conduct(turn)
            except Unavailable as down:
                log.warning("runs wait", reason=str(down))
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._parts.limits.look):
                    await self._wake.wait()

    async def _keep_house_for_ever(self) -> None:
        swept = -self._parts.limits.sweep
        while True:
            try:
                await self.start_scheduled()
                if time.monotonic() - swept >= self._parts.limits.sweep:
                    await self.sweep()
                    swept = time.monotonic()
            except Unavailable as down:
                log.warning("the schedule waits", reason=str(down))
            await asyncio.sleep(self._parts.limits.look)

    async def take(self) -> Turn | None:
        """Takes a run that nobody conducts. Raises Unavailable."""
        holder = self._new_id()
        async with self._parts.ledger.unit() as unit:
            found = await self._parts.turns_on(unit).take(holder, seconds=self._parts.limits.turn)
        return Turn(holder, *found) if found else None

    async def conduct(self, turn: Turn) -> None:
        """Conducts one run for as long as it can: until it ends, waits, or its turn is another's.

        Raises Unavailable when the database is down; the turn goes by itself then.
        """
        work = asyncio.create_task(self._work(turn))
        try:
            await self._watch(turn, work)
        except asyncio.CancelledError:
            await self._let_go(turn, work)
            raise
        await self._let_go(turn, work)

    async def _let_go(self, turn: Turn, work: asyncio.Task[float]) -> None:
        """Ends the work, gives the turn up, and deletes what a run that has ended leaves."""
        work.cancel()
        await asyncio.wait({work})
        seconds = self._outcome(turn, work)
        async with self._parts.ledger.unit() as unit:
            turns = self._parts.turns_on(unit)
            await turns.pass_on(turn.holder, turn.run_id, seconds=seconds)
            has_ended = not await turns.going_on([turn.run_id])
        if has_ended:
            await self._parts.worker.forget(turn.run_id)

    async def _watch(self, turn: Turn, work: asyncio.Task[float]) -> None:
        """Holds the turn while the work goes on; returns when either has ended."""
        kept = time.monotonic()
        while not work.done():
            await asyncio.wait({work}, timeout=self._parts.limits.beat)
            try:
                if not work.done() and not await self._keep(turn):
                    return
                kept = time.monotonic()
            except Unavailable:
                # Whoever cannot say that it is alive is taken for dead.
                if time.monotonic() - kept > self._parts.limits.turn - self._parts.limits.beat:
                    return

    async def _keep(self, turn: Turn) -> bool:
        async with self._parts.ledger.unit() as unit:
            return await self._parts.turns_on(unit).keep(turn.holder, turn.run_id, seconds=self._parts.limits.turn)

    def _outcome(self, turn: Turn, work: asyncio.Task[float]) -> float:
        """Says after how many seconds the run may be taken again, if it goes on."""
        if work.cancelled():
            return 0.0
        error = work.exception()
        if error is None:
            return work.result()
        if isinstance(error, Unavailable):
            log.warning("run waits", run=str(turn.run_id), reason=str(error))
            return self._parts.limits.retry
        log.critical("run left", run=str(turn.run_id), error=type(error).__name__, at=place_of(error))
        return self._parts.limits.later

    async def _work(self, turn: Turn) -> float:
        """Takes a run from step to step; returns after how many seconds it may be looked at again."""
        while (run := await self._run(turn)) is not None and not run.state.has_ended:
            if run.state is State.WAITING:
                if hindered := await self._begin(run):
                    return hindered
                continue
            with span(_STEPS[run.state], parent=extract({"traceparent": run.traceparent})) as current:
                await self._step(run, current)
        return 0.0

    async def _run(self, turn: Turn) -> Run | None:
        async with self._unit(turn.tenant) as (_, books):
            return await books.get(turn.tenant, turn.run_id)

    async def _begin(self, run: Run) -> float:
        """Begins a run that waits, where nothing hinders it; returns the seconds to wait otherwise."""
        async with self._unit(run.tenant) as (_, books):
            await books.hold(run.tenant)
            fresh = await books.get(run.tenant, run.run_id)
            if fresh is None or fresh.state is not State.WAITING:
                return 0.0
            moment = await self._moment(fresh, books)
            hindered = hindrance(await books.rules(run.tenant), moment, by_person=fresh.by_person)
            if not hindered:
                await books.move(fresh, State.BUILDING)
        return self._wait_for(hindered, moment)

    async def _moment(self, run: Run, books: Books) -> Moment:
        early = (run.begin_at - await books.now()).total_seconds() if run.begin_at else 0.0
        return Moment(
            early=early,
            is_paused=await books.pause_of(run.tenant) is not None,
            is_under_way=await books.under_way(run.tenant, run.target) is not None,
            used=await books.used(run.tenant),
        )

    def _wait_for(self, hindered: Hindrance, moment: Moment) -> float:
        match hindered:
            case "":
                return 0.0
            case "early":
                return moment.early
            case "paused" | "under_way":
                return self._parts.limits.soon
            case _:
                return self._parts.limits.later

    async def _step(self, run: Run, current: Span) -> None:
        """Does one step. What can never go on ends the run; Unavailable, and a bug, leave it as it is."""
        describe(current, {"headrace.tenant": run.tenant, "headrace.run.id": str(run.run_id)})
        try:
            match run.state:
                case State.BUILDING:
                    await self._build(run)
                case State.TRAINING:
                    await self._train(run)
                case _:
                    await self._gate(run)
        except Stopped as stopped:
            await self._stop(run, stopped.word)
        except Unavailable:
            raise
        except Failure as failure:
            log.warning("run failed", run=str(run.run_id), reason=str(failure))
            await self._stop(run, "gate_failed" if run.state is State.GATING else "worker_failed")

    async def _stop(self, run: Run, word: Word) -> None:
        log.info("run stopped", run=str(run.run_id), failure=word)
        async with self._unit(run.tenant) as (unit, _):
            if word in ("grant_ended", "erased"):
                await self._parts.loop.lose_snapshot(unit, run, word)
            else:
                await self._parts.loop.end(unit, run, State.FAILED, failure=word)
        self.wake()

    async def _build(self, run: Run) -> None:
        snapshot = await self._parts.datasets.build(run)
        if not snapshot.rows:
            raise Stopped("empty_dataset")
        async with self._unit(run.tenant) as (_, books):
            if await books.move(run, State.TRAINING):
                await books.set_snapshot(run, snapshot)

    async def _train(self, run: Run) -> None:
        trained = await self._attempt(run)
        if trained is None:
            return
        model = f"{name_of(run)}@{trained.version}"
        address = await self._parts.shelf.put(trained.folder, model=model, files=trained.files)
        made = Made(
            model=model,
            address=address,
            files=dict(trained.files),
            base=trained.base,
            held_out_loss=trained.held_out_loss,
            base_held_out_loss=trained.base_held_out_loss,
            memorisation=trained.memorisation,
            bytes=trained.bytes,
        )
        async with self._unit(run.tenant) as (_, books):
            if await books.move(run, State.GATING):
                await books.set_made(run, made)

    async def _attempt(self, run: Run) -> Trained | None:
        """Has a worker train; None where it died, and may be begun again."""
        async with self._unit(run.tenant) as (_, books):
            attempts = await books.count_attempt(run)
        try:
            return await self._listen(run)
        except (asyncio.CancelledError, Unavailable):
            # It is gone on with from here: that this process stops, or a neighbour is down, says nothing about the run.
            with contextlib.suppress(Unavailable):
                await asyncio.shield(self._uncount(run))
            raise
        except Died as died:
            log.warning("worker died", run=str(run.run_id), status=died.status, attempts=attempts)
            if attempts >= MOST_ATTEMPTS:
                # The kernel ends with SIGKILL what takes more memory than there is.
                raise Stopped("out_of_memory" if died.status == -9 else "worker_failed") from None
        except Stopped as stopped:
            if stopped.word != "corrupt_checkpoint" or attempts >= MOST_ATTEMPTS:
                raise
            await self._parts.worker.forget(run.run_id)
        return None

    async def _uncount(self, run: Run) -> None:
        async with self._unit(run.tenant) as (_, books):
            await books.uncount_attempt(run)

    async def _listen(self, run: Run) -> Trained:
        """Stores how far training is and what it took, however it ends. Raises Died, Stopped and Unavailable."""
        heard = Heard(run.progress, time.monotonic())
        try:
            trained = await self._hear(run, heard)
        except (Died, Stopped):
            await self._store(run, heard)
            raise
        await self._store(run, heard)
        return trained

    async def _hear(self, run: Run, heard: Heard) -> Trained:
        rows, stored = self._parts.datasets.read(run), time.monotonic()
        async with contextlib.aclosing(self._parts.worker.train(run, partial(self._layout, run), rows)) as said:
            async for word in said:
                if isinstance(word, Trained):
                    heard.measure(word.held_out_loss)
                    return word
                counter("headrace.training.tokens").add(max(0, word.progress.tokens - heard.progress.tokens))
                heard.add(word)
                if time.monotonic() - stored >= self._parts.limits.progress:
                    await self._store(run, heard)
                    stored, heard.points = time.monotonic(), []
        raise Died(0)

    async def _layout(self, run: Run) -> Layout:
        async with self._unit(run.tenant) as (_, books):
            rules = await books.rules(run.tenant)
        return await self._parts.layouts.layout(run.tenant, rules.champion_variant)

    async def _store(self, run: Run, heard: Heard) -> None:
        spent = run.progress.compute_seconds + time.monotonic() - heard.began
        async with self._unit(run.tenant) as (_, books):
            await books.set_progress(run, replace(heard.progress, compute_seconds=spent), heard.points)

    async def _gate(self, run: Run) -> None:
        if run.made is None:
            raise Stopped("worker_failed")
        registry = self._parts.registry
        model = run.model or await self._register(run, run.made)
        run = replace(run, model=model)
        verdict = await registry.judge(run, model)
        if verdict.passed:
            await registry.roll_out(run, model)
        state = State.DONE if verdict.passed else State.REFUSED
        async with self._unit(run.tenant) as (unit, _):
            await self._parts.loop.end(unit, run, state, failure=verdict.failure)
        self.wake()

    async def _register(self, run: Run, made: Made) -> str:
        model = await self._parts.registry.register(run, made)
        async with self._unit(run.tenant) as (_, books):
            await books.set_model(run, model)
        return model

    async def start_scheduled(self) -> None:
        """Asks for the runs whose schedule's time has come."""
        while True:
            async with self._parts.ledger.unit() as unit:
                turns = self._parts.turns_on(unit)
                if (tenant := await turns.scheduled()) is None:
                    return
                rules = await self._ask_by_schedule(tenant)
                await turns.schedule_again(tenant, seconds=rules)

    async def _ask_by_schedule(self, tenant: str) -> float:
        """Asks, where the rules still say so; returns the seconds until the next time, 0 for never."""
        with span("schedule"):
            async with self._unit(tenant) as (_, books):
                rules = await books.rules(tenant)
                if not rules.automatic or not rules.schedule_seconds:
                    return 0.0
                for target in rules.targets:
                    wish = Wish(tenant, target, Cause.SCHEDULE)
                    await ask(books, wish, self._parts.loop.origin(self._new_id()))
        self.wake()
        return rules.schedule_seconds

    async def sweep(self) -> None:
        """Deletes what runs that ended elsewhere have left on this machine."""
        there = await self._parts.worker.remembered()
        async with self._parts.ledger.unit() as unit:
            going_on = set(await self._parts.turns_on(unit).going_on(there))
        for run_id in set(there) - going_on:
            await self._parts.worker.forget(run_id)

    @asynccontextmanager
    async def _unit(self, tenant: str) -> AsyncIterator[tuple[Unit, Books]]:
        async with self._parts.ledger.unit(tenant=tenant) as unit:
            yield unit, self._parts.books_on(unit)
