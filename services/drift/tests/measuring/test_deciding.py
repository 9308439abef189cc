"""When alerts open and close: corrected, large enough, twice in a row, and once per cause."""

from datetime import timedelta

import pytest
from headrace_drift.measuring import Look, Measure, Reading, Rules, Slice, Standing, decide, decide_all

from services.drift.tests.measuring.house import ALL, HOUR, look, reading

RULES = Rules()
SHOP = Slice("acme", "shop")
ERRORS = Slice("acme", "shop", "error")


def opened(*looks: Look, rules: Rules = RULES) -> list[tuple[str, str]]:
    return [(one.slice.product, one.slice.kind) for found in decide_all(looks, rules) for one in found.opened]


def test_an_alert_opens_when_two_looks_in_a_row_find_it() -> None:
    assert opened(look(0, reading())) == []
    assert opened(look(0, reading()), look(1, reading(p_value=0.5)), look(2, reading())) == []
    assert opened(look(0, reading()), look(1, reading())) == [("", "")]
    assert opened(look(0, reading()), rules=Rules(in_a_row=1)) == [("", "")]


def test_an_open_alert_does_not_open_again() -> None:
    assert opened(*(look(hour, reading()) for hour in range(20))) == [("", "")]


@pytest.mark.parametrize(
    ("found", "drifted"),
    [
        (reading(), True),
        (reading(p_value=0.01), False),
        (reading(effect=-0.1), False),
        (reading(effect=0.1), False),
        (reading(effect=0.3), True),
        # What a look may spend of .05: half of it by 168 looks, and here by one reading.
        (reading(p_value=0.99 * 0.025 / 168), True),
        (reading(p_value=1.01 * 0.025 / 168), False),
    ],
)
def test_a_drift_is_beyond_chance_and_large_enough(found: Reading, *, drifted: bool) -> None:
    assert decide(look(0, found), Standing(), RULES).readings[0].drifted is drifted


def test_every_reading_of_the_look_takes_its_share() -> None:
    """As many slices again, and what was just beyond chance is not any more."""
    clear = reading(p_value=0.9 * 0.025 / 168 / 10)
    others = [reading(Slice("acme", f"product {n}"), p_value=0.5) for n in range(40)]
    assert decide(look(0, clear, *others[:9]), Standing(), RULES).readings[0].drifted
    assert not decide(look(0, clear, *others), Standing(), RULES).readings[0].drifted


def test_looks_are_spent_and_a_new_week_has_new_ones() -> None:
    rules = Rules(looks_per_week=3)
    decisions = decide_all([look(hour) for hour in (0, 1, 2, 3, 7 * 24, 7 * 24 + 1)], rules)
    assert [found.standing.looks for found in decisions] == [1, 2, 3, 4, 1, 2]
    barely = reading(p_value=0.99 * 0.025 / 3)
    found = decide_all([*(look(hour, barely) for hour in range(6)), look(7 * 24, barely)], rules)
    assert [one.readings[0].drifted for one in found] == [True, True, True, False, False, False, True]


def test_an_alert_closes_when_two_looks_in_a_row_find_less_than_half_of_it() -> None:
    looks = [look(0, reading()), look(1, reading())]
    weaker = [reading(effect=-0.12, p_value=0.01), reading(effect=-0.09, p_value=0.01)]
    closed = [
        [one.closed_at is not None for one in found.closed]
        for found in decide_all([*looks, look(2, weaker[0]), look(3, weaker[1]), look(4, weaker[1])], RULES)
    ]
    assert closed == [[], [], [], [], [True]]


def test_between_its_two_levels_an_alert_neither_opens_nor_closes() -> None:
    """Hysteresis: an effect of .15 is below what opens (.2), and above what closes (.1)."""
    between = reading(effect=-0.15, p_value=1e-9)
    assert opened(*(look(hour, between) for hour in range(10))) == []
    looks = [look(0, reading()), look(1, reading()), *(look(2 + n, between) for n in range(9))]
    assert decide_all(looks, RULES)[-1].standing.held.keys() == {ALL}


def test_chance_alone_closes_too() -> None:
    calm = reading(effect=-0.3, p_value=0.2)
    found = decide_all([look(0, reading()), look(1, reading()), look(2, calm), look(3, calm)], RULES)
    assert [len(one.closed) for one in found] == [0, 0, 0, 1]
    assert not found[-1].standing.held


def test_a_slice_that_fell_silent_keeps_its_alert() -> None:
    found = decide_all([look(0, reading()), look(1, reading()), *(look(2 + n) for n in range(5))], RULES)
    assert found[-1].standing.held.keys() == {ALL}


def test_a_narrower_slice_needs_something_of_its_own() -> None:
    wide, narrow = reading(), reading(SHOP)
    assert opened(look(0, wide, narrow), look(1, wide, narrow)) == [("", "")]
    other = reading(SHOP, Measure.LATENCY)
    assert opened(look(0, wide, narrow, other), look(1, wide, narrow, other)) == [("", ""), ("shop", "")]
    # Nothing around the narrow one: it opens by itself, and beside it what is elsewhere.
    elsewhere = reading(Slice("acme", "docs"))
    assert opened(look(0, narrow, elsewhere), look(1, narrow, elsewhere)) == [("docs", ""), ("shop", "")]
    assert opened(look(0, reading(ERRORS)), look(1, reading(ERRORS))) == [("shop", "error")]


def test_slices_contain_one_another() -> None:
    assert ALL.contains(SHOP)
    assert SHOP.contains(ERRORS)
    assert ERRORS.contains(ERRORS)
    assert Slice("acme", "", "error").contains(ERRORS)
    assert not SHOP.contains(ALL)
    assert not SHOP.contains(Slice("acme", "", "error"))
    assert not ALL.contains(Slice("other"))


def test_readings_are_told_largest_first_in_units_of_what_matters() -> None:
    found = (
        reading(effect=-0.5),
        reading(measure=Measure.LATENCY, effect=0.9),
        reading(measure=Measure.REFUSED, effect=0.1),
    )
    alert = decide_all([look(0, *found), look(1, *found)], RULES)[-1].opened[0]
    assert [one.measure for one in alert.readings] == [Measure.LATENCY, Measure.GROUNDED]


def test_a_replay_raises_the_same() -> None:
    looks = [look(hour, reading(), reading(SHOP, Measure.THUMBS)) for hour in range(3)]
    assert decide_all(looks, RULES) == decide_all(looks, RULES)
    ids = {one.alert_id for found in decide_all(looks, RULES) for one in found.opened}
    later = [Look(one.at + HOUR, one.window_from + HOUR, one.readings) for one in looks]
    assert len(ids) == 2
    assert not ids & {one.alert_id for found in decide_all(later, RULES) for one in found.opened}


def test_a_restart_between_two_looks_changes_nothing() -> None:
    looks = [look(hour, reading(), reading(SHOP, Measure.SCORES, evaluator='a "judge"')) for hour in range(2)]
    looks += [look(2 + hour, reading(p_value=0.7)) for hour in range(3)]
    standing, decisions = Standing(), []
    for one in looks:
        decisions.append(decide(one, Standing.from_json(standing.to_json()), RULES))
        standing = decisions[-1].standing
    assert tuple(decisions) == decide_all(looks, RULES)
    assert any(one.closed for one in decisions)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"week": 1, "looks": 1, "in_a_row": [], "held": [["a"]]}'])
def test_a_standing_that_is_none_is_refused(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        Standing.from_json(text)


def test_a_new_baseline_closes_what_stood_against_the_old() -> None:
    decision = decide_all([look(0, reading()), look(1, reading())], RULES)[-1]
    at = look(2).at
    standing, closed = decision.standing.rebased(at)
    assert [(one.alert_id, one.closed_at) for one in closed] == [(decision.opened[0].alert_id, at)]
    assert (standing.held, standing.looks) == ({}, 2)


@pytest.mark.parametrize(
    "wrong", [{"false_alarms": 0}, {"false_alarms": 5}, {"looks_per_week": 0}, {"in_a_row": 0}, {"least": {}}]
)
def test_rules_that_cannot_be_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Rules(**wrong)


def test_a_week_begins_on_monday() -> None:
    decisions = decide_all([look(-0.5), look(0)], RULES)
    assert [found.standing.looks for found in decisions] == [1, 1]
    assert decisions[1].standing.week == decisions[0].standing.week + 1
    assert look(0).at - look(-0.5).at == timedelta(minutes=30)


def test_every_kind_of_effect_has_its_least() -> None:
    with pytest.raises(ValueError, match="least of cohen_h is above 0: None"):
        Rules(least={})
    with pytest.raises(ValueError, match="least of mmd is above 0: 0"):
        Rules(least={**RULES.least, "mmd": 0})
