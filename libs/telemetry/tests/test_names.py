"""Names are in one place, and none of them asks for a user's text."""

from __future__ import annotations

from typing import get_args

from headrace_telemetry.metrics import counter, histogram, up_down_counter
from headrace_telemetry.names import Attribute, MetricName

#: Attributes of the conventions that carry content; ours must stay without them.
CONTENT = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "db.query.text",
    "exception.message",
)


def test_no_name_is_there_twice_or_carries_content() -> None:
    for names in (get_args(Attribute), get_args(MetricName)):
        assert len(names) == len(set(names))
        assert not set(names) & set(CONTENT)


def test_an_instrument_is_made_once() -> None:
    assert counter("headrace.answers") is counter("headrace.answers")
    histogram("headrace.events.duration").record(0.1)
    up_down_counter("headrace.events.in_flight").add(1)
