"""Means: one, the difference of two independent ones, and the mean of paired differences."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from headrace_statistics.errors import TooFew
from headrace_statistics.interval import Interval, check_confidence, t_quantile

# Spread below this share of the values' size is what rounding leaves of none.
ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Moments:
    """All that a mean's interval needs of a sample: its size, mean, and variance (with n − 1; 0 of a single value).

    `span` is how far two values (or two differences) can lie apart at all, 1 for scores from 0 to 1. Only a sample
    whose values are all alike is asked for it: see `alike_reach`.
    """

    n: int
    mean: float
    variance: float
    span: float = 1.0

    def __post_init__(self) -> None:
        if self.n < 0 or not self.variance >= 0 or not math.isfinite(self.mean + self.variance):
            raise ValueError("moments of a sample are a size, a finite mean, and a finite variance of at least 0")

    @classmethod
    def of(cls, values: Iterable[float], *, span: float = 1.0) -> Moments:
        """Take them from the values, which must be finite."""
        seen = np.fromiter(values, dtype=float)
        if not np.isfinite(seen).all():
            raise ValueError("a value that is not finite")
        if seen.size == 0:
            return cls(0, 0.0, 0.0, span)
        return cls(seen.size, float(seen.mean()), float(seen.var(ddof=1)) if seen.size > 1 else 0.0, span)

    @property
    def squared_error(self) -> float:
        """The squared standard error of the mean."""
        return self.variance / self.n

    @property
    def is_alike(self) -> bool:
        """Whether the values do not differ, but for rounding."""
        return self.variance <= (ROUNDING * (1 + abs(self.mean))) ** 2


def alike_reach(n: int, span: float, *, confidence: float) -> float:
    """How far the mean may lie from n values (or groups) that are all alike: span · (1 − (α/2)^(1/n)), some 3.7 span
    / n.

    A spread of 0 would make an interval of no width, and one more value belie it. At most this share of values
    differs, at this confidence, or so many alike would hardly have come up in a row; and none differs by more than
    the span. Source: C. J. Clopper, E. S. Pearson, Biometrika 26 (1934), 404–413, for 0 of n.
    """
    check_confidence(confidence)
    return float(span * (1 - ((1 - confidence) / 2) ** (1 / n)))


def mean_interval(sample: Moments, *, confidence: float = 0.95) -> Interval:
    """Student's t interval of a mean; of paired differences (B less A, question by question) it is the paired t
    interval.

    Source: Student, The probable error of a mean. Biometrika 6 (1908), 1–25. Where all values are alike: `alike_reach`.
    Raises TooFew of fewer than two values.
    """
    if sample.n < 2:
        raise TooFew(f"a mean's interval needs two values: {sample.n}")
    if sample.is_alike:
        reach = alike_reach(sample.n, sample.span, confidence=confidence)
    else:
        reach = t_quantile(confidence, sample.n - 1) * math.sqrt(sample.squared_error)
    return Interval(sample.mean, sample.mean - reach, sample.mean + reach, confidence)


def difference_of_means(a: Moments, b: Moments, *, confidence: float = 0.95) -> Interval:
    """Mean of B less mean of A, of independent answers whose spread may differ: Welch's t interval.

    Source: B. L. Welch, The generalization of "Student's" problem when several different population variances are
    involved. Biometrika 34 (1947), 28–35; degrees of freedom by F. E. Satterthwaite, Biometrics Bulletin 2 (1946),
    110–114. Where the values of a side are all alike, the two intervals' reaches are squared and added. Raises TooFew
    where a side has fewer than two values.
    """
    of_a, of_b = mean_interval(a, confidence=confidence), mean_interval(b, confidence=confidence)
    estimate, squared = b.mean - a.mean, a.squared_error + b.squared_error
    if a.is_alike or b.is_alike:
        reach = math.hypot(of_a.half_width, of_b.half_width)
    else:
        degrees = squared**2 / (a.squared_error**2 / (a.n - 1) + b.squared_error**2 / (b.n - 1))
        reach = t_quantile(confidence, degrees) * math.sqrt(squared)
    return Interval(estimate, estimate - reach, estimate + reach, confidence)
