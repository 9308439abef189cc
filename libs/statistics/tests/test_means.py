"""Intervals of means: against scipy, by coverage, and at their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from headrace_statistics import Moments, TooFew, difference_of_means, mean_interval
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

samples = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=30).filter(lambda values: np.var(values) > 1e-6)


@given(samples)
def test_a_mean_is_what_scipy_gives(values: list[float]) -> None:
    ours = mean_interval(Moments.of(values), confidence=0.9)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.9)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-6, abs=1e-9)


@given(samples, samples)
def test_two_means_differ_as_scipy_says(a: list[float], b: list[float]) -> None:
    ours = difference_of_means(Moments.of(a), Moments.of(b))
    theirs = stats.ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-6, abs=1e-9)


@given(samples, samples)
def test_swapping_the_samples_mirrors_their_difference(a: list[float], b: list[float]) -> None:
    forth = difference_of_means(Moments.of(a), Moments.of(b))
    back = difference_of_means(Moments.of(b), Moments.of(a)).mirrored()
    assert (forth.low, forth.high) == pytest.approx((back.low, back.high))


def test_the_interval_covers_nineteen_of_twenty_though_the_spread_differs() -> None:
    draw = np.random.default_rng(1)
    a, b = draw.normal(3.0, 0.5, (2000, 12)), draw.normal(3.4, 2.0, (2000, 40))
    held = [difference_of_means(Moments.of(x), Moments.of(y)).contains(0.4) for x, y in zip(a, b, strict=True)]
    assert 0.93 <= np.mean(held) <= 0.97


def test_an_interval_that_forgets_the_pairing_is_caught_by_its_coverage() -> None:
    draw = np.random.default_rng(2)
    questions = draw.normal(0, 2, (2000, 25))
    a, b = questions + draw.normal(0, 0.5, questions.shape), questions + draw.normal(0.2, 0.5, questions.shape)
    paired = [mean_interval(Moments.of(each)).contains(0.2) for each in b - a]
    forgetful = [difference_of_means(Moments.of(x), Moments.of(y)).contains(0.2) for x, y in zip(a, b, strict=True)]
    assert 0.93 <= np.mean(paired) <= 0.97
    assert np.mean(forgetful) > 0.99


@pytest.mark.parametrize("values", [[], [1.0]])
def test_what_proves_nothing_is_said_so(values: list[float]) -> None:
    with pytest.raises(TooFew):
        mean_interval(Moments.of(values))
    with pytest.raises(TooFew):
        difference_of_means(Moments.of(values), Moments.of([1.0, 2.0]))


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_values_that_are_all_alike_are_no_certainty(value: float) -> None:
    """As if none of n had been the other value: Clopper and Pearson's interval of 0 of n, as scipy gives it."""
    alike = Moments.of([value] * 20)
    reach = stats.binomtest(0, 20).proportion_ci(0.95, method="exact").high
    assert mean_interval(alike).half_width == pytest.approx(reach)
    assert difference_of_means(alike, alike).half_width == pytest.approx(reach * math.sqrt(2))
    assert mean_interval(Moments.of([4.0] * 20, span=4)).half_width == pytest.approx(4 * reach)


def test_a_rare_failure_that_did_not_come_up_is_still_possible() -> None:
    """One answer in fifty is bad; thirty good ones say nothing against it, though they do not vary."""
    draws = np.random.default_rng(3).random((2000, 30)) < 0.98
    held = [mean_interval(Moments.of(row.astype(float))).contains(0.98) for row in draws]
    assert np.mean(held) >= 0.95


def test_one_side_that_varies_carries_the_other() -> None:
    assert difference_of_means(Moments.of([1.0, 1.0]), Moments.of([0.0, 1.0, 2.0])).contains(0)


@pytest.mark.parametrize("mean", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(mean: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        Moments.of([1.0, mean])
