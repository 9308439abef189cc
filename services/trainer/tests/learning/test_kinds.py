"""The head that recognises kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from headrace_models.kinds import OTHER, Embedder, Head, read_head
from headrace_trainer.learning.kinds import Rows, calibration_error, fit

from services.trainer.tests.learning.house import Said, job, run

KINDS = ("compare", "error", "how-to")
SIZE = 8
TOLD = {"names": list(KINDS), "version": 4, "embedder": {"name": "mini", "dimensions": SIZE, "hash": "ab" * 8}}
CENTRES = np.eye(len(KINDS) + 1, SIZE)


def rows(count: int, *, split: str, seed: int, noise: float, said: str = "people") -> list[dict[str, object]]:
    """Vectors around one centre a kind."""
    source = np.random.default_rng(seed)
    return [
        row(f"{said}-{split}{i}", KINDS[k], CENTRES[k] + noise * v, split=split, said=said)
        for i, (k, v) in enumerate(zip(source.integers(0, 3, count), source.normal(size=(count, SIZE)), strict=True))
    ]


def row(name: str, kind: str, vector: np.ndarray, *, split: str = "train", said: str = "people") -> dict[str, object]:
    return {"row_id": name, "split": split, "kind": kind, "vector": vector.tolist(), "said": said}


def background(count: int = 40, *, noise: float = 0.2) -> list[dict[str, object]]:
    """What is around none of them."""
    source = np.random.default_rng(9)
    found = CENTRES[3] + noise * source.normal(size=(count, SIZE))
    return [row(f"b{i}", OTHER, vector, said="background") for i, vector in enumerate(found)]


def examples() -> list[dict[str, object]]:
    return [
        row(f"e{k}{i}", kind, CENTRES[k] + 0.05 * i, said="example") for k, kind in enumerate(KINDS) for i in range(3)
    ]


def ran(base: Path, made: Path, some: list[dict[str, object]], *, told: dict[str, Any] = TOLD) -> Said:
    return run(job(base, made, rows=[told, *some], target="kinds"))


def trained(base: Path, made: Path, noise: float) -> dict[str, float]:
    people = [*rows(150, split="train", seed=1, noise=noise), *rows(300, split="test", seed=2, noise=noise)]
    return dict(ran(base, made, [*people, *examples(), *background(noise=noise)]).done.measures)


def head_in(made: Path) -> Head:
    return read_head(made / "model")


def test_it_tells_kinds_apart_and_its_files_say_the_same(base: Path, tmp_path: Path) -> None:
    assert trained(base, tmp_path, 0.2)["accuracy"] > 0.9
    head = head_in(tmp_path)
    assert (head.kinds, head.kinds_version, head.embedder) == ((*KINDS, OTHER), 4, Embedder("mini", SIZE, "ab" * 8))
    assert [head.kinds[head.probabilities(vector).argmax()] for vector in CENTRES] == [*KINDS, OTHER]


def test_its_probabilities_mean_what_they_say(base: Path, tmp_path: Path) -> None:
    measures = trained(base, tmp_path, 0.5)
    assert measures["accuracy"] < 0.9  # there is something to be unsure of
    assert measures["calibration_error"] < 0.1


def test_examples_and_background_are_enough_to_begin_with(base: Path, tmp_path: Path) -> None:
    done = ran(base, tmp_path, [*examples(), *background()]).done
    assert (done.held_out_loss, done.measures) == (None, {})
    head = head_in(tmp_path)
    assert [head.kinds[head.probabilities(vector).argmax()] for vector in CENTRES] == [*KINDS, OTHER]


def test_what_people_say_goes_before_where_an_example_lies(base: Path, tmp_path: Path) -> None:
    """Between two kinds, nearer to the one's examples; users who ask it mean the other."""
    between = 0.6 * CENTRES[0] + 0.4 * CENTRES[1]
    source = np.random.default_rng(3)
    asked = [row(f"q{i}", "error", between + 0.05 * source.normal(size=SIZE)) for i in range(40)]
    said = {}
    for name, people in (("before", []), ("after", asked)):
        ran(base, tmp_path / name, [*people, *examples(), *background()])
        head = head_in(tmp_path / name)
        said[name] = head.kinds[head.probabilities(between).argmax()]
    assert said == {"before": "compare", "after": "error"}


def test_much_background_drowns_nothing(base: Path, tmp_path: Path) -> None:
    ran(base, tmp_path, [*examples(), *background(600)])
    head = head_in(tmp_path)
    assert head.kinds[head.probabilities(CENTRES[1]).argmax()] == "error"


def test_a_kind_that_the_tenant_has_no_more_is_left_out(base: Path, tmp_path: Path) -> None:
    gone = [row(f"g{i}", "gone", CENTRES[2], split=split) for i in range(5) for split in ("train", "test")]
    said = ran(base, tmp_path, [*gone, *examples(), *background()])
    assert said.events[0].left_out == 10  # type: ignore[attr-defined]
    assert "gone" not in head_in(tmp_path).kinds


def test_the_same_job_makes_the_same_version_and_other_kinds_another(base: Path, tmp_path: Path) -> None:
    some = [*rows(40, split="train", seed=1, noise=0.2), *examples(), *background()]
    versions = [ran(base, tmp_path / str(i), some).done.version for i in range(2)]
    later = ran(base, tmp_path / "later", some, told=TOLD | {"version": 5}).done.version
    assert versions[0] == versions[1] != later


def test_being_too_sure_is_measured() -> None:
    labels = np.array([0, 1] * 50)
    assert calibration_error(np.tile([0.99, 0.01], (100, 1)), labels) == pytest.approx(0.49)
    assert calibration_error(np.tile([0.5, 0.5], (100, 1)), labels) == pytest.approx(0.0)


def test_the_fit_is_the_one_minimum() -> None:
    source = np.random.default_rng(0)
    vectors, labels = source.normal(size=(60, 4)), source.integers(0, 3, 60)
    shares = source.uniform(0.5, 2, 60)
    shares /= shares.sum()
    head = fit(Rows(vectors, labels, shares, np.ones(60, dtype=bool)), kinds=3, strength=0.1)

    def loss(weights: np.ndarray) -> float:
        logits = vectors @ weights.T + head.bias
        logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        return float(-(shares * logs[np.arange(60), labels]).sum() + 0.05 * (weights**2).sum())

    steps = [source.normal(size=head.weights.shape) * 0.05 for _ in range(20)]
    assert all(loss(head.weights) < loss(head.weights + step) for step in steps)


def test_a_kind_without_a_row_cannot_be_learned(base: Path, tmp_path: Path) -> None:
    said = ran(base, tmp_path, examples())
    assert (said.code, said.last["reason"]) == (2, "empty_dataset")


@pytest.mark.parametrize(
    "wrong",
    [
        row("w", "error", np.ones(SIZE + 1)),
        row("w", "error", np.full(SIZE, np.nan)),
        row("w", "error", np.ones(SIZE), said="machine"),
    ],
)
def test_what_is_no_vector_of_the_embedders_or_was_said_by_nobody_is_refused(
    wrong: dict[str, object], base: Path, tmp_path: Path
) -> None:
    said = ran(base, tmp_path, [wrong, *examples(), *background()])
    assert (said.code, said.last["reason"]) == (2, "bad_rows")
