"""For whom a look waits."""

from __future__ import annotations

from datetime import timedelta

from headrace_drift.patience import Patience

from services.drift.tests.makers import START

IDLE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
ONE, TWO = ("answer.completed", 1), ("answer.completed", 2)


def test_with_nothing_to_read_time_goes_on() -> None:
    assert Patience().watermark(START, {}, {ONE: START - HOUR}, idle=IDLE) == START


def test_the_slowest_that_has_something_to_read_is_waited_for() -> None:
    marks = {ONE: START - HOUR, TWO: START - 2 * HOUR}
    assert Patience().watermark(START, {ONE: 5}, marks, idle=IDLE) == START - HOUR
    assert Patience().watermark(START, {ONE: 5, TWO: 7}, marks, idle=IDLE) == START - 2 * HOUR


def test_what_nothing_was_ever_read_of_holds_up_everything() -> None:
    assert Patience().watermark(START, {ONE: 0}, {}, idle=IDLE) < START - 1000 * HOUR


def test_one_that_makes_no_progress_is_waited_for_no_longer() -> None:
    patience, marks = Patience(), {ONE: START - HOUR, TWO: START - 2 * HOUR}
    for seconds in (0, 30, 59):
        at = START + timedelta(seconds=seconds)
        assert patience.watermark(at, {ONE: 5 + seconds, TWO: 7}, marks, idle=IDLE) == START - 2 * HOUR
    at = START + IDLE
    assert patience.watermark(at, {ONE: 99, TWO: 7}, marks, idle=IDLE) == START - HOUR
    assert patience.watermark(at + IDLE, {ONE: 100, TWO: 8}, marks, idle=IDLE) == START - 2 * HOUR, "it goes on"
