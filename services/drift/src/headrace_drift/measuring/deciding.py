"""When an alert opens and closes, and how rarely for nothing.

All readings of a look are one family: their p-values are corrected over slices and measures (Holm 1979), and what a
look may spend of the week's error is fixed beforehand (`multiplicity.spent_at`), so that of weeks in which nothing
changes at most `Rules.false_alarms` see any alert, however slices, measures and sliding windows hang together.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

from headrace_statistics.multiplicity import holm, spent_at

from headrace_drift.measuring.readings import Look, Measure, Reading, Slice
from headrace_drift.measuring.rules import Rules

Key = tuple[Slice, Measure, str]
#: Corrects the p-values of one look.
Correction = Callable[[Sequence[float]], Sequence[float]]
WEEK = timedelta(days=7)
#: Mondays at midnight, UTC.
MONDAY = datetime(1970, 1, 5, tzinfo=UTC)
_NAMESPACE = UUID("6b1f6a1e-3c56-5d0c-9c7e-0d51f6c0a7d4")
#: An alert whose change is no surprise any more closes: what is left has this p-value or a larger one, uncorrected.
UNSURPRISING = 0.05


@dataclass(frozen=True, slots=True)
class Raised:
    """An alert, as it was raised. `alert_id` is made of the slice and the window, so that a replay raises the same."""

    alert_id: str
    slice: Slice
    readings: tuple[Reading, ...]
    window_from: datetime
    window_until: datetime
    opened_at: datetime
    closed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """An open alert: since when, over what it was raised, and how many looks in a row found nothing of it."""

    alert_id: str
    opened_at: datetime
    keys: frozenset[tuple[Measure, str]]
    quiet: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """What a tenant's looks have come to so far: all that the next needs to know of them.

    `week` counts weeks since 1970, from Mondays, UTC; `looks` those taken in it. `in_a_row`: how many looks in a row
    found each drift. `held`: the open alerts by slice.
    """

    week: int = 0
    looks: int = 0
    in_a_row: dict[Key, int] = field(default_factory=dict)
    held: dict[Slice, Held] = field(default_factory=dict)

    def rebased(self, at: datetime) -> tuple[Standing, tuple[Raised, ...]]:
        """For a new baseline: every alert closes, and what was spent of the week stays spent."""
        closed = tuple(_closed(slice_, held, (), at, at) for slice_, held in sorted(self.held.items()))
        return Standing(self.week, self.looks), closed

    def to_json(self) -> str:
        """The standing as text, for a store."""
        return json.dumps(
            {
                "week": self.week,
                "looks": self.looks,
                "in_a_row": [[*_of_key(key), n] for key, n in sorted(self.in_a_row.items())],
                "held": [[*_of_slice(slice_), *_of_held(held)] for slice_, held in sorted(self.held.items())],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Standing:
        """Reads what `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        found = json.loads(text)
        return cls(
            found["week"],
            found["looks"],
            {(Slice(*row[:3]), Measure(row[3]), row[4]): row[5] for row in found["in_a_row"]},
            {Slice(*row[:3]): _held(row[3:]) for row in found["held"]},
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What a look came to: its readings with `drifted` set, alerts that open and that close, and the next standing."""

    readings: tuple[Reading, ...]
    opened: tuple[Raised, ...]
    closed: tuple[Raised, ...]
    standing: Standing


def decide(look: Look, standing: Standing, rules: Rules, *, correction: Correction = holm) -> Decision:
    """Decides over one look, which holds the readings of all of a tenant's slices. Deterministic.

    A reading has drifted when its corrected p-value is within what the look may spend, and its effect is as large as
    `Rules.least`. An alert opens after `Rules.in_a_row` looks of that, unless one of a wider slice is open over the
    same measure; it closes after as many that find less than `closes_at` of it, or nothing beyond chance.
    """
    week, looks = _counted(look, standing)
    readings = _judged(
        look.readings, spent_at(looks, error=rules.false_alarms, planned=rules.looks_per_week), rules, correction
    )
    held, closed = _closing(look, readings, standing, rules)
    in_a_row = {one.key: standing.in_a_row.get(one.key, 0) + 1 for one in readings if one.drifted}
    opened = _opening(look, readings, in_a_row, held, rules)
    for alert in opened:
        held[alert.slice] = Held(alert.alert_id, alert.opened_at, frozenset(_what(one) for one in alert.readings))
    return Decision(readings, opened, closed, Standing(week, looks, in_a_row, held))


def decide_all(looks: Iterable[Look], rules: Rules, *, correction: Correction = holm) -> tuple[Decision, ...]:
    """Decides over a history, oldest first."""
    standing, decisions = Standing(), []
    for look in looks:
        decisions.append(decide(look, standing, rules, correction=correction))
        standing = decisions[-1].standing
    return tuple(decisions)


def _counted(look: Look, standing: Standing) -> tuple[int, int]:
    """The look's week, and its number in it."""
    week = (look.at - MONDAY) // WEEK
    return (week, 1) if week != standing.week else (week, standing.looks + 1)


def _judged(readings: Sequence[Reading], error: float, rules: Rules, correction: Correction) -> tuple[Reading, ...]:
    corrected = correction([one.p_value for one in readings])
    return tuple(
        replace(one, drifted=p_value <= error and abs(one.effect) >= rules.least[one.effect_kind])
        for one, p_value in zip(readings, corrected, strict=True)
    )


def _opening(
    look: Look, readings: Sequence[Reading], in_a_row: dict[Key, int], held: dict[Slice, Held], rules: Rules
) -> tuple[Raised, ...]:
    """The alerts that open, wider slices first: a narrower one needs something that no alert around it is about."""
    open_over = {slice_: set(one.keys) for slice_, one in held.items()}
    opened = []
    for slice_ in sorted({one.slice for one in readings if one.drifted and one.slice not in held}, key=_width):
        drifted = [one for one in readings if one.slice == slice_ and one.drifted]
        told = set().union(*(keys for wider, keys in open_over.items() if wider.contains(slice_)))
        if any(in_a_row[one.key] >= rules.in_a_row and _what(one) not in told for one in drifted):
            opened.append(_raised(look, slice_, drifted, rules))
            open_over[slice_] = {_what(one) for one in drifted}
    return tuple(opened)


def _closing(
    look: Look, readings: Sequence[Reading], standing: Standing, rules: Rules
) -> tuple[dict[Slice, Held], tuple[Raised, ...]]:
    """The alerts that stay open, and those that close. One whose slice is too small to be read stays as it is."""
    held, closed = {}, []
    for slice_, alert in sorted(standing.held.items()):
        about = [one for one in readings if one.slice == slice_ and _what(one) in alert.keys]
        quiet = _quiet(about, alert, rules)
        if quiet >= rules.in_a_row:
            closed.append(_closed(slice_, alert, tuple(about), look.window_from, look.at))
        else:
            fresh = frozenset(_what(one) for one in readings if one.slice == slice_ and one.drifted)
            held[slice_] = replace(alert, quiet=quiet, keys=alert.keys | fresh)
    return held, tuple(closed)


def _quiet(about: Sequence[Reading], alert: Held, rules: Rules) -> int:
    if not about:
        return alert.quiet
    return 0 if any(_still_holds(one, rules) for one in about) else alert.quiet + 1


def _still_holds(reading: Reading, rules: Rules) -> bool:
    large = abs(reading.effect) >= rules.closes_at * rules.least[reading.effect_kind]
    return large and reading.p_value <= UNSURPRISING


def _raised(look: Look, slice_: Slice, drifted: Sequence[Reading], rules: Rules) -> Raised:
    window = f"{look.window_from.astimezone(UTC).isoformat()} {look.at.astimezone(UTC).isoformat()}"
    # A line feed stands in no name that a tenant, product or kind may have.
    name = "\n".join((slice_.tenant, slice_.product, slice_.kind, window))
    ordered = sorted(drifted, key=lambda one: (-_size(one, rules), one.measure, one.evaluator))
    return Raised(str(uuid5(_NAMESPACE, name)), slice_, tuple(ordered), look.window_from, look.at, look.at)


def _closed(slice_: Slice, held: Held, readings: tuple[Reading, ...], begins: datetime, at: datetime) -> Raised:
    return Raised(held.alert_id, slice_, readings, begins, at, held.opened_at, at)


def _size(reading: Reading, rules: Rules) -> float:
    """An effect in units of the least that counts, so that effects of different kinds can be ordered."""
    return abs(reading.effect) / rules.least[reading.effect_kind]


def _what(reading: Reading) -> tuple[Measure, str]:
    return reading.measure, reading.evaluator


def _width(slice_: Slice) -> tuple[int, Slice]:
    return bool(slice_.product) + bool(slice_.kind), slice_


def _of_slice(slice_: Slice) -> tuple[str, str, str]:
    return slice_.tenant, slice_.product, slice_.kind


def _of_key(key: Key) -> tuple[str, str, str, int, str]:
    return *_of_slice(key[0]), int(key[1]), key[2]


def _of_held(held: Held) -> tuple[str, str, list[tuple[int, str]], int]:
    keys = sorted((int(measure), evaluator) for measure, evaluator in held.keys)
    return held.alert_id, held.opened_at.astimezone(UTC).isoformat(), keys, held.quiet


def _held(row: list[object]) -> Held:
    alert_id, opened_at, keys, quiet = row
    if not isinstance(keys, list) or not isinstance(quiet, int):
        raise TypeError("an open alert is none")
    about = frozenset((Measure(measure), str(evaluator)) for measure, evaluator in keys)
    return Held(str(alert_id), datetime.fromisoformat(str(opened_at)), about, quiet)
