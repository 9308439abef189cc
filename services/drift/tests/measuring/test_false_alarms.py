"""Of weeks in which nothing changes, at most the stated share sees an alert.

The traffic has what makes careless monitors cry wolf: conversations whose queries are alike, words as Zipf has them,
nights that differ from days, and four slices with some fifty measures at each look at sliding windows. Effects of any
size count here (`least` is next to 0), so that it is the p-values and their correction that are held to what they say.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from headrace_drift.measuring import Look, Rules, Sketch, Slice, compare, decide_all
from headrace_drift.measuring.deciding import Correction
from headrace_statistics.multiplicity import holm
from scipy import stats

from services.drift.tests.measuring.house import MONDAY
from services.drift.tests.measuring.traffic import KINDS, PRODUCTS, World

HALF = timedelta(hours=12)
LOOKS = 8
WEEKS = 32
RULES = Rules(looks_per_week=LOOKS, in_a_row=1, least=dict.fromkeys(Rules().least, 1e-9))
ALL = Slice("acme")
SLICES = [ALL, *(Slice("acme", product) for product in PRODUCTS), *(Slice("acme", "", kind) for kind in KINDS[:1])]
#: On a busy machine the weeks take minutes.
pytestmark = pytest.mark.timeout(900)
Bucket = dict[Slice, Sketch]


@dataclass(frozen=True)
class Past:
    """Many half days that were, by night (0 to 12 h) and by day: a week is drawn from them, and so is its baseline."""

    halves: tuple[list[Bucket], list[Bucket]]

    @classmethod
    def lived(cls, seed: int, *, days: int, queries: float) -> Past:
        world, rng = World(seed, 400), random.Random(seed)
        return cls(tuple([_half(world, rng, begins, queries) for _ in range(days)] for begins in (0, 12)))

    def week(self, rng: random.Random) -> tuple[Bucket, list[Bucket]]:
        """A baseline of a week, and the half days of the next, none of them in both."""
        nights, days = (rng.sample(half, 14) for half in self.halves)
        before = [*nights[:7], *days[:7]]
        after = [half for pair in zip(nights[7:], days[7:], strict=True) for half in pair]
        return {one: Sketch.merged(half[one] for half in before) for one in SLICES}, after


def _half(world: World, rng: random.Random, begins: int, queries: float) -> Bucket:
    found = {one: Sketch() for one in SLICES}
    for hour in range(begins, begins + 12):
        for one in world.hour(hour, rng, queries=queries):
            product = PRODUCTS[one.conversation % 3 == 0]
            for slice_ in found.keys() & {ALL, Slice("acme", product), Slice("acme", "", one.kind)}:
                found[slice_].add(one)
    return found


def looks_of(past: Past, rng: random.Random) -> list[Look]:
    """A week's looks at windows of 24 hours, twelve hours apart, against the week before."""
    baseline, halves = past.week(rng)
    found = []
    for n in range(LOOKS):
        window = {one: Sketch.merged(half[one] for half in halves[n : n + 2]) for one in SLICES}
        readings = [got for one in SLICES for got in compare(baseline[one], window[one], RULES, slice_=one)]
        at = MONDAY + (n + 1) * HALF
        found.append(Look(at, at - 2 * HALF, tuple(readings)))
    return found


def by_slice(p_values: Sequence[float]) -> Sequence[float]:
    """The seeded bug: as if there were one slice with its fourteen measures."""
    return [min(1.0, 14 * p_value) for p_value in p_values]


def false_alarms(weeks: Sequence[Sequence[Look]], correction: Correction = holm) -> int:
    return sum(any(found.opened for found in decide_all(week, RULES, correction=correction)) for week in weeks)


@pytest.fixture(scope="module")
def weeks() -> list[list[Look]]:
    """As many as go into half a minute."""
    past, rng = Past.lived(1, days=40, queries=30), random.Random(1)
    return [looks_of(past, rng) for _ in range(WEEKS)]


def most(weeks: int) -> int:
    """What 5 % stay within, but once in a thousand."""
    return int(stats.binom.ppf(0.999, weeks, RULES.false_alarms))


def test_no_more_weeks_see_an_alert_than_is_stated(weeks: list[list[Look]]) -> None:
    assert sum(len(look.readings) for week in weeks for look in week) > 45 * LOOKS * WEEKS
    assert false_alarms(weeks) <= most(len(weeks))


def test_a_monitor_that_forgets_its_slices_is_caught(weeks: list[list[Look]]) -> None:
    assert false_alarms(weeks, by_slice) > false_alarms(weeks)


def test_a_monitor_that_corrects_nothing_is_caught(weeks: list[list[Look]]) -> None:
    assert false_alarms(weeks, lambda p_values: p_values) > most(len(weeks))


def test_a_monitor_that_forgets_conversations_is_caught(weeks: list[list[Look]]) -> None:
    """Were queries taken for independent, chance would look two thirds as large, and every surprise half again so."""

    def careless(p_values: Sequence[float]) -> Sequence[float]:
        return holm([2 * stats.norm.sf(1.5 * stats.norm.isf(p_value / 2)) for p_value in p_values])

    assert false_alarms(weeks, careless) > most(len(weeks))


def test_effects_that_matter_are_rarer_still(weeks: list[list[Look]]) -> None:
    rules = replace(RULES, least=Rules().least, in_a_row=2)
    assert sum(any(found.opened for found in decide_all(week, rules)) for week in weeks) <= false_alarms(weeks)
