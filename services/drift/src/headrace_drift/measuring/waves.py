"""What is kept of vectors: means of random Fourier features, whose squared distance is the kernel two-sample statistic.

For a Gaussian kernel k, E cos(w·(x - y)) = k(x, y) when w is drawn from a normal distribution, so the distance between
two samples' mean features estimates their maximum mean discrepancy, and no vector needs to be kept. Sources: A. Rahimi,
B. Recht, Random Features for Large-Scale Kernel Machines (NIPS 2007); A. Gretton and others, JMLR 13 (2012) 723-773.
"""

from __future__ import annotations

import math
from functools import lru_cache
from hashlib import shake_256

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from headrace_drift.measuring import layout

#: The kernel's width, for vectors of length 1: two questions of one topic are 1 to 1.3 apart, so the kernel sees both
#: topics (.45) and mere chance (.25).
WIDTH = 0.8


def features(vector: NDArray[np.float32]) -> NDArray[np.int64]:
    """The features in fixed point: `layout.WAVES` cosines, then as many sines."""
    # One vector at a time: products of matrices of other shapes round differently, and sums must not depend on order.
    turned = frequencies(vector.size) @ vector.astype(np.float32, copy=False)
    waves = np.concatenate([np.cos(turned), np.sin(turned)])
    return np.asarray(np.rint(waves * layout.FIXED_POINT), np.int64)


def means(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of fixed-point features as sums of features of unit length: their inner product estimates the kernel."""
    return np.asarray(sums / (layout.FIXED_POINT * math.sqrt(layout.WAVES)))


@lru_cache(maxsize=8)
def frequencies(dimensions: int) -> NDArray[np.float32]:
    """`layout.WAVES` × dimensions normal numbers over the kernel's width.

    From SHAKE-256 and not from a random generator, whose stream may change with its version: sketches of this year are
    compared with those of the next.
    """
    count = layout.WAVES * dimensions
    drawn = np.frombuffer(shake_256(b"headrace drift waves").digest(8 * count), "<u8")
    uniform = ((drawn >> np.uint64(11)).astype(np.float64) + 0.5) / (1 << 53)
    return np.asarray(ndtri(uniform).reshape(layout.WAVES, dimensions) / WIDTH, np.float32)
