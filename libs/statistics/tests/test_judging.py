"""Votes of a judge: what counts as a win, what the seat does, and what length does."""

from __future__ import annotations

import numpy as np
import pytest
from headrace_statistics import Pairs, TooFew, Winner, compare_pairs
from headrace_statistics.judging import Judged, Seat, length_controlled_win_rate, position_bias, tally, win_rate
from scipy.special import expit

FIRST, SECOND, NEITHER = Seat.FIRST, Seat.SECOND, Seat.NEITHER


@pytest.mark.parametrize(
    ("a_first", "b_first", "outcome", "preference", "drawn_to"),
    [
        ((FIRST,), (SECOND,), Winner.A, 0.0, 0),
        ((SECOND,), (FIRST,), Winner.B, 1.0, 0),
        ((FIRST,), (FIRST,), Winner.SAME, 0.5, 1),
        ((SECOND,), (SECOND,), Winner.SAME, 0.5, -1),
        ((NEITHER,), (FIRST,), Winner.SAME, 0.75, 1),
        ((NEITHER,), (NEITHER,), Winner.SAME, 0.5, 0),
        ((SECOND, SECOND, FIRST), (FIRST, FIRST, FIRST), Winner.B, 5 / 6, 0),
        ((SECOND, FIRST), (FIRST, FIRST), Winner.SAME, 0.75, 1),
    ],
)
def test_what_a_question_comes_to(
    a_first: tuple[Seat, ...], b_first: tuple[Seat, ...], outcome: Winner, preference: float, drawn_to: int
) -> None:
    judged = Judged(a_first, b_first)
    assert (judged.outcome, judged.drawn_to) == (outcome, drawn_to)
    assert judged.preference == pytest.approx(preference)


def test_swapping_the_answers_swaps_the_outcome_and_leaves_the_seats() -> None:
    draw = np.random.default_rng(20)
    judged = [Judged(tuple(draw.choice(list(Seat), 3)), tuple(draw.choice(list(Seat), 3))) for _ in range(200)]
    swapped = [Judged(each.b_first, each.a_first) for each in judged]
    assert tally(swapped) == tally(judged).swapped()
    assert [1 - each.preference for each in swapped] == pytest.approx([each.preference for each in judged])
    assert position_bias(swapped) == position_bias(judged)


def test_a_judge_that_only_sees_seats_gives_nobody_a_win() -> None:
    judged = [Judged((FIRST,), (FIRST,))] * 60
    bias = position_bias(judged)
    assert tally(judged) == Pairs(0, 0, 0, 60)
    assert win_rate(tally(judged)).estimate == 0.5
    assert compare_pairs(tally(judged), least=0.1).winner is Winner.SAME
    assert bias.towards_first.low > 0.85
    assert bias.consistent.high < 0.1


def test_a_steady_judge_has_no_bias() -> None:
    bias = position_bias([Judged((FIRST,), (SECOND,)), Judged((SECOND,), (FIRST,))] * 40)
    assert bias.towards_first.contains(0)
    assert bias.consistent.estimate == 1


def test_a_win_rate_counts_a_tie_as_half() -> None:
    rate = win_rate(Pairs(0, 20, 50, 30))
    assert rate.estimate == 0.65
    assert 0.5 < rate.low < 0.65 < rate.high < 0.75


def test_both_orders_are_asked_for() -> None:
    with pytest.raises(ValueError, match="both orders"):
        Judged((FIRST,), ())


def verbose(draw: np.random.Generator, *, quality: float, love_of_length: float) -> tuple[list[float], list[float]]:
    """B is longer by 100 on average, and the judge likes length."""
    extra = draw.normal(100, 150, 150)
    pull = love_of_length * np.tanh(extra / np.sqrt(np.mean(extra**2)))
    return (draw.random(150) < expit(quality + pull)).astype(float).tolist(), extra.tolist()


def test_length_is_taken_out_of_the_win_rate() -> None:
    draw = np.random.default_rng(21)
    seen = [verbose(draw, quality=0.0, love_of_length=1.5) for _ in range(300)]
    controlled = [length_controlled_win_rate(*each) for each in seen]
    assert 0.92 <= np.mean([each.contains(0.5) for each in controlled]) <= 0.985
    assert np.mean([each.estimate for each in controlled]) == pytest.approx(0.5, abs=0.02)
    assert np.mean([np.mean(wins) for wins, _ in seen]) > 0.58


def test_quality_stays_in_it() -> None:
    draw = np.random.default_rng(22)
    rates = [length_controlled_win_rate(*verbose(draw, quality=1.0, love_of_length=1.5)) for _ in range(100)]
    assert np.mean([each.estimate for each in rates]) == pytest.approx(expit(1.0), abs=0.02)


def test_swapping_the_answers_mirrors_the_controlled_rate() -> None:
    wins, extra = verbose(np.random.default_rng(23), quality=0.5, love_of_length=1.0)
    forth = length_controlled_win_rate(wins, extra)
    back = length_controlled_win_rate([1 - win for win in wins], [-each for each in extra])
    assert (forth.estimate, forth.low) == pytest.approx((1 - back.estimate, 1 - back.high), abs=1e-5)


def test_winning_always_is_no_certainty() -> None:
    rate = length_controlled_win_rate([1.0] * 20, [5.0, -5.0] * 10)
    assert 0.9 < rate.estimate < rate.high < 1
    assert rate.low < 0.9


def test_answers_of_one_length_need_no_control() -> None:
    rate = length_controlled_win_rate([1.0, 0.0, 0.5, 1.0] * 25, [0.0] * 100)
    assert rate.estimate == pytest.approx(0.625, abs=2e-3)


def test_length_that_never_varies_cannot_be_told_from_the_variant() -> None:
    with pytest.raises(TooFew, match="longer by the same"):
        length_controlled_win_rate([1.0, 0.0, 1.0], [7.0] * 3)
    with pytest.raises(TooFew, match="three"):
        length_controlled_win_rate([1.0], [7.0])
    with pytest.raises(ValueError, match="between 0 and 1"):
        length_controlled_win_rate([2.0, 0.0, 1.0], [1.0, 2.0, 3.0])
