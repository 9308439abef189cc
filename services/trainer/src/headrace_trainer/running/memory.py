"""Runs in memory, for tests: the same behaviour, and nothing survives."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from headrace_trainer.running.ports import Noted, Pause
from headrace_trainer.running.rules import Rules, Used
from headrace_trainer.running.runs import Made, Point, Progress, Run, Snapshot, State, Target

DAY = timedelta(days=1)
NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(slots=True)
class _Turn:
    tenant: str
    held_until: datetime
    holder: UUID | None = None


@dataclass(slots=True)
class MemoryBooks:
    """See ports.Books and ports.Turns. clock: stands for the database's."""

    clock: Callable[[], datetime]
    runs: dict[UUID, Run] = field(default_factory=dict)
    turns: dict[UUID, _Turn] = field(default_factory=dict)
    points: dict[UUID, dict[int, Point]] = field(default_factory=dict)
    causes: dict[tuple[str, UUID], Noted] = field(default_factory=dict)
    versions: dict[str, list[Rules]] = field(default_factory=dict)
    pauses: dict[str, Pause] = field(default_factory=dict)
    schedule: dict[str, datetime] = field(default_factory=dict)

    async def hold(self, tenant: str) -> None:
        """Nobody else is there."""

    async def now(self) -> datetime:
        return self.clock()

    async def rules(self, tenant: str) -> Rules:
        return self.versions.get(tenant, [Rules()])[-1]

    async def put_rules(self, tenant: str, rules: Rules) -> None:
        self.versions.setdefault(tenant, []).append(rules)
        await self.schedule_again(tenant, seconds=rules.schedule_seconds if rules.automatic else 0)

    async def pause_of(self, tenant: str) -> Pause | None:
        return self.pauses.get(tenant) or self.pauses.get("")

    async def pause(self, tenant: str, pause: Pause) -> None:
        self.pauses[tenant] = replace(pause, at=self.clock())

    async def resume(self, tenant: str) -> None:
        self.pauses.pop(tenant, None)

    async def used(self, tenant: str) -> Used:
        since = self.clock() - DAY
        begun = [run for run in self.runs.values() if run.tenant == tenant and run.begun_at]
        counted = [run for run in begun if not run.by_person and (run.begun_at or since) > since]
        computed = [run.progress.compute_seconds for run in begun if run.ended_at is None or run.ended_at > since]
        return Used(len(counted), sum(computed))

    async def add_cause(self, tenant: str, noted: Noted) -> bool:
        if (tenant, noted.cause_id) in self.causes:
            return False
        self.causes[tenant, noted.cause_id] = noted
        return True

    async def drop_held(self, tenant: str, cause_id: UUID) -> None:
        noted = self.causes.get((tenant, cause_id))
        if noted and noted.run_id is None:
            del self.causes[tenant, cause_id]

    async def held(self, tenant: str, target: Target) -> Sequence[Noted]:
        mine = [noted for (whose, _), noted in self.causes.items() if whose == tenant and noted.target is target]
        return sorted((one for one in mine if one.run_id is None), key=lambda one: (one.added_at, one.cause_id))

    async def attach(self, tenant: str, cause_ids: Sequence[UUID], run_id: UUID) -> None:
        for cause_id in cause_ids:
            self.causes[tenant, cause_id] = replace(self.causes[tenant, cause_id], run_id=run_id)

    async def waiting(self, tenant: str, target: Target) -> Run | None:
        return self._first(tenant, target, lambda run: run.state is State.WAITING)

    async def under_way(self, tenant: str, target: Target) -> UUID | None:
        found = self._first(tenant, target, lambda run: run.state.is_under_way)
        return found.run_id if found else None

    def _first(self, tenant: str, target: Target, fits: Callable[[Run], bool]) -> Run | None:
        mine = (run for run in self.runs.values() if run.tenant == tenant and run.target is target)
        return next(filter(fits, mine), None)

    async def add(self, run: Run) -> None:
        self.runs[run.run_id] = run
        self.turns[run.run_id] = _Turn(run.tenant, run.begin_at or NEVER)

    async def fold(self, run: Run) -> None:
        self.runs[run.run_id] = run
        if self.turns[run.run_id].holder is None:
            self.turns[run.run_id].held_until = run.begin_at or NEVER

    async def get(self, tenant: str, run_id: UUID) -> Run | None:
        run = self.runs.get(run_id)
        if run is None or run.tenant != tenant:
            return None
        return replace(run, curve=tuple(point for _, point in sorted(self.points.get(run_id, {}).items())))

    async def newest(self, tenant: str, most: int) -> Sequence[Run]:
        mine = sorted((run for run in self.runs.values() if run.tenant == tenant), key=lambda run: run.created_at)
        return mine[::-1][:most]

    async def of_dataset(self, tenant: str, dataset_id: str) -> Sequence[Run]:
        return [run for run in await self.newest(tenant, 1_000) if run.snapshot.dataset_id == dataset_id]

    async def move(self, run: Run, state: State) -> bool:
        now = self.runs[run.run_id]
        if now.state is not run.state:
            return False
        self.runs[run.run_id] = replace(now, state=state, begun_at=now.begun_at or self.clock())
        return True

    async def set_snapshot(self, run: Run, snapshot: Snapshot) -> None:
        self.runs[run.run_id] = replace(self.runs[run.run_id], snapshot=snapshot)

    async def count_attempt(self, run: Run) -> int:
        attempts = self.runs[run.run_id].attempts + 1
        self.runs[run.run_id] = replace(self.runs[run.run_id], attempts=attempts)
        return attempts

    async def uncount_attempt(self, run: Run) -> None:
        now = self.runs[run.run_id]
        self.runs[run.run_id] = replace(now, attempts=max(0, now.attempts - 1))

    async def set_progress(self, run: Run, progress: Progress, points: Sequence[Point]) -> None:
        self.runs[run.run_id] = replace(self.runs[run.run_id], progress=progress)
        self.points.setdefault(run.run_id, {}).update({point.step: point for point in points})

    async def set_made(self, run: Run, made: Made) -> None:
        self.runs[run.run_id] = replace(self.runs[run.run_id], made=made)

    async def set_model(self, run: Run, model: str) -> None:
        self.runs[run.run_id] = replace(self.runs[run.run_id], model=model)

    async def end(self, run: Run, state: State, *, failure: str = "") -> Run | None:
        now = self.runs[run.run_id]
        if now.ended_at is not None:
            return None
        self.runs[run.run_id] = replace(now, state=state, failure=failure, ended_at=self.clock())
        self.turns.pop(run.run_id, None)
        return self.runs[run.run_id]

    async def take(self, holder: UUID, *, seconds: float) -> tuple[str, UUID] | None:
        free = [(turn.held_until, run_id) for run_id, turn in self.turns.items() if turn.held_until <= self.clock()]
        if not free:
            return None
        _, run_id = min(free)
        turn = self.turns[run_id]
        turn.holder, turn.held_until = holder, self.clock() + timedelta(seconds=seconds)
        return turn.tenant, run_id

    async def keep(self, holder: UUID, run_id: UUID, *, seconds: float) -> bool:
        turn = self.turns.get(run_id)
        if turn is None or turn.holder != holder:
            return False
        turn.held_until = self.clock() + timedelta(seconds=seconds)
        return True

    async def pass_on(self, holder: UUID, run_id: UUID, *, seconds: float) -> None:
        if await self.keep(holder, run_id, seconds=seconds):
            self.turns[run_id].holder = None

    async def going_on(self, run_ids: Collection[UUID]) -> Collection[UUID]:
        return {run_id for run_id in run_ids if run_id in self.turns}

    async def everybody(self) -> Sequence[tuple[str, UUID]]:
        return sorted((turn.tenant, run_id) for run_id, turn in self.turns.items())

    async def scheduled(self) -> str | None:
        due = [(at, tenant) for tenant, at in self.schedule.items() if at <= self.clock()]
        return min(due)[1] if due else None

    async def schedule_again(self, tenant: str, *, seconds: float) -> None:
        self.schedule.pop(tenant, None)
        if seconds:
            self.schedule[tenant] = self.clock() + timedelta(seconds=seconds)
