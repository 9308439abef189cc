"""How many answers: against published tables, and by doing it."""

from __future__ import annotations

import numpy as np
import pytest
from headrace_statistics import (
    Pairs,
    Proportion,
    Winner,
    answers_for_means,
    answers_for_proportions,
    compare,
    compare_pairs,
    pairs_for_means,
    pairs_for_proportions,
)


@pytest.mark.parametrize(("effect", "size"), [(0.2, 394), (0.5, 64), (0.8, 26)])
def test_two_means_as_in_cohens_table(effect: float, size: int) -> None:
    """J. Cohen, A power primer. Psychological Bulletin 112 (1992), 155–159, table 2 (there 393)."""
    assert answers_for_means(effect, 1.0) == size


@pytest.mark.parametrize(("effect", "size"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_paired_means(effect: float, size: int) -> None:
    assert pairs_for_means(-2 * effect, 2.0) == size


def test_a_proportion_is_found_four_times_in_five() -> None:
    size = answers_for_proportions(0.6, 0.7)
    draw = np.random.default_rng(18)
    pairs = zip(draw.binomial(size, 0.6, 2000), draw.binomial(size, 0.7, 2000), strict=True)
    found = [compare(Proportion(int(a), size), Proportion(int(b), size)).winner is Winner.B for a, b in pairs]
    assert 0.77 <= np.mean(found) <= 0.83


def test_a_paired_proportion_is_found_four_times_in_five_with_far_fewer() -> None:
    size = pairs_for_proportions(0.05, 0.15)
    rows = np.random.default_rng(19).multinomial(size, [0.55, 0.05, 0.15, 0.25], 1000)
    found = [compare_pairs(Pairs(*map(int, row))).winner is Winner.B for row in rows]
    assert 0.76 <= np.mean(found) <= 0.84
    assert size < answers_for_proportions(0.6, 0.7) / 2


def test_more_power_or_confidence_takes_more_answers() -> None:
    assert answers_for_proportions(0.6, 0.7, power=0.9) > answers_for_proportions(0.6, 0.7)
    assert pairs_for_means(0.5, 1, confidence=0.99) > pairs_for_means(0.5, 1)


def test_it_does_not_matter_which_side_is_better() -> None:
    assert answers_for_proportions(0.7, 0.6) == answers_for_proportions(0.6, 0.7)
    assert pairs_for_proportions(0.15, 0.05) == pairs_for_proportions(0.05, 0.15)


def test_no_number_of_answers_tells_what_is_the_same() -> None:
    for make in (answers_for_proportions, pairs_for_proportions):
        with pytest.raises(ValueError, match="two different"):
            make(0.2, 0.2)
    for make in (answers_for_means, pairs_for_means):
        with pytest.raises(ValueError, match="other than 0"):
            make(0.0, 1.0)
