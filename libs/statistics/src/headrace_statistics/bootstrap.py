"""Resampling, for what has no formula: quantiles, and answers that hang together because they are of one conversation.

Every function takes a seed, and the same seed gives the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from headrace_statistics.comparing import Contrast, Counted, Method
from headrace_statistics.errors import TooFew
from headrace_statistics.interval import Interval, t_quantile
from headrace_statistics.means import ROUNDING, alike_reach

Floats = NDArray[np.float64]

# Enough: from seed to seed the ends of a 95 % interval move by some 1.5 % of its width, of a 99.5 % interval by 3 %.
RESAMPLES = 4000
# With fewer groups the resamples repeat each other and the interval is too short, whatever its method.
FEWEST_GROUPS = 10
# How many values a quantile needs on each side of it: fewer, and resampling only repeats the extremes.
FEWEST_BEYOND = 5
# Cells drawn at a time: 16 MB of indices.
BATCH = 2_000_000


@dataclass(frozen=True, slots=True)
class Grouped:
    """Values summed by group (conversation, document, person): each group's sum, and of how many values (at least 1).

    `span` is as in `Moments`: how far two values can lie apart at all, asked for where all groups are alike.
    """

    sums: tuple[float, ...]
    sizes: tuple[int, ...]
    span: float = 1.0

    def __post_init__(self) -> None:
        if (
            len(self.sums) != len(self.sizes)
            or min(self.sizes, default=1) < 1
            or not all(map(math.isfinite, self.sums))
        ):
            raise ValueError("each group has a finite sum and a size of at least 1")

    @classmethod
    def of(cls, values: Sequence[float], groups: Sequence[Hashable], *, span: float = 1.0) -> Grouped:
        """Sum them; `groups` names the group of each value."""
        members: dict[Hashable, list[float]] = {}
        for value, group in zip(values, groups, strict=True):
            members.setdefault(group, []).append(value)
        return cls(
            tuple(math.fsum(each) for each in members.values()), tuple(len(each) for each in members.values()), span
        )

    @property
    def n(self) -> int:
        """How many values."""
        return sum(self.sizes)

    @property
    def mean(self) -> float:
        """Of all values, each counted once, whatever its group."""
        return math.fsum(self.sums) / self.n

    @property
    def is_alike(self) -> bool:
        """Whether the groups' means do not differ, but for rounding."""
        return bool(np.ptp(np.divide(self.sums, self.sizes)) <= ROUNDING * (1 + abs(self.mean)))


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """A contrast by the sorted draws of a bootstrap, with what corrects their percentiles.

    Sources: bias and acceleration, B. Efron, Better bootstrap confidence intervals. JASA 82 (1987), 171–185 (BCa). A
    bootstrap of few members is too narrow; with finite `degrees` the normal quantiles in it become t quantiles,
    stretched by √(n/(n − 1)): T. C. Hesterberg, What teachers should know about the bootstrap. The American
    Statistician 69 (2015), 371–386.
    """

    estimate: float
    draws: Floats
    bias: float
    acceleration: float
    degrees: float
    n_a: int
    n_b: int
    counted: Counted = "answers"
    method: Method = "bca_bootstrap"

    def interval(self, confidence: float) -> Interval:
        """The corrected percentiles of the draws."""
        reach = t_quantile(confidence, self.degrees) * math.sqrt(1 + 1 / self.degrees)
        low, high = np.quantile(self.draws, [self._share(-reach), self._share(reach)])
        return Interval(self.estimate, float(low), float(high), confidence)

    def _share(self, reach: float) -> float:
        """The share of draws to leave below, for an end that lies `reach` standard errors from the estimate."""
        moved = self.bias + reach
        return float(ndtr(self.bias + moved / (1 - self.acceleration * moved)))


@dataclass(frozen=True, slots=True)
class _Alike:
    """Groups whose means are all alike, of which drawing again can make nothing."""

    mean: float
    groups: int
    span: float
    n_a: int
    n_b: int
    counted: Counted = "pairs"
    method: Method = "bca_bootstrap"

    def interval(self, confidence: float) -> Interval:
        reach = alike_reach(self.groups, self.span, confidence=confidence)
        return Interval(self.mean, self.mean - reach, self.mean + reach, confidence)


@dataclass(frozen=True, slots=True)
class _Apart:
    """Two sides each with an interval of its own, where the groups of one are all alike: the reaches are squared and
    added.
    """

    a: Contrast
    b: Contrast
    counted: Counted = "answers"
    method: Method = "bca_bootstrap"

    @property
    def n_a(self) -> int:
        return self.a.n_a

    @property
    def n_b(self) -> int:
        return self.b.n_b

    def interval(self, confidence: float) -> Interval:
        a, b = self.a.interval(confidence), self.b.interval(confidence)
        estimate = b.estimate - a.estimate
        down = math.hypot(b.estimate - b.low, a.high - a.estimate)
        up = math.hypot(b.high - b.estimate, a.estimate - a.low)
        return Interval(estimate, estimate - down, estimate + up, confidence)


def bias_of(estimate: float, draws: Floats) -> float:
    """Efron's z₀: how far the draws' median lies off the estimate. Draws that equal it count half to each side."""
    # Half a draw keeps it finite where all draws lie to one side.
    hair = 0.5 / draws.size
    below = float(np.mean(draws < estimate) + np.mean(draws == estimate) / 2)
    return float(ndtri(min(max(below, hair), 1 - hair)))


def acceleration_of(left_out: Sequence[Floats]) -> float:
    """Efron's a, from the estimate without each member of each independent sample in turn; 0 where none changes it.

    Source: B. Efron, R. J. Tibshirani, An Introduction to the Bootstrap (1993), ch. 14.
    """
    influences = [(side.size - 1) * (side.mean() - side) / side.size for side in left_out]
    cubes, squares = (sum(float((each**power).sum()) for each in influences) for power in (3, 2))
    return cubes / (6 * squares**1.5) if squares > 0 else 0.0


def degrees_of(left_out: Sequence[Floats]) -> float:
    """Satterthwaite's degrees of freedom, from the jackknife variance of each independent sample."""
    variances = [float(side.var()) * (side.size - 1) for side in left_out]
    total = sum(variance**2 / (side.size - 1) for variance, side in zip(variances, left_out, strict=True))
    return sum(variances) ** 2 / total if total > 0 else math.inf


def grouped_mean_interval(sample: Grouped, *, seed: int, confidence: float = 0.95) -> Interval:
    """The mean of values that hang together in groups, with whole groups drawn again (BCa of 4,000
    draws, stretched for few groups).

    Source: A. C. Davison, D. V. Hinkley, Bootstrap Methods and their Application (1997), 3.8. Where all
    groups are alike: `alike_reach` of the groups. Raises TooFew of fewer than 10 groups.
    """
    return contrast_of_grouped_pairs(sample, seed=seed).interval(confidence)


def contrast_of_grouped_pairs(differences: Grouped, *, seed: int) -> Contrast:
    """A and B on the same questions, where questions of one conversation hang together: `differences` are B less A.

    As `grouped_mean_interval`, and raises what it raises.
    """
    _check_groups(differences)
    n = differences.n
    if differences.is_alike:
        return _Alike(differences.mean, len(differences.sums), differences.span, n, n)
    draws = _drawn_means(differences, np.random.default_rng(seed))
    left_out = _means_without_one(differences)
    return corrected(differences.mean, draws, [left_out], n_a=n, n_b=n, counted="pairs")


def contrast_of_groups(a: Grouped, b: Grouped, *, seed: int) -> Contrast:
    """A and B on independent conversations (traffic split by conversation): groups are drawn again on each side alone.

    As `grouped_mean_interval`, and raises what it raises.
    """
    _check_groups(a)
    _check_groups(b)
    if a.is_alike or b.is_alike:
        return _Apart(contrast_of_grouped_pairs(a, seed=seed), contrast_of_grouped_pairs(b, seed=seed))
    draw = np.random.default_rng(seed)
    draws = -_drawn_means(a, draw) + _drawn_means(b, draw)
    left_out = [b.mean - _means_without_one(a), _means_without_one(b) - a.mean]
    return corrected(b.mean - a.mean, draws, left_out, n_a=a.n, n_b=b.n, counted="answers")


def contrast_of_quantiles(a: Sequence[float], b: Sequence[float], *, quantile: float, seed: int) -> Contrast:
    """The same quantile (.5, .95) of B less that of A, of independent answers: for latencies, whose mean says little.

    A quantile is the smallest value with at least that share at or below it. BCa of 4,000 draws, each of which is
    exact: the k-th smallest of n values drawn again is the value at rank ⌈n·U⌉ with U of Beta(k, n − k + 1), since
    that is how the k-th smallest of n uniform numbers lies. Raises TooFew where fewer than 5 values lie beyond the
    quantile, on either side (so the .95 needs 100).
    """
    ours, theirs = (_sorted(side, quantile) for side in (a, b))
    draw = np.random.default_rng(seed)
    of_a, of_b = (float(side[_rank(side.size, quantile) - 1]) for side in (ours, theirs))
    draws = -_drawn_quantiles(ours, quantile, draw) + _drawn_quantiles(theirs, quantile, draw)
    left_out = [of_b - _quantiles_without_one(ours, quantile), _quantiles_without_one(theirs, quantile) - of_a]
    return _of_quantiles(of_b - of_a, draws, left_out, n_a=ours.size, n_b=theirs.size)


def quantile_interval(values: Sequence[float], *, quantile: float, seed: int, confidence: float = 0.95) -> Interval:
    """A quantile's interval; as `contrast_of_quantiles`, and raises what it raises."""
    ordered = _sorted(values, quantile)
    estimate = float(ordered[_rank(ordered.size, quantile) - 1])
    draws = _drawn_quantiles(ordered, quantile, np.random.default_rng(seed))
    left_out = [_quantiles_without_one(ordered, quantile)]
    return _of_quantiles(estimate, draws, left_out, n_a=ordered.size, n_b=ordered.size).interval(confidence)


def batches(size: int) -> Iterator[int]:
    """How many resamples of `size` members to draw at a time, so that memory stays small; together RESAMPLES."""
    left, each = RESAMPLES, max(BATCH // max(size, 1), 1)
    while left > 0:
        yield min(each, left)
        left -= each


def corrected(
    estimate: float, draws: Floats, left_out: Sequence[Floats], *, n_a: int, n_b: int, counted: Counted
) -> Resampled:
    """Correct the draws for bias, skewness, and few members; `left_out` is as `acceleration_of` has it."""
    bias, acceleration, degrees = bias_of(estimate, draws), acceleration_of(left_out), degrees_of(left_out)
    return Resampled(estimate, np.sort(draws), bias, acceleration, degrees, n_a, n_b, counted)


def _of_quantiles(estimate: float, draws: Floats, left_out: Sequence[Floats], *, n_a: int, n_b: int) -> Resampled:
    # The draws are exact, so nothing is stretched: no degrees of freedom are lost.
    bias, acceleration = bias_of(estimate, draws), acceleration_of(left_out)
    return Resampled(estimate, np.sort(draws), bias, acceleration, math.inf, n_a, n_b)


def _check_groups(sample: Grouped) -> None:
    if len(sample.sums) < FEWEST_GROUPS:
        raise TooFew(f"{len(sample.sums)} groups: resampling them needs {FEWEST_GROUPS}")


def _drawn_means(sample: Grouped, draw: np.random.Generator) -> Floats:
    """The mean of each of RESAMPLES draws of as many groups as there are."""
    sums, sizes = np.asarray(sample.sums), np.asarray(sample.sizes, dtype=float)
    picks = (draw.integers(0, sums.size, (count, sums.size)) for count in batches(sums.size))
    return np.concatenate([sums[each].sum(axis=1) / sizes[each].sum(axis=1) for each in picks])


def _means_without_one(sample: Grouped) -> Floats:
    """The mean without each group in turn."""
    sums, sizes = np.asarray(sample.sums), np.asarray(sample.sizes, dtype=float)
    return np.asarray((sums.sum() - sums) / (sizes.sum() - sizes))


def _sorted(values: Sequence[float], quantile: float) -> Floats:
    seen = np.sort(np.asarray(values, dtype=float))
    if not 0 < quantile < 1:
        raise ValueError(f"a quantile lies between 0 and 1, as .95 does: {quantile}")
    if not np.isfinite(seen).all():
        raise ValueError("a value that is not finite")
    if seen.size * min(quantile, 1 - quantile) < FEWEST_BEYOND - 1e-9:
        raise TooFew(f"{seen.size} values: fewer than {FEWEST_BEYOND} of them lie beyond the quantile")
    return seen


def _rank(size: int, quantile: float) -> int:
    """The quantile's place among `size` sorted values, from 1. 0.95 × 100 must not become 96 by rounding."""
    return max(math.ceil(size * quantile - 1e-9), 1)


def _drawn_quantiles(ordered: Floats, quantile: float, draw: np.random.Generator) -> Floats:
    rank = _rank(ordered.size, quantile)
    places = np.ceil(ordered.size * draw.beta(rank, ordered.size - rank + 1, RESAMPLES)).astype(int)
    return np.asarray(ordered[np.clip(places, 1, ordered.size) - 1])


def _quantiles_without_one(ordered: Floats, quantile: float) -> Floats:
    """The quantile without each value in turn: the next higher one where a value at or below it has gone."""
    rank = _rank(ordered.size - 1, quantile)
    left_out = np.full(ordered.size, ordered[rank - 1])
    left_out[:rank] = ordered[rank]
    return left_out
