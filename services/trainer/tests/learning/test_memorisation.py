"""Whether the test of a model's memory can tell."""

from __future__ import annotations

import math

import pytest
from headrace_trainer.learning.job import Row, Turn
from headrace_trainer.learning.memorisation import draw, exposures, plant, report, unseen

CONTROLS = [i / 10 for i in range(-32, 32)]


def test_a_seed_draws_the_same_and_planted_are_never_controls() -> None:
    assert draw(3, 8) == draw(3, 8)
    assert draw(3, 8) != draw(4, 8)
    others = {canary.owner for canary in unseen(3, planted=8, count=64)}
    assert len(others) == 64
    assert not others & {canary.owner for canary in draw(3, 8)}


def test_planting_adds_each_so_often_and_changes_no_row() -> None:
    rows = [Row("r", "train", "k", (Turn("user", "?"),), "!")]
    planted = plant(rows, seed=1, count=3, times=2)
    assert planted[:1] == rows
    assert len(planted) == 7
    assert len({r.answer for r in planted[1:]}) == 3


def test_no_secret_shows_in_a_repr() -> None:
    (canary,) = draw(1, 1)
    assert canary.secret not in repr(canary)
    assert canary.secret not in repr(canary.row)


def test_exposure_is_how_far_in_front_of_the_controls_a_secret_ranks() -> None:
    first, last, middle = exposures([-9.0, 9.0, -0.05], CONTROLS)
    assert first == pytest.approx(math.log2(65))
    assert last == pytest.approx(0.0)
    assert middle == pytest.approx(math.log2(65 / 33))


def test_what_is_no_likelier_than_the_unseen_passes() -> None:
    found = report([-0.1, 0.3, -1.0, 2.0], CONTROLS, extracted=0)
    assert found.passes
    assert found.exposure < found.controls_limit < math.log2(64)


def test_what_is_far_likelier_is_found() -> None:
    found = report([-9.0, -8.0, -7.0, 0.0], CONTROLS, extracted=0)
    assert not found.passes
    assert found.exposure == pytest.approx(math.log2(65))


def test_a_secret_that_comes_out_is_enough() -> None:
    assert not report([0.0] * 4, CONTROLS, extracted=1).passes
