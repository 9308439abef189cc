"""Which of two variants is better, whether that is known yet, and how many more answers would tell.

A contrast is what was seen of A and B, ready to give an interval of B less A at any confidence. A verdict is drawn
from that interval alone, so what is printed and what is decided can never disagree.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal, Protocol

from scipy.special import ndtri

from headrace_statistics.errors import TooFew
from headrace_statistics.interval import Interval, check_confidence, normal_quantile
from headrace_statistics.means import Moments, difference_of_means, mean_interval
from headrace_statistics.proportions import Pairs, Proportion, difference_of_pairs, difference_of_proportions

Counted = Literal["answers", "pairs"]
Method = Literal["newcombe", "tango", "welch", "paired_t", "bca_bootstrap", "cluster_t", "betting", "mixture_sprt"]


class Contrast(Protocol):
    """A and B seen together, and the `method` that makes the interval.

    `counted` says of what `n_a` and `n_b` are numbers; of pairs, both are the same.
    """

    @property
    def n_a(self) -> int: ...
    @property
    def n_b(self) -> int: ...
    @property
    def counted(self) -> Counted: ...
    @property
    def method(self) -> Method: ...

    def interval(self, confidence: float) -> Interval:
        """B less A. Raises TooFew where nothing can be said."""


class Winner(Enum):
    """Who is better: one of the two; neither, by anything worth having; or not known yet."""

    A = "a"
    B = "b"
    SAME = "same"
    UNDECIDED = "undecided"


class Better(Enum):
    """Which end of the scale is the good one: high for quality, low for latency and cost."""

    HIGHER = 1
    LOWER = -1


@dataclass(frozen=True, slots=True)
class Comparison:
    """A verdict and what it stands on.

    `difference` is of B less A, None where there is too little to say anything, at a confidence above the one asked
    for where several comparisons were made `at_once`. `more_needed` counts answers (or pairs) of both sides together
    at today's shares: 0 once decided, None where no number can be named.
    """

    winner: Winner
    difference: Interval | None
    n_a: int
    n_b: int
    counted: Counted
    method: Method
    more_needed: int | None
    least: float
    better: Better
    at_once: int = 1

    @property
    def n(self) -> int:
        """How many answers, or pairs, it stands on."""
        return self.n_a if self.counted == "pairs" else self.n_a + self.n_b

    @property
    def more_per_side(self) -> int | None:
        """`more_needed` for each of A and B; a pair is one answer of each."""
        if self.more_needed is None or self.counted == "pairs":
            return self.more_needed
        return math.ceil(self.more_needed / 2)


@dataclass(frozen=True, slots=True)
class _OfProportions:
    a: Proportion
    b: Proportion
    counted: Counted = "answers"
    method: Method = "newcombe"

    @property
    def n_a(self) -> int:
        return self.a.n

    @property
    def n_b(self) -> int:
        return self.b.n

    def interval(self, confidence: float) -> Interval:
        return difference_of_proportions(self.a, self.b, confidence=confidence)


@dataclass(frozen=True, slots=True)
class _OfMeans:
    a: Moments
    b: Moments
    counted: Counted = "answers"
    method: Method = "welch"

    @property
    def n_a(self) -> int:
        return self.a.n

    @property
    def n_b(self) -> int:
        return self.b.n

    def interval(self, confidence: float) -> Interval:
        return difference_of_means(self.a, self.b, confidence=confidence)


@dataclass(frozen=True, slots=True)
class _OfPairs:
    pairs: Pairs
    counted: Counted = "pairs"
    method: Method = "tango"

    @property
    def n_a(self) -> int:
        return self.pairs.n

    @property
    def n_b(self) -> int:
        return self.pairs.n

    def interval(self, confidence: float) -> Interval:
        return difference_of_pairs(self.pairs, confidence=confidence)


@dataclass(frozen=True, slots=True)
class _OfDifferences:
    differences: Moments
    counted: Counted = "pairs"
    method: Method = "paired_t"

    @property
    def n_a(self) -> int:
        return self.differences.n

    @property
    def n_b(self) -> int:
        return self.differences.n

    def interval(self, confidence: float) -> Interval:
        return mean_interval(self.differences, confidence=confidence)


def contrast(a: Proportion | Moments, b: Proportion | Moments) -> Contrast:
    """A and B on independent answers: two shares (Newcombe) or two means (Welch). TypeError of one of each."""
    match a, b:
        case Proportion(), Proportion():
            return _OfProportions(a, b)
        case Moments(), Moments():
            return _OfMeans(a, b)
        case _:
            raise TypeError("a share cannot be compared with a mean")


def contrast_of_pairs(pairs: Pairs | Moments) -> Contrast:
    """A and B on the same questions: paired outcomes (Tango), or the moments of the differences B less A (paired t)."""
    return _OfPairs(pairs) if isinstance(pairs, Pairs) else _OfDifferences(pairs)


def compare(
    a: Proportion | Moments,
    b: Proportion | Moments,
    *,
    least: float = 0.0,
    better: Better = Better.HIGHER,
    confidence: float = 0.95,
    power: float = 0.8,
) -> Comparison:
    """`decide` on independent answers."""
    return decide(contrast(a, b), least=least, better=better, confidence=confidence, power=power)


def compare_pairs(
    pairs: Pairs | Moments,
    *,
    least: float = 0.0,
    better: Better = Better.HIGHER,
    confidence: float = 0.95,
    power: float = 0.8,
) -> Comparison:
    """`decide` on the same questions answered by both."""
    return decide(contrast_of_pairs(pairs), least=least, better=better, confidence=confidence, power=power)


def decide(
    seen: Contrast,
    *,
    least: float = 0.0,
    better: Better = Better.HIGHER,
    confidence: float = 0.95,
    power: float = 0.8,
) -> Comparison:
    """Draw the verdict from the interval of B less A.

    The whole interval within ±`least` (the smallest difference worth having, in the scale's own unit): the same. Else
    0 outside the interval: the side that it favours is better. Else undecided, and `more_needed` says how many more
    answers would decide with probability `power`, were the true difference the one seen.

    Source: equivalence by interval inclusion, D. J. Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15 (1987),
    657–680.
    """
    _check(least, power, confidence)
    difference = _interval(seen, confidence)
    winner = _winner(difference, least=least, better=better)
    more = 0 if winner is not Winner.UNDECIDED else _more_needed(seen, difference, least=least, power=power)
    return Comparison(winner, difference, seen.n_a, seen.n_b, seen.counted, seen.method, more, least, better)


def decide_all(
    slices: Mapping[str, Contrast],
    *,
    least: float = 0.0,
    better: Better = Better.HIGHER,
    confidence: float = 0.95,
    power: float = 0.8,
) -> dict[str, Comparison]:
    """`decide` for several slices (kinds of query) at once, so that at most 1 − `confidence` of such reports name a
    wrong winner.

    Holm's step-down: the clearest of m slices must hold at 1 − (1 − confidence)/m, the next at 1 − (1 −
    confidence)/(m − 1), and so on until one does not. "The same" must hold at the first of these. Each verdict
    carries the interval that decided it.

    Source: S. Holm, A simple sequentially rejective multiple test procedure. Scandinavian J. of Statistics 6 (1979),
    65–70.
    """
    testable = {name: seen for name, seen in slices.items() if _interval(seen, confidence) is not None}
    levels = dict.fromkeys(slices, _corrected(confidence, len(testable))) | _cleared(testable, confidence)
    decided = {
        name: _decide_at(
            seen, levels[name], strict=_corrected(confidence, len(testable)), least=least, better=better, power=power
        )
        for name, seen in slices.items()
    }
    return {name: replace(verdict, at_once=max(len(testable), 1)) for name, verdict in decided.items()}


def _cleared(slices: Mapping[str, Contrast], confidence: float) -> dict[str, float]:
    """The slices whose interval leaves 0 out on Holm's way down, each with the confidence it had to hold at."""
    cleared: dict[str, float] = {}
    # What does not hold at the confidence asked for holds at no higher one, and needs no place in the order.
    hopeful = [name for name, seen in slices.items() if not seen.interval(confidence).contains(0)]
    for name in sorted(hopeful, key=lambda each: _p_value(slices[each])):
        level = _corrected(confidence, len(slices) - len(cleared))
        if slices[name].interval(level).contains(0):
            break
        cleared[name] = level
    return cleared


def _decide_at(
    seen: Contrast, level: float, *, strict: float, least: float, better: Better, power: float
) -> Comparison:
    """The verdict at a slice's own level, but "the same" only where the strict level says so."""
    at_strict = decide(seen, least=least, better=better, confidence=strict, power=power)
    if at_strict.winner is Winner.SAME or level == strict:
        return at_strict
    verdict = decide(seen, least=least, better=better, confidence=level, power=power)
    return at_strict if verdict.winner is Winner.SAME else verdict


def _corrected(confidence: float, count: int) -> float:
    """The confidence that each of `count` intervals needs."""
    check_confidence(confidence)
    return 1 - (1 - confidence) / max(count, 1)


def _check(least: float, power: float, confidence: float) -> None:
    check_confidence(confidence)
    if not 0 <= least < math.inf:
        raise ValueError(f"the least difference worth having is at least 0: {least}")
    if not 0 < power < 1:
        raise ValueError(f"a power lies between 0 and 1, as .8 does: {power}")


def _interval(seen: Contrast, confidence: float) -> Interval | None:
    try:
        return seen.interval(confidence)
    except TooFew:
        return None


def _winner(difference: Interval | None, *, least: float, better: Better) -> Winner:
    if difference is None:
        return Winner.UNDECIDED
    if difference.within(least):
        return Winner.SAME
    if difference.contains(0):
        return Winner.UNDECIDED
    return Winner.B if (difference.low > 0) == (better is Better.HIGHER) else Winner.A


def _more_needed(seen: Contrast, difference: Interval | None, *, least: float, power: float) -> int | None:
    """How many more (both sides together) until the interval most likely clears 0, or fits within ±least.

    An interval narrows with the root of n. It decides once its half-width is below the distance from the estimate to
    0, or to the nearer end of ±least; to do so with probability `power`, that distance must be z(confidence) +
    z(power) standard errors.
    """
    if difference is None:
        return None
    distance = max(abs(difference.estimate), least - abs(difference.estimate))
    if distance <= 0:
        return None
    z = normal_quantile(difference.confidence)
    needed = (difference.half_width * (1 + float(ndtri(power)) / z) / distance) ** 2
    n = seen.n_a if seen.counted == "pairs" else seen.n_a + seen.n_b
    return max(math.ceil(n * (needed - 1)), 1)


def _p_value(seen: Contrast) -> float:
    """The smallest α whose interval at 1 − α leaves 0 out, to three digits."""
    low, high = math.log(1e-12), 0.0
    while high - low > 1e-3:
        middle = (low + high) / 2
        left_out = not seen.interval(1 - math.exp(middle)).contains(0)
        low, high = (low, middle) if left_out else (middle, high)
    return math.exp(high)
