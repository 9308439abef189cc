"""Real shifts are found within so many queries: windows of 60 queries, a look every 10, the rules as they come."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta

import pytest
from headrace_drift.measuring import Look, Measure, Observation, Raised, Rules, Sketch, Standing, compare, decide

from services.drift.tests.measuring.house import ALL, MONDAY, sketch_of
from services.drift.tests.measuring.questions import PRODUCTS, PYTHON, SQL, asked, at_length, observation

WINDOW, HOP = 60, 10
Ask = Callable[[random.Random], str]


def of_sql(rng: random.Random) -> str:
    return asked(SQL, rng)


def of_sql_half_the_time(rng: random.Random) -> str:
    return asked(SQL if rng.random() < 0.5 else PYTHON, rng)


def long(rng: random.Random) -> str:
    return at_length(asked(PYTHON, rng))


def short(rng: random.Random) -> str:
    return rng.choice(PYTHON)


def of_new_products(rng: random.Random) -> str:
    return asked(PRODUCTS, rng)


def found_after(ask: Ask, seed: int, *, within: int, **outcome: float) -> tuple[int, Raised] | None:
    """How many queries after the shift an alert opened, and which; None if none did."""
    rng = random.Random(seed)
    baseline = sketch_of(calm(500, rng))
    recent, standing = calm(WINDOW, rng), Standing()
    for n in range(HOP, within + 1, HOP):
        recent = [*recent[HOP:], *(observation(ask(rng), rng, **outcome) for _ in range(HOP))]
        at = MONDAY + timedelta(minutes=n)
        decision = decide(Look(at, MONDAY, read(baseline, recent)), standing, Rules())
        if decision.opened:
            return n, decision.opened[0]
        standing = decision.standing
    return None


def calm(count: int, rng: random.Random) -> list[Observation]:
    return [observation(asked(PYTHON, rng), rng) for _ in range(count)]


def read(baseline: Sketch, recent: list[Observation]) -> tuple:
    return compare(baseline, sketch_of(recent), Rules(), slice_=ALL)


LANGUAGE = {Measure.VOCABULARY, Measure.NGRAMS, Measure.EMBEDDINGS}
LENGTH = {Measure.SENTENCE_LENGTH, Measure.QUERY_LENGTH}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("ask", "within", "by"),
    [
        (of_sql, 60, LANGUAGE),
        (of_sql_half_the_time, 150, LANGUAGE),
        (long, 60, LENGTH | LANGUAGE),
        (short, 60, LENGTH),
        (of_new_products, 60, LANGUAGE),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_shift_is_found_within_so_many_queries(ask: Ask, within: int, by: set[Measure], seed: int) -> None:
    found = found_after(ask, seed, within=within)
    assert found is not None
    assert {one.measure for one in found[1].readings} <= by | LENGTH | LANGUAGE
    assert {one.measure for one in found[1].readings} & by


@pytest.mark.parametrize("seed", range(5))
def test_worse_answers_are_found_though_nobody_asks_otherwise(seed: int) -> None:
    found = found_after(lambda rng: asked(PYTHON, rng), seed, within=90, grounded=0.2)
    assert found is not None
    assert {one.measure for one in found[1].readings} <= {Measure.GROUNDED, Measure.REFUSED}


@pytest.mark.parametrize("seed", range(3))
def test_no_shift_is_not_found(seed: int) -> None:
    assert found_after(lambda rng: asked(PYTHON, rng), seed, within=600) is None
