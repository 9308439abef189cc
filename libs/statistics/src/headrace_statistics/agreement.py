"""How far two or more people, or a judge and the experts, give the same labels, beyond what chance would give."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from headrace_statistics.interval import Interval, normal_quantile
from headrace_statistics.means import ROUNDING
from headrace_statistics.proportions import Proportion, proportion_interval

Floats = NDArray[np.float64]


class Weights(Enum):
    """How much a near miss counts: not at all (labels without order), or the less the farther, straight or squared."""

    NOMINAL = "nominal"
    LINEAR = "linear"
    QUADRATIC = "quadratic"


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement beyond chance, and the plain share of things on which all agreed.

    `coefficient` (kappa, alpha) is None where it has no meaning, and `undefined` then says why: labels that are all
    alike agree by chance alone, so they prove nothing. `raw` is None only where nothing was labelled twice. `n`
    counts what was labelled twice or more.
    """

    coefficient: Interval | None
    raw: Interval | None
    n: int
    undefined: str = ""

    def is_at_least(self, threshold: float) -> bool:
        """Whether agreement is proven: the interval's lower end reaches `threshold`. Never where it is undefined."""
        return self.coefficient is not None and self.coefficient.low >= threshold


NOTHING_TWICE = "nothing was labelled twice"
ONE_CLASS = "all labels are the same class"


def cohens_kappa(
    first: Sequence[Hashable],
    second: Sequence[Hashable],
    *,
    scale: Sequence[Hashable] = (),
    weights: Weights = Weights.NOMINAL,
    confidence: float = 0.95,
) -> Agreement:
    """Cohen's kappa of two who labelled the same n things, with its large-sample interval; see `kappa_of_table`.

    `scale` names the possible labels, in order; without it they are those that occur, which will do for labels
    without order. ValueError of unequal lengths, of a label outside the scale, or of ordered weights without a scale.
    """
    return kappa_of_table(
        confusion(first, second, scale=_scale(first, second, scale, weights)), weights=weights, confidence=confidence
    )


def confusion(
    first: Sequence[Hashable], second: Sequence[Hashable], *, scale: Sequence[Hashable]
) -> tuple[tuple[int, ...], ...]:
    """How often `first` said the row's label and `second` the column's, both in the order of `scale`."""
    if len(first) != len(second):
        raise ValueError(f"{len(first)} labels beside {len(second)}: both must have labelled the same things")
    place = {label: index for index, label in enumerate(scale)}
    table = np.zeros((len(place), len(place)), dtype=int)
    for a, b in zip(first, second, strict=True):
        if a not in place or b not in place:
            raise ValueError("a label that is not on the scale")
        table[place[a], place[b]] += 1
    return tuple(tuple(int(count) for count in row) for row in table)


def kappa_of_table(
    table: Sequence[Sequence[int]], *, weights: Weights = Weights.NOMINAL, confidence: float = 0.95
) -> Agreement:
    """Cohen's kappa of a square table of counts; ordered labels (rows and columns in order) may be weighted.

    The interval is the estimate ± z standard errors of the non-null asymptotic variance, cut at ±1. Where that
    variance is 0 it would claim certainty from a handful. Both always agreed: the lower end takes Wilson's lower end
    of n of n equal. One always said the same (kappa is 0): the variance is that of the table with half a count more
    in each cell.

    Sources: J. Cohen, Educational and Psychological Measurement 20 (1960), 37–46; weighted: Psychological Bulletin 70
    (1968), 213–220. Variance: J. L. Fleiss, J. Cohen, B. S. Everitt, Psychological Bulletin 72 (1969), 323–327.
    """
    counts = _square(table)
    n = int(counts.sum())
    if n == 0:
        return Agreement(None, None, 0, NOTHING_TWICE)
    raw = proportion_interval(Proportion(int(np.trace(counts)), n), confidence=confidence)
    shares, weighting = counts / n, weights_of(len(counts), weights)
    kappa, by_chance = _kappa(shares, weighting)
    if math.isclose(by_chance, 1.0):
        return Agreement(None, raw, n, ONE_CLASS)
    if math.isclose(kappa, 1.0):
        low = least_if_all_agree(n, 1 - by_chance, confidence=confidence)
        return Agreement(Interval(1.0, low, 1.0, confidence).clipped(-1, 1), raw, n)
    # One who always says the same leaves no variance, nor would it on a million: half a count in each cell brings some.
    variance = _kappa_variance(shares, weighting) or _kappa_variance(_smoothed(counts), weighting)
    reach = normal_quantile(confidence) * math.sqrt(variance / n)
    return Agreement(Interval(kappa, kappa - reach, kappa + reach, confidence).clipped(-1, 1), raw, n)


def weights_of(size: int, weights: Weights) -> Floats:
    """The agreement (1 of the same, 0 of the two ends of the scale) of each label with each: size × size."""
    if weights is Weights.NOMINAL:
        return np.eye(size)
    apart = np.abs(np.subtract.outer(np.arange(size), np.arange(size))) / max(size - 1, 1)
    return np.asarray(1 - (apart if weights is Weights.LINEAR else apart**2), dtype=float)


def least_if_all_agree(n: int, disagreement_by_chance: float, *, confidence: float) -> float:
    """The lower end for a coefficient of n labelled things on which all agreed: as if Wilson's share of misses were
    full ones.
    """
    equal = proportion_interval(Proportion(n, n), confidence=confidence).low
    return 1 - (1 - equal) / disagreement_by_chance


def _kappa(shares: Floats, weighting: Floats) -> tuple[float, float]:
    """Kappa, and the agreement that chance would give; where that is all there can be, kappa is 1 and means nothing."""
    by_chance = float(shares.sum(axis=1) @ weighting @ shares.sum(axis=0))
    room = 1 - by_chance
    return (1 - (1 - float((shares * weighting).sum())) / room if room > ROUNDING else 1.0), by_chance


def _kappa_variance(shares: Floats, weighting: Floats) -> float:
    """n times the asymptotic variance of Fleiss, Cohen and Everitt; 0 within rounding is 0."""
    kappa, by_chance = _kappa(shares, weighting)
    of_row, of_column = weighting @ shares.sum(axis=0), shares.sum(axis=1) @ weighting
    inner = weighting - np.add.outer(of_row, of_column) * (1 - kappa)
    spread = float((shares * inner**2).sum()) - (kappa - by_chance * (1 - kappa)) ** 2
    return spread / (1 - by_chance) ** 2 if spread > ROUNDING else 0.0


def _smoothed(counts: NDArray[np.int64]) -> Floats:
    return np.asarray((counts + 0.5) / (counts + 0.5).sum())


def _square(table: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    counts = np.asarray(table, dtype=np.int64)
    if counts.size == 0:
        return np.zeros((0, 0), dtype=np.int64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.min() < 0:
        raise ValueError("a table of agreement is square and counts from 0")
    return counts


def _scale(
    first: Sequence[Hashable], second: Sequence[Hashable], scale: Sequence[Hashable], weights: Weights
) -> Sequence[Hashable]:
    if scale:
        return scale
    if weights is not Weights.NOMINAL:
        raise ValueError("weights by distance need the scale of labels, in order")
    return list(dict.fromkeys([*first, *second]))
