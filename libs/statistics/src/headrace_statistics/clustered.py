"""Whether two samples of clusters differ by more than chance: shares, ranks, and many numbers at once.

A sample is dealt into groups so that what hangs together (a conversation's queries) is in one group. Groups are then
independent, and what differs between groups of a sample is what chance does to its sums. Everything here is of sums
by group, so nothing of a sample needs to be kept but those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import fdtrc, stdtr
from scipy.stats import hypergeom

from headrace_statistics.effects import placements
from headrace_statistics.errors import TooFew

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sums:
    """Sums over each group: `values` is groups × dimensions (or groups), `sizes` the number of things in each group."""

    values: Floats
    sizes: Floats

    @cached_property
    def n(self) -> float:
        """Things in all groups."""
        return float(self.sizes.sum())

    @cached_property
    def mean(self) -> Floats:
        """Σ values / Σ sizes, by dimension."""
        return np.asarray(np.atleast_2d(self.values.T).T.sum(axis=0) / self.n)

    @cached_property
    def effective_groups(self) -> float:
        """How many groups of equal size would tell as much: (Σ sizes)² / Σ sizes².

        Source: A. Carter, K. Schnepel, D. Steigerwald, Review of Economics and Statistics 99 (2017) 698-709.
        """
        return self.n**2 / float((self.sizes**2).sum()) if self.n else 0.0

    @cached_property
    def pulls(self) -> Floats:
        """Groups × dimensions: how far each group pulls the mean. The mean's covariance is pulls' · pulls.

        (values - mean · size) / (n · √(1 - size / n)): without bias where things are independent. Sources: W. G.
        Cochran, Sampling Techniques (1977), 6.4; R. M. Bell, D. F. McCaffrey, Survey Methodology 28 (2002) 169-181.
        """
        if self.effective_groups < 2:
            raise TooFew(f"{self.effective_groups:.1f} groups, and two tell nothing of chance")
        values = np.atleast_2d(self.values.T).T
        return np.asarray((values - np.outer(self.sizes, self.mean)) / self.n / np.sqrt(self._outside)[:, None])

    @cached_property
    def variance(self) -> float:
        """Of the mean of one dimension, leaving out one group at a time: Σ (values - mean · size)² / (n - size)².

        A little too large, which of few groups of different sizes is the safe side. Source: J. G. MacKinnon, M. Ø.
        Nielsen, M. D. Webb, Journal of Econometrics 232 (2023) 272-299 (their CV3).
        """
        return float((self.pulls[:, 0] ** 2 / self._outside).sum())

    @property
    def _outside(self) -> Floats:
        """The share of all things that is not in each group."""
        return 1 - self.sizes / self.n

    @property
    def freedom(self) -> float:
        """Degrees of freedom of what the groups say about chance."""
        return self.effective_groups - 1


def p_of_means(a: Sums, b: Sums, *, least_variance: float = 0.0, more_variance: float = 0.0) -> float:
    """The two-sided p-value of a difference of two means over groups: Welch's t of the groups' pulls.

    `least_variance`: the difference's variance is taken to be at least this. `more_variance`: what a's groups have in
    common, and so does not differ between them. Raises TooFew below two groups a side.
    """
    of_a, of_b = a.variance, b.variance
    variance = of_a + of_b + more_variance
    if max(variance, least_variance) == 0:
        return 1.0 if np.allclose(a.mean, b.mean) else 0.0
    freedom = variance**2 / (of_a**2 / a.freedom + of_b**2 / b.freedom) if of_a + of_b else a.freedom
    t = float(b.mean[0] - a.mean[0]) / math.sqrt(max(variance, least_variance))
    return float(2 * stdtr(freedom, -abs(t)))


def p_of_shares(a: Sums, b: Sums, *, more_variance: float = 0.0) -> float:
    """The two-sided p-value of a difference of two shares over groups; `values` counts those of `sizes` that did.

    The larger of two: Welch's t of the groups, with at least the variance of independent things; and Fisher's
    exact test of the counts divided by their design effect, for shares near 0 or 1, where a t is far too sure.
    Source of the division: J. N. K. Rao, A. J. Scott, Biometrics 48 (1992) 577-585. `more_variance` as in `p_of_means`.
    """
    pooled = float(a.values.sum() + b.values.sum()) / (a.n + b.n)
    spread = pooled * (1 - pooled)
    if spread == 0:
        return 1.0
    by_t = p_of_means(a, b, least_variance=spread * (1 / a.n + 1 / b.n), more_variance=more_variance)
    return max(by_t, _exact(_divided(a, spread, more_variance), _divided(b, spread, 0.0)))


def p_of_ranks(a: Sums, b: Sums) -> float:
    """The two-sided p-value of Cliff's delta of two histograms over groups; `values` is groups × ordered bins.

    The statistic is Brunner and Munzel's, its variance by groups, and at least that of independent values where nothing
    differs. Source: E. Brunner, U. Munzel, Biometrical Journal 42 (2000) 17-25.
    """
    placed_a = Sums(a.values @ placements(b.values.sum(axis=0)), a.sizes)
    placed_b = Sums(b.values @ placements(a.values.sum(axis=0)), b.sizes)
    of_a, of_b = placed_a.variance, placed_b.variance
    # Ranks of n independent values have the variance 1/12n (a uniform's), less what is tied: Σ share³ of it.
    pooled = a.values.sum(axis=0) + b.values.sum(axis=0)
    untied = 1 - float((pooled**3).sum()) / float(pooled.sum()) ** 3
    variance = max(of_a + of_b, untied / 12 * (1 / a.n + 1 / b.n))
    if variance == 0:
        return 1.0
    freedom = (of_a + of_b) ** 2 / (of_a**2 / a.freedom + of_b**2 / b.freedom) if of_a + of_b else a.freedom
    return float(2 * stdtr(freedom, -abs(float(placed_b.mean[0]) - 0.5) / math.sqrt(variance)))


@dataclass(frozen=True, slots=True)
class Spread:
    """Means of many numbers, and what chance does to them: `pulls` is groups × dimensions, as `Sums.pulls`."""

    mean: Floats
    pulls: Floats
    freedom: float

    @classmethod
    def of(cls, *parts: Sums) -> Spread:
        """The means of the parts, one behind the other. Raises TooFew below two groups."""
        return cls(
            np.concatenate([part.mean for part in parts]),
            np.concatenate([part.pulls for part in parts], axis=1),
            min(part.freedom for part in parts),
        )

    @property
    def variances(self) -> Floats:
        """Of each dimension's mean."""
        return np.asarray((self.pulls**2).sum(axis=0))


@dataclass(frozen=True, slots=True)
class Apart:
    """How far two means of many numbers lie apart: Σ weights · difference², and what of it chance is expected to be."""

    squared: float
    by_chance: float
    p_value: float

    @property
    def unbiased(self) -> float:
        """The squared distance less chance; below 0 about half the time where nothing differs."""
        return self.squared - self.by_chance


def p_of_many(a: Spread, b: Spread, *, weights: Floats, least_chance: float = 0.0) -> Apart:
    """Tests the distance of two means of many dimensions over groups; there may be more dimensions than groups.

    By chance the squared distance is a weighted sum of χ², with the eigenvalues of its covariance Σ as weights. It is
    taken for c + a χ² on h degrees of freedom with the same mean, variance and skewness, h = (tr Σ²)³ / (tr Σ³)²
    (P. Hall, Journal of the Royal Statistical Society B 45 (1983) 393-399; M. Buckley, G. Eagleson, Australian Journal
    of Statistics 30A (1988) 150-159): two moments alone are too sure where a few directions have most of the variance.
    χ² / h becomes F, for Σ is estimated from the groups; of so few, tr Σ² is estimated as by Z. Bai and H. Saranadasa,
    Statistica Sinica 6 (1996) 311-329. `least_chance`: the mean is taken to be at least this.
    """
    root = np.sqrt(weights)
    pulls_a, pulls_b = a.pulls * root, b.pulls * root
    inner_a, inner_b, across = pulls_a @ pulls_a.T, pulls_b @ pulls_b.T, pulls_a @ pulls_b.T
    squares_a, squares_b = _trace_of_square(inner_a, a.freedom), _trace_of_square(inner_b, b.freedom)
    squares = squares_a + squares_b + 2 * float((across**2).sum())
    trace = float(np.trace(inner_a) + np.trace(inner_b))
    chance = max(trace, least_chance)
    squared = float((weights * (a.mean - b.mean) ** 2).sum())
    if trace == 0:
        return Apart(squared, chance, 1.0 if squared <= chance else 0.0)
    freedom = _third_moment(np.block([[inner_a, across], [across.T, inner_b]]), squares)
    below = max(1.0, trace**2 / (squares_a / a.freedom + squares_b / b.freedom))
    scale = math.sqrt(squares / freedom)
    # Where chance is set higher than was seen, its variance is too.
    surprise = (squared - chance) * trace / chance / (scale * freedom) + 1
    return Apart(squared, chance, float(fdtrc(freedom, below, surprise)) if surprise > 0 else 1.0)


def _third_moment(inner: Floats, squares: float) -> float:
    """h = (tr Σ²)³ / (tr Σ³)², from the inner products of all pulls and an unbiased tr Σ².

    Of few groups the eigenvalues are too large, all by nearly as much: what many small directions add to each. They
    are lowered by what makes their squares add up to `squares`.
    """
    found = np.maximum(0.0, np.linalg.eigvalsh(inner))
    low, high = 0.0, float(found.max())
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if float((np.maximum(0.0, found - middle) ** 2).sum()) > squares else (low, middle)
    cubes = float((np.maximum(0.0, found - low) ** 3).sum())
    return max(1.0, squares**3 / cubes**2) if cubes else 1.0


def _trace_of_square(inner: Floats, freedom: float) -> float:
    """tr Σ² from the groups' inner products; at least (tr Σ)² / as many dimensions as there are groups squared."""
    trace, squares = float(np.trace(inner)), float((inner**2).sum())
    if freedom <= 1:
        return squares
    unbiased = freedom**2 / ((freedom - 1) * (freedom + 2)) * (squares - trace**2 / freedom)
    return max(unbiased, trace**2 / freedom**3)


def _divided(sample: Sums, spread: float, more_variance: float) -> tuple[int, int]:
    """How many did, of how many, were all independent: both divided by the design effect, which is at least 1."""
    effect = max(1.0, (sample.variance + more_variance) * sample.n / spread)
    n = int(sample.n / effect)
    return round(float(sample.mean[0]) * n), n


def _exact(a: tuple[int, int], b: tuple[int, int]) -> float:
    """Fisher's exact test, two-sided by doubling."""
    (did_a, n_a), (did_b, n_b) = a, b
    if not n_a or not n_b:
        return 1.0
    law = (n_a + n_b, did_a + did_b, n_b)
    return float(min(1.0, 2 * min(hypergeom.cdf(did_b, *law), hypergeom.sf(did_b - 1, *law))))
