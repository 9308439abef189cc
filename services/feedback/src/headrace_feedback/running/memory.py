"""Runs in memory, for tests: the same behaviour, and nothing survives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from headrace_feedback.interaction import Interaction
from headrace_feedback.running.runs import (
    Ask,
    Candidate,
    Case,
    Indexed,
    Pair,
    Progress,
    Reason,
    Run,
    StaleAnswer,
    StaleDocument,
    Standing,
    State,
    TrialAnswer,
    Wish,
)


@dataclass(slots=True)
class _Turn:
    tenant: str
    holder: UUID | None = None
    held_until: float = 0.0


class MemoryRuns:
    """See ports.Runs and ports.Turns. clock: in seconds; a turn ends by it."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self._clock = clock
        self.runs: dict[UUID, Run] = {}
        self.begun: dict[UUID, int] = {}
        self.cases_of: dict[UUID, dict[str, Case]] = {}
        self.asks: dict[UUID, Ask] = {}
        self.answers: dict[UUID, TrialAnswer] = {}
        self.turns: dict[UUID, _Turn] = {}

    async def hold(self, tenant: str) -> None:
        """Nobody else is there."""

    async def add(self, run: Run) -> None:
        self.runs[run.run_id], self.begun[run.run_id] = run, 0
        self.turns[run.run_id] = _Turn(run.tenant, None, float("-inf"))

    async def add_cases(self, run: Run, cases: Sequence[Case]) -> None:
        self.cases_of.setdefault(run.run_id, {}).update({case.case_id: case for case in cases})

    async def get(self, tenant: str, run_id: UUID) -> Run | None:
        run = self.runs.get(run_id)
        if run is None or run.tenant != tenant:
            return None
        standings = [ask.standing for ask in self.asks.values() if ask.run_id == run_id]
        answered, under_way = standings.count(Standing.ANSWERED), standings.count(Standing.ASKED)
        return replace(run, progress=Progress(self.begun[run_id], answered, under_way))

    async def newest(self, tenant: str, most: int) -> Sequence[Run]:
        mine = sorted((run for run in self.runs.values() if run.tenant == tenant), key=lambda run: run.created_at)
        return [run for one in reversed(mine[-most:]) if (run := await self.get(tenant, one.run_id))]

    async def end(self, run: Run, state: State, *, now: datetime, failure: str = "") -> bool:
        if self.runs[run.run_id].state is not State.RUNNING:
            return False
        self.runs[run.run_id] = replace(self.runs[run.run_id], state=state, ended_at=now, failure=failure)
        for ask in await self.under_way(run):
            await self.settle(run.tenant, ask, Standing.FAILED, "run_ended")
        del self.turns[run.run_id]
        return True

    async def cases(self, run: Run, *, first: int, most: int) -> Sequence[Case]:
        within = [case for case in self.cases_of[run.run_id].values() if first <= case.place < first + most]
        return sorted(within, key=lambda case: case.place)

    async def case(self, run: Run, case_id: str) -> Case | None:
        return self.cases_of[run.run_id].get(case_id)

    async def begin(self, run: Run, ask: Ask | None, *, begun: int) -> bool | None:
        if self.runs[run.run_id].state is not State.RUNNING or self.begun[run.run_id] != begun:
            return None
        self.begun[run.run_id] += 1
        if ask is None or ask.case_id not in self.cases_of[run.run_id] or ask.query_id in self.asks:
            return False
        self.asks[ask.query_id] = ask
        return True

    async def under_way(self, run: Run) -> Sequence[Ask]:
        return [a for a in self.asks.values() if a.run_id == run.run_id and a.standing is Standing.ASKED]

    async def time_out(self, run: Run, *, before: datetime) -> Sequence[str]:
        late = [ask for ask in await self.under_way(run) if ask.asked_at < before]
        for ask in late:
            await self.settle(run.tenant, ask, Standing.FAILED, "timed_out")
        return sorted({ask.case_id for ask in late})

    async def find(self, tenant: str, query_id: UUID) -> Ask | None:
        ask = self.asks.get(query_id)
        return ask if ask and self.runs[ask.run_id].tenant == tenant else None

    async def settle(self, tenant: str, ask: Ask, standing: Standing, reason: Reason = "") -> None:
        del tenant
        self.asks[ask.query_id] = replace(ask, standing=standing, reason=reason)

    async def standings(self, run: Run, case_id: str) -> Mapping[int, Standing]:
        mine = [ask for ask in self.asks.values() if (ask.run_id, ask.case_id) == (run.run_id, case_id)]
        return {ask.arm: ask.standing for ask in mine}

    async def add_answer(self, answer: TrialAnswer, *, stored_at: datetime) -> bool:
        del stored_at
        is_new = answer.interaction.query_id not in self.answers
        self.answers.setdefault(answer.interaction.query_id, answer)
        return is_new

    async def take(self, holder: UUID, *, seconds: float) -> tuple[str, UUID] | None:
        for run_id, turn in sorted(self.turns.items(), key=lambda item: item[1].held_until):
            if turn.held_until < self._clock():
                turn.holder, turn.held_until = holder, self._clock() + seconds
                return turn.tenant, run_id
        return None

    async def keep(self, holder: UUID, run_id: UUID, *, seconds: float) -> bool:
        turn = self.turns.get(run_id)
        if turn is None or turn.holder != holder:
            return False
        turn.held_until = self._clock() + seconds
        return True

    def erase(self, case_id: str) -> None:
        """Removes a case and what was answered of it, as an erasure does."""
        for cases in self.cases_of.values():
            cases.pop(case_id, None)
        for query_id in [ask.query_id for ask in self.asks.values() if ask.case_id == case_id]:
            del self.asks[query_id]
            self.answers.pop(query_id, None)


@dataclass(slots=True)
class MemoryEvaluations:
    """See ports.Evaluations."""

    answers: list[TrialAnswer] = field(default_factory=list)
    baselines: set[str] = field(default_factory=set)
    pairs: list[Pair] = field(default_factory=list)

    async def put_answer(self, answer: TrialAnswer, *, judges: Sequence[str]) -> None:
        del judges
        self.answers.append(answer)

    async def put_baseline(self, run: Run, case_id: str) -> None:
        del run
        self.baselines.add(case_id)

    async def put_pair(self, pair: Pair) -> None:
        if pair not in self.pairs:
            self.pairs.append(pair)


@dataclass(frozen=True, slots=True)
class _Original:
    query_id: UUID
    kind: str
    completed_at: datetime
    documents: Sequence[str]
    record: bytes


class MemoryShelf:
    """See ports.Questions and ports.Shelf: a log, and what is indexed."""

    def __init__(self) -> None:
        self.log: dict[tuple[str, UUID], Interaction] = {}
        self.documents: dict[tuple[str, str, str], Indexed] = {}

    def add(self, interaction: Interaction) -> None:
        """Logs an interaction."""
        self.log[interaction.tenant, interaction.query_id] = interaction

    async def candidates(self, tenant: str, wish: Wish, *, limit: int, seed: int) -> Sequence[Candidate]:
        found = [i for i in self._of(tenant) if self._fits(i, wish)]
        found.sort(key=lambda i: (_lot(seed, i.query_id), i.query_id))
        return [_candidate(interaction) for interaction in found[:limit]]

    def _fits(self, interaction: Interaction, wish: Wish) -> bool:
        named = not wish.query_ids or interaction.query_id in wish.query_ids
        kind = wish.kind in {"", interaction.routed.kind} and wish.product in {"", interaction.product}
        time = (wish.since is None or interaction.completed_at >= wish.since) and (
            wish.until is None or interaction.completed_at < wish.until
        )
        stale = not wish.stale_only or bool(self._changed(interaction))
        return named and kind and time and stale and wish.variant in {"", interaction.variant.name}

    async def originals(self, tenant: str, query_ids: Sequence[UUID]) -> Sequence[_Original]:
        return [_original(i) for i in self._of(tenant) if i.query_id in query_ids]

    async def note(self, indexed: Indexed) -> None:
        key = (indexed.tenant, indexed.source, indexed.document_id)
        if key not in self.documents or self.documents[key].version < indexed.version:
            self.documents[key] = indexed

    async def stale(
        self, tenant: str, *, source: str, document_id: str, limit: int
    ) -> tuple[Sequence[StaleAnswer], int]:
        found = []
        for interaction in self._of(tenant):
            changed = self._changed(interaction)
            matching = [d for d in changed if source in {"", d.source} and document_id in {"", d.document_id}]
            if matching:
                when = interaction.completed_at
                found.append(StaleAnswer(interaction.query_id, when, interaction.tier, tuple(matching)))
        found.sort(key=lambda one: one.query_id)
        found.sort(key=lambda one: one.completed_at, reverse=True)
        return found[:limit], len(found)

    def _of(self, tenant: str) -> list[Interaction]:
        return [interaction for (of, _), interaction in self.log.items() if of == tenant]

    def _changed(self, interaction: Interaction) -> list[StaleDocument]:
        changed: dict[tuple[str, str], StaleDocument] = {}
        for chunk in interaction.chunks:
            now = self.documents.get((interaction.tenant, chunk.source, chunk.document_id))
            if now is None or now.version <= chunk.document_version:
                continue
            key = (chunk.source, chunk.document_id)
            before = changed.get(key)
            cited = chunk.citation > 0 or (before is not None and before.cited)
            version = min(chunk.document_version, before.version) if before else chunk.document_version
            changed[key] = StaleDocument(*key, version, now.version, now.deleted, cited)
        return [changed[key] for key in sorted(changed)]


def _lot(seed: int, query_id: UUID) -> str:
    return hashlib.md5(f"{seed}:{query_id}".encode(), usedforsecurity=False).hexdigest()


def _candidate(interaction: Interaction) -> Candidate:
    tier = max([interaction.tier, *(chunk.tier for chunk in interaction.chunks)])
    sources = tuple(sorted({chunk.source for chunk in interaction.chunks}))
    return Candidate(str(interaction.query_id), tier, sources)


def _original(interaction: Interaction) -> _Original:
    documents = sorted({f"{chunk.source}/{chunk.document_id}" for chunk in interaction.chunks})
    kind, when = interaction.routed.kind, interaction.completed_at
    return _Original(interaction.query_id, kind, when, documents, interaction.record)
