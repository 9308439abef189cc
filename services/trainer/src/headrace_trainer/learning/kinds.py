"""Training what recognises kinds of query: multinomial logistic regression over questions' vectors.

It learns from what people said: questions whose kind reviewers stated, and the tenant's examples. What is of no kind it
learns from questions on everything under the sun, which weigh as much together as a kind does on average.

Its probabilities mean what they say: how strongly weights are held down, and the temperature, are chosen by folds that
the rows in question were not learned from.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from headrace_models import kinds as heads
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_softmax

from headrace_trainer.learning import weights
from headrace_trainer.learning.failures import Failed
from headrace_trainer.learning.job import Example, Job, Kinds
from headrace_trainer.learning.loop import Surroundings
from headrace_trainer.learning.machine import peak_memory
from headrace_trainer.learning.telling import Done, Started

Array = NDArray[np.float64]
FOLDS = 5
#: How strongly the weights' squares count beside the mean loss: from hardly to nearly nothing but the prior.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
#: From so many of people's rows on, these alone decide how sure to be: examples are clearer than what is asked.
LEAST_ASKED = 30


@dataclass(frozen=True, slots=True)
class Rows:
    """What is learned from. vectors: [rows, dimensions], of length 1. labels: [rows], places in the kinds. shares:
    [rows], how much each counts; they add up to 1. asked: [rows], whether a user asked it."""

    vectors: Array
    labels: NDArray[np.int64]
    shares: Array
    asked: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, places: NDArray[np.int64]) -> Rows:
        """Some of them; their shares add up to 1 again."""
        shares = self.shares[places]
        return Rows(self.vectors[places], self.labels[places], shares / shares.sum(), self.asked[places])

    @property
    def telling(self) -> NDArray[np.int64]:
        """The places of those by which a head is judged."""
        asked: NDArray[np.int64] = np.flatnonzero(self.asked)
        return asked if len(asked) >= LEAST_ASKED else np.arange(len(self))


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


def fit(rows: Rows, *, kinds: int, strength: float) -> Head:
    """The head with the least mean loss plus `strength` times half the weights' squares; it has one minimum."""
    vectors, size = rows.vectors, rows.vectors.shape[1]
    wanted, shares = np.eye(kinds)[rows.labels], rows.shares[:, None]

    def loss(flat: Array) -> tuple[float, Array]:
        w, b = flat[: kinds * size].reshape(kinds, size), flat[kinds * size :]
        logs = log_softmax(vectors @ w.T + b, axis=1)
        slope = (np.exp(logs) - wanted) * shares
        value = -float((logs * wanted * shares).sum()) + 0.5 * strength * float((w * w).sum())
        return value, np.concatenate([(slope.T @ vectors + strength * w).ravel(), slope.sum(0)])

    found = minimize(loss, np.zeros(kinds * size + kinds), jac=True, method="L-BFGS-B", options={"maxiter": 500})
    return Head(found.x[: kinds * size].reshape(kinds, size), found.x[kinds * size :])


def fit_calibrated(rows: Rows, *, kinds: int, seed: int) -> Head:
    """The head whose strength and temperature do best on rows that were left out (Guo et al. 2017 on temperatures)."""
    folds = list(_folds(rows.labels, seed))
    unseen = {s: _left_out(rows, kinds=kinds, strength=s, folds=folds) for s in STRENGTHS}
    best = min(STRENGTHS, key=lambda s: _log_loss(unseen[s], rows, 1.0))
    logits = unseen[best]
    found = minimize_scalar(lambda t: _log_loss(logits, rows, math.exp(t)), bounds=(-3.0, 3.0), method="bounded")
    return replace(fit(rows, kinds=kinds, strength=best), temperature=math.exp(float(found.x)))


def _folds(labels: NDArray[np.int64], seed: int) -> Iterator[NDArray[np.int64]]:
    """Each kind is dealt out by itself, so that none is missing from what is learned where it has two rows."""
    order = list(range(len(labels)))
    random.Random(seed).shuffle(order)  # noqa: S311 - a draw to repeat, no secret
    dealt = sorted(order, key=lambda place: labels[place])
    for i in range(min(FOLDS, len(labels))):
        yield np.array(dealt[i :: min(FOLDS, len(labels))], dtype=np.int64)


def _left_out(rows: Rows, *, kinds: int, strength: float, folds: Sequence[NDArray[np.int64]]) -> Array:
    """Each row's logits by a head that was fitted without its fold, [rows, kinds]."""
    logits = np.zeros((len(rows), kinds))
    for fold in folds:
        rest = np.setdiff1d(np.arange(len(rows)), fold)
        head = fit(rows.only(rest), kinds=kinds, strength=strength)
        logits[fold] = rows.vectors[fold] @ head.weights.T + head.bias
    return logits


def _log_loss(logits: Array, rows: Rows, temperature: float) -> float:
    places = rows.telling
    logs = log_softmax(logits[places] / temperature, axis=1)
    return -float(np.average(logs[np.arange(len(places)), rows.labels[places]], weights=rows.shares[places]))


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
    told = _told(job)
    names = (*sorted(told.names), heads.OTHER)
    given = [row for row in job.rows if isinstance(row, Example)]
    # What is of a kind that the tenant has no more is nothing to tell apart.
    known = [row for row in given if row.kind in names]
    _check(known, told)
    learned, held_out = ([row for row in known if row.split == split] for split in ("train", "test"))
    if len({row.kind for row in learned}) < len(names):
        raise Failed("empty_dataset")
    left_out = len(given) - len(known)
    around.say(Started(0, 1, len(learned), len(held_out), left_out, {"name": "", "version": ""}, None))
    rows = _rows(learned, names)
    head = fit_calibrated(rows, kinds=len(names), seed=job.seed)
    made = _save(head, names, told, job)
    logs = head.log_probabilities(rows.vectors)[np.arange(len(rows)), rows.labels]
    measures = _measures(head, _rows(held_out, names)) if held_out else {}
    return Done(
        name=job.name,
        version=made.version,
        files=made.files,
        bytes=made.bytes,
        loss=-float((logs * rows.shares).sum()),
        held_out_loss=measures.get("log_loss"),
        base_held_out_loss=math.log(len(names)) if held_out else None,
        step=1,
        tokens=0,
        seconds=around.clock() - began,
        peak_memory_bytes=peak_memory(),
        measures=measures,
    )


def _told(job: Job) -> Kinds:
    found = [row for row in job.rows if isinstance(row, Kinds)]
    if len(found) != 1:
        raise Failed("bad_rows")
    return found[0]


def _check(rows: Sequence[Example], kinds: Kinds) -> None:
    """Raises Failed for vectors that are not the embedder's, or no numbers."""
    if any(len(row.vector) != kinds.embedder.dimensions for row in rows):
        raise Failed("bad_rows")
    if not all(math.isfinite(number) for row in rows for number in row.vector):
        raise Failed("bad_rows")


def _rows(given: Sequence[Example], names: Sequence[str]) -> Rows:
    vectors = np.array([row.vector for row in given], dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = np.array([names.index(row.kind) for row in given], dtype=np.int64)
    background = np.array([row.said == "background" for row in given])
    # As much together as a kind has rows on average: few kinds with many rows are not to be drowned, nor to drown it.
    of_each = (len(given) - background.sum()) / max(1, len(names) - 1)
    shares = np.where(background, of_each / max(1, background.sum()), 1.0)
    asked = np.array([row.said == "people" for row in given])
    return Rows(vectors / np.maximum(lengths, 1e-12), labels, shares / shares.sum(), asked)


def _measures(head: Head, rows: Rows) -> dict[str, float]:
    logs = head.log_probabilities(rows.vectors)
    return {
        "accuracy": float((logs.argmax(1) == rows.labels).mean()),
        "log_loss": -float(logs[np.arange(len(rows)), rows.labels].mean()),
        "calibration_error": calibration_error(np.exp(logs), rows.labels),
    }


def _save(head: Head, names: Sequence[str], kinds: Kinds, job: Job) -> weights.Folder:
    """A folder with the head, the kinds' names and what made the vectors; see headrace_models.kinds."""
    made = heads.Head(tuple(names), kinds.version, kinds.embedder, head.weights, head.bias, head.temperature)
    with weights.whole(job.output) as making:
        heads.write_head(made, making)
    return weights.described(job.output)
