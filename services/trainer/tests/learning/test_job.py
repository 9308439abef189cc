"""How a job is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from headrace_trainer.learning.failures import Failed
from headrace_trainer.learning.job import Document, Row, read

from services.trainer.tests.learning.house import ROWS, SECRET, job, row


def test_a_job_has_its_rows_and_its_methods_own_numbers(tmp_path: Path) -> None:
    found = read(job(tmp_path, tmp_path, recipe={"epochs": 0, "learning_rate": 0.5}).splitlines())
    assert (found.recipe.epochs, found.recipe.learning_rate, found.recipe.rank) == (3.0, 0.5, 4)
    assert len(found.rows) == len(ROWS)
    assert isinstance(found.rows[0], Row)
    assert [turn.fixed for turn in found.rows[0].turns] == [True, False]


def test_documents_are_rows_too(tmp_path: Path) -> None:
    rows = [{"row_id": "d", "split": "train", "text": SECRET}]
    found = read(job(tmp_path, tmp_path, rows=rows, recipe={"method": "continued_pretraining"}).splitlines())
    assert found.rows == (Document("d", "train", SECRET),)


def test_no_more_is_read_than_there_are_rows(tmp_path: Path) -> None:
    lines = iter([*job(tmp_path, tmp_path).splitlines(), "left"])
    read(lines)
    assert list(lines) == ["left"]


def changed(**fields: Any) -> dict[str, Any]:
    return row(1, "train") | fields


@pytest.mark.parametrize(
    "rows",
    [
        [changed(split="both")],
        [changed(turns=SECRET)],
        [changed(turns=[{"role": "user"}])],
        [{"split": "train"}],
        [[SECRET]],
    ],
)
def test_a_row_that_is_none_is_refused_without_showing_it(tmp_path: Path, rows: list[Any]) -> None:
    with pytest.raises(Failed, match="bad_rows") as error:
        read(job(tmp_path, tmp_path, rows=rows).splitlines())
    assert error.value.__cause__ is None
    assert error.value.__suppress_context__


@pytest.mark.parametrize(
    "lines", [[], [SECRET], ["{}"], [json.dumps({"rows": 1})]], ids=["nothing", "no JSON", "no fields", "no paths"]
)
def test_so_is_a_header(lines: list[str]) -> None:
    with pytest.raises(Failed, match="bad_rows"):
        read(lines)


def test_fewer_rows_than_were_promised_are_refused(tmp_path: Path) -> None:
    lines = job(tmp_path, tmp_path).splitlines()
    with pytest.raises(Failed, match="bad_rows"):
        read(lines[:-1])


def test_no_repr_shows_what_somebody_wrote(tmp_path: Path) -> None:
    found = read(job(tmp_path, tmp_path).splitlines())
    assert SECRET not in repr(found)
    assert all(SECRET not in repr(one) for one in found.rows)
