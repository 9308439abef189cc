"""How far two distributions lie apart, as shares of the same bins, and what of that is chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def jensen_shannon(p: ArrayLike, q: ArrayLike) -> float:
    """The divergence of two sets of shares in bits: 0 the same, 1 nothing in common.

    Source: J. Lin, IEEE Transactions on Information Theory 37 (1991) 145-151.
    """
    x, y = np.asarray(p, float), np.asarray(q, float)
    middle = (x + y) / 2
    return float((_bits(x, middle) + _bits(y, middle)) / 2)


def chance_in_jensen_shannon(variances: ArrayLike, middle: ArrayLike) -> float:
    """What the divergence is by chance alone, in bits: `variances` of each bin's difference of shares, in samples of
    one source whose shares are `middle`.

    The divergence is nearly Σ (p - q)² / (8 ln 2 m) for p and q near m, so chance adds Σ var(p - q) / (8 ln 2 m). Of n
    and m independent values in k bins that is (k - 1)(1/n + 1/m) / (8 ln 2). Source: I. Grosse and others, Physical
    Review E 65 (2002) 041905.
    """
    m = np.asarray(middle, float)
    seen = m > 0
    return float((np.asarray(variances, float)[seen] / m[seen]).sum() / (8 * np.log(2)))


def _bits(p: Floats, middle: Floats) -> float:
    seen = p > 0
    return float((p[seen] * np.log2(p[seen] / middle[seen])).sum())
