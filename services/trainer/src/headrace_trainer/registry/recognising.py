"""What is measured of two that recognise kinds, on the same questions whose kind people stated. Pure.

right: whether the likeliest kind is the stated one. log_score: the logarithm of how likely the stated one was said to
be, a proper score (I. J. Good, Rational decisions, 1952). Calibration error: by how much confidence and share of right
answers differ, over ten bins of confidence (M. P. Naeini et al., Obtaining well calibrated probabilities using Bayesian
binning, 2015). Questions of one conversation, or of the same documents, hang together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from headrace_trainer.registry.gate import KindsFindings, Line
from headrace_trainer.registry.ranks import interval_of

RIGHT, LOG_SCORE = "right", "log_score"
#: What is given less counts as this: one miss of somebody who was sure must not weigh as much as all others together.
LEAST_SHARE = 1e-3
#: Two differences lie at most so far apart, by measure.
_SPANS: Mapping[str, float] = {RIGHT: 2.0, LOG_SCORE: -2 * math.log(LEAST_SHARE)}
_BINS = 10


@dataclass(frozen=True, slots=True)
class Guess:
    """What one of them says of a question: the likeliest kind, how likely that is, and how likely the stated one."""

    kind: str
    confidence: float
    stated: float


@dataclass(frozen=True, slots=True)
class Guessed:
    """A question of a stated kind, and what champion and candidate say."""

    kind: str
    group: str
    champion: Guess
    candidate: Guess


def guess_of(shares: Mapping[str, float], stated: str) -> Guess:
    """From how likely each kind is said to be."""
    best = max(sorted(shares), key=lambda kind: shares[kind], default="")
    return Guess(best, shares.get(best, 0.0), shares.get(stated, 0.0))


def findings_of(guessed: Sequence[Guessed]) -> KindsFindings:
    """Every measure over all questions, and over each kind of them, candidate less champion."""
    kinds = sorted({one.kind for one in guessed})
    slices = [("", guessed), *((kind, [one for one in guessed if one.kind == kind]) for kind in kinds)]
    return KindsFindings(
        lines=[line for kind, some in slices for line in _lines(kind, some)],
        error=calibration_error([(one.candidate, one.kind) for one in guessed]),
        champion_error=calibration_error([(one.champion, one.kind) for one in guessed]),
        asked=len(guessed),
    )


def _lines(kind: str, guessed: Sequence[Guessed]) -> Iterator[Line]:
    for measure in (RIGHT, LOG_SCORE):
        a = [_value(measure, one.champion, one.kind) for one in guessed]
        b = [_value(measure, one.candidate, one.kind) for one in guessed]
        differences = [y - x for x, y in zip(a, b, strict=True)]
        interval = interval_of(differences, [one.group for one in guessed], span=_SPANS[measure])
        if interval is not None:
            lost = sum(difference < 0 for difference in differences)
            means = (sum(a) / len(a), sum(b) / len(b))
            yield Line(kind, measure, *means, interval.low, interval.high, len(a), lost=lost)


def _value(measure: str, guess: Guess, stated: str) -> float:
    if measure == RIGHT:
        return float(guess.kind == stated)
    return math.log(max(guess.stated, LEAST_SHARE))


def calibration_error(guesses: Sequence[tuple[Guess, str]]) -> float:
    """0 is perfect; 0 of no guesses."""
    bins: dict[int, list[tuple[float, float]]] = {}
    for guess, stated in guesses:
        place = min(int(guess.confidence * _BINS), _BINS - 1)
        bins.setdefault(place, []).append((guess.confidence, float(guess.kind == stated)))
    gaps = [abs(sum(sure for sure, _ in one) - sum(right for _, right in one)) for one in bins.values()]
    return sum(gaps) / len(guesses) if guesses else 0.0
