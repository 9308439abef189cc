"""Telling what kind of query a question is, from vectors alone."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from headrace_inference import kinds
from headrace_inference.kinds import OTHER, Kind, Recogniser, learn
from headrace_models.kinds import BACKGROUND

from services.inference.tests.kinds_of_questions import EXAMPLES, OTHERS, UNSEEN

NAMES = ("apples", "boats", "clouds")
DIMENSIONS = 32


class Words:
    """Vectors of made-up questions: each kind has a direction, and what is of none has many."""

    def __init__(self, seed: int, *, noise: float = 0.18) -> None:
        self.random = np.random.default_rng(seed)
        self.noise = noise
        self.centres = self.random.normal(size=(len(NAMES), DIMENSIONS)) / np.sqrt(DIMENSIONS)

    def of(self, kind: int, count: int) -> Any:
        return self.centres[kind] + self.noise * self.random.normal(size=(count, DIMENSIONS))

    def of_none(self, count: int) -> Any:
        return self.random.normal(size=(count, DIMENSIONS)) / np.sqrt(DIMENSIONS)


def learned(words: Words, *, examples: int = 20) -> tuple[Recogniser, list[kinds.Quality]]:
    return learn([words.of(k, examples) for k in range(len(NAMES))], NAMES, words.of_none(64))


def test_each_kind_is_told_from_the_others_and_from_none() -> None:
    words = Words(1)
    recogniser, quality = learned(words)
    right = [recogniser.recognise(v).kind == name for k, name in enumerate(NAMES) for v in words.of(k, 100)]
    assert np.mean(right) > 0.9
    assert np.mean([recogniser.recognise(v).kind == OTHER for v in words.of_none(200)]) > 0.9
    assert [q.kind for q in quality] == list(NAMES)
    assert all(q.recall > 0.8 and q.precision > 0.8 and q.examples == 20 for q in quality)


def test_the_quality_is_that_of_refitting_without_each_example() -> None:
    """Leaving one out by the formula is leaving one out in fact."""
    words = Words(2, noise=0.3)
    x = kinds._unit(np.concatenate([*(words.of(k, 6) for k in range(3)), words.of_none(10)]))
    labels = np.repeat([0, 1, 2, 3], [6, 6, 6, 10])
    ridge = kinds._decomposed(x, labels)[4]
    fit = kinds._fit(x, labels, 3, ridge)
    wanted, rows = np.eye(4)[labels][:, :3], np.arange(len(x))
    for left_out in (0, 7, 13, 20):
        kept = rows != left_out
        weighted = x[kept] * ridge.weights[kept, None]
        refitted = np.linalg.solve(
            weighted.T @ x[kept] + kinds._RIDGES[4] * np.eye(DIMENSIONS), weighted.T @ wanted[kept]
        )
        assert fit.unseen[left_out] == pytest.approx(x[left_out] @ refitted, abs=1e-9)


def test_kinds_that_are_the_same_are_said_to_be_mistaken_for_each_other() -> None:
    words = Words(3)
    words.centres[1] = words.centres[0]
    _, quality = learned(words, examples=30)
    apples, boats, clouds = quality
    assert apples.recall < 0.8
    assert (apples.mistaken_for, boats.mistaken_for) == ("boats", "apples")
    assert clouds.recall > 0.8


def calibration_error(recogniser: Recogniser, questions: Sequence[tuple[str, Any]]) -> float:
    """The mean distance between what is said and what is right, over ten bands of confidence, by their size."""
    said = [(found.confidence, found.kind == kind) for kind, v in questions for found in [recogniser.recognise(v)]]
    bands = [[pair for pair in said if int(pair[0] * 10) == band] for band in range(11)]
    distances = [len(b) * abs(np.mean([c for c, _ in b]) - np.mean([r for _, r in b])) for b in bands if b]
    return float(sum(distances) / len(said))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [0.18, 0.3, 0.45])
def test_of_those_said_with_four_in_five_four_in_five_are_right(seed: int, noise: float) -> None:
    words = Words(seed, noise=noise)
    recogniser, _ = learned(words, examples=60)
    questions = [(name, v) for k, name in enumerate(NAMES) for v in words.of(k, 300)]
    questions += [(OTHER, v) for v in words.of_none(300)]
    assert calibration_error(recogniser, questions) < 0.08
    overconfident = Recogniser(recogniser.names, recogniser.directions, recogniser.sharpness * 8, recogniser.floor)
    if noise > 0.4:  # where questions are easy to tell, it is right to be sure
        assert calibration_error(overconfident, questions) > 0.08


def test_scores_are_shares_of_one_best_first() -> None:
    words = Words(5)
    recogniser, _ = learned(words)
    (vector,) = words.of(1, 1)
    scores = recogniser.scores(vector)
    assert sum(s.confidence for s in scores) == pytest.approx(1.0)
    assert scores[0] == recogniser.recognise(vector)
    assert {s.kind for s in scores} == {*NAMES, OTHER}


@pytest.mark.parametrize("count", [3, 4])
def test_one_kind_with_a_few_examples_is_enough(count: int) -> None:
    words = Words(6)
    recogniser, quality = learn([words.of(0, count)], ["apples"], words.of_none(64))
    assert np.mean([recogniser.recognise(v).kind == "apples" for v in words.of(0, 100)]) > 0.8
    assert len(quality) == 1


def test_examples_that_are_all_the_same_are_no_accident() -> None:
    same = np.ones((3, DIMENSIONS))
    recogniser, _ = learn([same, -same], ["up", "down"], Words(7).of_none(64))
    assert recogniser.recognise(np.ones(DIMENSIONS)).kind == "up"
    assert np.isfinite(recogniser.recognise(np.zeros(DIMENSIONS)).confidence)


def test_the_same_examples_give_the_same_recogniser() -> None:
    assert learned(Words(8))[0].directions.tobytes() == learned(Words(8))[0].directions.tobytes()


def test_no_repr_shows_an_example() -> None:
    assert "secret" not in repr(Kind("how-to", "", ("my secret",)))


@pytest.mark.models
def test_real_questions_are_sorted_as_a_person_would() -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from headrace_models.embedding import find_bundled, read_folder
    from headrace_models.embedding.encoder import load_encoder

    encoder = load_encoder(read_folder(find_bundled()), threads=2)

    def embed(texts: Sequence[str]) -> Any:
        return np.array(encoder.encode(list(texts), batch_tokens=640), dtype=float)

    asked = [Kind(name, "", questions) for name, questions in EXAMPLES.items()]
    recogniser, quality = kinds.learn_from(asked, embed(kinds.texts_of(asked)))
    right = [recogniser.recognise(v).kind == kind for kind, texts in UNSEEN.items() for v in embed(texts)]
    assert sum(right) >= 29, f"{sum(right)} of {len(right)}"
    none = [recogniser.recognise(v).kind == OTHER for v in embed(OTHERS)]
    assert sum(none) >= 12, f"{sum(none)} of {len(none)}"
    assert min(q.recall for q in quality) >= 0.6
    assert len(set(BACKGROUND)) == len(BACKGROUND)
