"""A comparison in one plain sentence. It holds numbers and the names it is given, never a text of a user."""

from __future__ import annotations

import math
from dataclasses import dataclass

from headrace_statistics.comparing import Comparison, Winner
from headrace_statistics.interval import Interval


@dataclass(frozen=True, slots=True)
class Unit:
    """What a difference is told in: its name, and by how much the number is multiplied for it."""

    name: str
    scale: float = 1.0


POINTS = Unit("points", 100)
MILLISECONDS = Unit("ms")
SECONDS = Unit("s")


def sentence(comparison: Comparison, *, unit: Unit = POINTS, on: str = "", a: str = "A", b: str = "B") -> str:
    """Say it: who is better by how much, or that there is no difference worth having, or how many more answers would
    tell.

    `on` names the slice ("how-to questions"); `a` and `b` name the variants. "B is better on how-to questions: +9
    points, 95 % interval 4 to 14, 412 answers."
    """
    where = f" on {on}" if on else ""
    match comparison.winner:
        case Winner.A | Winner.B:
            return _better(comparison, unit, where=where, name=b if comparison.winner is Winner.B else a)
        case Winner.SAME:
            margin = _number(comparison.least, unit, decimals=_decimals(comparison.least * unit.scale))
            return f"no difference worth having{where}: within ±{margin} {unit.name}{_tail(comparison)}"
        case _:
            return f"can't tell yet{where}: {_lacking(comparison)}"


def _better(comparison: Comparison, unit: Unit, *, where: str, name: str) -> str:
    """The winner's sentence: its own score less the other's, so a better quality is a plus and a better latency a
    minus.
    """
    seen = comparison.difference
    assert seen is not None
    own = seen if comparison.winner is Winner.B else seen.mirrored()
    decimals = _decimals(own.half_width * unit.scale)
    size, low, high = (_number(value, unit, decimals=decimals) for value in (own.estimate, own.low, own.high))
    sign = "+" if own.estimate > 0 else ""
    interval = f"{_percent(own)} interval {low} to {high}"
    return f"{name} is better{where}: {sign}{size} {unit.name}, {interval}{_tail(comparison)}"


def _tail(comparison: Comparison) -> str:
    many = f", corrected for {comparison.at_once} comparisons at once" if comparison.at_once > 1 else ""
    return f", {_count(comparison.n, comparison)}{many}"


def _lacking(comparison: Comparison) -> str:
    """What is missing for a verdict."""
    if comparison.more_needed is not None:
        more = comparison.more_needed
        return f"about {round_up(more):,} more {_noun(comparison, round_up(more))}"
    if comparison.difference is None:
        return f"too little to compare in {_count(comparison.n, comparison)}"
    return f"no difference so far in {_count(comparison.n, comparison)}"


def round_up(count: int) -> int:
    """To two digits, upwards: nobody plans 287 answers, and 290 will do."""
    step = int(10 ** max(len(str(count)) - 2, 0))
    return -(-count // step) * step


def _count(count: int, comparison: Comparison) -> str:
    return f"{count:,} {_noun(comparison, count)}"


def _noun(comparison: Comparison, count: int) -> str:
    return comparison.counted if count != 1 else comparison.counted.removesuffix("s")


def _decimals(reach: float) -> int:
    """As many as the interval's reach has meaning for: none for ±5, one for ±0.5."""
    return 0 if reach <= 0 else min(max(-math.floor(math.log10(reach)), 0), 9)


def _number(value: float, unit: Unit, *, decimals: int) -> str:
    text = f"{value * unit.scale:,.{decimals}f}"
    return text.removeprefix("-") if not text.strip("-0.,") else text.replace("-", "−")


def _percent(interval: Interval) -> str:
    """The confidence as it is spoken: 95 %, 99.5 %."""
    return f"{math.floor(interval.confidence * 1000 + 1e-9) / 10:g} %"
