"""Alpha of several reviewers, and kappa of few labels, by resampling."""

from __future__ import annotations

import numpy as np
import pytest
from headrace_statistics import Distance, Weights, kappa_of_table, krippendorffs_alpha, resampled_kappa
from headrace_statistics.agreement import NOTHING_TWICE, ONE_CLASS
from headrace_statistics.reviewing import TOO_FEW

# Four observers, twelve units, and labels that are missing: K. Krippendorff, Computing Krippendorff's
# Alpha-Reliability (2011), C.
OBSERVERS = ("1 2 3 3 2 1 4 1 2 * * *", "1 2 3 3 2 2 4 1 2 5 * 3", "* 3 3 3 2 3 4 2 2 5 1 *", "1 2 3 3 2 4 4 1 2 5 1 *")
ITEMS = list(zip(*([None if said == "*" else int(said) for said in line.split()] for line in OBSERVERS), strict=True))


@pytest.mark.parametrize(
    ("distance", "expected"), [(Distance.NOMINAL, 0.743), (Distance.ORDINAL, 0.815), (Distance.INTERVAL, 0.849)]
)
def test_krippendorffs_own_example(distance: Distance, expected: float) -> None:
    found = krippendorffs_alpha(ITEMS, scale=[1, 2, 3, 4, 5], seed=1, distance=distance)
    assert found.coefficient is not None
    assert found.coefficient.estimate == pytest.approx(expected, abs=5e-4)
    assert found.coefficient.low < expected - 0.1
    assert found.n == 11


def test_the_same_seed_gives_the_same_interval() -> None:
    first, again = (krippendorffs_alpha(ITEMS, scale=[1, 2, 3, 4, 5], seed=3) for _ in range(2))
    assert first == again


def test_neither_the_order_of_things_nor_of_reviewers_matters_to_the_estimate() -> None:
    turned = [tuple(reversed(labels)) for labels in reversed(ITEMS)]
    found = [krippendorffs_alpha(items, scale=[1, 2, 3, 4, 5], seed=1).coefficient for items in (ITEMS, turned)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].estimate == pytest.approx(found[1].estimate)


def test_one_class_only_proves_nothing() -> None:
    found = krippendorffs_alpha([("good",) * 3] * 20, scale=["good", "bad"], seed=1)
    assert (found.coefficient, found.undefined, found.n) == (None, ONE_CLASS, 20)


def test_things_seen_by_one_reviewer_say_nothing() -> None:
    found = krippendorffs_alpha([("good",), ("bad", None), ()], scale=["good", "bad"], seed=1)
    assert (found.coefficient, found.n, found.undefined) == (None, 0, NOTHING_TWICE)


def test_few_things_are_not_resampled() -> None:
    found = krippendorffs_alpha([("good", "bad"), ("good", "good")] * 4, scale=["good", "bad"], seed=1)
    assert (found.coefficient, found.undefined) == (None, TOO_FEW)


def test_full_agreement_on_a_handful_is_not_certainty() -> None:
    few, many = (
        krippendorffs_alpha([("good",) * 2, ("bad",) * 3] * count, scale=["good", "bad"], seed=1) for count in (3, 200)
    )
    assert few.coefficient is not None
    assert few.coefficient.estimate == 1
    assert not few.is_at_least(0.5)
    assert many.is_at_least(0.95)


def test_a_label_outside_the_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="not on the scale"):
        krippendorffs_alpha([("good", "awful")], scale=["good", "bad"], seed=1)


def labelled_by_three(draw: np.random.Generator, things: int) -> list[tuple[int, ...]]:
    """Three who copy the truth (a fair coin) four times in five and toss their own coin else: alpha is .64."""
    truth, coins = draw.integers(0, 2, things), draw.integers(0, 2, (things, 3))
    labels = np.where(draw.random((things, 3)) < 0.8, truth[:, None], coins)
    return [tuple(row) for row in labels.tolist()]


def test_alphas_interval_covers_nineteen_of_twenty() -> None:
    draw = np.random.default_rng(7)
    found = [
        krippendorffs_alpha(labelled_by_three(draw, 50), scale=[0, 1], seed=seed).coefficient for seed in range(600)
    ]
    assert 0.93 <= np.mean([each is not None and each.contains(0.64) for each in found]) <= 0.975


def test_kappas_lower_end_is_too_high_no_oftener_than_promised() -> None:
    """It decides whether a judge may decide. Of 30 labels the formula promises too much, and resampling does not."""
    shares = np.array([0.70, 0.05, 0.05, 0.20])
    truth = (0.9 - 0.625) / (1 - 0.625)
    tables = np.random.default_rng(8).multinomial(30, shares, 1000).reshape(-1, 2, 2).tolist()
    resampled = [resampled_kappa(table, seed=seed).coefficient for seed, table in enumerate(tables)]
    formula = [kappa_of_table(table).coefficient for table in tables]
    assert np.mean([each is not None and each.low > truth for each in resampled]) <= 0.03
    assert np.mean([each is not None and each.low > truth for each in formula]) > 0.04


@pytest.mark.parametrize("weights", Weights)
def test_resampling_keeps_the_estimate(weights: Weights) -> None:
    table = ((20, 5, 1), (6, 15, 7), (1, 4, 18))
    plain, resampled = kappa_of_table(table, weights=weights), resampled_kappa(table, seed=1, weights=weights)
    assert plain.coefficient is not None
    assert resampled.coefficient is not None
    assert resampled.coefficient.estimate == pytest.approx(plain.coefficient.estimate)
    assert resampled.coefficient.half_width == pytest.approx(plain.coefficient.half_width, rel=0.2)


def test_what_is_undefined_stays_so_when_resampled() -> None:
    assert resampled_kappa([[40, 0], [0, 0]], seed=1).undefined == ONE_CLASS
    assert resampled_kappa([[3, 1], [1, 2]], seed=1).undefined == TOO_FEW
    assert resampled_kappa([], seed=1).undefined == NOTHING_TWICE
