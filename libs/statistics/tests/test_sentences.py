"""The sentences that people read."""

from __future__ import annotations

import pytest
from headrace_statistics import (
    MILLISECONDS,
    POINTS,
    Better,
    Comparison,
    Interval,
    Moments,
    Proportion,
    Unit,
    Winner,
    compare,
    contrast,
    decide_all,
    sentence,
)
from headrace_statistics.sentences import round_up


def test_a_winner() -> None:
    verdict = Comparison(
        Winner.B, Interval(0.09, 0.04, 0.14, 0.95), 206, 206, "answers", "newcombe", 0, 0.02, Better.HIGHER
    )
    said = "B is better on how-to questions: +9 points, 95 % interval 4 to 14, 412 answers"
    assert sentence(verdict, on="how-to questions") == said


def test_the_other_winner_is_told_from_its_own_side() -> None:
    verdict = compare(Proportion(255, 300), Proportion(210, 300))
    assert sentence(verdict, a="terse v3", b="chatty v1").startswith(
        "terse v3 is better: +15 points, 95 % interval 8 to 2"
    )


def test_a_faster_side_is_told_by_a_minus() -> None:
    verdict = compare(Moments(100, 900.0, 2500.0), Moments(100, 780.0, 2500.0), better=Better.LOWER)
    assert sentence(verdict, unit=MILLISECONDS) == "B is better: −120 ms, 95 % interval −134 to −106, 200 answers"


def test_too_early() -> None:
    verdict = compare(Proportion(60, 100), Proportion(67, 100))
    assert verdict.more_needed == 1232
    assert sentence(verdict) == "can't tell yet: about 1,300 more answers"


def test_no_difference_worth_having() -> None:
    verdict = compare(Proportion(5000, 10000), Proportion(5010, 10000), least=0.02)
    assert sentence(verdict, on="errors") == "no difference worth having on errors: within ±2 points, 20,000 answers"


def test_nothing_to_go_by() -> None:
    assert sentence(compare(Proportion(0, 0), Proportion(1, 1))) == "can't tell yet: too little to compare in 1 answer"
    assert sentence(compare(Proportion(3, 9), Proportion(3, 9))) == "can't tell yet: no difference so far in 18 answers"


def test_several_at_once_say_so() -> None:
    kinds = {"x": contrast(Proportion(10, 90), Proportion(60, 90)), "y": contrast(Proportion(1, 3), Proportion(2, 3))}
    said = sentence(decide_all(kinds)["x"])
    assert "97.5 % interval" in said
    assert said.endswith("180 answers, corrected for 2 comparisons at once")


@pytest.mark.parametrize(
    ("reach", "said"),
    [(0.2, "+9 points, 95 % interval −11 to 29"), (0.004, "+9.0 points, 95 % interval 8.6 to 9.4")],
)
def test_as_many_digits_as_mean_something(reach: float, said: str) -> None:
    seen = Interval(0.09, 0.09 - reach, 0.09 + reach, 0.95)
    assert said in sentence(Comparison(Winner.B, seen, 9, 9, "pairs", "tango", 0, 0.0, Better.HIGHER), unit=POINTS)


def test_nothing_is_minus_zero() -> None:
    seen = Interval(10.0, -0.2, 20.2, 0.95)
    verdict = Comparison(Winner.B, seen, 9, 9, "pairs", "tango", 0, 0.0, Better.HIGHER)
    assert "interval 0 to 20" in sentence(verdict, unit=Unit("stars"))


@pytest.mark.parametrize(
    ("count", "told"), [(1, 1), (9, 9), (10, 10), (287, 290), (290, 290), (1278, 1300), (99_123, 100_000)]
)
def test_rounding_up(count: int, told: int) -> None:
    assert round_up(count) == told
