"""Training what recognises kinds of query: multinomial logistic regression over questions' vectors.

Its probabilities mean what they say: how strongly weights are held down, and the temperature, are chosen by folds that
the rows in question were not learned from.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax

from headrace_trainer.learning import weights
from headrace_trainer.learning.failures import Failed
from headrace_trainer.learning.job import Example, Job
from headrace_trainer.learning.loop import Surroundings
from headrace_trainer.learning.machine import peak_memory
from headrace_trainer.learning.telling import Done, Started

Array = NDArray[np.float64]
FOLDS = 5
#: How strongly the weights' squares count beside the mean loss: from hardly to nearly nothing but the prior.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
WEIGHTS = "head.safetensors"
LABELS = "head.json"


@dataclass(frozen=True, slots=True)
class Head:
    """A linear head. weights: [kinds, dimensions]; bias: [kinds]; the temperature divides what they give."""

    weights: Array
    bias: Array
    temperature: float = 1.0

    def log_probabilities(self, vectors: Array) -> Array:
        """[rows, kinds]"""
        found: Array = log_softmax((vectors @ self.weights.T + self.bias) / self.temperature, axis=1)
        return found


def fit(vectors: Array, labels: NDArray[np.int64], *, kinds: int, strength: float) -> Head:
    """The head with the least mean loss plus `strength` times half the weights' squares; it has one minimum.

    vectors: [rows, dimensions]. labels: [rows], below `kinds`.
    """
    rows, size = vectors.shape
    wanted = np.eye(kinds)[labels]

    def loss(flat: Array) -> tuple[float, Array]:
        w, b = flat[: kinds * size].reshape(kinds, size), flat[kinds * size :]
        logs = log_softmax(vectors @ w.T + b, axis=1)
        slope = (np.exp(logs) - wanted) / rows
        value = -float((logs * wanted).sum()) / rows + 0.5 * strength * float((w * w).sum())
        return value, np.concatenate([(slope.T @ vectors + strength * w).ravel(), slope.sum(0)])

    found = minimize(loss, np.zeros(kinds * size + kinds), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return Head(found.x[: kinds * size].reshape(kinds, size), found.x[kinds * size :])


def fit_calibrated(vectors: Array, labels: NDArray[np.int64], *, kinds: int, seed: int) -> Head:
    """The head whose strength and temperature do best on rows that were left out (Guo et al. 2017 on temperatures)."""
    folds = _folds(len(labels), seed)
    unseen = {s: _left_out(vectors, labels, kinds=kinds, strength=s, folds=folds) for s in STRENGTHS}
    best = min(STRENGTHS, key=lambda s: _log_loss(unseen[s], labels, 1.0))
    logits = unseen[best]
    found = minimize_scalar(lambda t: _log_loss(logits, labels, math.exp(t)), bounds=(-3.0, 3.0), method="bounded")
    head = fit(vectors, labels, kinds=kinds, strength=best)
    return Head(head.weights, head.bias, math.exp(float(found.x)))


def _folds(rows: int, seed: int) -> list[NDArray[np.int64]]:
    order = list(range(rows))
    random.Random(seed).shuffle(order)  # noqa: S311 - a draw to repeat, no secret
    return [np.array(order[i :: min(FOLDS, rows)], dtype=np.int64) for i in range(min(FOLDS, rows))]


def _left_out(
    vectors: Array, labels: NDArray[np.int64], *, kinds: int, strength: float, folds: Sequence[NDArray[np.int64]]
) -> Array:
    """Each row's logits by a head that was fitted without its fold, [rows, kinds]."""
    logits = np.zeros((len(labels), kinds))
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(labels)), fold)
        head = fit(vectors[rest], labels[rest], kinds=kinds, strength=strength)
        logits[fold] = vectors[fold] @ head.weights.T + head.bias
    return logits


def _log_loss(logits: Array, labels: NDArray[np.int64], temperature: float) -> float:
    logs = log_softmax(logits / temperature, axis=1)
    return -float(logs[np.arange(len(labels)), labels].mean())


def calibration_error(probabilities: Array, labels: NDArray[np.int64], *, bins: int = 10) -> float:
    """By how much confidence and share of right answers differ, over bins of confidence (Naeini et al. 2015)."""
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    where = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [
        abs(float(right[where == i].mean() - sure[where == i].mean())) * float((where == i).mean()) for i in set(where)
    ]
    return float(sum(gaps))


def train(job: Job, around: Surroundings) -> Done:
    """Makes the head that the job asks for. Raises Failed."""
    began = around.clock()
    rows = [r for r in job.rows if isinstance(r, Example)]
    train_rows, test_rows = ([r for r in rows if r.split == split] for split in ("train", "test"))
    names = sorted({r.kind for r in train_rows})
    if len(names) < 2:
        raise Failed("empty_dataset")
    test_rows = [r for r in test_rows if r.kind in names]
    if len({len(r.vector) for r in rows}) != 1 or not all(math.isfinite(x) for r in rows for x in r.vector):
        raise Failed("bad_rows")
    around.say(Started(0, 1, len(train_rows), len(test_rows), 0, {"name": "", "version": ""}, None))
    vectors, labels = _arrays(train_rows, names)
    head = fit_calibrated(vectors, labels, kinds=len(names), seed=job.seed)
    made = _save(head, names, job)
    loss = -float(head.log_probabilities(vectors)[np.arange(len(labels)), labels].mean())
    measures = _measures(head, *_arrays(test_rows, names)) if test_rows else {}
    return Done(
        name=job.name,
        version=made.version,
        files=made.files,
        bytes=made.bytes,
        loss=loss,
        held_out_loss=measures.get("log_loss"),
        base_held_out_loss=math.log(len(names)) if test_rows else None,
        step=1,
        tokens=0,
        seconds=around.clock() - began,
        peak_memory_bytes=peak_memory(),
        measures=measures,
    )


def _arrays(rows: Sequence[Example], names: Sequence[str]) -> tuple[Array, NDArray[np.int64]]:
    """Vectors of length 1, and places in `names`."""
    vectors = np.array([r.vector for r in rows], dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(lengths, 1e-12), np.array([names.index(r.kind) for r in rows], dtype=np.int64)


def _measures(head: Head, vectors: Array, labels: NDArray[np.int64]) -> dict[str, float]:
    logs = head.log_probabilities(vectors)
    return {
        "accuracy": float((logs.argmax(1) == labels).mean()),
        "log_loss": -float(logs[np.arange(len(labels)), labels].mean()),
        "calibration_error": calibration_error(np.exp(logs), labels),
    }


def _save(head: Head, names: Sequence[str], job: Job) -> weights.Folder:
    """A folder with the head's numbers as float32 safetensors, and the kinds' names beside them."""
    with weights.whole(job.output) as making:
        tensors = {
            "weights": head.weights.astype(np.float32),
            "bias": head.bias.astype(np.float32),
            "temperature": np.array([head.temperature], dtype=np.float32),
        }
        save_file(tensors, making / WEIGHTS)
        (making / LABELS).write_text(json.dumps({"kinds": list(names)}), encoding="utf-8")
    return weights.described(job.output)
