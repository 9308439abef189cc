"""Shares: one, the difference of two independent ones, and the difference of two on the same questions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from scipy.optimize import brentq

from headrace_statistics.errors import TooFew
from headrace_statistics.interval import Interval, normal_quantile


@dataclass(frozen=True, slots=True)
class Proportion:
    """How many of `n` answers were good (cited, thumbed up, correct, …)."""

    successes: int
    n: int

    def __post_init__(self) -> None:
        if not 0 <= self.successes <= self.n:
            raise ValueError(f"{self.successes} of {self.n} is no share")

    @classmethod
    def of(cls, outcomes: Iterable[bool]) -> Proportion:
        """Count them."""
        seen = list(outcomes)
        return cls(sum(seen), len(seen))

    @property
    def estimate(self) -> float:
        """The share itself; of no answers, TooFew."""
        if self.n == 0:
            raise TooFew("a share of no answers")
        return self.successes / self.n


@dataclass(frozen=True, slots=True)
class Pairs:
    """The same questions answered by A and by B: how often both were good, only A, only B, neither.

    It also holds the outcomes of a pairwise judge: B's wins are `only_b`, A's are `only_a`, and ties are `both` or
    `neither`.
    """

    both: int
    only_a: int
    only_b: int
    neither: int

    def __post_init__(self) -> None:
        if min(self.both, self.only_a, self.only_b, self.neither) < 0:
            raise ValueError("a count below zero")

    @classmethod
    def of(cls, outcomes: Iterable[tuple[bool, bool]]) -> Pairs:
        """Count pairs of (A was good, B was good)."""
        seen = [(bool(a), bool(b)) for a, b in outcomes]
        return cls(
            seen.count((True, True)), seen.count((True, False)), seen.count((False, True)), seen.count((False, False))
        )

    @property
    def n(self) -> int:
        """How many questions both answered."""
        return self.both + self.only_a + self.only_b + self.neither

    def swapped(self) -> Pairs:
        """The same with A and B exchanged."""
        return Pairs(self.both, self.only_b, self.only_a, self.neither)


def proportion_interval(sample: Proportion, *, confidence: float = 0.95) -> Interval:
    """Wilson's score interval: never outside 0 to 1, and of use from one answer on.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference. JASA 22 (1927), 209–212.
    Raises TooFew of no answers.
    """
    z, p, n = normal_quantile(confidence), sample.estimate, sample.n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At 0 of n and n of n the formula meets its bound exactly; rounding must not step over it.
    low = 0.0 if sample.successes == 0 else max(0.0, centre - reach)
    high = 1.0 if sample.successes == n else min(1.0, centre + reach)
    return Interval(p, low, high, confidence)


def difference_of_proportions(a: Proportion, b: Proportion, *, confidence: float = 0.95) -> Interval:
    """Share of B less share of A, of independent answers: Newcombe's hybrid of two Wilson intervals.

    Source: R. G. Newcombe, Interval estimation for the difference between independent proportions: comparison of eleven
    methods. Statistics in Medicine 17 (1998), 873–890, method 10. Raises TooFew where a side has no answers.
    """
    of_a, of_b = (proportion_interval(side, confidence=confidence) for side in (a, b))
    estimate = of_b.estimate - of_a.estimate
    down = math.hypot(of_b.estimate - of_b.low, of_a.high - of_a.estimate)
    up = math.hypot(of_b.high - of_b.estimate, of_a.estimate - of_a.low)
    return Interval(estimate, estimate - down, estimate + up, confidence).clipped(-1, 1)


def difference_of_pairs(pairs: Pairs, *, confidence: float = 0.95) -> Interval:
    """Share of B less share of A on the same questions: Tango's score interval, which at 0 agrees with McNemar's test.

    Source: T. Tango, Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design. Statistics in Medicine 17 (1998), 891–908. Raises TooFew of no pairs.
    """
    if pairs.n == 0:
        raise TooFew("a difference of no pairs")
    z = normal_quantile(confidence)
    estimate = (pairs.only_b - pairs.only_a) / pairs.n
    high = _score_bound(pairs, z, estimate=estimate)
    low = -_score_bound(pairs.swapped(), z, estimate=-estimate)
    return Interval(estimate, low, high, confidence)


def _score_bound(pairs: Pairs, z: float, *, estimate: float) -> float:
    """The difference above `estimate` at which the score statistic reaches −z; 1 where it never does."""
    # At the estimate itself the excess is 0 wherever no pair is discordant, so the search starts a hair above it.
    start = estimate + 1e-9
    if start >= 1:
        return 1.0
    if _excess(pairs, start, z) <= 0:
        return estimate
    return float(brentq(lambda difference: _excess(pairs, difference, z), start, 1.0, xtol=1e-12))


def _excess(pairs: Pairs, difference: float, z: float) -> float:
    """By how much z standard errors outreach the way from `difference` down to what was seen.

    The standard error is that of the likeliest shares that differ by `difference`: B alone good, and A alone good
    (`only_a`).
    """
    n, b, c = pairs.n, pairs.only_b, pairs.only_a
    linear = -b - c + (2 * n - b + c) * difference
    constant = -c * difference * (1 - difference)
    only_a = (math.sqrt(max(linear * linear - 8 * n * constant, 0.0)) - linear) / (4 * n)
    variance = n * (2 * only_a + difference * (1 - difference))
    return b - c - n * difference + z * math.sqrt(max(variance, 0.0))
