"""Verdicts: who wins, when it is too early, how many more answers, and several kinds at once."""

from __future__ import annotations

import numpy as np
import pytest
from headrace_statistics import (
    Better,
    Comparison,
    Interval,
    Moments,
    Pairs,
    Proportion,
    Winner,
    compare,
    compare_pairs,
    contrast,
    decide,
    decide_all,
)
from hypothesis import given
from hypothesis import strategies as st

shares = st.tuples(st.integers(0, 400), st.integers(0, 400)).map(lambda pair: Proportion(min(pair), max(pair)))
OTHER = {Winner.A: Winner.B, Winner.B: Winner.A, Winner.SAME: Winner.SAME, Winner.UNDECIDED: Winner.UNDECIDED}


def test_the_clearly_better_side_wins() -> None:
    verdict = compare(Proportion(210, 300), Proportion(255, 300))
    assert (verdict.winner, verdict.n, verdict.more_needed, verdict.method) == (Winner.B, 600, 0, "newcombe")


def test_of_latencies_the_lower_wins() -> None:
    slow, fast = Moments(100, 900.0, 100.0), Moments(100, 800.0, 100.0)
    assert compare(slow, fast, better=Better.LOWER).winner is Winner.B
    assert compare(slow, fast).winner is Winner.A


def test_a_difference_not_worth_having_is_none() -> None:
    verdict = compare_pairs(Pairs(4000, 40, 50, 910), least=0.02)
    assert (verdict.winner, verdict.more_needed, verdict.n) == (Winner.SAME, 0, 5000)


def test_a_difference_that_is_certain_but_too_small_is_none() -> None:
    certain = Pairs(40_000, 200, 400, 10_000)
    assert compare_pairs(certain).winner is Winner.B
    assert compare_pairs(certain, least=0.02).winner is Winner.SAME


def test_too_few_answers_decide_nothing_and_name_no_number() -> None:
    verdict = compare(Proportion(0, 0), Proportion(10, 10))
    assert (verdict.winner, verdict.difference, verdict.more_needed) == (Winner.UNDECIDED, None, None)


def test_no_difference_so_far_names_no_number_unless_it_is_said_what_is_worth_having() -> None:
    assert compare_pairs(Pairs(5, 3, 3, 5)).more_needed is None
    assert (compare_pairs(Pairs(5, 3, 3, 5), least=0.1).more_needed or 0) > 100


@given(shares, shares, st.sampled_from([0.0, 0.02, 0.1]), st.sampled_from(Better))
def test_swapping_the_sides_swaps_the_winner(a: Proportion, b: Proportion, least: float, better: Better) -> None:
    forth, back = compare(a, b, least=least, better=better), compare(b, a, least=least, better=better)
    assert back.winner is OTHER[forth.winner]
    assert back.more_needed == pytest.approx(forth.more_needed, abs=1)


@given(shares, shares, st.sampled_from([0.0, 0.02, 0.1]))
def test_the_verdict_and_its_interval_say_the_same(a: Proportion, b: Proportion, least: float) -> None:
    verdict = compare(a, b, least=least)
    interval = verdict.difference or Interval(0, -1, 1, 0.95)
    assert (verdict.winner is Winner.SAME) == interval.within(least)
    assert (verdict.winner is Winner.B) == (interval.low > 0 and not interval.within(least))
    assert (verdict.more_needed == 0) == (verdict.winner is not Winner.UNDECIDED)


def test_so_many_more_answers_do_decide_four_times_in_five() -> None:
    """The promise behind "about 300 more answers": the true difference being the one seen, that many are enough."""
    first = compare(Proportion(60, 100), Proportion(67, 100))
    assert first.winner is Winner.UNDECIDED
    each = 100 + (first.more_per_side or 0)
    draw = np.random.default_rng(4)
    later = zip(draw.binomial(each, 0.60, 1000), draw.binomial(each, 0.67, 1000), strict=True)
    decided = [compare(Proportion(int(a), each), Proportion(int(b), each)).winner is Winner.B for a, b in later]
    assert 0.76 <= np.mean(decided) <= 0.84


def test_a_pair_is_one_more_answer_of_each_side() -> None:
    verdict = compare_pairs(Pairs(50, 10, 14, 26))
    assert verdict.more_per_side == verdict.more_needed
    assert verdict.n == 100


def test_of_reports_on_ten_kinds_one_in_twenty_is_wrong_and_not_four_in_ten() -> None:
    """Ten kinds without any difference: in how many reports is one of them called better?"""
    draw = np.random.default_rng(5)
    reports = [
        {str(kind): contrast(Proportion(int(a), 300), Proportion(int(b), 300)) for kind, (a, b) in enumerate(shares)}
        for shares in draw.binomial(300, 0.6, (800, 10, 2))
    ]
    corrected = [any(v.winner is not Winner.UNDECIDED for v in decide_all(report).values()) for report in reports]
    careless = [any(decide(seen).winner is not Winner.UNDECIDED for seen in report.values()) for report in reports]
    assert np.mean(corrected) <= 0.065
    assert np.mean(careless) > 0.3


def test_holms_steps_are_those_of_his_paper() -> None:
    """p-values of .01 to .04 over four kinds: the first is held to .0125 and passes, the second to .0167 and fails."""
    kinds = {name: Shifted(p) for name, p in (("d", 0.04), ("b", 0.02), ("a", 0.01), ("c", 0.03))}
    verdicts = decide_all(kinds)
    assert {name for name, verdict in verdicts.items() if verdict.winner is Winner.B} == {"a"}
    # Of two, .02 is held to .025 and then .04 to .05: both pass, where two halves of .05 would have let only one.
    assert all(v.winner is Winner.B for v in decide_all({"b": Shifted(0.02), "d": Shifted(0.04)}).values())


class Shifted:
    """A contrast with a known p-value: its interval reaches 0 at a confidence of 1 − p."""

    n_a = n_b = 100
    counted = "pairs"
    method = "tango"

    def __init__(self, p: float) -> None:
        self.p = p

    def interval(self, confidence: float) -> Interval:
        return Interval(1.0, min((1 - confidence) / self.p - 1, 1.0), 3.0, confidence)


def test_shifted_is_what_it_says() -> None:
    assert Shifted(0.02).interval(0.981).contains(0)
    assert not Shifted(0.02).interval(0.979).contains(0)


def test_the_interval_of_each_kind_is_the_one_that_decided() -> None:
    verdicts = decide_all(
        {
            "clear": contrast(Proportion(100, 300), Proportion(200, 300)),
            "open": contrast(Proportion(100, 300), Proportion(110, 300)),
            "empty": contrast(Proportion(0, 0), Proportion(1, 1)),
            "alike": contrast(Proportion(5000, 9000), Proportion(5000, 9000)),
        },
        least=0.05,
    )
    assert {name: verdict.winner for name, verdict in verdicts.items()} == {
        "clear": Winner.B,
        "open": Winner.UNDECIDED,
        "empty": Winner.UNDECIDED,
        "alike": Winner.SAME,
    }
    for verdict in verdicts.values():
        assert verdict.at_once == 3
        assert verdict.difference is None or verdict.difference.confidence == pytest.approx(1 - 0.05 / 3)


def test_a_single_kind_needs_no_correction() -> None:
    only: Comparison = decide_all({"all": contrast(Proportion(210, 300), Proportion(240, 300))})["all"]
    assert only == compare(Proportion(210, 300), Proportion(240, 300))


def test_nothing_to_compare_is_an_empty_report() -> None:
    assert decide_all({}) == {}


def test_a_share_is_no_mean() -> None:
    with pytest.raises(TypeError, match="share"):
        compare(Proportion(1, 2), Moments(2, 0.5, 0.1))


@pytest.mark.parametrize("wrong", [{"least": -0.1}, {"power": 80}, {"confidence": 95}, {"least": float("nan")}])
def test_wrong_settings_are_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        compare(Proportion(1, 2), Proportion(1, 2), **wrong)  # type: ignore[arg-type]
