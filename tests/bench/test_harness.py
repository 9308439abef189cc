"""The harness itself: pairing, goals, and a group that fails."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from bench.__main__ import Outcome, describe_machine, groups, table, write
from bench.harness import FULL, QUICK, Row, paired, paired_async, seconds


def test_turns_alternate_after_one_unmeasured_turn_each() -> None:
    turns: list[str] = []

    def turn(name: str, value: float) -> float:
        turns.append(name)
        return value

    result = paired(lambda: turn("a", 4.0), lambda: turn("b", 2.0), repeats=3)
    assert "".join(turns) == "ab" * 4
    assert (result.ours, result.peer, result.ratio) == (4.0, 2.0, 2.0)


def test_the_ratio_is_the_median_of_the_pairs_own() -> None:
    # The machine slows down by ten in the middle: each pair still says 2.
    ours = iter([1.0, 2.0, 20.0, 20.0])
    peers = iter([1.0, 1.0, 10.0, 10.0])
    assert paired(lambda: next(ours), lambda: next(peers), repeats=3).ratio == 2.0


async def test_coroutines_are_paired_the_same_way() -> None:
    async def one() -> float:
        return 1.0

    async def four() -> float:
        return 4.0

    assert (await paired_async(one, four, repeats=2)).ratio == 0.25


def test_seconds_times_the_function() -> None:
    assert 0 < seconds(lambda: sum(range(1000)))() < 1


def row(**changes: object) -> Row:
    values: dict[str, object] = {"group": "g", "name": "n", "ours": 3.0, "peer": 1.0, "unit": "ms", "ratio": 3.0}
    return Row(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, None),
        ({"goal": 2.0}, True),
        ({"goal": 4.0}, False),
        ({"goal": 2.0, "higher_is_better": False}, False),
        ({"goal": 20.0, "higher_is_better": False, "goal_of": "ours"}, True),
        ({"goal": 2.0, "ratio": None, "peer": None}, None),
    ],
)
def test_a_goal_is_met_or_not(changes: dict[str, object], met: bool | None) -> None:
    assert row(**changes).met is met


def test_a_group_that_failed_is_in_the_table_and_in_the_file(tmp_path: Path) -> None:
    outcomes = [Outcome("good", rows=(row(goal=2.0),)), Outcome("bad", failure="ImportError: no [peer] here")]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(table(outcomes))
    assert "ImportError: no [peer] here" in console.export_text()
    write(tmp_path / "r.json", describe_machine(), QUICK, outcomes)
    written = json.loads((tmp_path / "r.json").read_text())
    assert [g["failure"] for g in written["groups"]] == ["", "ImportError: no [peer] here"]
    assert written["groups"][0]["rows"][0]["met"] is True


def test_groups_are_found_by_their_file_name(tmp_path: Path) -> None:
    (tmp_path / "bench_classifier.py").touch()
    (tmp_path / "harness.py").touch()
    assert groups(tmp_path) == ["classifier"]


def test_a_budget_picks_sizes() -> None:
    assert (QUICK.pick(quick=1, full=2), FULL.pick(quick=1, full=2)) == (1, 2)
