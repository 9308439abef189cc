"""Answers that hang together by conversation, of many conversations: a formula in place of resampling.

A mean over conversations of different lengths is a ratio, of a sum of sums to a sum of sizes. Each conversation pulls
it by (its sum − mean · its size) / mean size, and the spread of these pulls is the mean's: what a bootstrap of whole
conversations finds by drawing, at no cost. It wants many of them, for a ratio of few is skewed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headrace_statistics.bootstrap import Grouped
from headrace_statistics.comparing import Contrast, Counted, Method
from headrace_statistics.interval import Interval
from headrace_statistics.means import Moments, difference_of_means, mean_interval


@dataclass(frozen=True, slots=True)
class _OfClusters:
    """Two sides' moments of their conversations; `n_a` and `n_b` count answers."""

    a: Moments
    b: Moments
    n_a: int
    n_b: int
    counted: Counted = "answers"
    method: Method = "cluster_t"

    def interval(self, confidence: float) -> Interval:
        return difference_of_means(self.a, self.b, confidence=confidence)


@dataclass(frozen=True, slots=True)
class _OfClusteredPairs:
    """The moments of the conversations' differences; `n_a` and `n_b` count pairs."""

    differences: Moments
    n_a: int
    n_b: int
    counted: Counted = "pairs"
    method: Method = "cluster_t"

    def interval(self, confidence: float) -> Interval:
        return mean_interval(self.differences, confidence=confidence)


def moments_of_groups(sample: Grouped) -> Moments:
    """The mean of all values, as the moments of as many pulls as there are groups: for t intervals of groups.

    Source: W. G. Cochran, Sampling Techniques (1977), 6.4 and 9A (the ratio of two sums over clusters).
    """
    sums, sizes = np.asarray(sample.sums), np.asarray(sample.sizes, dtype=float)
    pulls = (sums - sample.mean * sizes) / sizes.mean()
    variance = float(pulls.var(ddof=1)) if sums.size > 1 else 0.0
    return Moments(sums.size, sample.mean, variance, sample.span)


def contrast_of_many_groups(a: Grouped, b: Grouped) -> Contrast:
    """As `contrast_of_groups`, for some 100 groups a side and more: Welch's t of the groups' pulls.

    Its interval raises TooFew of fewer than two groups.
    """
    return _OfClusters(moments_of_groups(a), moments_of_groups(b), a.n, b.n)


def contrast_of_many_grouped_pairs(differences: Grouped) -> Contrast:
    """As `contrast_of_grouped_pairs`, for some 100 groups and more: Student's t of the groups' pulls.

    Its interval raises TooFew of fewer than two groups.
    """
    return _OfClusteredPairs(moments_of_groups(differences), differences.n, differences.n)


def many_grouped_mean_interval(sample: Grouped, *, confidence: float = 0.95) -> Interval:
    """As `grouped_mean_interval`, for some 100 groups and more. Raises TooFew of fewer than two groups."""
    return mean_interval(moments_of_groups(sample), confidence=confidence)
