"""The head that recognises kinds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from headrace_trainer.learning.kinds import LABELS, WEIGHTS, calibration_error, fit
from safetensors.numpy import load_file

from services.trainer.tests.learning.house import job, run

KINDS = ("compare", "error", "how-to")


def rows(count: int, *, split: str, seed: int, noise: float) -> list[dict[str, object]]:
    """Vectors around one centre a kind."""
    source = np.random.default_rng(seed)
    centres = np.eye(len(KINDS), 8)
    return [
        {"row_id": f"{split}{i}", "split": split, "kind": KINDS[k], "vector": (centres[k] + noise * v).tolist()}
        for i, (k, v) in enumerate(zip(source.integers(0, 3, count), source.normal(size=(count, 8)), strict=True))
    ]


def trained(base: Path, made: Path, noise: float) -> dict[str, float]:
    some = [*rows(150, split="train", seed=1, noise=noise), *rows(300, split="test", seed=2, noise=noise)]
    return dict(run(job(base, made, rows=some, target="kinds")).done.measures)


def test_it_tells_kinds_apart_and_its_file_says_the_same(base: Path, tmp_path: Path) -> None:
    assert trained(base, tmp_path, 0.2)["accuracy"] > 0.9
    head = load_file(tmp_path / "model" / WEIGHTS)
    assert json.loads((tmp_path / "model" / LABELS).read_text()) == {"kinds": list(KINDS)}
    logits = np.eye(3, 8) @ head["weights"].T + head["bias"]
    assert logits.argmax(1).tolist() == [0, 1, 2]


def test_its_probabilities_mean_what_they_say(base: Path, tmp_path: Path) -> None:
    measures = trained(base, tmp_path, 0.5)
    assert measures["accuracy"] < 0.9  # there is something to be unsure of
    assert measures["calibration_error"] < 0.1


def test_being_too_sure_is_measured() -> None:
    labels = np.array([0, 1] * 50)
    assert calibration_error(np.tile([0.99, 0.01], (100, 1)), labels) == pytest.approx(0.49)
    assert calibration_error(np.tile([0.5, 0.5], (100, 1)), labels) == pytest.approx(0.0)


def test_the_fit_is_the_one_minimum() -> None:
    source = np.random.default_rng(0)
    vectors, labels = source.normal(size=(60, 4)), source.integers(0, 3, 60)
    head = fit(vectors, labels, kinds=3, strength=0.1)

    def loss(weights: np.ndarray) -> float:
        logits = vectors @ weights.T + head.bias
        logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        return float(-logs[np.arange(60), labels].mean() + 0.05 * (weights**2).sum())

    steps = [source.normal(size=head.weights.shape) * 0.05 for _ in range(20)]
    assert all(loss(head.weights) < loss(head.weights + step) for step in steps)


def test_one_kind_is_nothing_to_tell_apart(base: Path, tmp_path: Path) -> None:
    some = [{"row_id": "a", "split": "train", "kind": "only", "vector": [1.0, 0.0]}]
    said = run(job(base, tmp_path, rows=some, target="kinds"))
    assert (said.code, said.last["reason"]) == (2, "empty_dataset")
