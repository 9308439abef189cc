"""A checkpoint is whole, or it is passed over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from headrace_trainer.learning.checkpoints import Checkpoint, Position, newest, write

JOB = "a-job"


def checkpoint(step: int) -> Checkpoint:
    some = {"layer": torch.full((4, 4), float(step))}
    return Checkpoint(
        Position(step, 10 * step, 1.5, 0.25), some, {"layer/step": torch.tensor(1.0)}, {"torch": some["layer"]}
    )


def write_some(folder: Path, *steps: int) -> None:
    for step in steps:
        write(folder, checkpoint(step), job=JOB)


def test_the_newest_is_read_and_old_ones_go(tmp_path: Path) -> None:
    write_some(tmp_path, 2, 4, 6)
    found = newest(tmp_path, job=JOB)
    assert found is not None
    assert found.position == Position(6, 60, 1.5, 0.25)
    assert torch.equal(found.weights["layer"], torch.full((4, 4), 6.0))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000004", "step-00000006"]


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize("name", ["weights.safetensors", "optimiser.safetensors", "random.safetensors"])
def test_one_bit_more_or_less_has_it_passed_over(tmp_path: Path, name: str) -> None:
    write_some(tmp_path, 2, 4)
    flip(tmp_path / "step-00000004" / name)
    found = newest(tmp_path, job=JOB)
    assert found is not None
    assert found.position.step == 2


@pytest.mark.parametrize("state", ["", "{}", "[]", json.dumps({"job": JOB, "files": {}, "position": {}})])
def test_so_does_a_state_that_says_nothing(tmp_path: Path, state: str) -> None:
    write_some(tmp_path, 2, 4)
    (tmp_path / "step-00000004" / "state.json").write_text(state)
    found = newest(tmp_path, job=JOB)
    assert found is not None
    assert found.position.step == 2


def test_another_jobs_is_nobodys(tmp_path: Path) -> None:
    write_some(tmp_path, 2)
    assert newest(tmp_path, job="another") is None
    assert newest(tmp_path / "nowhere", job=JOB) is None


def test_what_a_killed_process_was_writing_is_deleted(tmp_path: Path) -> None:
    write_some(tmp_path, 2)
    torn = tmp_path / ".step-00000004.123"
    torn.mkdir()
    (torn / "weights.safetensors").write_bytes(b"half")
    found = newest(tmp_path, job=JOB)
    assert found is not None
    assert found.position.step == 2
    assert not torn.exists()
