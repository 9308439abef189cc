"""What counts as drift: the numbers that a team may set, and what each costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import get_args

from headrace_drift.measuring.readings import EffectKind, Measure


def _least() -> dict[EffectKind, float]:
    # .2 is Cohen's "small" (1988): a share of .70 that falls to .60, of .02 that rises to .06. A Cliff's delta of .147
    # is Romano and others' (2006) end of "negligible". A Cramér's V of .1 is Cohen's small w. The two distances were
    # measured: questions on Python that turn to SQL read .21 bits and .25; two halves of the same ones, .08 and .05.
    return {"cohen_h": 0.2, "cliff_delta": 0.147, "js_bits": 0.03, "mmd": 0.1, "cramer_v": 0.1}


@dataclass(frozen=True, slots=True)
class Rules:
    """When a slice has drifted.

    `false_alarms`: at most this share of tenants' weeks, in expectation, sees any alert although nothing changed.
    `looks_per_week`: how many looks that is planned for; later ones of the same week decide too, but more strictly.
    `minimum_queries`: a slice with fewer in the window, or in the baseline, is not read at all; of a measure that not
    every query has (thumbs, scores) at least `minimum_few` are wanted. `minimum_conversations`: the least effective
    number of conversations' groups on each side, of `layout.GROUPS`: some 40 conversations. Of fewer, p-values below
    1e-4 come several times too often.
    `least`: the smallest effect that anybody cares about, by kind of effect; below it nothing opens.
    `in_a_row`: an alert opens when so many looks in a row find it, and closes when so many find nothing.
    `closes_at`: it closes only below this share of `least`, or when chance alone explains what is left (p > .05).
    `nothing_close`: a query whose nearest passage has a cosine below this has found nothing close.
    `young`: a prompt that the baseline knows by less than this share of its answers is new.
    """

    false_alarms: float = 0.05
    looks_per_week: int = 168
    minimum_queries: int = 50
    minimum_few: int = 30
    minimum_conversations: float = 16.0
    least: dict[EffectKind, float] = field(default_factory=_least)
    in_a_row: int = 2
    closes_at: float = 0.5
    nothing_close: float = 0.35
    young: float = 0.05
    #: Not read at all; latency of a cold start, for example.
    without: frozenset[Measure] = frozenset()

    def __post_init__(self) -> None:
        if not 0 < self.false_alarms < 1:
            raise ValueError(f"false_alarms lies between 0 and 1: {self.false_alarms}")
        for kind in get_args(EffectKind):
            if not self.least.get(kind, 0) > 0:
                raise ValueError(f"least of {kind} is above 0: {self.least.get(kind)}")
        for name in ("looks_per_week", "minimum_queries", "minimum_few", "in_a_row"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1: {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class Windows:
    """How traffic is cut, by event time.

    `bucket`: a sketch holds so much. `span`: a window is so long; it should hold whole days, or the hour shows as a
    change. `hop`: from look to look. `lateness`: an event later than this behind the newest is counted as late and left
    out. `queries`: where above 0, a window is the newest buckets that hold at least so many queries, within `span`.
    """

    bucket: timedelta = timedelta(hours=1)
    span: timedelta = timedelta(hours=24)
    hop: timedelta = timedelta(hours=1)
    lateness: timedelta = timedelta(hours=2)
    queries: int = 0

    def __post_init__(self) -> None:
        if not timedelta(0) < self.bucket <= self.span:
            raise ValueError(f"a bucket is longer than 0 and at most a span: {self.bucket}, {self.span}")
        if self.hop % self.bucket:
            raise ValueError(f"a hop is a multiple of a bucket: {self.hop}, {self.bucket}")
