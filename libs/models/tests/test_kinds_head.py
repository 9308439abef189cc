"""A head that tells kinds, on its way through a folder, and folders that hold none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from headrace_models.kinds import LABELS, OTHER, WEIGHTS, Embedder, Head, UnusableHead, read_head, write_head

MINI = Embedder("mini", 4, "0123456789abcdef")


def head() -> Head:
    return Head(("how-to", "why", OTHER), 3, MINI, np.eye(3, 4) * 8, np.zeros(3), 2.0)


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    write_head(head(), tmp_path)
    found = read_head(tmp_path)
    assert (found.kinds, found.kinds_version, found.embedder) == (("how-to", "why", OTHER), 3, MINI)
    assert json.loads((tmp_path / LABELS).read_text())["embedder"]["hash"] == MINI.hash
    vector = np.array([0.0, 5.0, 0.0, 0.0])
    assert np.allclose(found.probabilities(vector), head().probabilities(vector))


def test_probabilities_add_up_and_need_no_unit_vector() -> None:
    sure = head().probabilities(np.array([0.0, 5.0, 0.0, 0.0]))
    assert sure.sum() == pytest.approx(1)
    assert sure.argmax() == 1
    assert np.allclose(sure, head().probabilities(np.array([0.0, 0.1, 0.0, 0.0])))
    assert np.isfinite(head().probabilities(np.zeros(4))).all()


def test_the_same_numbers_under_other_names_are_another_version(tmp_path: Path) -> None:
    written = []
    for version in (3, 4):
        folder = tmp_path / str(version)
        folder.mkdir()
        write_head(replace(head(), kinds_version=version), folder)
        written.append((folder / WEIGHTS).read_bytes())
    assert written[0] != written[1]


def _other_labels(folder: Path) -> None:
    labels = folder / LABELS
    labels.write_text(labels.read_text().replace("how-to", "howto"))


def _torn(folder: Path) -> None:
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-3])


@pytest.mark.parametrize(
    "spoil",
    [_other_labels, _torn, lambda folder: (folder / LABELS).unlink(), lambda folder: (folder / WEIGHTS).unlink()],
)
def test_a_folder_that_is_not_whole_is_no_head(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    write_head(head(), tmp_path)
    spoil(tmp_path)
    with pytest.raises(UnusableHead):
        read_head(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(head(), kinds=("how-to", "why", "what")),  # nothing is none of them
        replace(head(), kinds=("how-to", "how-to", OTHER)),
        replace(head(), kinds=("how-to", "Why?", OTHER)),
        replace(head(), kinds=("how-to", OTHER)),
        replace(head(), embedder=Embedder("mini", 5, MINI.hash)),
        replace(head(), weights=np.full((3, 4), np.nan)),
        replace(head(), temperature=0.0),
    ],
)
def test_what_cannot_recognise_is_no_head(wrong: Head, tmp_path: Path) -> None:
    write_head(wrong, tmp_path)
    with pytest.raises(UnusableHead):
        read_head(tmp_path)
