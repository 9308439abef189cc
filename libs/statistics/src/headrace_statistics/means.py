"""Means: one, the difference of two independent ones, and the mean of paired differences."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from headrace_statistics.errors import TooFew
from headrace_statistics.interval import Interval, t_quantile

# Of 30 values that are all alike, at most one in ten of those unseen differs (the rule of three, 3 / n, at 95 %).
ALIKE = 30


@dataclass(frozen=True, slots=True)
class Moments:
    """All that a mean's interval needs of a sample: its size, mean, and variance (with n − 1; 0 of a single value)."""

    n: int
    mean: float
    variance: float

    def __post_init__(self) -> None:
        if self.n < 0 or not self.variance >= 0 or not math.isfinite(self.mean + self.variance):
            raise ValueError("moments of a sample are a size, a finite mean, and a finite variance of at least 0")

    @classmethod
    def of(cls, values: Iterable[float]) -> Moments:
        """Take them from the values, which must be finite."""
        seen = np.fromiter(values, dtype=float)
        if not np.isfinite(seen).all():
            raise ValueError("a value that is not finite")
        if seen.size == 0:
            return cls(0, 0.0, 0.0)
        return cls(seen.size, float(seen.mean()), float(seen.var(ddof=1)) if seen.size > 1 else 0.0)

    @property
    def squared_error(self) -> float:
        """The squared standard error of the mean."""
        return self.variance / self.n


def mean_interval(sample: Moments, *, confidence: float = 0.95) -> Interval:
    """Student's t interval of a mean; of paired differences (B less A, question by question) it is the paired t
    interval.

    Source: Student, The probable error of a mean. Biometrika 6 (1908), 1–25. Raises TooFew of fewer than two values,
    or of fewer than 30 that are all alike: those say nothing of how much the next will differ.
    """
    _check(sample)
    reach = t_quantile(confidence, sample.n - 1) * math.sqrt(sample.squared_error)
    return Interval(sample.mean, sample.mean - reach, sample.mean + reach, confidence)


def difference_of_means(a: Moments, b: Moments, *, confidence: float = 0.95) -> Interval:
    """Mean of B less mean of A, of independent answers whose spread may differ: Welch's t interval.

    Source: B. L. Welch, The generalization of "Student's" problem when several different population variances are
    involved. Biometrika 34 (1947), 28–35; degrees of freedom by F. E. Satterthwaite, Biometrics Bulletin 2 (1946),
    110–114. Raises TooFew where a side has fewer than two values, or neither varies and one has fewer than 30.
    """
    for side, other in ((a, b), (b, a)):
        _check(side, other.variance)
    estimate, squared = b.mean - a.mean, a.squared_error + b.squared_error
    if squared == 0:
        return Interval(estimate, estimate, estimate, confidence)
    degrees = squared**2 / (a.squared_error**2 / (a.n - 1) + b.squared_error**2 / (b.n - 1))
    reach = t_quantile(confidence, degrees) * math.sqrt(squared)
    return Interval(estimate, estimate - reach, estimate + reach, confidence)


def _check(sample: Moments, other_variance: float = 0.0) -> None:
    if sample.n < 2:
        raise TooFew(f"a mean's interval needs two values: {sample.n}")
    if sample.variance == other_variance == 0 and sample.n < ALIKE:
        raise TooFew(f"{sample.n} values that are all alike")
