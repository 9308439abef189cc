import math

import numpy as np
import pytest
from headrace_statistics.effects import cliffs_delta, cohens_h, cramers_v, placements


def test_cohens_h_is_that_of_the_book() -> None:
    # Cohen (1988), example 6.1 in the words of his table: .65 against .50.
    assert cohens_h(0.5, 0.65) == pytest.approx(0.3047, abs=5e-4)
    assert cohens_h(0.65, 0.5) == -cohens_h(0.5, 0.65)
    assert cohens_h(0, 1) == pytest.approx(math.pi)


def test_cliffs_delta_counts_pairs() -> None:
    before, after = np.array([2, 1, 0]), np.array([0, 1, 3])
    values = {0: 2, 1: 1}, {1: 1, 2: 3}
    pairs = [
        (a > b) - (a < b)
        for b, times_b in values[0].items()
        for a, times_a in values[1].items()
        for _ in range(times_a * times_b)
    ]
    assert cliffs_delta(before, after) == pytest.approx(sum(pairs) / len(pairs))
    assert cliffs_delta(before, before) == 0


def test_placements_are_mid_ranks() -> None:
    assert placements(np.array([2.0, 2.0])).tolist() == [0.25, 0.75]


def test_cramers_v_of_two_classes_is_the_difference_by_its_spread() -> None:
    # With sides of equal weight V² = χ² / n of the 2 × 2 table.
    p, q, n = 0.3, 0.5, 1000
    table = np.array([[p * n, (1 - p) * n], [q * n, (1 - q) * n]])
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    chi2 = ((table - expected) ** 2 / expected).sum()
    assert cramers_v([p, 1 - p], [q, 1 - q]) == pytest.approx(math.sqrt(chi2 / (2 * n)))


def test_cramers_v_reaches_its_ends() -> None:
    assert cramers_v([0.2, 0.8, 0], [0.2, 0.8, 0]) == 0
    assert cramers_v([1, 0], [0, 1]) == 1
    assert cramers_v([0.5, 0.5], [0.52, 0.48], by_chance=0.01) == 0
