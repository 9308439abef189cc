"""Resampling: against scipy's BCa, by coverage with and without the groups, and at its edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
from headrace_statistics import (
    Grouped,
    Moments,
    TooFew,
    Winner,
    contrast_of_grouped_pairs,
    contrast_of_groups,
    contrast_of_quantiles,
    decide,
    grouped_mean_interval,
    mean_interval,
    quantile_interval,
)
from headrace_statistics.bootstrap import Resampled, acceleration_of, bias_of, degrees_of
from scipy import stats


def conversations(draw: np.random.Generator, *, count: int, mean: float) -> tuple[list[float], list[int]]:
    """Scores that hang together: each conversation has its own level, and one to eight answers."""
    groups = np.repeat(np.arange(count), draw.integers(1, 9, count))
    values = draw.normal(mean, 0.6, count)[groups] + draw.normal(0, 0.8, groups.size)
    return values.tolist(), groups.tolist()


@pytest.mark.parametrize("count", [10, 40])
def test_the_grouped_interval_covers_nineteen_of_twenty_and_the_plain_one_does_not(count: int) -> None:
    draw = np.random.default_rng(9)
    seen = [conversations(draw, count=count, mean=0.2) for _ in range(500)]
    grouped = [grouped_mean_interval(Grouped.of(*each), seed=seed).contains(0.2) for seed, each in enumerate(seen)]
    plain = [mean_interval(Moments.of(values)).contains(0.2) for values, _ in seen]
    assert 0.92 <= np.mean(grouped) <= 0.97
    assert np.mean(plain) < 0.85


def test_two_sides_by_conversation_cover_nineteen_of_twenty() -> None:
    draw = np.random.default_rng(10)
    held = [
        contrast_of_groups(
            Grouped.of(*conversations(draw, count=25, mean=0.2)),
            Grouped.of(*conversations(draw, count=40, mean=0.5)),
            seed=seed,
        )
        .interval(0.95)
        .contains(0.3)
        for seed in range(500)
    ]
    assert 0.93 <= np.mean(held) <= 0.97


@pytest.mark.parametrize(("quantile", "size"), [(0.5, 60), (0.95, 200)])
def test_quantiles_of_latencies_cover_nineteen_of_twenty(quantile: float, size: int) -> None:
    draw = np.random.default_rng(11)
    z = stats.norm.ppf(quantile)
    truth = math.exp(0.3 + 0.6 * z) - math.exp(0.6 * z)
    held = [
        contrast_of_quantiles(
            draw.lognormal(0, 0.6, size).tolist(), draw.lognormal(0.3, 0.6, size).tolist(), quantile=quantile, seed=seed
        )
        .interval(0.95)
        .contains(truth)
        for seed in range(1500)
    ]
    assert 0.93 <= np.mean(held) <= 0.97


def test_the_draws_of_a_quantile_are_those_of_drawing_all_values_again() -> None:
    values = np.random.default_rng(12).lognormal(0, 1, 40)
    ours = contrast_of_quantiles([0.0] * 40, values.tolist(), quantile=0.75, seed=1)
    assert isinstance(ours, Resampled)
    again = np.random.default_rng(2).choice(values, (20_000, 40))
    theirs = np.quantile(again, 0.75, axis=1, method="inverted_cdf")
    at = np.sort(values)
    apart = np.searchsorted(ours.draws, at, "right") / 4000 - np.searchsorted(np.sort(theirs), at, "right") / 20_000
    assert np.abs(apart).max() < 0.03


def test_the_corrections_are_scipys() -> None:
    """The same draws of a skewed mean through both: only the stretch for few members is ours."""
    values = np.random.default_rng(13).exponential(1, 30)
    done = stats.bootstrap((values,), np.mean, n_resamples=4000, rng=np.random.default_rng(14))
    without = (values.sum() - values) / 29
    bias, acceleration = bias_of(float(values.mean()), done.bootstrap_distribution), acceleration_of([without])
    ends = [bias + (bias + z) / (1 - acceleration * (bias + z)) for z in (-1.959964, 1.959964)]
    ours = np.quantile(done.bootstrap_distribution, stats.norm.cdf(ends))
    assert ours == pytest.approx([done.confidence_interval.low, done.confidence_interval.high], rel=2e-3)
    assert degrees_of([without]) == pytest.approx(29)


def test_the_same_seed_gives_the_same_interval_and_another_hardly_another() -> None:
    seen = Grouped.of(*conversations(np.random.default_rng(15), count=60, mean=0.2))
    first, again, other = (grouped_mean_interval(seen, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert (first.low, first.high) == pytest.approx((other.low, other.high), abs=0.1 * first.half_width)


def test_swapping_the_sides_mirrors_the_difference() -> None:
    draw = np.random.default_rng(16)
    a, b = (Grouped.of(*conversations(draw, count=50, mean=mean)) for mean in (0.2, 0.5))
    forth = contrast_of_groups(a, b, seed=1).interval(0.95)
    back = contrast_of_groups(b, a, seed=1).interval(0.95).mirrored()
    assert forth.estimate == pytest.approx(back.estimate)
    assert (forth.low, forth.high) == pytest.approx((back.low, back.high), abs=0.1 * forth.half_width)


def test_a_value_counts_once_whatever_its_conversation() -> None:
    seen = Grouped.of([1.0, 0.0, 0.0, 0.0], ["a", "b", "b", "b"])
    assert (seen.sums, seen.sizes, seen.n, seen.mean) == ((1.0, 0.0), (1, 3), 4, 0.25)


def test_a_verdict_is_drawn_from_it_as_from_any_other() -> None:
    draw = np.random.default_rng(17)
    slow, fast = draw.lognormal(0, 0.5, 300).tolist(), draw.lognormal(-0.5, 0.5, 300).tolist()
    verdict = decide(contrast_of_quantiles(fast, slow, quantile=0.5, seed=1))
    assert (verdict.winner, verdict.method, verdict.counted) == (Winner.B, "bca_bootstrap", "answers")
    differences = Grouped.of(*conversations(draw, count=100, mean=0.0))
    assert decide(contrast_of_grouped_pairs(differences, seed=1), least=2.0).winner is Winner.SAME


def test_what_cannot_be_resampled_is_said_so() -> None:
    with pytest.raises(TooFew, match="9 groups"):
        grouped_mean_interval(Grouped((1.0,) * 9, (1,) * 9), seed=1)
    with pytest.raises(TooFew, match="beyond"):
        quantile_interval([float(value) for value in range(99)], quantile=0.95, seed=1)
    assert quantile_interval([float(value) for value in range(100)], quantile=0.95, seed=1).estimate == 94


def test_conversations_that_are_all_alike_are_no_certainty() -> None:
    alike, varied = Grouped((0.1, 0.2) * 20, (1, 2) * 20), Grouped((0.0, 1.0) * 20, (1,) * 40)
    own = grouped_mean_interval(alike, seed=1).half_width
    assert own == pytest.approx(1 - 0.025 ** (1 / 40))
    assert decide(contrast_of_groups(alike, alike, seed=1), least=0.02).winner is Winner.UNDECIDED
    mixed, other = (contrast_of_groups(*sides, seed=1).interval(0.95) for sides in ((alike, varied), (varied, alike)))
    assert mixed == other.mirrored()
    assert mixed.half_width > grouped_mean_interval(varied, seed=1).half_width
    assert contrast_of_groups(alike, varied, seed=1).n_b == 40


def test_a_quantile_of_values_that_are_all_alike_is_that_value() -> None:
    assert quantile_interval([1.0] * 100, quantile=0.5, seed=1).half_width == 0


@pytest.mark.parametrize("quantile", [0.0, 1.0, 95.0])
def test_a_percentage_is_no_quantile(quantile: float) -> None:
    with pytest.raises(ValueError, match=r"as \.95 does"):
        quantile_interval([1.0] * 200, quantile=quantile, seed=1)


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        quantile_interval([math.nan] * 200, quantile=0.5, seed=1)
    with pytest.raises(ValueError, match="finite"):
        Grouped((math.inf,), (1,))
    with pytest.raises(ValueError, match="at least 1"):
        Grouped((1.0,), (0,))
