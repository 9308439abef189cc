"""Intervals under watch: how often they are wrong at any time, beside the ordinary one, and how soon they tell."""

from __future__ import annotations

import numpy as np
import pytest
from headrace_statistics import Contrast, Moments, Proportion, TooFew, Winner, answers_for_proportions, contrast, decide
from headrace_statistics.sequential import STEPS, contrast_at_any_time, contrast_of_streams, mean_at_any_time
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def successes(draw: np.random.Generator, chance: float, *, trials: int, length: int) -> Counts:
    """Running counts: trials × length."""
    return np.cumsum(draw.random((trials, length)) < chance, axis=1)


def watched(a: Counts, b: Counts, *, soonest: float, every: int = 20) -> list[int]:
    """The answers of a side at which each trial first shows a winner, 0 where it never does."""
    return [
        first(x, y, every, lambda p, q: contrast_at_any_time(p, q, soonest=soonest)) for x, y in zip(a, b, strict=True)
    ]


def first(a: Counts, b: Counts, every: int, make) -> int:  # type: ignore[no-untyped-def]
    for n in range(40, a.size + 1, every):
        seen: Contrast = make(Proportion(int(a[n - 1]), n), Proportion(int(b[n - 1]), n))
        if not seen.interval(0.95).contains(0):
            return n
    return 0


@pytest.mark.parametrize("chance", [0.3, 0.04])
def test_a_canary_like_the_champion_is_accused_in_fewer_than_one_of_twenty(chance: float) -> None:
    draw = np.random.default_rng(24)
    a, b = (successes(draw, chance, trials=200, length=1500) for _ in range(2))
    assert np.mean([at > 0 for at in watched(a, b, soonest=0.1)]) <= 0.05


def test_the_ordinary_interval_under_watch_is_caught() -> None:
    draw = np.random.default_rng(25)
    a, b = (successes(draw, 0.3, trials=200, length=1500) for _ in range(2))
    assert np.mean([first(x, y, 20, contrast) > 0 for x, y in zip(a, b, strict=True)]) > 0.2


def test_a_worse_canary_is_found_and_a_much_worse_one_far_sooner() -> None:
    draw = np.random.default_rng(26)
    champion = successes(draw, 0.8, trials=100, length=1500)
    worse = watched(champion, successes(draw, 0.7, trials=100, length=1500), soonest=0.1)
    broken = watched(champion, successes(draw, 0.2, trials=100, length=1500), soonest=0.1)
    assert np.mean([at > 0 for at in worse]) > 0.95
    assert np.median(worse) < 1.3 * answers_for_proportions(0.7, 0.8)
    assert max(broken) <= 60


def test_a_mean_by_betting_is_wrong_at_any_time_in_fewer_than_one_of_twenty() -> None:
    """One look at the end sees all before it: a candidate that was ever out stays out."""
    values = np.random.default_rng(27).beta(2, 6, (200, 400))
    assert np.mean([not mean_at_any_time(row.tolist()).contains(0.25) for row in values]) <= 0.05


def test_a_mean_by_betting_needs_no_burn_in_and_narrows() -> None:
    values = (np.random.default_rng(28).random(2000) < 0.3).astype(float).tolist()
    one, some, many = (mean_at_any_time(values[:n]) for n in (1, 100, 2000))
    assert (one.low, one.high) == (0, 1)
    assert one.half_width > some.half_width > many.half_width
    assert many.half_width < 0.05
    assert some.low <= many.low + 1 / STEPS
    assert some.high >= many.high - 1 / STEPS


def test_a_mean_by_betting_adapts_to_values_that_hardly_vary() -> None:
    draw = np.random.default_rng(29)
    still, restless = 0.5 + draw.uniform(-0.02, 0.02, 300), draw.integers(0, 2, 300).astype(float)
    assert mean_at_any_time(still.tolist()).half_width < 0.5 * mean_at_any_time(restless.tolist()).half_width


def test_turning_the_values_over_mirrors_the_interval() -> None:
    values = np.random.default_rng(30).beta(2, 5, 200)
    forth, back = mean_at_any_time(values.tolist()), mean_at_any_time((1 - values).tolist())
    assert (forth.low, forth.high) == pytest.approx((1 - back.high, 1 - back.low), abs=1.01 / STEPS)


def test_two_streams_are_compared_and_swapped() -> None:
    draw = np.random.default_rng(31)
    a, b = draw.beta(2, 6, 300).tolist(), draw.beta(4, 4, 500).tolist()
    verdict, turned = decide(contrast_of_streams(a, b)), decide(contrast_of_streams(b, a))
    assert (verdict.winner, verdict.n_a, verdict.n_b, verdict.method) == (Winner.B, 300, 300, "betting")
    assert turned.winner is Winner.A


def test_a_small_canary_is_held_against_all_that_the_champion_answered_meanwhile() -> None:
    draw = np.random.default_rng(32)
    a, b = draw.beta(2, 2, 1805).tolist(), draw.beta(2, 2, 203).tolist()
    one, nine = (contrast_of_streams(a, b, blocks=blocks) for blocks in ((1, 1), (9, 1)))
    assert (nine.n_a, nine.n_b) == (1800, 200)
    assert nine.interval(0.95).half_width < 0.9 * one.interval(0.95).half_width


def test_streams_without_a_difference_are_told_apart_in_fewer_than_one_of_twenty() -> None:
    draw = np.random.default_rng(33)
    seen = [contrast_of_streams(draw.random(300) < 0.9, draw.random(100) < 0.9, blocks=(3, 1)) for _ in range(200)]
    assert np.mean([not each.interval(0.95).contains(0) for each in seen]) <= 0.05


def test_counts_and_moments_are_compared_and_swapped() -> None:
    a, b = Moments(400, 0.50, 0.04), Moments(300, 0.60, 0.06)
    forth = contrast_at_any_time(a, b, soonest=0.1).interval(0.95)
    back = contrast_at_any_time(b, a, soonest=0.1).interval(0.95).mirrored()
    assert (forth.low, forth.high) == pytest.approx((back.low, back.high))
    assert forth.half_width > contrast(a, b).interval(0.95).half_width


def test_it_is_narrowest_where_it_was_asked_to_be() -> None:
    """At 400 answers a side, which find .1 with a power of some .8: tuned to that it beats other tunings."""
    seen = Proportion(200, 400), Proportion(200, 400)
    widths = {s: contrast_at_any_time(*seen, soonest=s).interval(0.95).half_width for s in (0.01, 0.1, 1.0)}
    assert min(widths, key=widths.__getitem__) == 0.1


def test_too_early_is_said_so() -> None:
    with pytest.raises(TooFew, match="29"):
        contrast_at_any_time(Proportion(3, 29), Proportion(30, 300), soonest=0.1).interval(0.95)
    with pytest.raises(TooFew, match="alike"):
        contrast_at_any_time(Moments(50, 1.0, 0.0), Moments(50, 1.0, 0.0), soonest=0.1).interval(0.95)
    with pytest.raises(TooFew, match="no values"):
        mean_at_any_time([])
    assert decide(contrast_of_streams([], [1.0])).winner is Winner.UNDECIDED


def test_failures_that_never_happened_still_vary() -> None:
    assert contrast_at_any_time(Proportion(0, 100), Proportion(0, 100), soonest=0.1).interval(0.95).half_width > 0.01


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        mean_at_any_time([0.5, 1.5])
    with pytest.raises(ValueError, match="between 0 and 1"):
        contrast_of_streams([0.5], [-0.5])
    with pytest.raises(ValueError, match="block"):
        contrast_of_streams([0.5], [0.5], blocks=(0, 1))
    with pytest.raises(ValueError, match="above 0"):
        contrast_at_any_time(Proportion(1, 2), Proportion(1, 2), soonest=0)
