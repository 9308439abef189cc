"""Many conversations by formula: as often right as resampling, and where it is not, refused."""

from __future__ import annotations

import numpy as np
import pytest
from headrace_statistics import (
    Grouped,
    Moments,
    TooFew,
    contrast,
    contrast_of_grouped_pairs,
    contrast_of_groups,
    contrast_of_many_grouped_pairs,
    contrast_of_many_groups,
    grouped_mean_interval,
    many_grouped_mean_interval,
)

SAMPLES, GROUPS = 400, 120
#: Of 400 intervals at 95 %, 380 hold the truth; fewer than 365 or more than 394 happen once in a thousand samples.
RIGHT = range(365, 395)


def drawn(seed: int, mean: float) -> Grouped:
    """Conversations of one to nine answers, good or bad as a whole; longer ones are better: the mean is a ratio."""
    source = np.random.default_rng(seed)
    sizes = source.integers(1, 10, GROUPS)
    rates = np.clip(mean + 0.03 * (sizes - 6) + source.normal(0, 0.2, GROUPS), 0, 1)
    return Grouped(tuple(source.binomial(sizes, rates).astype(float).tolist()), tuple(sizes.tolist()))


def truth(mean: float) -> float:
    return float(np.mean([drawn(10_000 + seed, mean).mean for seed in range(SAMPLES)]))


def test_the_difference_is_held_as_often_as_stated() -> None:
    true = truth(0.6) - truth(0.5)
    intervals = [
        contrast_of_many_groups(drawn(2 * seed, 0.5), drawn(2 * seed + 1, 0.6)).interval(0.95)
        for seed in range(SAMPLES)
    ]
    assert sum(one.contains(true) for one in intervals) in RIGHT


def test_answers_taken_for_independent_would_be_right_too_seldom() -> None:
    """The seeded bug."""

    def careless(sample: Grouped) -> Moments:
        share = sample.mean
        return Moments(sample.n, share, share * (1 - share))

    true = truth(0.6) - truth(0.5)
    intervals = [
        contrast(careless(drawn(2 * seed, 0.5)), careless(drawn(2 * seed + 1, 0.6))).interval(0.95)
        for seed in range(SAMPLES)
    ]
    assert sum(one.contains(true) for one in intervals) < RIGHT.start


def test_it_says_what_resampling_says() -> None:
    a, b = drawn(1, 0.5), drawn(2, 0.6)
    formula, resampled = contrast_of_many_groups(a, b), contrast_of_groups(a, b, seed=1)
    assert (formula.n_a, formula.n_b, formula.counted, formula.method) == (a.n, b.n, "answers", "cluster_t")
    assert formula.interval(0.95).estimate == pytest.approx(resampled.interval(0.95).estimate)
    assert formula.interval(0.95).half_width == pytest.approx(resampled.interval(0.95).half_width, rel=0.06)
    pairs = contrast_of_many_grouped_pairs(a)
    assert (pairs.n_a, pairs.counted) == (a.n, "pairs")
    assert pairs.interval(0.9).half_width == pytest.approx(
        contrast_of_grouped_pairs(a, seed=1).interval(0.9).half_width, rel=0.06
    )
    assert many_grouped_mean_interval(a).half_width == pytest.approx(
        grouped_mean_interval(a, seed=1).half_width, rel=0.06
    )


def test_groups_that_are_all_alike_leave_room_and_one_alone_is_refused() -> None:
    alike = Grouped((2.0,) * 150, (2,) * 150)
    interval = many_grouped_mean_interval(alike)
    assert interval.estimate == 1
    assert 0.01 < interval.half_width < 0.04
    with pytest.raises(TooFew):
        many_grouped_mean_interval(Grouped((1.0,), (2,)))
