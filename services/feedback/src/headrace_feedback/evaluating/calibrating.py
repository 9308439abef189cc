"""Calibrating a judge: it labels what experts labelled, on the half that is held out: nobody has looked at that half
while the judge was made.

A judge of single answers is held against the majority of the experts' labels. One that compares is held against pairs
whose better answer experts have named: an answer that they corrected and the correction, on the criteria on which they
did not give it the best label; and two answers to the same question that they labelled differently, or alike.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID

from headrace.privacy.v1.privacy_pb2 import ProtectedText
from headrace_identity import Principal
from headrace_privacy import Erased, Tier, Vault
from headrace_runtime.errors import Conflict, Denied

from headrace_feedback.evaluating import agreeing, bias, judging, voting
from headrace_feedback.evaluating.judging import Agreement, Calibration, Judge, Model
from headrace_feedback.evaluating.measuring import Subject
from headrace_feedback.evaluating.pairs import PairScore
from headrace_feedback.evaluating.ports import Corrected, Labelled
from headrace_feedback.evaluating.sampling import drawn, is_held_out
from headrace_feedback.evaluating.tasks import Task
from headrace_feedback.evaluating.voting import Bench, Shown, Votes
from headrace_feedback.evaluating.working import Leave, Parts
from headrace_feedback.opening import open_text
from headrace_feedback.reviewing.criteria import Criterion

#: Answers that are authorized and opened together.
BATCH = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a calibration is. calibration: in the last one only."""

    done: int
    total: int
    calibration: Calibration | None = None


@dataclass(frozen=True, slots=True)
class Expert:
    """An answer with what most experts say of it, by criterion; a criterion without a majority is missing."""

    query_id: UUID
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Contest:
    """Two answers to one question. better: by criterion, "a", "b" or "same"."""

    a: Shown
    b: Shown
    better: Mapping[str, str]


#: A labelled answer, and its correction, in the clear.
Read = tuple[Expert, Shown, Shown | None]


@dataclass(slots=True)
class Tally:
    """What experts and judge said, by criterion, and how the votes came about."""

    labels: dict[str, list[tuple[str, str | None]]] = field(default_factory=dict)
    pairs: list[PairScore] = field(default_factory=list)
    models: set[Model] = field(default_factory=set)
    unread: int = 0

    def note(self, criterion: str, expert: str, said: str | None, *votes: Votes) -> None:
        """Takes down one label of each."""
        self.labels.setdefault(criterion, []).append((expert, said))
        self.models.update(*(one.models for one in votes))
        self.unread += sum(one.unread for one in votes)

    @property
    def model(self) -> Model:
        """The one that voted; of several none can be held to what the others did."""
        return next(iter(self.models)) if len(self.models) == 1 else Model("several models")


class Calibrating:
    """One calibration, in the name of whoever asked for it."""

    def __init__(self, parts: Parts, bench: Bench, tenant: str, *, by: Principal) -> None:
        self._parts = parts
        self._bench = bench
        self._tenant = tenant
        self._by = by

    async def run(self) -> AsyncIterator[Progress]:
        """Yields how far it is, at last with the calibration, stored.

        Raises Conflict where experts have labelled nothing that is held out, Denied where the policy, or the lack of a
        grant, leaves nothing of it, and what the backend raises.
        """
        started = self._parts.now()
        experts = await self._experts()
        if not experts:
            rubric = self._bench.judge.rubric
            raise Conflict(f"experts have labelled no held-out answer against {rubric.name}@{rubric.version}")
        tally, done = Tally(), 0
        measure = self._compare if self._bench.judge.mode == "pairwise" else self._label
        async for leave, read in self._read(experts):
            async for _ in measure(read, tally):
                if not await leave.is_live():
                    raise Denied(f"a grant ended while it was being read: {leave.reason}")
                done += 1
                yield Progress(min(done, len(experts)), len(experts))
        calibration = self._calibration(tally, started)
        async with self._parts.desk.open(self._tenant) as entry:
            await entry.books.add_calibration(self._tenant, self._bench.judge, calibration)
        yield Progress(len(experts), len(experts), calibration)

    async def _experts(self) -> list[Expert]:
        async with self._parts.desk.open(self._tenant) as entry:
            labelled = await entry.books.labelled(self._tenant, self._bench.judge.rubric)
        held_out = [one for one in labelled if is_held_out(self._tenant, str(one.query_id))]
        return [Expert(one.query_id, labels) for one in held_out if (labels := _consensus(one))]

    async def _read(self, experts: Sequence[Expert]) -> AsyncIterator[tuple[Leave, list[Read]]]:
        """Answers that may be read, with their corrections; each batch is asked about by itself."""
        may, refused = False, ""
        for start in range(0, len(experts), BATCH):
            batch = experts[start : start + BATCH]
            async with self._parts.desk.open(self._tenant) as entry:
                subjects = await entry.books.subjects(self._tenant, [Task(self._tenant, one.query_id) for one in batch])
                corrected = await entry.books.corrected(self._tenant, list(subjects))
            for tier, members in _by_tier(subjects, corrected).items():
                leave = Leave(self._parts, self._tenant, members, self._by.role, self._by.subject, tier)
                if await leave.is_live():
                    may = True
                    yield leave, await self._opened(batch, members, corrected)
                else:
                    refused = leave.reason
        if not may:
            raise Denied(refused or "there is nothing left of what experts labelled")

    async def _opened(
        self, batch: Sequence[Expert], members: Sequence[Subject], corrected: Mapping[UUID, Corrected]
    ) -> list[Read]:
        words = await self._parts.reader.read(self._tenant, members)
        tiers = {one.query_id: one.tier for one in members}
        shown = {identity: Shown(each, self._tenant, tiers[identity]) for identity, each in words.items()}
        better = {
            identity: await _correction(shown[identity], corrected[identity], self._parts.reader.vault)
            for identity in shown
            if identity in corrected
        }
        return [(one, shown[one.query_id], better.get(one.query_id)) for one in batch if one.query_id in shown]

    async def _label(self, read: Sequence[Read], tally: Tally) -> AsyncIterator[None]:
        for expert, shown, _ in read:
            for criterion in self._known(expert.labels):
                votes = await voting.vote(self._bench, criterion, shown)
                tally.note(criterion.name, expert.labels[criterion.name], judging.majority(votes.said), votes)
            yield

    async def _compare(self, read: Sequence[Read], tally: Tally) -> AsyncIterator[None]:
        for contest in (*_against_corrections(read, self._tenant, self._bench), *_same_question(read, self._bench)):
            for criterion in self._known(contest.better):
                first, second = await voting.compare(self._bench, criterion, contest.a, contest.b)
                judged = judging.judged(first.said, second.said)
                said = None
                if judged is not None:
                    lengths = len(contest.a.words.answer), len(contest.b.words.answer)
                    pair = voting.pair_score(self._bench, criterion, judged, lengths, first, second)
                    tally.pairs.append(pair)
                    said = pair.outcome
                tally.note(criterion.name, contest.better[criterion.name], said, first, second)
            yield

    def _known(self, labels: Mapping[str, str]) -> list[Criterion]:
        return [criterion for criterion in self._bench.rubric.criteria if criterion.name in labels]

    def _calibration(self, tally: Tally, started: datetime) -> Calibration:
        on = agreeing.agreement_on_pairs if self._bench.judge.mode == "pairwise" else agreeing.agreement_on
        criteria = self._bench.rubric.criteria
        found: dict[str, tuple[Agreement, bool]] = {
            criterion.name: on(criterion, tally.labels[criterion.name])
            for criterion in criteria
            if criterion.name in tally.labels
        }
        now = self._parts.now()
        return Calibration(
            state=agreeing.state_of(self._bench.rubric, found),
            agreement=tuple(agreement for agreement, _ in found.values()),
            first_position_rate=bias.first_position_rate(pair.judged for pair in tally.pairs),
            length_effect=bias.length_effect(
                [pair.judged for pair in tally.pairs], [pair.lengths for pair in tally.pairs]
            ),
            unread=tally.unread,
            model=tally.model,
            calibrated_at=now,
            took_seconds=(now - started).total_seconds(),
            calibrated_by=self._by.subject,
        )


def calibrated(judge: Judge, calibration: Calibration) -> Judge:
    """The judge with its newest calibration."""
    return replace(judge, calibration=calibration)


def _consensus(one: Labelled) -> dict[str, str]:
    said = {criterion: judging.majority(labels) for criterion, labels in one.labels.items()}
    return {criterion: label for criterion, label in said.items() if label is not None}


def _by_tier(subjects: Mapping[UUID, Subject], corrected: Mapping[UUID, Corrected]) -> dict[Tier, list[Subject]]:
    """By the strictest of what would be read of each, its correction included."""
    groups: dict[Tier, list[Subject]] = {}
    for identity, subject in subjects.items():
        tier = max(subject.tier, corrected[identity].tier) if identity in corrected else subject.tier
        groups.setdefault(tier, []).append(subject)
    return groups


async def _correction(shown: Shown, corrected: Corrected, vault: Vault) -> Shown | None:
    """What it should have said; None where that is erased."""
    sealed = ProtectedText.FromString(corrected.words)
    opener = await vault.opener_for(sealed)
    try:
        text = open_text(sealed, opener)
    except Erased:
        return None
    return Shown(replace(shown.words, answer=text), shown.tenant, max(shown.tier, corrected.tier))


def _against_corrections(read: Iterable[Read], tenant: str, bench: Bench) -> Iterator[Contest]:
    """An answer beside its correction; which of the two is A is drawn, so that the better one is not always B."""
    best = {criterion.name: criterion.labels[-1] for criterion in bench.rubric.criteria}
    for expert, shown, correction in read:
        missed = [name for name, label in expert.labels.items() if name in best and label != best[name]]
        if correction is None or not missed:
            continue
        is_swapped = drawn("swap", tenant, str(expert.query_id)) < 0.5
        a, b, better = (correction, shown, "a") if is_swapped else (shown, correction, "b")
        yield Contest(a, b, dict.fromkeys(missed, better))


def _same_question(read: Iterable[Read], bench: Bench) -> Iterator[Contest]:
    """Answers to the same question, in whatever case and spacing, each beside the next."""
    asked: dict[str, list[tuple[Expert, Shown]]] = {}
    for expert, shown, _ in read:
        asked.setdefault(" ".join(shown.words.question.casefold().split()), []).append((expert, shown))
    scales = {criterion.name: criterion.labels for criterion in bench.rubric.criteria}
    for answers in asked.values():
        for (one, a), (other, b) in itertools.pairwise(answers):
            yield Contest(a, b, dict(_better(one.labels, other.labels, scales)))


def _better(
    one: Mapping[str, str], other: Mapping[str, str], scales: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, str]]:
    for name in sorted(one.keys() & other.keys() & scales.keys()):
        apart = scales[name].index(other[name]) - scales[name].index(one[name])
        yield name, "same" if apart == 0 else "b" if apart > 0 else "a"
