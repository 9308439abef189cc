"""Watching for drift: what an event costs, what a slice takes, how soon a shift is found; beside evidently's.

Evidently trains a classifier (TF-IDF, logistic loss by SGD) on half of both texts and asks whether it tells the other
half apart better than 95 of 100 random ones. It needs the texts; we keep none. Both see the same questions: windows of
60, a look every 20, 500 questions before. Python turns to SQL, wholly or by a fifth.
"""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
from headrace_drift.measuring import (
    Look,
    Observation,
    Rules,
    Sketch,
    Slice,
    Standing,
    compare,
    decide,
    layout,
)

from bench.harness import Budget, Row
from services.drift.tests.measuring.questions import PYTHON, SQL, asked, observation
from services.drift.tests.measuring.traffic import READER, anew

GROUP = "drift"
#: All of an event's cost to the monitor's processor, in microseconds.
GOAL_MICROSECONDS = 300.0
#: A tenant's, its product's, its kind's, and those of both.
SLICES = 4
BASELINE, WINDOW, HOP = 500, 60, 20
BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
ALL = Slice("bench")
Ask = Callable[[random.Random], str]


def rows(budget: Budget) -> list[Row]:
    """Measures events, slices, and detection."""
    return [*_events(budget), *_detection(budget)]


# Events


def _events(budget: Budget) -> list[Row]:
    rng = random.Random(1)
    texts = [asked(PYTHON if n % 2 else SQL, rng) for n in range(budget.pick(quick=2_000, full=20_000))]
    seen = [observation(text, rng, kind="how-to") for text in texts]
    spent = [_microseconds(texts, seen) for _ in range(budget.repeats)]
    small, large = _of(seen[: len(seen) // 4]), _of(anew_all(seen * 4, rng))
    each: dict[str, Any] = {"higher_is_better": False, "peer": None, "ratio": None, "goal_of": "ours"}
    return [
        Row(
            GROUP,
            "an answered question",
            median(spent),
            unit="µs of CPU",
            goal=GOAL_MICROSECONDS,
            note=f"read, and counted in {SLICES} slices",
            extra={"each": spent},
            **each,
        ),
        Row(
            GROUP,
            f"a slice of {small.events:,} events",
            len(small.to_bytes()) / 1024,
            unit="KiB stored",
            goal=layout.LARGEST / 1024,
            note=f"{small.size / 1024:.0f} KiB in memory",
            **each,
        ),
        Row(
            GROUP,
            f"a slice of {large.events:,} events",
            len(large.to_bytes()) / 1024,
            unit="KiB stored",
            goal=layout.LARGEST / 1024,
            note=f"{large.size / 1024:.0f} KiB in memory; the bound is {layout.LARGEST / 1024:.0f} for both",
            **each,
        ),
    ]


def _microseconds(texts: Sequence[str], seen: Sequence[Observation]) -> float:
    sketches = [Sketch() for _ in range(SLICES)]
    start = time.process_time()
    for text, one in zip(texts, seen, strict=True):
        READER.read(text)
        for sketch in sketches:
            sketch.add(one)
    return (time.process_time() - start) / len(texts) * 1e6


def anew_all(seen: Sequence[Observation], rng: random.Random) -> list[Observation]:
    """The same questions, asked by others."""
    return [other for one in seen for other in anew((one,), rng)]


def _of(seen: Sequence[Observation]) -> Sketch:
    sketch = Sketch()
    for one in seen:
        sketch.add(one)
    return sketch


# Detection


@dataclass(frozen=True, slots=True)
class Stream:
    """Questions before a shift, and after it."""

    before: list[str]
    after: list[str]

    @classmethod
    def of(cls, ask: Ask, seed: int, *, most: int) -> Stream:
        rng = random.Random(seed)
        calm = [asked(PYTHON, rng) for _ in range(BASELINE + WINDOW)]
        return cls(calm, [ask(rng) for _ in range(most)])

    def windows(self) -> list[list[str]]:
        """The newest questions at each look."""
        recent = self.before[BASELINE:] + self.after
        return [recent[end - WINDOW : end] for end in range(WINDOW + HOP, len(recent) + 1, HOP)]


@dataclass(frozen=True, slots=True)
class Watched:
    """At which look it was found (None: at none) of how many, and milliseconds a look."""

    at: int | None
    looks: int
    milliseconds: float

    @property
    def queries(self) -> int:
        """After so many queries; all of them where it was not found."""
        return HOP * (self.looks if self.at is None else self.at + 1)


def _ours(stream: Stream) -> Watched:
    """The whole way: what was read is counted, compared, decided. Reading is in the time; vectors are not used."""
    rng, rules, standing = random.Random(1), Rules(), Standing()
    bare = [_without_vector(observation(text, rng)) for text in stream.before[:BASELINE]]
    baseline, found = _of(bare), None
    baseline.measured()
    start, looks = time.perf_counter(), stream.windows()
    for n, texts in enumerate(looks):
        window = _of([_without_vector(observation(text, rng)) for text in texts])
        at = BEGIN + timedelta(minutes=n)
        decision = decide(Look(at, BEGIN, compare(baseline, window, rules, slice_=ALL)), standing, rules)
        standing = decision.standing
        if decision.opened and found is None:
            found = n
    return Watched(found, len(looks), (time.perf_counter() - start) / len(looks) * 1e3)


def _without_vector(one: Observation) -> Observation:
    return Observation(one.query_id, one.conversation, one.tier, question=one.question)


def _evidently() -> Callable[[Stream], Watched]:
    """Its text drift, as it comes: found where it says so at one look."""
    from pandas.core.dtypes import common  # type: ignore[import-untyped]  # noqa: PLC0415

    # Evidently 0.7.23 imports a name that pandas 3 dropped, for a test that is not used here.
    if not hasattr(common, "infer_dtype_from_object"):
        common.infer_dtype_from_object = lambda dtype: pd.api.types.pandas_dtype(dtype).type
    from evidently.legacy.calculations.stattests import (  # type: ignore[import-untyped]  # noqa: PLC0415
        perc_text_content_drift_stat_test,
    )
    from evidently.legacy.core import ColumnType  # type: ignore[import-untyped]  # noqa: PLC0415

    def watch(stream: Stream) -> Watched:
        reference, found = pd.Series(stream.before[:BASELINE]), None
        start, looks = time.perf_counter(), stream.windows()
        for n, texts in enumerate(looks):
            # Its random classifiers draw from numpy's global state.
            np.random.seed(n)
            told = perc_text_content_drift_stat_test.func(reference, pd.Series(texts), ColumnType.Text, 0.95)
            if bool(told[1]) and found is None:
                found = n
        return Watched(found, len(looks), (time.perf_counter() - start) / len(looks) * 1e3)

    return watch


def _detection(budget: Budget) -> list[Row]:
    warnings.simplefilter("ignore")
    # Evidently takes seconds a look.
    peer, seeds, most = _evidently(), range(budget.pick(quick=1, full=5)), budget.pick(quick=100, full=300)
    found: list[Row] = []
    for name, ask in (("Python turns to SQL", _all_sql), ("a fifth turns to SQL", _some_sql), ("no shift", _none)):
        streams = [Stream.of(ask, seed, most=most) for seed in seeds]
        ours, theirs = [_ours(one) for one in streams], [peer(one) for one in streams]
        found.append(_false_alarms(ours, theirs) if ask is _none else _found(name, ours, theirs))
        if ask is _none:
            found.append(_time(ours, theirs))
    return found


def _all_sql(rng: random.Random) -> str:
    return asked(SQL, rng)


def _some_sql(rng: random.Random) -> str:
    return asked(SQL if rng.random() < 0.2 else PYTHON, rng)


def _none(rng: random.Random) -> str:
    return asked(PYTHON, rng)


def _found(name: str, ours: Sequence[Watched], theirs: Sequence[Watched]) -> Row:
    mine, other = (median(one.queries for one in side) for side in (ours, theirs))
    missed = sum(one.at is None for one in ours), sum(one.at is None for one in theirs)
    return Row(
        GROUP,
        f"{name}: found after",
        mine,
        other,
        "queries",
        mine / other,
        higher_is_better=False,
        note=f"missed within {HOP * ours[0].looks} queries: ours {missed[0]}, evidently {missed[1]} of {len(ours)}",
        extra=_each(ours, theirs),
    )


def _false_alarms(ours: Sequence[Watched], theirs: Sequence[Watched]) -> Row:
    mine, other = (sum(one.at is not None for one in side) for side in (ours, theirs))
    return Row(
        GROUP,
        "no shift: streams with a false alarm",
        mine,
        other,
        f"of {len(ours)}",
        mine / other if other else None,
        goal=0.05 * len(ours),
        higher_is_better=False,
        goal_of="ours",
        note=f"{ours[0].looks} looks each; evidently corrects for no looks",
        extra=_each(ours, theirs),
    )


def _time(ours: Sequence[Watched], theirs: Sequence[Watched]) -> Row:
    mine, other = (median(one.milliseconds for one in side) for side in (ours, theirs))
    note = f"ours reads {WINDOW} questions anew and measures four things; evidently one"
    return Row(GROUP, "a look", mine, other, "ms", mine / other, goal=1.0, higher_is_better=False, note=note)


def _each(ours: Sequence[Watched], theirs: Sequence[Watched]) -> dict[str, Any]:
    return {"ours": [one.at for one in ours], "evidently": [one.at for one in theirs]}
