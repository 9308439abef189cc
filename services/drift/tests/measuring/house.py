"""What several tests build: sketches of traffic, and looks at it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from headrace_drift.measuring import Look, Measure, Observation, Reading, Rules, Sketch, Slice, compare

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
ALL = Slice("acme")


def sketch_of(seen: Iterable[Observation]) -> Sketch:
    """A sketch of all of them."""
    sketch = Sketch()
    for one in seen:
        sketch.add(one)
    return sketch


def readings_of(
    before: Sequence[Observation], after: Sequence[Observation], rules: Rules | None = None
) -> dict[Measure, Reading]:
    """By measure, of the whole tenant; the first evaluator's scores."""
    found = compare(sketch_of(before), sketch_of(after), rules or Rules(), slice_=ALL)
    return {one.measure: one for one in reversed(found)}


def reading(
    slice_: Slice = ALL,
    measure: Measure = Measure.GROUNDED,
    *,
    p_value: float = 1e-9,
    effect: float = -0.5,
    evaluator: str = "",
) -> Reading:
    """A reading as clear, or as unclear, as a test asks for."""
    return Reading(slice_, measure, 0.8, 0.5, effect, "cohen_h", p_value, 1000, 200, evaluator)


def look(hours: float, *readings: Reading) -> Look:
    """A look so many hours after that Monday's midnight."""
    at = MONDAY + hours * HOUR
    return Look(at, at - 24 * HOUR, readings)
