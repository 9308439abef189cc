"""Instruments by their names."""

from __future__ import annotations

from functools import cache

from opentelemetry import metrics
from opentelemetry.metrics import Counter, Histogram, UpDownCounter

from headrace_telemetry.names import MetricName

_meter = metrics.get_meter("headrace")


@cache
def counter(name: MetricName) -> Counter:
    """Returns the counter of this name."""
    return _meter.create_counter(name)


@cache
def histogram(name: MetricName) -> Histogram:
    """Returns the histogram of this name, in seconds."""
    return _meter.create_histogram(name, unit="s")


@cache
def up_down_counter(name: MetricName) -> UpDownCounter:
    """Returns the counter of this name that may fall as well."""
    return _meter.create_up_down_counter(name)
