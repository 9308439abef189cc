"""How large a change is, apart from how sure it is: 0 is none, and a number means the same for any share or scale."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def cohens_h(before: float, after: float) -> float:
    """The difference of two shares, after less before, on the scale on which every share has the same spread: -π to π.

    .2 is small, .5 medium, .8 large. Source: J. Cohen, Statistical Power Analysis for the Behavioral Sciences (1988).
    """
    return 2 * (math.asin(math.sqrt(after)) - math.asin(math.sqrt(before)))


def cliffs_delta(before: ArrayLike, after: ArrayLike) -> float:
    """P(a value after is larger) less P(it is smaller), of two histograms over the same ordered bins: -1 to 1.

    Values of one bin are ties. .147 ends what is negligible, .33 what is small, .474 what is medium (J. Romano and
    others, Florida Association of Institutional Research, 2006). Source: N. Cliff, Psychological Bulletin 114 (1993)
    494-509.
    """
    x, y = np.asarray(before, float), np.asarray(after, float)
    return float(2 * (y @ placements(x)) / y.sum() - 1)


def placements(histogram: Floats) -> Floats:
    """For each bin, the share of the histogram below it, and half of what is in it (the normalised mid-rank)."""
    total = histogram.sum()
    return np.asarray((np.cumsum(histogram) - histogram / 2) / total)


def cramers_v(before: ArrayLike, after: ArrayLike, *, by_chance: float = 0.0) -> float:
    """How far two sets of shares of the same classes lie apart: 0 not at all, 1 nothing in common.

    Cramér's V of a table whose two sides weigh the same: √(Σ (p - q)² / m / 4), m being the mean of p and q. Counted
    with their sizes, a small window beside a large baseline would read near 0 whatever it held. `by_chance` is what of
    the sum Σ (p - q)² / m chance alone is expected to be, and is taken off first, as W. Bergsma does (Journal of the
    Korean Statistical Society 42 (2013) 323-328). Source: H. Cramér, Mathematical Methods of Statistics (1946), 21.9.
    """
    p, q = np.asarray(before, float), np.asarray(after, float)
    middle = (p + q) / 2
    seen = middle > 0
    squared = float(((p - q)[seen] ** 2 / middle[seen]).sum())
    return math.sqrt(max(0.0, squared - by_chance) / 4)
