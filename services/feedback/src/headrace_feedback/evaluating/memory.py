"""Queue and books in memory, for tests: the same behaviour, and nothing survives."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from headrace_privacy import Tier
from headrace_stream import Event

from headrace_feedback.evaluating.judging import Calibration, Judge
from headrace_feedback.evaluating.measuring import Score, Scored, Subject
from headrace_feedback.evaluating.pairs import PairScore
from headrace_feedback.evaluating.ports import Corrected, Labelled
from headrace_feedback.evaluating.tasks import SUSPECTED_FROM, Held, Sampling, Task
from headrace_feedback.interaction import Versioned
from headrace_feedback.reviewing.criteria import Rubric


@dataclass(slots=True)
class _Row:
    task: Task
    due: float
    holder: UUID | None = None
    attempts: int = 0


@dataclass(slots=True)
class MemoryQueue:
    """See ports.Queue."""

    clock: Callable[[], float] = time.monotonic
    rows: dict[UUID, _Row] = field(default_factory=dict)

    async def put(self, task: Task) -> None:
        """Puts a task; one that waits already is not put again."""
        self.rows.setdefault(task.task_id, _Row(task, self.clock()))

    async def claim(self, holder: UUID, *, seconds: float, most: int) -> Sequence[Held]:
        """See ports.Queue."""
        now = self.clock()
        waiting = sorted((row for row in self.rows.values() if row.due <= now), key=lambda row: row.due)
        fresh = [row for row in waiting if row.attempts < SUSPECTED_FROM][:most]
        due = fresh or sorted(waiting, key=lambda row: row.attempts)[:1]
        for row in due:
            row.holder, row.due, row.attempts = holder, now + seconds, row.attempts + 1
        return [Held(row.task, row.attempts) for row in due]

    async def renew(self, holder: UUID, tasks: Sequence[Task], *, seconds: float) -> None:
        """See ports.Queue."""
        for row in filter(None, (self._held(holder, task) for task in tasks)):
            row.due = self.clock() + seconds

    async def release(self, holder: UUID, task: Task, *, seconds: float, attempts: int) -> None:
        """See ports.Queue."""
        row = self._held(holder, task)
        if row is not None:
            row.holder, row.due, row.attempts = None, self.clock() + seconds, attempts

    async def finish(self, holder: UUID, task: Task) -> bool:
        """See ports.Queue."""
        return self._held(holder, task) is not None and self.rows.pop(task.task_id) is not None

    async def waiting(self, tenant: str) -> int:
        """See ports.Queue."""
        return sum(row.task.tenant == tenant for row in self.rows.values())

    def _held(self, holder: UUID, task: Task) -> _Row | None:
        row = self.rows.get(task.task_id)
        return row if row is not None and row.holder == holder else None


@dataclass(slots=True)
class MemoryBooks:
    """See ports.Books."""

    answers: dict[tuple[str, UUID], Subject] = field(default_factory=dict)
    scored: dict[tuple[object, ...], Scored] = field(default_factory=dict)
    pairs: dict[tuple[object, ...], PairScore] = field(default_factory=dict)
    stored_judges: dict[tuple[str, str, int], Judge] = field(default_factory=dict)
    samplings: dict[str, Sampling] = field(default_factory=dict)
    rubrics: dict[tuple[str, int], Rubric] = field(default_factory=dict)
    labels: dict[tuple[str, UUID], Labelled] = field(default_factory=dict)
    corrections: dict[tuple[str, UUID], Corrected] = field(default_factory=dict)

    async def subjects(self, tenant: str, tasks: Sequence[Task]) -> Mapping[UUID, Subject]:
        """See ports.Books."""
        ids = {identity for task in tasks for identity in (task.query_id, task.against)}
        return {each: subject for (of, each), subject in self.answers.items() if of == tenant and each in ids}

    async def add_scores(self, task: Task, scores: Sequence[Score], *, tier: Tier, at: datetime) -> Sequence[Score]:
        """See ports.Books."""
        del tier
        added = [score for score in scores if _key(task, score) not in self.scored]
        for score in added:
            self.scored[_key(task, score)] = Scored(score, task.run_id, at)
        return added

    async def add_pairs(self, task: Task, scores: Sequence[PairScore], *, tier: Tier, at: datetime) -> None:
        """See ports.Books."""
        del tier, at
        for score in scores:
            self.pairs.setdefault((task.tenant, task.task_id, score.judge, score.version, score.criterion), score)

    async def scores(self, tenant: str, query_id: UUID) -> Sequence[Scored] | None:
        """See ports.Books."""
        if (tenant, query_id) not in self.answers:
            return None
        found = [scored for key, scored in self.scored.items() if key[:2] == (tenant, query_id)]
        return sorted(found, key=lambda one: (one.run_id, one.score.evaluator, one.score.criterion))

    async def judges(self, tenant: str, names: Sequence[str]) -> Sequence[Judge]:
        """See ports.Books."""
        newest: dict[str, Judge] = {}
        for (of, name, version), judge in self.stored_judges.items():
            if of == tenant and (not names or name in names) and version > newest.get(name, _NONE).version:
                newest[name] = judge
        return [newest[name] for name in sorted(newest)]

    async def judge_versions(self, tenant: str, name: str) -> Sequence[Judge]:
        """See ports.Books."""
        mine = [judge for (of, its, _), judge in self.stored_judges.items() if (of, its) == (tenant, name)]
        return sorted(mine, key=lambda judge: -judge.version)

    async def add_judge(self, tenant: str, judge: Judge) -> None:
        """See ports.Books."""
        assert (tenant, judge.name, judge.version) not in self.stored_judges, "the handler looks first"
        self.stored_judges[tenant, judge.name, judge.version] = judge

    async def hold(self, tenant: str, name: str) -> None:
        """Nobody else is there."""

    async def add_calibration(self, tenant: str, judge: Judge, calibration: Calibration) -> None:
        """See ports.Books."""
        key = (tenant, judge.name, judge.version)
        self.stored_judges[key] = replace(self.stored_judges[key], calibration=calibration)

    async def sampling(self, tenant: str) -> Sampling:
        """See ports.Books."""
        return self.samplings.get(tenant, Sampling())

    async def put_sampling(self, tenant: str, sampling: Sampling, *, by: str, at: datetime) -> None:
        """See ports.Books."""
        del by, at
        self.samplings[tenant] = sampling

    async def rubric(self, tenant: str, name: str, version: int) -> Rubric | None:
        """See ports.Books. The same for every tenant here."""
        del tenant
        versions = [number for its, number in self.rubrics if its == name]
        return self.rubrics.get((name, version or max(versions, default=0)))

    async def labelled(self, tenant: str, rubric: Versioned) -> Sequence[Labelled]:
        """See ports.Books. Whatever rubric it was."""
        del rubric
        return [one for (of, _), one in self.labels.items() if of == tenant]

    async def corrected(self, tenant: str, query_ids: Sequence[UUID]) -> Mapping[UUID, Corrected]:
        """See ports.Books."""
        return {each: one for (of, each), one in self.corrections.items() if of == tenant and each in query_ids}


_NONE = Judge("", 0, "", Versioned("", "0"), "single")


def _key(task: Task, score: Score) -> tuple[object, ...]:
    measured = (score.evaluator, score.version, score.rubric, score.rubric_version, score.criterion)
    return (task.tenant, task.query_id, task.run_id, *measured)


@dataclass(slots=True)
class MemoryEntry:
    """See ports.Entry."""

    queue: MemoryQueue
    books: MemoryBooks
    events: list[Event[Any]] = field(default_factory=list)

    async def offer(self, task: Task, scores: Sequence[Score], *, at: datetime) -> None:
        """Nobody reviews here."""

    def emit(self, *events: Event[Any]) -> None:
        """See ports.Entry."""
        self.events.extend(events)


@dataclass(slots=True)
class MemoryDesk:
    """See ports.Desk. There are no transactions: whoever awaits nothing is alone."""

    queue: MemoryQueue = field(default_factory=MemoryQueue)
    books: MemoryBooks = field(default_factory=MemoryBooks)
    published: list[Event[Any]] = field(default_factory=list)

    @asynccontextmanager
    async def open(self, tenant: str = "") -> AsyncIterator[MemoryEntry]:
        """See ports.Desk."""
        del tenant
        entry = MemoryEntry(self.queue, self.books)
        yield entry
        self.published.extend(entry.events)
