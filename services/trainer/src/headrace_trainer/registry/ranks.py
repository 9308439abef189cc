"""What is measured of two embedders on the same questions: at which place the passage comes that bears the known answer
out. Pure.

Reciprocal rank is 1 over that place, 0 beyond the places that are looked at (E. M. Voorhees, The TREC-8 question
answering track report, 1999). Recall at k is whether it is among the first k. Questions of one conversation, or of the
same documents, hang together: their differences are resampled together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headrace_statistics import Grouped, Moments, TooFew, contrast_of_grouped_pairs, contrast_of_pairs
from headrace_statistics.interval import Interval

from headrace_trainer.registry.gate import Line
from headrace_trainer.registry.ports import Found, Question

#: So many places are looked at.
PLACES = 20
RECIPROCAL_RANK = "reciprocal_rank"
#: Recall at so many, by the measure's name. 8 passages are what a search returns unless it is asked for more.
RECALLS = {"recall_1": 1, "recall_8": 8}
_SEED = 1
#: Two differences of numbers from 0 to 1 lie at most so far apart.
_SPAN = 2.0


@dataclass(frozen=True, slots=True)
class Ranked:
    """A question with the place of the first supporting passage by champion and candidate, from 1; 0: none is among
    those that were looked at."""

    kind: str
    group: str
    champion: int
    candidate: int


def place_of(question: Question, found: Sequence[Found]) -> int:
    """The place, from 1, of the first passage that answers it; 0 where none does."""
    for place, one in enumerate(found, start=1):
        if one.chunk_id in question.passages or (not question.passages and one.document in question.documents):
            return place
    return 0


def lines_of(ranked: Sequence[Ranked]) -> list[Line]:
    """Every measure over all questions, and over each kind of them, with the 95 % interval of candidate less champion;
    what chance cannot be told of is left out."""
    kinds = sorted({one.kind for one in ranked if one.kind})
    slices = [("", ranked), *((kind, [one for one in ranked if one.kind == kind]) for kind in kinds)]
    return [line for kind, some in slices for line in _lines(kind, some)]


def _lines(kind: str, ranked: Sequence[Ranked]) -> Iterator[Line]:
    for measure in (RECIPROCAL_RANK, *RECALLS):
        a, b = ([_value(measure, place) for place in places] for places in _places(ranked))
        differences = [y - x for x, y in zip(a, b, strict=True)]
        interval = interval_of(differences, [one.group for one in ranked], span=_SPAN)
        if interval is not None:
            yield Line(
                kind=kind,
                measure=measure,
                a=sum(a) / len(a),
                b=sum(b) / len(b),
                low=interval.low,
                high=interval.high,
                pairs=len(a),
                lost=sum(y < x for x, y in zip(a, b, strict=True)),
            )


def _places(ranked: Sequence[Ranked]) -> tuple[list[int], list[int]]:
    return [one.champion for one in ranked], [one.candidate for one in ranked]


def _value(measure: str, place: int) -> float:
    if measure == RECIPROCAL_RANK:
        return 1 / place if place else 0.0
    return float(0 < place <= RECALLS[measure])


def interval_of(differences: Sequence[float], groups: Sequence[str], *, span: float) -> Interval | None:
    """The 95 % interval of their mean, by groups; where they are too few to be resampled, as if each question stood
    alone; None where even that tells nothing. span: how far apart two differences may lie at most."""
    named = [group or f"alone {place}" for place, group in enumerate(groups)]
    try:
        return contrast_of_grouped_pairs(Grouped.of(differences, named, span=span), seed=_SEED).interval(0.95)
    except TooFew:
        pass
    try:
        return contrast_of_pairs(Moments.of(differences, span=span)).interval(0.95)
    except TooFew:
        return None
