"""What a run has learned so far, on disk: whole, or not at all.

A checkpoint is a folder of safetensors with a file that tells their hashes. It appears under its name when all of it
is on disk. One whose hashes differ, or that belongs to another job, is passed over for the one before it. It holds
weights, the optimiser's moments, the state of the random numbers and the position; no row, and nothing that runs code
when it is read.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from headrace_trainer.learning.weights import sha256, whole

#: The newest, and one more should it turn out to be corrupt.
KEPT = 2
_STATE = "state.json"
_TENSORS = ("weights", "optimiser", "random")


@dataclass(frozen=True, slots=True)
class Position:
    """How far a run is. tokens: of rows, so far. seconds: of all attempts. loss: of the last step."""

    step: int
    tokens: int
    seconds: float
    loss: float


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that a run needs to go on as if nothing had happened. Tensors are on the CPU."""

    position: Position
    weights: Mapping[str, torch.Tensor]
    optimiser: Mapping[str, torch.Tensor]
    random: Mapping[str, torch.Tensor]


def write(folder: Path, checkpoint: Checkpoint, *, job: str) -> None:
    """Adds a checkpoint of the job with this fingerprint, and deletes those that are no longer needed."""
    with whole(folder / _name(checkpoint.position.step)) as making:
        for name in _TENSORS:
            save_file(dict(getattr(checkpoint, name)), making / f"{name}.safetensors")
        hashes = {name: sha256(making / f"{name}.safetensors") for name in _TENSORS}
        state = {"job": job, "files": hashes, "position": asdict(checkpoint.position)}
        (making / _STATE).write_text(json.dumps(state), encoding="utf-8")
    for old in list(_newest_first(folder))[KEPT:]:
        shutil.rmtree(old)


def newest(folder: Path, *, job: str) -> Checkpoint | None:
    """The newest whole checkpoint of a job; None where there is none. What a killed process was writing is deleted."""
    for torn in folder.glob(".step-*"):
        shutil.rmtree(torn, ignore_errors=True)
    for candidate in _newest_first(folder):
        found = _read(candidate, job=job)
        if found is not None:
            return found
    return None


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _newest_first(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.glob("step-*"), reverse=True)


def _read(folder: Path, *, job: str) -> Checkpoint | None:
    try:
        state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
        if state["job"] != job or any(sha256(folder / f"{n}.safetensors") != state["files"][n] for n in _TENSORS):
            return None
        tensors = {name: load_file(folder / f"{name}.safetensors") for name in _TENSORS}
        return Checkpoint(Position(**state["position"]), **tensors)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None
