"""Conducting runs: few questions under way at a time, so that live traffic has the models.

Whoever holds a run's turn asks; the turn is held by a heartbeat, and another instance takes it up when that ends. What
was come to is counted in the transaction that publishes it, so a run goes on where it stood. What was under way when
its conductor died is asked once more under the same id: where the bus has it already, that has no effect.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from headrace import topics
from headrace.query.v1.events_pb2 import QueryClassified
from headrace.query.v1.query_pb2 import Trial
from headrace_privacy import Tier
from headrace_privacy.policy import Policy
from headrace_runtime.errors import Unavailable, place_of
from headrace_stream import Event, Ledger, Unit
from headrace_stream.envelope import derived_id
from headrace_telemetry.tracing import span
from opentelemetry.context import Context

from headrace_feedback.ports import Authorizer
from headrace_feedback.running.planning import BATCH, leave_for, refusal_of
from headrace_feedback.running.ports import Evaluations, Runs, Turns
from headrace_feedback.running.runs import Ask, Candidate, Case, Run, State, ask_id
from headrace_feedback.running.settling import put_pairs
from headrace_feedback.uses import Verdict

log = structlog.get_logger()

#: Questions of one run under way at a time. One model answers one at a time on a small machine; the rest hide the way.
UNDER_WAY = 8
#: What is not back by then is given up on.
CASE_SECONDS = 600.0
#: A turn ends so long after its last heartbeat, and another instance takes the run up.
TURN_SECONDS = 10.0
#: How long a decision of the policy holds for cases that were decided about together.
LEAVE_SECONDS = 10.0
#: Runs that one instance conducts at a time.
RUNS_AT_A_TIME = 4
#: How often one looks for answers of other instances, and for runs that nobody conducts, in seconds.
TICK_SECONDS = 0.25
LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """See the constants."""

    under_way: int = UNDER_WAY
    case_seconds: float = CASE_SECONDS
    turn_seconds: float = TURN_SECONDS
    leave_seconds: float = LEAVE_SECONDS
    tick_seconds: float = TICK_SECONDS


@dataclass(frozen=True, slots=True)
class Parts:
    """What conducting needs."""

    ledger: Ledger
    runs_on: Callable[[Unit], Runs]
    turns_on: Callable[[Unit], Turns]
    evaluations_on: Callable[[Unit], Evaluations]
    authorizer: Authorizer
    policy: Policy
    now: Callable[[], datetime]
    limits: Limits = Limits()


@dataclass(slots=True)
class Window:
    """The next cases of a run, and whether they may be asked: decided together, for a moment only."""

    cases: dict[int, Case] = field(default_factory=dict)
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    first: int = 0
    until: datetime | None = None

    def has(self, place: int, *, now: datetime) -> bool:
        """Whether it says anything about a place now; that a case is erased, too."""
        return self.until is not None and now < self.until and place in range(self.first, self.first + BATCH)


@dataclass(frozen=True, slots=True)
class Turn:
    """A run that this instance conducts. holder: a fresh id each time it is taken, so that no two ever conduct it."""

    holder: UUID
    tenant: str
    run_id: UUID


class Conductor:
    """Conducts the runs whose turn it holds. new_id: where ids come from."""

    def __init__(self, parts: Parts, new_id: Callable[[], UUID]) -> None:
        self._parts = parts
        self._new_id = new_id
        self._wake = asyncio.Event()
        self._conducting: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Has it look at once: a run was started, or an answer is in."""
        self._wake.set()

    @asynccontextmanager
    async def conducting(self) -> AsyncIterator[None]:
        """Conducts runs while the context is open."""
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(self._look_for_ever())
            try:
                yield
            finally:
                looking.cancel()
                await self._leave()

    async def _leave(self) -> None:
        """Ends what is conducted here; another instance goes on at once."""
        tasks = list(self._conducting)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_for_ever(self) -> None:
        while True:
            try:
                while len(self._conducting) < RUNS_AT_A_TIME and (turn := await self.take()):
                    self._begin_to_conduct(turn)
            except Unavailable as down:
                log.warning("runs wait", reason=str(down))
            await self._rest(LOOK_SECONDS)

    def _begin_to_conduct(self, turn: Turn) -> None:
        task = asyncio.create_task(self._conduct_while_it_can(turn))
        self._conducting.add(task)
        task.add_done_callback(self._after)

    def _after(self, task: asyncio.Task[None]) -> None:
        self._conducting.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("run left", error=type(error).__name__, at=place_of(error))

    async def _conduct_while_it_can(self, turn: Turn) -> None:
        """What keeps it from going on now ends its turn, and whoever takes it next goes on."""
        try:
            await self.conduct(turn)
        except Unavailable as down:
            log.warning("run waits", run=str(turn.run_id), reason=str(down))
        except asyncio.CancelledError:
            with contextlib.suppress(Unavailable):
                await self._pass_on(turn)
            raise

    async def _pass_on(self, turn: Turn) -> None:
        async with self._parts.ledger.unit() as unit:
            await self._parts.turns_on(unit).keep(turn.holder, turn.run_id, seconds=0.0)

    async def _rest(self, seconds: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def take(self) -> Turn | None:
        """Takes a run that nobody conducts. Raises Unavailable."""
        holder = self._new_id()
        async with self._parts.ledger.unit() as unit:
            found = await self._parts.turns_on(unit).take(holder, seconds=self._parts.limits.turn_seconds)
        return Turn(holder, *found) if found else None

    async def conduct(self, turn: Turn) -> None:
        """Conducts one run until it ends, or its turn is another's. Raises Unavailable; its turn goes by itself."""
        await self.resume(turn)
        window = Window()
        while await self.step(turn, window):
            await self._rest(self._parts.limits.tick_seconds)

    async def resume(self, turn: Turn) -> None:
        """Publishes once more what its last conductor left under way; the ids are the same."""
        async with self._unit(turn.tenant) as (unit, runs):
            await runs.hold(turn.tenant)
            run = await runs.get(turn.tenant, turn.run_id)
            for ask in await runs.under_way(run) if run else ():
                case = await runs.case(run, ask.case_id) if run else None
                if run and case:
                    unit.emit(to_event(run, case, ask))

    async def step(self, turn: Turn, window: Window) -> bool:
        """Asks what may be under way now; says whether the run goes on here. Raises Unavailable."""
        if not await self._keep(turn):
            return False
        run = await self._settled(turn)
        if run is None or run.state is not State.RUNNING:
            return False
        room = await self._fill(run, window)
        if room == self._parts.limits.under_way:
            await self._end(run, State.DONE)
        return room is not None and room < self._parts.limits.under_way

    async def _fill(self, run: Run, window: Window) -> int | None:
        """Asks as many as may be under way; returns how many more might be. None when the run has ended."""
        begun, room = run.progress.begun, self._parts.limits.under_way - run.progress.under_way
        while room > 0 and begun < run.total:
            asked = await self._ask(run, begun, window)
            if asked is None:
                return None
            begun, room = begun + 1, room - asked
        return room

    async def _keep(self, turn: Turn) -> bool:
        async with self._parts.ledger.unit() as unit:
            turns = self._parts.turns_on(unit)
            return await turns.keep(turn.holder, turn.run_id, seconds=self._parts.limits.turn_seconds)

    async def _settled(self, turn: Turn) -> Run | None:
        """The run, after what took too long was given up on."""
        async with self._unit(turn.tenant) as (unit, runs):
            run = await runs.get(turn.tenant, turn.run_id)
            if run is None or not run.progress.under_way:
                return run
            before = self._parts.now() - timedelta(seconds=self._parts.limits.case_seconds)
            late = await runs.time_out(run, before=before)
            for case_id in late:
                await put_pairs(run, case_id, runs, self._parts.evaluations_on(unit))
            return await runs.get(turn.tenant, turn.run_id) if late else run

    async def _ask(self, run: Run, begun: int, window: Window) -> int | None:
        """Asks what comes next. Returns how many are under way more: 1, or 0 where its case is erased; None when the
        run has ended, by whoever."""
        place, arm = run.at(begun)
        if not window.has(place, now=self._parts.now()):
            await self._look_ahead(run, place, window)
        case = window.cases.get(place)
        if case is not None and not window.verdicts[case.case_id].allowed:
            await self._stop(run, case.tier)
            return None
        ask = self._ask_of(run, case, arm) if case else None
        with span("ask", parent=Context()):  # a trace of its own: a run may last for hours
            return await self._begin(run, case, ask, begun=begun)

    def _ask_of(self, run: Run, case: Case, arm: int) -> Ask:
        query_id = ask_id(run.run_id, case.case_id, run.arms[arm])
        return Ask(query_id, run.run_id, case.case_id, arm, self._parts.now())

    async def _begin(self, run: Run, case: Case | None, ask: Ask | None, *, begun: int) -> int | None:
        async with self._unit(run.tenant) as (unit, runs):
            await runs.hold(run.tenant)
            began = await runs.begin(run, ask, begun=begun)
            if began is None:
                return None
            if began and case and ask:
                unit.emit(to_event(run, case, ask))
            return int(began)

    async def _look_ahead(self, run: Run, place: int, window: Window) -> None:
        """Reads the next cases, and asks whether they may still be read."""
        async with self._unit(run.tenant) as (_, runs):
            cases = await runs.cases(run, first=place, most=BATCH)
        candidates = [Candidate(case.case_id, case.tier, case.sources) for case in cases]
        window.verdicts = dict(await leave_for(candidates, self._parts.authorizer, tenant=run.tenant, by=run.by))
        window.cases = {case.place: case for case in cases}
        window.first = place
        window.until = self._parts.now() + timedelta(seconds=self._parts.limits.leave_seconds)

    async def _stop(self, run: Run, tier: Tier) -> None:
        """Ends a run one of whose cases may no longer be read: what was allowed when it was planned is so no more."""
        reason = refusal_of(tier, run.by, self._parts.policy)
        await self._end(run, State.FAILED, "grant_ended" if reason == "no_grant" else "denied_by_policy")

    async def _end(self, run: Run, state: State, failure: str = "") -> None:
        async with self._unit(run.tenant) as (_, runs):
            await runs.end(run, state, now=self._parts.now(), failure=failure)

    @asynccontextmanager
    async def _unit(self, tenant: str) -> AsyncIterator[tuple[Unit, Runs]]:
        async with self._parts.ledger.unit(tenant=tenant) as unit:
            yield unit, self._parts.runs_on(unit)


def to_event(run: Run, case: Case, ask: Ask) -> Event[QueryClassified]:
    """Makes the question, to be asked of an arm."""
    message = QueryClassified.FromString(case.question)
    arm = run.arms[ask.arm]
    message.query.query_id = str(ask.query_id)
    message.query.trial.CopyFrom(
        Trial(
            run_id=str(run.run_id),
            case_id=case.case_id,
            kind=int(run.kind),  # type: ignore[arg-type]
            variant=arm.variant.name,
            variant_version=arm.variant.version,
            setting=int(arm.setting),  # type: ignore[arg-type]
        )
    )
    return Event(
        topic=topics.QUERY_REPLAYED,
        message=message,
        key=str(ask.query_id),
        event_id=derived_id("replay", run.tenant, ask.query_id),
        source="feedback",
        correlation_id=str(ask.query_id),
        causation_id=str(run.run_id),
        tenant=run.tenant,
        tier=Tier.of(message.tier),
    )
