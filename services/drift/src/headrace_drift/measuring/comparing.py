"""A window against a baseline."""

from __future__ import annotations

from headrace_drift.measuring.measures import Found, measure_all
from headrace_drift.measuring.readings import Reading, Slice
from headrace_drift.measuring.rules import Rules
from headrace_drift.measuring.sketch import Sketch


def compare(baseline: Sketch, window: Sketch, rules: Rules, *, slice_: Slice) -> tuple[Reading, ...]:
    """The readings of one slice, in the order of `Measure`; none of what either side has too little of.

    Nothing is `drifted` yet: that is decided over all slices of a look (`deciding.decide`).
    """
    found = measure_all(baseline.measured(), window.measured(), rules)
    return tuple(_reading(one, slice_) for one in found)


def missing(baseline: Sketch, rules: Rules) -> int:
    """How many queries a baseline still lacks; 0 of one that is enough."""
    return max(0, rules.minimum_queries - baseline.queries)


def _reading(found: Found, slice_: Slice) -> Reading:
    before, after = found.samples
    return Reading(
        slice_,
        found.measure,
        found.baseline,
        found.window,
        found.effect,
        found.effect_kind,
        found.p_value,
        int(before),
        int(after),
        found.evaluator,
    )
