"""Prices, limits, the breaker and what is expected of the next answer."""

from __future__ import annotations

from decimal import Decimal

import pytest
from headrace_inference.domain import Spent
from headrace_inference.meters import FRESH_SECONDS, KEPT, Breaker, CallLimit, Expected, Meter, Prices


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.mark.parametrize(
    ("prices", "spent", "cost"),
    [
        (Prices(), Spent(input_tokens=10**6, output_tokens=10**6), 0),
        (Prices(Decimal("0.15"), Decimal("0.60")), Spent(input_tokens=1000, output_tokens=500), 450),
        (Prices(Decimal("0.15")), Spent(input_tokens=1), 1),  # a fraction is paid too
        (Prices(Decimal(3)), Spent(input_tokens=100, cached_input_tokens=40), 300),
        (Prices(Decimal(3), cached_input=Decimal("0.3")), Spent(input_tokens=100, cached_input_tokens=40), 192),
        (Prices(Decimal(3), cached_input=Decimal(0)), Spent(input_tokens=10, cached_input_tokens=40), 0),
    ],
)
def test_tokens_cost_what_the_price_list_says(prices: Prices, spent: Spent, cost: int) -> None:
    assert prices.cost(spent) == cost


def test_so_many_calls_begin_in_any_minute(clock: Clock) -> None:
    limit = CallLimit(2, clock)
    assert [limit.take(), limit.take(), limit.take()] == [True, True, False]
    assert limit.is_spent
    clock.now += 59
    assert not limit.take()
    clock.now += 1
    assert not limit.is_spent
    assert limit.take()


def test_no_limit_is_no_limit(clock: Clock) -> None:
    limit = CallLimit(0, clock)
    assert all(limit.take() for _ in range(10_000))


def test_several_failures_in_a_row_earn_a_rest(clock: Clock) -> None:
    breaker = Breaker(clock, after=3, seconds=5)
    for _ in range(2):
        breaker.failed()
    breaker.succeeded()
    for _ in range(2):
        breaker.failed()
    assert not breaker.is_resting
    breaker.failed()
    assert breaker.is_resting
    assert not breaker.begin()


def test_after_a_rest_one_call_tries_and_the_others_wait_for_it(clock: Clock) -> None:
    breaker = Breaker(clock, after=1, seconds=5)
    breaker.failed()
    clock.now += 5
    assert not breaker.is_resting
    assert breaker.begin()
    assert breaker.is_resting
    assert not breaker.begin()
    breaker.succeeded()
    assert breaker.begin()
    assert breaker.begin()


def test_each_rest_in_a_row_is_twice_as_long(clock: Clock) -> None:
    breaker = Breaker(clock, after=1, seconds=5, longest=12)
    rests = []
    for _ in range(4):
        breaker.failed()
        began = clock.now
        while breaker.is_resting:
            clock.now += 1
        rests.append(clock.now - began)
        assert breaker.begin()
    assert rests == [5, 10, 12, 12]


def test_a_trial_that_nobody_waited_for_is_made_again(clock: Clock) -> None:
    breaker = Breaker(clock, after=1, seconds=5)
    breaker.failed()
    clock.now += 5
    assert breaker.begin()
    breaker.left()
    assert breaker.begin()


def test_nine_in_ten_stay_within_what_is_expected(clock: Clock) -> None:
    meter = Meter(clock)
    assert meter.expected() == Expected()
    for ms in range(1, 101):
        meter.note(float(ms), 10)
    assert meter.expected() == Expected(91.0, 10)
    assert meter.quantile(0.5) == 51.0
    assert (meter.completions, meter.failures) == (100, 0)


def test_what_was_slow_is_forgotten_so_that_it_is_tried_again(clock: Clock) -> None:
    meter = Meter(clock)
    meter.note(60_000, 7)
    clock.now += FRESH_SECONDS - 1
    assert meter.expected().ms == 60_000
    clock.now += 2
    assert meter.expected() == Expected()


def test_only_the_last_completions_count(clock: Clock) -> None:
    meter = Meter(clock)
    for _ in range(KEPT):
        meter.note(1_000, 0)
    for _ in range(KEPT):
        meter.note(10, 0)
    assert meter.expected().ms == 10
