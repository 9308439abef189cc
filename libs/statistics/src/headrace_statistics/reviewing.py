"""Agreement by resampling: of several reviewers of whom not all saw everything, and of two on few things."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from headrace_statistics.agreement import (
    NOTHING_TWICE,
    ONE_CLASS,
    Agreement,
    Weights,
    kappa_of_table,
    least_if_all_agree,
    weights_of,
)
from headrace_statistics.bootstrap import FEWEST_GROUPS, RESAMPLES, Floats, corrected
from headrace_statistics.interval import Interval
from headrace_statistics.proportions import Proportion, proportion_interval

Counts = NDArray[np.int64]

TOO_FEW = f"fewer than {FEWEST_GROUPS} things were labelled twice"


class Distance(Enum):
    """How far apart two labels are: different or not; by what lies between them; or by the difference of numbers."""

    NOMINAL = "nominal"
    ORDINAL = "ordinal"
    INTERVAL = "interval"


def krippendorffs_alpha(
    items: Iterable[Sequence[Hashable]],
    *,
    scale: Sequence[Hashable],
    seed: int,
    distance: Distance = Distance.NOMINAL,
    confidence: float = 0.95,
) -> Agreement:
    """Krippendorff's alpha of several reviewers: `items` holds, for each thing, the labels that it was given.

    None stands for a missing label; a thing with fewer than two labels says nothing and is left out. `scale` names
    the possible labels in order; they are numbers where the distance is INTERVAL. The interval is a bootstrap over
    things (BCa of 4,000 draws); a draw that is undefined proves nothing and counts as 0. Where all always agreed, the
    lower end takes Wilson's lower end of n of n. ValueError of a label outside the scale.

    Sources: K. Krippendorff, Content Analysis (4th ed. 2018), ch. 12; over things: A. Zapf, S. Castell, L. Morawietz,
    A. Karch, BMC Medical Research Methodology 16 (2016), 93.
    """
    patterns = _patterns(items, scale)
    n = sum(patterns.values())
    if n == 0:
        return Agreement(None, None, 0, NOTHING_TWICE)
    each = np.array([_coincidences(pattern) for pattern in patterns])
    counts = np.array(list(patterns.values()))
    unanimous = sum(count for pattern, count in patterns.items() if np.count_nonzero(pattern) == 1)
    raw = proportion_interval(Proportion(unanimous, n), confidence=confidence)

    def alpha(weights: Counts) -> Floats:
        return _alpha(np.tensordot(weights, each, axes=1), scale, distance)

    if unanimous == n and np.isfinite(alpha(counts[None])[0]):
        chance = _chance_of_full_misses(np.tensordot(counts, each, axes=1), scale, distance)
        low = max(least_if_all_agree(n, chance, confidence=confidence), -1.0)
        return Agreement(Interval(1.0, low, 1.0, confidence), raw, n)
    return _resampled(alpha, counts, seed=seed, raw=raw, confidence=confidence)


def resampled_kappa(
    table: Sequence[Sequence[int]], *, seed: int, weights: Weights = Weights.NOMINAL, confidence: float = 0.95
) -> Agreement:
    """`kappa_of_table` with a bootstrap's interval (BCa of 4,000 draws), for small samples of 10 or more.

    A draw that is undefined proves nothing and counts as 0. Where both always agreed, or one
    of them always said the same, drawing again changes nothing, and it is what `kappa_of_table` gives.
    """
    plain = kappa_of_table(table, weights=weights, confidence=confidence)
    counts = np.asarray(table, dtype=np.int64)
    if plain.coefficient is None or plain.raw is None or plain.coefficient.estimate == 1 or _one_sided(counts):
        return plain
    size = len(counts)
    weighting = weights_of(size, weights)

    def kappa(drawn: Counts) -> Floats:
        shares = drawn.reshape(-1, size, size) / drawn.sum(axis=1)[:, None, None]
        by_chance = np.einsum("bi,ij,bj->b", shares.sum(axis=2), weighting, shares.sum(axis=1))
        return _ratio(1 - (shares * weighting).sum(axis=(1, 2)), 1 - by_chance)

    return _resampled(kappa, counts.ravel(), seed=seed, raw=plain.raw, confidence=confidence)


def _one_sided(counts: Counts) -> bool:
    """Whether one of the two gave a single label throughout."""
    return any(np.count_nonzero(counts.sum(axis=axis)) == 1 for axis in (0, 1))


def _resampled(
    coefficient: Callable[[Counts], Floats], counts: Counts, *, seed: int, raw: Interval, confidence: float
) -> Agreement:
    """Draw the things again, by how often each pattern of labels comes up: B × patterns into `coefficient`."""
    n = int(counts.sum())
    if n < FEWEST_GROUPS:
        return Agreement(None, raw, n, TOO_FEW)
    estimate = float(coefficient(counts[None])[0])
    if not np.isfinite(estimate):
        return Agreement(None, raw, n, ONE_CLASS)
    drawn = coefficient(np.random.default_rng(seed).multinomial(n, counts / n, RESAMPLES))
    seen = np.flatnonzero(counts)
    without = np.nan_to_num(coefficient(counts - np.eye(counts.size, dtype=np.int64)[seen]))
    bootstrap = corrected(
        estimate, np.nan_to_num(drawn), [np.repeat(without, counts[seen])], n_a=n, n_b=n, counted="pairs"
    )
    return Agreement(bootstrap.interval(confidence).clipped(-1, 1), raw, n)


def _patterns(items: Iterable[Sequence[Hashable]], scale: Sequence[Hashable]) -> Counter[tuple[int, ...]]:
    """How often each pattern comes up: how many labels of each place on the scale a thing was given, two at least."""
    place = {label: index for index, label in enumerate(scale)}
    found: Counter[tuple[int, ...]] = Counter()
    for labels in items:
        given = [label for label in labels if label is not None]
        if not place.keys() >= set(given):
            raise ValueError("a label that is not on the scale")
        if len(given) > 1:
            found[tuple(np.bincount([place[label] for label in given], minlength=len(place)).tolist())] += 1
    return found


def _coincidences(pattern: tuple[int, ...]) -> Floats:
    """One thing's ordered pairs of labels, each label weighing 1 in all: scale × scale."""
    given = np.asarray(pattern, dtype=float)
    return np.asarray((np.outer(given, given) - np.diag(given)) / (given.sum() - 1))


def _alpha(coincidences: Floats, scale: Sequence[Hashable], distance: Distance) -> Floats:
    """Of B matrices of coincidences at once; NaN where all labels are of one class."""
    totals = coincidences.sum(axis=2)
    apart = _squared_distances(totals, scale, distance)
    expected = np.einsum("bi,bij,bj->b", totals, apart, totals)
    return _ratio((totals.sum(axis=1) - 1) * (coincidences * apart).sum(axis=(1, 2)), expected)


def _ratio(observed: Floats, expected: Floats) -> Floats:
    """1 − observed / expected disagreement; NaN where none is to be expected."""
    defined = expected > 1e-12
    return np.where(defined, 1 - observed / np.where(defined, expected, 1), np.nan)


def _squared_distances(totals: Floats, scale: Sequence[Hashable], distance: Distance) -> Floats:
    """B × scale × scale; only the ordinal distance depends on how often each label was given (`totals`, B × scale)."""
    size = totals.shape[1]
    if distance is Distance.NOMINAL:
        return np.broadcast_to(1 - np.eye(size), (len(totals), size, size))
    if distance is Distance.INTERVAL:
        values = np.asarray(scale, dtype=float)
        return np.broadcast_to(np.subtract.outer(values, values) ** 2, (len(totals), size, size))
    ranks = np.cumsum(totals, axis=1) - totals / 2
    return np.asarray((ranks[:, :, None] - ranks[:, None, :]) ** 2)


def _chance_of_full_misses(coincidences: Floats, scale: Sequence[Hashable], distance: Distance) -> float:
    """The disagreement that chance would give, in units of the farthest that two labels that occur can be apart."""
    totals = coincidences.sum(axis=1)
    apart = _squared_distances(totals[None], scale, distance)[0]
    occurs = np.outer(totals, totals) > 0
    n = totals.sum()
    return float(totals @ apart @ totals / (n * (n - 1) * apart[occurs].max()))
