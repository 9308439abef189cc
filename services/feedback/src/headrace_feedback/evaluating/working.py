"""The workers: they take what is due, ask whether it may be read, measure it, and store scores and event at once.

An instance that dies holds its tasks until their lease ends; then others take them. Scores are stored in the
transaction that takes the task off the queue, and only while it is still held: nothing is lost, and nothing scored
twice. With a dependency down the tasks wait, and nobody is to blame; what fails by itself is given up after
MOST_ATTEMPTS.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

import structlog
from google.protobuf.message import DecodeError
from headrace_privacy import Tier
from headrace_privacy.policy import Purpose
from headrace_privacy.sealing import Tampered
from headrace_runtime.errors import Conflict, Denied, Overloaded, Rejected, Unavailable, place_of
from headrace_telemetry.metrics import counter

from headrace_feedback.evaluating import evaluators, voting
from headrace_feedback.evaluating.events import evaluated, in_the_answers_trace
from headrace_feedback.evaluating.measuring import Score, Subject, Words
from headrace_feedback.evaluating.pairs import PairScore
from headrace_feedback.evaluating.ports import Desk, Entry
from headrace_feedback.evaluating.reading import Reader
from headrace_feedback.evaluating.tasks import Depth, Held, Task
from headrace_feedback.evaluating.voting import Bench, NewNonce, Shown
from headrace_feedback.ports import Authorizer
from headrace_feedback.uses import Use

log = structlog.get_logger()

#: Answers that are read and measured together; 64 texts are one call of the embedder.
BATCH = 32
#: A lease is renewed three times before it would end.
LEASE_SECONDS = 60.0
#: Tasks under way at a time: so many batches, each one's judges asked one vote after another.
WORKERS = 2
#: How long an idle worker waits before it looks, in case nobody woke it.
LOOK_SECONDS = 1.0
#: A task that failed by itself waits 5, 10, 20 and 40 seconds; then it is given up.
MOST_ATTEMPTS = 5
FAILED_SECONDS = 5.0
#: With a dependency down: 1, 2, 4, … seconds, at most a minute.
LONGEST_WAIT = 60.0
#: How long a leave holds while a judge votes: what is revoked stops within this time.
LEAVE_SECONDS = 5.0

Outcome = Literal["scored", "not_allowed", "erased", "gone", "given_up", "lost", "judge_failed"]
#: What of a single answer can be wrong; anything else is a bug, and ends the process, as everywhere.
_FAULTS = (DecodeError, Tampered, Rejected, Conflict, Denied, ValueError, LookupError, ArithmeticError)


@dataclass(frozen=True, slots=True)
class Limits:
    """See the constants."""

    batch: int = BATCH
    lease_seconds: float = LEASE_SECONDS
    workers: int = WORKERS
    look_seconds: float = LOOK_SECONDS
    longest_wait: float = LONGEST_WAIT
    leave_seconds: float = LEAVE_SECONDS
    failed_seconds: float = FAILED_SECONDS


@dataclass(frozen=True, slots=True)
class Parts:
    """What measuring is done with."""

    desk: Desk
    reader: Reader
    authorizer: Authorizer
    now: Callable[[], datetime]
    new_nonce: NewNonce
    limits: Limits = Limits()


@dataclass(slots=True)
class Leave:
    """Whether somebody may read these answers now: asked when it is needed, and again when it is old.

    tier: the strictest of what would be read; None: of the answers.
    """

    parts: Parts
    tenant: str
    subjects: Sequence[Subject]
    role: str = "service:feedback"
    subject: str = "feedback"
    tier: Tier | None = None
    asked_at: datetime | None = None
    allowed: bool = False
    reason: str = ""

    async def is_live(self) -> bool:
        """Asks. What was refused once stays so. Raises Unavailable, which is no leave."""
        now = self.parts.now()
        if self.asked_at is not None and not self.allowed:
            return False
        if self.asked_at is None or (now - self.asked_at).total_seconds() > self.parts.limits.leave_seconds:
            self.asked_at = now
            verdict = await self.parts.authorizer.authorize(self._use())
            self.allowed, self.reason = verdict.allowed, verdict.reason
        return self.allowed

    def _use(self) -> Use:
        return Use(
            role=self.role,
            subject=self.subject,
            tenant=self.tenant,
            purpose=Purpose.EVALUATE,
            tier=self.tier or max(one.tier for one in self.subjects),
            sources=tuple(sorted({source for one in self.subjects for source in one.sources})),
            records=tuple(str(one.query_id) for one in self.subjects),
        )


class Worker:
    """Measures what waits. instance: which this is."""

    def __init__(self, parts: Parts, instance: UUID) -> None:
        self._parts = parts
        self._instance = instance
        self._wake = asyncio.Event()
        self._wait = 0.0

    def wake(self) -> None:
        """Has it look at once."""
        self._wake.set()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Measures while the context is open. What is under way when it closes is another's when its lease ends."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._work_for_ever()) for _ in range(self._parts.limits.workers)]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()

    async def _work_for_ever(self) -> None:
        while True:
            try:
                found = await self.work()
            except Unavailable as down:
                self._slow_down(down)
                found = 0
            if not found:
                await self._rest(max(self._wait, self._parts.limits.look_seconds))

    async def _rest(self, seconds: float) -> None:
        self._wake.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def _slow_down(self, down: Unavailable | Overloaded) -> None:
        self._wait = min(self._parts.limits.longest_wait, 2 * self._wait or 1.0)
        log.warning("evaluations wait", reason=str(down), seconds=self._wait)

    async def work(self) -> int:
        """Takes a batch and measures it; returns how many tasks it took. Raises Unavailable("postgres")."""
        limits = self._parts.limits
        async with self._parts.desk.open() as entry:
            batch = await entry.queue.claim(self._instance, seconds=limits.lease_seconds, most=limits.batch)
        if not batch:
            return 0
        beating = asyncio.create_task(self._beat([held.task for held in batch]))
        try:
            for tenant, tasks in _by_tenant(batch).items():
                await self._measure(tenant, tasks)
        finally:
            beating.cancel()
        return len(batch)

    async def _beat(self, tasks: Sequence[Task]) -> None:
        """Renews the lease while the batch is worked at; finished tasks are gone from the table."""
        seconds = self._parts.limits.lease_seconds
        while True:
            await asyncio.sleep(seconds / 3)
            with contextlib.suppress(Unavailable):
                async with self._parts.desk.open() as entry:
                    await entry.queue.renew(self._instance, tasks, seconds=seconds)

    async def _measure(self, tenant: str, batch: Sequence[Held]) -> None:
        """Measures what is a tenant's. With a dependency down what is left goes back to the queue."""
        left = {held.task.task_id: held for held in batch}
        try:
            hopeful = [held for held in batch if not await self._is_given_up(held)]
            async with self._parts.desk.open(tenant) as entry:
                subjects = await entry.books.subjects(tenant, [held.task for held in hopeful])
            for group in _grouped(hopeful, subjects):
                await self._measure_group(tenant, group, subjects, left)
            self._wait = 0.0
        except (Unavailable, Overloaded) as down:
            self._slow_down(down)
            await self._give_back(left.values())

    async def _is_given_up(self, held: Held) -> bool:
        """Drops, before it is looked at, what ended the process each time that it was."""
        if held.attempts <= MOST_ATTEMPTS:
            return False
        await self._drop(held.task, "given_up")
        return True

    async def _give_back(self, batch: Iterable[Held]) -> None:
        async with self._parts.desk.open() as entry:
            for held in batch:
                await entry.queue.release(
                    self._instance, held.task, seconds=self._wait, attempts=max(0, held.attempts - 1)
                )

    async def _measure_group(
        self, tenant: str, group: Sequence[Held], subjects: Mapping[UUID, Subject], left: dict[UUID, Held]
    ) -> None:
        """Measures answers of one tier and one set of sources, for which one leave is asked. Where one of them cannot
        be read, each goes by itself."""
        try:
            material = await self._material(tenant, group, subjects)
        except _FAULTS as fault:
            if len(group) == 1:
                await self._fail(group[0], fault)
                left.pop(group[0].task.task_id, None)
            for held in group if len(group) > 1 else ():
                await self._measure_group(tenant, [held], subjects, left)
            return
        for held in group:
            await self._measure_one(held, material)
            left.pop(held.task.task_id, None)

    async def _material(self, tenant: str, group: Sequence[Held], subjects: Mapping[UUID, Subject]) -> Material:
        read = [subjects[identity] for held in group if _wants_words(held, subjects) for identity in _ids(held.task)]
        leave = Leave(self._parts, tenant, list({one.query_id: one for one in read}.values()))
        words: Mapping[UUID, Words] = {}
        if read and await leave.is_live():
            words = await self._parts.reader.read(tenant, leave.subjects)
        return Material(subjects, words, leave if read else None)

    async def _measure_one(self, held: Held, material: Material) -> None:
        """Measures and stores one. What is wrong with it is nobody else's trouble."""
        try:
            if any(identity not in material.subjects for identity in _ids(held.task)):
                await self._drop(held.task, "gone")
            elif held.task.against is None:
                await self._score(held.task, material)
            else:
                await self._compare(held.task, material)
        except _FAULTS as fault:
            await self._fail(held, fault)

    async def _fail(self, held: Held, fault: Exception) -> None:
        log.error("evaluation failed", error=type(fault).__name__, at=place_of(fault), task=str(held.task.task_id))
        if held.attempts >= MOST_ATTEMPTS:
            await self._drop(held.task, "given_up")
            return
        seconds = self._parts.limits.failed_seconds * 2 ** (held.attempts - 1)
        async with self._parts.desk.open() as entry:
            await entry.queue.release(self._instance, held.task, seconds=seconds, attempts=held.attempts)

    async def _drop(self, task: Task, outcome: Outcome) -> None:
        async with self._parts.desk.open() as entry:
            await entry.queue.finish(self._instance, task)
        _count(outcome)

    async def _score(self, task: Task, material: Material) -> None:
        subject, words = material.subjects[task.query_id], material.words.get(task.query_id)
        scores = evaluators.by_counts(subject.counts)
        if words is not None:
            # Some milliseconds of computing, which would hold up the loop.
            scores += await asyncio.to_thread(evaluators.by_words, subject.counts, words)
            scores += await self._judge(task, Shown(words, task.tenant, subject.tier), material)
        elif task.depth is Depth.WORDS:
            _count(material.why_unread)
        await self._store(task, subject, scores)

    async def _judge(self, task: Task, shown: Shown, material: Material) -> list[Score]:
        scores: list[Score] = []
        for bench in await self._benches(task, "single"):
            if not await material.may_go_on():
                _count("not_allowed")
                break
            try:
                scores += await voting.score(bench, shown)
            except (Denied, Conflict) as failed:
                _note_failed(bench, failed)
        return scores

    async def _compare(self, task: Task, material: Material) -> None:
        words = [material.words.get(identity) for identity in _ids(task)]
        tier = max(material.subjects[identity].tier for identity in _ids(task))
        scores: list[PairScore] = []
        if None in words:
            _count(material.why_unread)
        for bench in await self._benches(task, "pairwise"):
            if None in words or not await material.may_go_on():
                break
            try:
                a, b = (Shown(each, task.tenant, tier) for each in words if each is not None)
                scores += await voting.score_pair(bench, a, b)
            except (Denied, Conflict) as failed:
                _note_failed(bench, failed)
        async with self._parts.desk.open(task.tenant) as entry:
            if await self._is_ours(entry, task):
                await entry.books.add_pairs(task, scores, tier=tier, at=self._parts.now())

    async def _benches(self, task: Task, mode: str) -> list[Bench]:
        """The task's judges of a mode, as far as they, their rubrics and a backend are there."""
        backend = self._parts.reader.neighbours.backend
        if backend is None or not task.judges:
            return []
        async with self._parts.desk.open(task.tenant) as entry:
            judges = await entry.books.judges(task.tenant, task.judges)
            wanted = [judge for judge in judges if judge.mode == mode]
            rubrics = [
                await entry.books.rubric(task.tenant, judge.rubric.name, int(judge.rubric.version)) for judge in wanted
            ]
        return [
            Bench(judge, rubric, backend, self._parts.new_nonce)
            for judge, rubric in zip(wanted, rubrics, strict=True)
            if rubric is not None
        ]

    async def _store(self, task: Task, subject: Subject, scores: Sequence[Score]) -> None:
        """Takes the task off the queue and stores its scores with their event, in the answer's own trace."""
        with in_the_answers_trace(subject, scores):
            async with self._parts.desk.open(task.tenant) as entry:
                if not await self._is_ours(entry, task):
                    return
                now = self._parts.now()
                tier = subject.interaction.tier
                added = await entry.books.add_scores(task, scores, tier=tier, at=now)
                if added and not task.run_id:
                    await entry.offer(task, added, at=now)
                if added:
                    entry.emit(evaluated(task, subject, added, at=now))

    async def _is_ours(self, entry: Entry, task: Task) -> bool:
        """Whether it was still held, and is off the queue now."""
        is_ours = await entry.queue.finish(self._instance, task)
        _count("scored" if is_ours else "lost")
        return is_ours


@dataclass(frozen=True, slots=True)
class Material:
    """What a group of tasks is about: the answers as they rest, their words as far as they may be read, and the leave
    that they are read by; None where no words are wanted."""

    subjects: Mapping[UUID, Subject]
    words: Mapping[UUID, Words] = field(repr=False)
    leave: Leave | None

    async def may_go_on(self) -> bool:
        """Whether the words may still be read."""
        return self.leave is not None and await self.leave.is_live()

    @property
    def why_unread(self) -> Outcome:
        """Why words are missing."""
        return "erased" if self.leave is not None and self.leave.allowed else "not_allowed"


#: Whether words are wanted, whether judges are, the strictest tier, the sources.
_Group = tuple[bool, bool, int, tuple[str, ...]]


def _by_tenant(batch: Iterable[Held]) -> dict[str, list[Held]]:
    groups: dict[str, list[Held]] = {}
    for held in batch:
        groups.setdefault(held.task.tenant, []).append(held)
    return groups


def _grouped(batch: Iterable[Held], subjects: Mapping[UUID, Subject]) -> list[list[Held]]:
    """Tasks by the tier and the sources of what they would read. First those of counts alone, then those that judges
    look at: a neighbour that is down, or slow, holds up only what needs it."""
    groups: dict[_Group, list[Held]] = {}
    for held in batch:
        groups.setdefault(_group_of(held, subjects), []).append(held)
    return [groups[key] for key in sorted(groups)]


def _group_of(held: Held, subjects: Mapping[UUID, Subject]) -> _Group:
    if not _wants_words(held, subjects):
        return (False, False, 0, ())
    found = [subjects[identity] for identity in _ids(held.task)]
    sources = tuple(sorted({name for one in found for name in one.sources}))
    return (True, bool(held.task.judges), int(max(one.tier for one in found)), sources)


def _wants_words(held: Held, subjects: Mapping[UUID, Subject]) -> bool:
    return held.task.depth is Depth.WORDS and all(identity in subjects for identity in _ids(held.task))


def _ids(task: Task) -> tuple[UUID, ...]:
    return (task.query_id,) if task.against is None else (task.query_id, task.against)


def _note_failed(bench: Bench, failed: Denied | Conflict) -> None:
    log.warning("a judge cannot vote", judge=bench.judge.name, reason=str(failed))
    _count("judge_failed")


def _count(outcome: Outcome) -> None:
    counter("headrace.evaluations").add(1, {"outcome": outcome})
