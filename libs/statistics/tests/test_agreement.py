"""Kappa: against published and other people's numbers, its variance by another road, and what it must not say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from headrace_statistics import Weights, cohens_kappa, confusion, kappa_of_table
from headrace_statistics.agreement import NOTHING_TWICE, ONE_CLASS, weights_of
from hypothesis import given
from hypothesis import strategies as st

FLEISS = ((75, 1, 4), (5, 4, 1), (0, 0, 10))
FOUR = ((20, 5, 1, 0), (6, 15, 7, 2), (1, 4, 18, 6), (0, 1, 3, 11))
tables = st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=3, max_size=3)


def test_the_diagnoses_of_fleiss() -> None:
    """J. L. Fleiss, Statistical Methods for Rates and Proportions (2nd ed. 1981), table 13.1: kappa is .68."""
    found = kappa_of_table(FLEISS).coefficient
    assert found is not None
    assert found.estimate == pytest.approx(0.68, abs=5e-3)


@pytest.mark.parametrize(
    ("table", "weights", "expected"),
    [  # as scikit-learn's cohen_kappa_score gives them
        (FLEISS, Weights.NOMINAL, 0.6764705882352942),
        (FLEISS, Weights.LINEAR, 0.7222222222222222),
        (FLEISS, Weights.QUADRATIC, 0.7553191489361702),
        (FOUR, Weights.NOMINAL, 0.5149555375909458),
        (FOUR, Weights.LINEAR, 0.6496325414459067),
        (FOUR, Weights.QUADRATIC, 0.7688123300090662),
    ],
)
def test_kappa_weighted_and_not(table: tuple[tuple[int, ...], ...], weights: Weights, expected: float) -> None:
    found = kappa_of_table(table, weights=weights).coefficient
    assert found is not None
    assert found.estimate == pytest.approx(expected)


@pytest.mark.parametrize("weights", Weights)
@pytest.mark.parametrize("table", [FLEISS, FOUR, ((3, 1), (2, 9))])
def test_the_variance_is_that_of_the_delta_method(table: tuple[tuple[int, ...], ...], weights: Weights) -> None:
    """By another road: kappa's gradient in the cells, by finite differences, through the multinomial's covariance."""
    shares = np.asarray(table, dtype=float).ravel() / np.sum(table)
    steps = np.eye(shares.size) * 1e-6
    gradient = np.array([kappa(shares + step, weights) - kappa(shares - step, weights) for step in steps]) / 2e-6
    variance = (shares @ gradient**2 - (shares @ gradient) ** 2) / np.sum(table)
    found = kappa_of_table(table, weights=weights, confidence=0.5).coefficient
    assert found is not None
    assert found.half_width / 0.6744898 == pytest.approx(math.sqrt(variance), rel=1e-4)


def kappa(shares: np.ndarray, weights: Weights) -> float:
    size = math.isqrt(shares.size)
    square = shares.reshape(size, size) / shares.sum()
    weighting = weights_of(size, weights)
    by_chance = square.sum(axis=1) @ weighting @ square.sum(axis=0)
    return float(((square * weighting).sum() - by_chance) / (1 - by_chance))


def test_the_interval_covers_nineteen_of_twenty() -> None:
    shares = np.array([[0.45, 0.07], [0.08, 0.40]])
    truth = kappa(shares.ravel(), Weights.NOMINAL)
    draws = np.random.default_rng(6).multinomial(150, shares.ravel(), 2000).reshape(-1, 2, 2)
    found = [kappa_of_table(draw.tolist()).coefficient for draw in draws]
    assert 0.93 <= np.mean([each is not None and each.contains(truth) for each in found]) <= 0.97


@given(tables, st.sampled_from(Weights))
def test_it_does_not_matter_who_is_first(table: list[list[int]], weights: Weights) -> None:
    forth, back = kappa_of_table(table, weights=weights), kappa_of_table(np.transpose(table).tolist(), weights=weights)
    assert (forth.undefined, forth.n, forth.raw) == (back.undefined, back.n, back.raw)
    if forth.coefficient and back.coefficient:
        ends = (forth.coefficient.low, forth.coefficient.estimate, forth.coefficient.high)
        assert ends == pytest.approx((back.coefficient.low, back.coefficient.estimate, back.coefficient.high), abs=1e-6)


@given(tables, st.sampled_from(Weights))
def test_it_is_a_number_between_its_ends_or_says_why_not(table: list[list[int]], weights: Weights) -> None:
    found = kappa_of_table(table, weights=weights)
    assert (found.coefficient is None) == bool(found.undefined)
    if found.coefficient:
        assert -1 <= found.coefficient.low <= found.coefficient.estimate <= found.coefficient.high <= 1


def test_one_class_only_proves_nothing() -> None:
    found = cohens_kappa(["good"] * 40, ["good"] * 40)
    assert (found.coefficient, found.undefined, found.n) == (None, ONE_CLASS, 40)
    assert found.raw is not None
    assert found.raw.estimate == 1
    assert not found.is_at_least(-1)


def test_a_judge_that_always_says_the_same_agrees_by_chance() -> None:
    found = cohens_kappa(["good"] * 30 + ["bad"] * 10, ["good"] * 40).coefficient
    assert found is not None
    assert found.estimate == 0
    assert 0.1 < found.half_width < 0.4


def test_nothing_labelled_is_said_so() -> None:
    found = cohens_kappa([], [])
    assert (found.coefficient, found.raw, found.n, found.undefined) == (None, None, 0, NOTHING_TWICE)


def test_full_agreement_on_a_handful_is_not_certainty() -> None:
    few = cohens_kappa(["good", "bad", "good", "bad", "good"], ["good", "bad", "good", "bad", "good"])
    many = cohens_kappa(["good", "bad"] * 100, ["good", "bad"] * 100)
    assert few.coefficient is not None
    assert (few.coefficient.estimate, few.coefficient.high) == (1, 1)
    assert few.coefficient.low < 0.2
    assert not few.is_at_least(0.6)
    assert many.is_at_least(0.95)


def test_a_near_miss_counts_less_on_an_ordered_scale() -> None:
    experts, judge = [1, 2, 3, 4, 5] * 6, [2, 2, 3, 4, 4] * 6
    found = [cohens_kappa(experts, judge, scale=[1, 2, 3, 4, 5], weights=weights).coefficient for weights in Weights]
    plain, linear, squared = (each.estimate for each in found if each)
    assert plain < linear < squared


def test_a_table_is_in_the_scales_order() -> None:
    assert confusion("aab", "abb", scale="ab") == ((1, 1), (0, 1))


@pytest.mark.parametrize(
    ("first", "second", "scale", "weights"),
    [
        ("ab", "a", "ab", Weights.NOMINAL),
        ("ab", "ac", "ab", Weights.NOMINAL),
        ("ab", "ab", "", Weights.LINEAR),
    ],
)
def test_what_cannot_be_compared_is_refused(first: str, second: str, scale: str, weights: Weights) -> None:
    with pytest.raises(ValueError, match="label"):
        cohens_kappa(first, second, scale=scale, weights=weights)


@pytest.mark.parametrize("table", [[[1, 2]], [[1, -1], [0, 1]], [[[1]]]])
def test_what_is_no_table_is_refused(table: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="square"):
        kappa_of_table(table)
