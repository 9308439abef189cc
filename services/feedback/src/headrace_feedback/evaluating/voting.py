"""Having a judge vote. The model's words are read here, and forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from headrace_privacy import Tier
from headrace_statistics.judging import Judged

from headrace_feedback.evaluating import judging
from headrace_feedback.evaluating.judging import Ballot, Judge, Model
from headrace_feedback.evaluating.measuring import Score, Words
from headrace_feedback.evaluating.pairs import PairScore
from headrace_feedback.evaluating.ports import Backend
from headrace_feedback.reviewing.criteria import Criterion, Rubric

#: Makes what nobody can guess: 16 hex digits.
NewNonce = Callable[[], str]


@dataclass(frozen=True, slots=True)
class Bench:
    """A judge with its rubric, and the backend that it speaks through."""

    judge: Judge
    rubric: Rubric
    backend: Backend
    new_nonce: NewNonce


@dataclass(slots=True)
class Votes:
    """The votes on one question, and which models cast them."""

    said: list[str | None] = field(default_factory=list)
    models: set[Model] = field(default_factory=set)

    @property
    def read(self) -> int:
        """How many could be read."""
        return sum(one is not None for one in self.said)

    @property
    def unread(self) -> int:
        """How many could not."""
        return len(self.said) - self.read


@dataclass(frozen=True, slots=True)
class Shown:
    """What a judge is shown: words, of a tenant, up to a tier."""

    words: Words
    tenant: str
    tier: Tier


async def vote(bench: Bench, criterion: Criterion, shown: Shown) -> Votes:
    """Every vote on one criterion of one answer. Raises what Backend.ask raises."""
    ballots = (
        judging.single_ballot(criterion, shown.words, vote=n, votes=bench.judge.votes, nonce=bench.new_nonce())
        for n in range(bench.judge.votes)
    )
    return await _cast(bench, ballots, criterion.labels, shown)


async def compare(bench: Bench, criterion: Criterion, a: Shown, b: Shown) -> tuple[Votes, Votes]:
    """Every vote on one criterion of two answers: with A shown first, and with B. Raises what Backend.ask raises."""
    shown = Shown(a.words, a.tenant, max(a.tier, b.tier))
    seats = tuple(judging.SEATS)
    orders = [await _cast(bench, _pairs(bench, criterion, *order), seats, shown) for order in ((a, b), (b, a))]
    return orders[0], orders[1]


def _pairs(bench: Bench, criterion: Criterion, first: Shown, second: Shown) -> Iterator[Ballot]:
    for n in range(bench.judge.votes):
        yield judging.pair_ballot(
            criterion, first.words, second.words, vote=n, votes=bench.judge.votes, nonce=bench.new_nonce()
        )


async def _cast(bench: Bench, ballots: Iterator[Ballot], labels: Sequence[str], shown: Shown) -> Votes:
    votes = Votes()
    for ballot in ballots:
        said = await bench.backend.ask(bench.judge, ballot, tenant=shown.tenant, tier=shown.tier)
        votes.said.append(judging.read_verdict(said.text, labels))
        votes.models.add(said.model)
    return votes


async def score(bench: Bench, shown: Shown) -> list[Score]:
    """An answer's score on each criterion, as far as a majority of the readable votes says one."""
    scores = []
    for criterion in bench.rubric.criteria:
        votes = await vote(bench, criterion, shown)
        label = judging.majority(votes.said)
        if label is not None:
            scores.append(_score(bench, criterion, votes, label))
    return scores


def _score(bench: Bench, criterion: Criterion, votes: Votes, label: str) -> Score:
    judge = bench.judge
    return Score(
        evaluator=f"judge:{judge.name}",
        version=str(judge.version),
        value=judging.value_of(label, criterion.labels),
        label=label,
        rubric=bench.rubric.name,
        rubric_version=bench.rubric.version,
        criterion=criterion.name,
        decides=decides(judge, votes),
        votes=votes.read,
        unread=votes.unread,
    )


async def score_pair(bench: Bench, a: Shown, b: Shown) -> list[PairScore]:
    """How two answers compare on each criterion, as far as both orders have a vote that can be read."""
    scores = []
    for criterion in bench.rubric.criteria:
        first, second = await compare(bench, criterion, a, b)
        judged = judging.judged(first.said, second.said)
        if judged is not None:
            lengths = len(a.words.answer), len(b.words.answer)
            scores.append(pair_score(bench, criterion, judged, lengths, first, second))
    return scores


def pair_score(
    bench: Bench, criterion: Criterion, judged: Judged, lengths: tuple[int, int], *orders: Votes
) -> PairScore:
    """Writes down a comparison. lengths: of A's answer and of B's, in characters."""
    return PairScore(
        judge=bench.judge.name,
        version=bench.judge.version,
        rubric=bench.rubric.name,
        rubric_version=bench.rubric.version,
        criterion=criterion.name,
        judged=judged,
        lengths=lengths,
        decides=decides(bench.judge, *orders),
        unread=sum(votes.unread for votes in orders),
    )


def decides(judge: Judge, *votes: Votes) -> bool:
    """Whether these votes may decide anything: calibrated well enough, and every one by the calibrated weights."""
    models = {model for one in votes for model in one.models}
    return bool(models) and all(judge.decides(model) for model in models)
