"""Intervals of shares: against published values, against scipy, by coverage, and at their edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from headrace_statistics import (
    Pairs,
    Proportion,
    TooFew,
    difference_of_pairs,
    difference_of_proportions,
    proportion_interval,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import xlogy
from scipy.stats import binomtest

counts = st.integers(0, 200)
shares = st.tuples(counts, counts).map(lambda pair: Proportion(min(pair), max(pair))).filter(lambda seen: seen.n > 0)
tables = st.builds(Pairs, counts, counts, counts, counts).filter(lambda pairs: pairs.n > 0)


@pytest.mark.parametrize(
    ("successes", "n"), [(0, 1), (1, 1), (0, 20), (20, 20), (7, 20), (81, 263), (15, 148), (1, 29)]
)
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
def test_wilson_is_what_scipy_gives(successes: int, n: int, confidence: float) -> None:
    ours = proportion_interval(Proportion(successes, n), confidence=confidence)
    theirs = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [  # Newcombe 1998, table II, method 10: the first share less the second
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0000),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
)
def test_two_shares_differ_as_newcombe_printed(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    interval = difference_of_proportions(Proportion(*other), Proportion(*one))
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=5e-5)


@settings(max_examples=40)
@given(tables)
def test_the_paired_interval_ends_where_the_score_reaches_its_limit(pairs: Pairs) -> None:
    """By another road: the likeliest shares by search, and the score there, at both ends."""
    interval = difference_of_pairs(pairs)
    for end, expected in ((interval.low, 1.959964), (interval.high, -1.959964)):
        if abs(end) < 1 - 1e-6:
            assert score(pairs, end) == pytest.approx(expected, abs=1e-3)


def score(pairs: Pairs, difference: float) -> float:
    def unlikely(only_a: float) -> float:
        return -float(
            xlogy(pairs.only_b, only_a + difference)
            + xlogy(pairs.only_a, only_a)
            + xlogy(pairs.both + pairs.neither, 1 - 2 * only_a - difference)
        )

    room = (max(0.0, -difference), (1 - difference) / 2)
    likely = minimize_scalar(unlikely, bounds=room, method="bounded", options={"xatol": 1e-13}).x
    spread = math.sqrt(pairs.n * (2 * likely + difference * (1 - difference)))
    return (pairs.only_b - pairs.only_a - pairs.n * difference) / spread


@given(tables)
def test_the_paired_interval_agrees_with_mcnemars_test(pairs: Pairs) -> None:
    discordant = pairs.only_a + pairs.only_b
    statistic = abs(pairs.only_b - pairs.only_a) / math.sqrt(discordant) if discordant else 0.0
    if abs(statistic - 1.959964) > 1e-5:
        assert difference_of_pairs(pairs).contains(0) == (statistic < 1.959964)


@given(shares, shares)
def test_swapping_the_shares_mirrors_their_difference(a: Proportion, b: Proportion) -> None:
    forth, back = difference_of_proportions(a, b), difference_of_proportions(b, a).mirrored()
    assert (forth.low, forth.high) == pytest.approx((back.low, back.high), abs=1e-12)
    assert -1 <= forth.low <= forth.estimate <= forth.high <= 1


@given(tables)
def test_swapping_the_sides_of_pairs_mirrors_their_difference(pairs: Pairs) -> None:
    forth, back = difference_of_pairs(pairs), difference_of_pairs(pairs.swapped()).mirrored()
    assert (forth.low, forth.high) == pytest.approx((back.low, back.high), abs=1e-9)
    assert -1 <= forth.low <= forth.estimate <= forth.high <= 1


@given(shares, st.floats(0.5, 0.98))
def test_more_confidence_is_a_wider_interval(seen: Proportion, confidence: float) -> None:
    narrow, wide = (proportion_interval(seen, confidence=level) for level in (confidence, confidence + 0.01))
    assert wide.low <= narrow.low <= narrow.estimate + 1e-12
    assert narrow.high <= wide.high


def covered(truth: float, intervals: list[tuple[float, float]]) -> float:
    return float(np.mean([low <= truth <= high for low, high in intervals]))


def test_the_unpaired_interval_covers_nineteen_of_twenty() -> None:
    draw = np.random.default_rng(1)
    a, b = draw.binomial(120, 0.6, 2000), draw.binomial(80, 0.72, 2000)
    seen = [
        difference_of_proportions(Proportion(int(x), 120), Proportion(int(y), 80)) for x, y in zip(a, b, strict=True)
    ]
    assert 0.93 <= covered(0.12, [(i.low, i.high) for i in seen]) <= 0.97


def paired_draws(trials: int) -> list[Pairs]:
    """Answers that mostly agree: the correlation that pairing is for."""
    draw = np.random.default_rng(2)
    return [Pairs(*map(int, row)) for row in draw.multinomial(100, [0.55, 0.05, 0.12, 0.28], trials)]


def test_the_paired_interval_covers_nineteen_of_twenty() -> None:
    seen = [difference_of_pairs(pairs) for pairs in paired_draws(2000)]
    assert 0.93 <= covered(0.07, [(i.low, i.high) for i in seen]) <= 0.97


def test_an_interval_that_forgets_the_pairing_is_caught_by_its_coverage() -> None:
    """The mistake that the paired interval is there to prevent: it covers too often, so real differences go unseen."""
    seen = [
        difference_of_proportions(Proportion(p.both + p.only_a, p.n), Proportion(p.both + p.only_b, p.n))
        for p in paired_draws(2000)
    ]
    assert covered(0.07, [(i.low, i.high) for i in seen]) > 0.97


def test_the_naive_interval_is_caught_by_its_coverage() -> None:
    """Of shares near 1, estimate ± 1.96 standard errors holds the truth far too seldom."""
    draws = np.random.default_rng(3).binomial(40, 0.97, 2000)
    wilson = [proportion_interval(Proportion(int(x), 40)) for x in draws]
    reach = [1.96 * math.sqrt(x / 40 * (1 - x / 40) / 40) for x in draws]
    assert covered(0.97, [(i.low, i.high) for i in wilson]) > 0.93
    assert covered(0.97, [(x / 40 - r, x / 40 + r) for x, r in zip(draws, reach, strict=True)]) < 0.75


def test_nothing_seen_is_said_so() -> None:
    with pytest.raises(TooFew):
        proportion_interval(Proportion(0, 0))
    with pytest.raises(TooFew):
        difference_of_proportions(Proportion(1, 2), Proportion(0, 0))
    with pytest.raises(TooFew):
        difference_of_pairs(Pairs(0, 0, 0, 0))


@pytest.mark.parametrize("make", [lambda: Proportion(3, 2), lambda: Proportion(-1, 2), lambda: Pairs(1, 0, -1, 0)])
def test_impossible_counts_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"no share|below zero"):
        make()  # type: ignore[operator]


def test_a_percentage_is_no_confidence() -> None:
    with pytest.raises(ValueError, match=r"as \.95 does"):
        proportion_interval(Proportion(1, 2), confidence=95)


def test_counting() -> None:
    assert Proportion.of([True, False, True]) == Proportion(2, 3)
    assert Pairs.of([(True, False), (True, True), (False, True), (False, True)]) == Pairs(1, 1, 2, 0)
