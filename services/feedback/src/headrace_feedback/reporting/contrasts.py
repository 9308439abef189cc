"""From what was seen to what can be told of it: which interval is right for which shape of evidence. Pure.

Answers of one conversation hang together, so whole conversations are what is drawn or counted; where each conversation
has one answer, the exact formulas for independent answers hold. Questions that both sides answered are compared pair
by pair. Times and costs have long tails: of them it is the median.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from headrace_statistics import (
    Contrast,
    Grouped,
    Interval,
    Moments,
    Pairs,
    Proportion,
    TooFew,
    contrast,
    contrast_of_grouped_pairs,
    contrast_of_groups,
    contrast_of_many_grouped_pairs,
    contrast_of_many_groups,
    contrast_of_pairs,
    contrast_of_quantiles,
    grouped_mean_interval,
    many_grouped_mean_interval,
    mean_interval,
    proportion_interval,
    quantile_interval,
)
from headrace_statistics.bootstrap import FEWEST_GROUPS, Resampled
from headrace_statistics.comparing import Counted, Method

from headrace_feedback.reporting.measures import Measure
from headrace_feedback.reporting.reports import Estimate, Floats, Paired, Seen, Sums

#: From so many conversations a side a formula says what resampling does, at a thousandth of its cost.
MANY_GROUPS = 100
#: What a number can be at all, where nothing narrows it.
_RANGES = {"share": (0.0, 1.0), "points": (1.0, 5.0)}


@dataclass(frozen=True, slots=True)
class TooLittle:
    """Nothing can be told of so few."""

    n_a: int
    n_b: int
    counted: Counted = "answers"
    method: Method = "welch"

    def interval(self, confidence: float) -> Interval:
        """Raises TooFew."""
        del confidence
        raise TooFew(f"{self.n_a} and {self.n_b} {self.counted}")


def contrast_of(seen: Seen, measure: Measure, *, seed: int) -> Contrast:
    """Both sides of a measure, ready to be told apart."""
    if isinstance(seen.seen, Paired):
        return _or_too_little(lambda: _of_pairs(seen.seen, measure, seed), seen.seen.n, seen.seen.n, "pairs")  # type: ignore[arg-type]
    a, b = seen.seen
    if a is None or b is None:
        return TooLittle(a.n if a else 0, b.n if b else 0)
    return _or_too_little(lambda: _of_sides(a, b, measure, seed), a.n, b.n, "answers")


def _or_too_little(make: Callable[[], Contrast], n_a: int, n_b: int, counted: Counted) -> Contrast:
    try:
        return make()
    except TooFew:
        return TooLittle(n_a, n_b, counted)


def _of_sides(a: Sums, b: Sums, measure: Measure, seed: int) -> Contrast:
    if measure.statistic == "median":
        return contrast_of_quantiles(a.sums, b.sums, quantile=0.5, seed=seed)  # type: ignore[arg-type]
    if a.is_single and b.is_single:
        return _of_single(a, b, measure)
    ours, theirs = grouped(a, measure.span), grouped(b, measure.span)
    if min(len(ours.sums), len(theirs.sums)) >= MANY_GROUPS:
        return contrast_of_many_groups(ours, theirs)
    return contrast_of_groups(ours, theirs, seed=seed)


def _of_single(a: Sums, b: Sums, measure: Measure) -> Contrast:
    if a.is_binary and b.is_binary:
        return contrast(_proportion(a), _proportion(b))
    return contrast(_moments(a, measure.span), _moments(b, measure.span))


def _of_pairs(paired: Paired, measure: Measure, seed: int) -> Contrast:
    differences = paired.b - paired.a
    if measure.statistic == "median":
        return _median_of_pairs(differences, seed)
    by_group = summed(differences, paired.groups)
    if by_group.is_single:
        return contrast_of_pairs(_pairs(differences) or Moments.of(differences, span=2 * measure.span))
    groups = grouped(by_group, 2 * measure.span)
    if len(groups.sums) >= MANY_GROUPS:
        return contrast_of_many_grouped_pairs(groups)
    return contrast_of_grouped_pairs(groups, seed=seed)


def _median_of_pairs(differences: Floats, seed: int) -> Contrast:
    """The median difference, as that of a quantile from one that is always 0."""
    made = contrast_of_quantiles(np.zeros(differences.size), differences, quantile=0.5, seed=seed)  # type: ignore[arg-type]
    return replace(made, counted="pairs") if isinstance(made, Resampled) else made


def _pairs(differences: Floats) -> Pairs | None:
    """Wins and losses, where that is all that there is: Tango's interval asks for no more."""
    if not np.isin(differences, (-1.0, 0.0, 1.0)).all():
        return None
    lost, won = int((differences < 0).sum()), int((differences > 0).sum())
    return Pairs(0, lost, won, differences.size - lost - won)


def estimate_of(sums: Sums | None, measure: Measure, *, seed: int) -> Estimate:
    """One side by itself."""
    if sums is None or not sums.n:
        return Estimate(0.0, 0.0, 0.0, 0)
    try:
        interval = _interval_of(sums, measure, seed)
    except TooFew:
        return _wide(sums, measure)
    low, high = _RANGES.get(measure.unit, (0.0, np.inf))
    held = interval.clipped(low, high)
    return Estimate(held.estimate, held.low, held.high, sums.n)


def _interval_of(sums: Sums, measure: Measure, seed: int) -> Interval:
    if measure.statistic == "median":
        return quantile_interval(sums.sums, quantile=0.5, seed=seed)  # type: ignore[arg-type]
    if sums.is_single:
        whole = sums.is_binary
        return proportion_interval(_proportion(sums)) if whole else mean_interval(_moments(sums, measure.span))
    groups = grouped(sums, measure.span)
    if len(groups.sums) >= MANY_GROUPS:
        return many_grouped_mean_interval(groups)
    return grouped_mean_interval(groups, seed=seed)


def _wide(sums: Sums, measure: Measure) -> Estimate:
    """A number of too few for an interval: it may be anything that it can be."""
    if measure.statistic == "median":
        return Estimate(float(np.median(sums.sums)), float(sums.sums.min()), float(sums.sums.max()), sums.n)
    return Estimate(float(sums.sums.sum() / sums.n), *_RANGES.get(measure.unit, (0.0, 0.0)), sums.n)


def sides_of(seen: Seen, measure: Measure) -> tuple[Sums | None, Sums | None]:
    """Each side by itself."""
    if not isinstance(seen.seen, Paired):
        return seen.seen
    groups = np.arange(seen.seen.n) if measure.statistic == "median" else seen.seen.groups
    return summed(seen.seen.a, groups), summed(seen.seen.b, groups)


def is_clustered_thin(seen: Seen, measure: Measure) -> bool:
    """Whether answers hang together in too few conversations to tell chance from anything else."""
    if measure.statistic == "median":
        return False
    sides = [side for side in sides_of(seen, measure) if side is not None]
    return any(not side.is_single for side in sides) and any(side.sums.size < FEWEST_GROUPS for side in sides)


def summed(values: Floats, groups: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Sums:
    """Values summed by group."""
    _, places = np.unique(groups, return_inverse=True)
    of_values, of_squares = (np.bincount(places, weights=each).astype(float) for each in (values, values**2))
    return Sums(of_values, np.bincount(places).astype(float), of_squares)


def grouped(sums: Sums, span: float) -> Grouped:
    """As the statistics take them."""
    return Grouped(tuple(sums.sums.tolist()), tuple(sums.sizes.astype(int).tolist()), span)


def _proportion(sums: Sums) -> Proportion:
    return Proportion(round(float(sums.sums.sum())), sums.n)


def _moments(sums: Sums, span: float) -> Moments:
    return Moments.of(sums.sums, span=span)
