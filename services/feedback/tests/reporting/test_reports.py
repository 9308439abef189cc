"""Reports over live traffic and over runs, on a real Postgres."""

from __future__ import annotations

import numpy as np
import pytest
from headrace_database import Database

from services.feedback.tests.reporting.house import Answer, House, line_of

pytestmark = pytest.mark.real


@pytest.fixture
def house(tenant: str, opened: Database) -> House:
    return House(tenant, opened)


def a_rate(rate: float, count: int, *, seed: int, **changes: object) -> list[Answer]:
    """So many answers, this share of them grounded, each of a conversation of its own."""
    drawn = np.random.default_rng(seed).random(count) < rate
    words = {True: "grounded", False: "extracted"}
    return [Answer(grounding=words[bool(one)], **changes) for one in drawn]  # type: ignore[arg-type]


async def test_what_is_truly_better_is_said_to_be_with_an_interval_that_holds_the_truth(house: House) -> None:
    await house.log(a_rate(0.6, 600, seed=1) + a_rate(0.75, 600, seed=2, variant="shorter"))
    response = await house.compare()
    line = line_of(response, "grounded")
    assert (line.better, line.unit, line.method, line.decides) == ("b", "share", "newcombe", True)
    assert line.difference.low < 0.15 < line.difference.high
    assert (line.a.answers, line.b.answers, response.answers_a, response.answers_b) == (600, 600, 600, 600)
    assert "B is better" in response.verdict


async def test_a_run_is_compared_pair_by_pair(house: House) -> None:
    run_id = await house.run("default", "shorter")
    draw = np.random.default_rng(3)
    hard = draw.random(150)
    cases = [
        (str(number), Answer(variant=name, scores={"key_facts": float(np.clip(hard[number] + plus, 0, 1))}))
        for number in range(150)
        for name, plus in (("default", 0.0), ("shorter", 0.05))
    ]
    await house.tried(run_id, cases)
    response = await house.compare(run_id=run_id)
    line = line_of(response, "key_facts")
    assert (line.better, line.method, response.pairs) == ("b", "paired_t", 150)
    assert line.difference.low < 0.05 < line.difference.high + 0.01
    assert response.verdict.startswith("By key facts stated (known answers), B is better: +")
