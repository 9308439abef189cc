"""What kind of query a question is, told from its vector by examples. Pure.

Each kind has one direction in the space of vectors, found by regularised least squares (Rifkin and Lippert, "Notes on
Regularized Least-Squares", MIT 2007): the more it is regularised, the nearer a direction comes to the mean of the
kind's examples, less what they share with the others. Two things follow from the formula. What each example would score
had it not been among the examples is exact and costs nothing (their leave-one-out formula), so that how much to
regularise, how to turn scores into confidence, and how well the kinds can be told apart are all decided on examples
unseen. And recognising is one small matrix times the vector.

Questions on everything under the sun (BACKGROUND) are learned as none of the kinds, so that there is an "other" even
where a tenant has one kind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
from headrace_models.kinds import BACKGROUND, OTHER, Embedder, Head
from numpy.typing import NDArray

__all__ = ["OTHER", "Embedder"]

Matrix: TypeAlias = NDArray[np.float64]

#: How much the directions are drawn to the means; the best by leaving one out is taken.
_RIDGES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_NEWTON_STEPS = 60


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of query in a tenant's own words, with questions of this kind."""

    name: str
    description: str
    examples: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Recognised:
    """A kind, and how sure that is, 0 to 1. model: the trained model that said it, "NAME@VERSION"; "" for examples."""

    kind: str
    confidence: float
    model: str = ""


class Recognises(Protocol):
    """Tells kinds by one embedder's vectors."""

    def recognise(self, vector: NDArray[np.floating]) -> Recognised:
        """The kind that a question most likely is; "other" is one of them."""

    def scores(self, vector: NDArray[np.floating]) -> list[Recognised]:
        """How likely a question is of each kind, and of none, best first."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How well one kind is told from the others, each example judged by all but itself.

    recall: of its examples, the share that is taken for it. precision: of the examples that are taken for it, the share
    that is; each kind counts the same, however many examples it has. mistaken_for: most often; "" for none.
    """

    kind: str
    examples: int
    recall: float
    precision: float
    mistaken_for: str


@dataclass(frozen=True, slots=True)
class Recogniser:
    """Tells kinds by one embedder's vectors.

    directions: kinds × dimensions. sharpness, floor: confidence is the softmax of sharpness × score over the kinds and
    "other", whose score is always the floor.
    """

    names: tuple[str, ...]
    directions: Matrix = field(repr=False)
    sharpness: float
    floor: float

    def recognise(self, vector: NDArray[np.floating]) -> Recognised:
        """The kind that a question most likely is; "other" is one of them."""
        confidences = self._confidences(vector)
        best = int(np.argmax(confidences))
        return Recognised((*self.names, OTHER)[best], float(confidences[best]))

    def scores(self, vector: NDArray[np.floating]) -> list[Recognised]:
        """How likely a question is of each kind, and of none, best first."""
        found = zip((*self.names, OTHER), self._confidences(vector).tolist(), strict=True)
        return sorted((Recognised(*one) for one in found), key=lambda one: -one.confidence)

    def _confidences(self, vector: NDArray[np.floating]) -> Matrix:
        # Not a BLAS product: from some twenty kinds on that wakes threads, which are slower, and wait for busy cores.
        scores = np.einsum("kd,d->k", self.directions, vector / (np.linalg.norm(vector) or 1.0))
        return _softmax(self.sharpness * np.append(scores, self.floor))


@dataclass(frozen=True, slots=True)
class TrainedRecogniser:
    """Tells kinds by a head that the trainer made. model: "NAME@VERSION"."""

    head: Head
    model: str

    def fits(self, kinds: Sequence[Kind], version: int, embedder: Embedder) -> bool:
        """Whether it learned these kinds and no others, in this version (whoever changes them, be it by an example,
        wants theirs recognised), from vectors of this embedder."""
        names = {*(kind.name for kind in kinds), OTHER}
        head = self.head
        return head.kinds_version == version and set(head.kinds) == names and head.embedder == embedder

    def recognise(self, vector: NDArray[np.floating]) -> Recognised:
        """See Recognises."""
        shares = self.head.probabilities(vector)
        best = int(np.argmax(shares))
        return Recognised(self.head.kinds[best], float(shares[best]), self.model)

    def scores(self, vector: NDArray[np.floating]) -> list[Recognised]:
        """See Recognises."""
        found = zip(self.head.kinds, self.head.probabilities(vector).tolist(), strict=True)
        return sorted((Recognised(*one, self.model) for one in found), key=lambda one: -one.confidence)


def learn(vectors: Sequence[Matrix], names: Sequence[str], background: Matrix) -> tuple[Recogniser, list[Quality]]:
    """Learns to tell kinds.

    vectors: for each name its examples, n × dimensions, n at least 2. background: vectors of questions of no kind.
    The same input gives the same result. Takes a second for 64 kinds of 200 examples.
    """
    x = _unit(np.concatenate([*vectors, background]))
    labels = np.concatenate([np.full(len(v), k) for k, v in enumerate([*vectors, background])])
    fits = [_fit(x, labels, len(names), ridge) for ridge in _decomposed(x, labels)]
    best = min(fits, key=lambda fit: fit.loss)
    recogniser = Recogniser(tuple(names), best.directions, best.sharpness, best.floor)
    return recogniser, _quality(best, labels, names)


@dataclass(frozen=True, slots=True)
class _Ridge:
    """A way to solve: the weights of the rows, and the inverse of the regularised second moments."""

    weights: Matrix
    inverse: Matrix


@dataclass(frozen=True, slots=True)
class _Fit:
    directions: Matrix
    unseen: Matrix  # rows × kinds: what each row scores when it is left out
    sharpness: float
    floor: float
    loss: float

    @property
    def taken_for(self) -> NDArray[np.intp]:
        floor = np.full((len(self.unseen), 1), self.floor)
        found: NDArray[np.intp] = np.argmax(np.hstack([self.unseen, floor]), axis=1)
        return found


def _decomposed(x: Matrix, labels: NDArray[np.intp]) -> list[_Ridge]:
    weights = _balanced(labels)
    values, basis = np.linalg.eigh((x * weights[:, None]).T @ x)
    return [_Ridge(weights, (basis / (values.clip(0) + ridge)) @ basis.T) for ridge in _RIDGES]


def _balanced(labels: NDArray[np.intp]) -> Matrix:
    """Weights by which each kind, and the background, counts as one."""
    weights: Matrix = 1.0 / np.bincount(labels)[labels]
    return weights


def _fit(x: Matrix, labels: NDArray[np.intp], kinds: int, ridge: _Ridge) -> _Fit:
    wanted = np.eye(kinds + 1)[labels][:, :kinds]
    solved = ridge.inverse @ (x * ridge.weights[:, None]).T  # dimensions × rows
    directions = solved @ wanted
    leverage = np.einsum("rd,dr->r", x, solved)[:, None]
    unseen = (x @ directions - leverage * wanted) / (1 - leverage)
    sharpness, floor, loss = _calibrate(unseen, labels, ridge.weights)
    return _Fit(directions.T, unseen, sharpness, floor, loss)


def _calibrate(scores: Matrix, labels: NDArray[np.intp], weights: Matrix) -> tuple[float, float, float]:
    """The sharpness and floor under which the labels are likeliest, and the mean loss in nats.

    A logistic regression with two parameters, by Newton's method. Targets are smoothed as Platt did (1999), or examples
    that are told apart without error would have it say that it is always sure.
    """
    rows, kinds = scores.shape
    smooth = 1.0 / (np.bincount(labels)[labels] + 2.0)[:, None]
    targets = np.eye(kinds + 1)[labels] * (1 - smooth) + smooth * _even_share(kinds)
    share = (weights / weights.sum())[:, None]
    # logits = sharpness · first + lift · second: the score of "other" is 0, and the lift is sharpness · floor.
    first = np.hstack([scores, np.zeros((rows, 1))])
    second = np.hstack([np.zeros((rows, kinds)), np.ones((rows, 1))])
    both = np.array([10.0, 1.0])
    for _ in range(_NEWTON_STEPS):
        step = _newton_step(first, second, targets, share, both)
        both = both + step
        if np.abs(step).max() < 1e-9:
            break
    both[0] = max(both[0], 1e-3)
    loss = -float((share * targets * np.log(_softmax(both[0] * first + both[1] * second).clip(1e-300))).sum())
    return float(both[0]), float(both[1] / both[0]), loss


def _even_share(kinds: int) -> float:
    """What each of the kinds, and "other", gets of a target's smoothing."""
    return 1.0 / (kinds + 1)


def _newton_step(first: Matrix, second: Matrix, targets: Matrix, share: Matrix, both: Matrix) -> Matrix:
    said = _softmax(both[0] * first + both[1] * second)
    slope = np.array([(share * (targets - said) * column).sum() for column in (first, second)])
    means = [(said * column).sum(axis=1, keepdims=True) for column in (first, second)]
    bend = np.empty((2, 2))
    for i, a in enumerate((first, second)):
        for j, b in enumerate((first, second)):
            bend[i, j] = (share * said * (a - means[i]) * (b - means[j])).sum()
    step: Matrix = np.linalg.solve(bend + 1e-9 * np.eye(2), slope)
    # Far from the end the curve is no parabola: steps are kept short.
    return step / max(1.0, float(np.abs(step).max()) / 10.0)


def _quality(fit: _Fit, labels: NDArray[np.intp], names: Sequence[str]) -> list[Quality]:
    kinds = len(names)
    counts = np.zeros((kinds + 1, kinds + 1))
    np.add.at(counts, (labels, fit.taken_for), 1)
    shares = counts[:kinds] / counts[:kinds].sum(axis=1, keepdims=True)  # the background is nobody's example
    return [_quality_of(k, shares, int(counts[k].sum()), names) for k in range(kinds)]


def _quality_of(k: int, shares: Matrix, examples: int, names: Sequence[str]) -> Quality:
    taken = float(shares[:, k].sum())
    others = shares[k].copy()
    others[k] = 0.0
    mistaken = (*names, OTHER)[int(np.argmax(others))] if others.any() else ""
    precision = float(shares[k, k]) / taken if taken else 0.0
    return Quality(names[k], examples, float(shares[k, k]), precision, mistaken)


def _unit(rows: Matrix) -> Matrix:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows, dtype=np.float64) / np.where(lengths > 0, lengths, 1.0)


def _softmax(logits: Matrix) -> Matrix:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares: Matrix = raised / raised.sum(axis=-1, keepdims=True)
    return shares


def texts_of(kinds: Sequence[Kind]) -> list[str]:
    """What is embedded to learn these kinds, in order: each kind's examples, then the background."""
    return [*(example for kind in kinds for example in kind.examples), *BACKGROUND]


def hash_of(texts: Sequence[str]) -> bytes:
    """SHA-256 over texts, by which vectors are known to be of these and no others."""
    digest = hashlib.sha256()
    for text in texts:
        digest.update(len(text.encode()).to_bytes(4, "big") + text.encode())
    return digest.digest()


def learn_from(kinds: Sequence[Kind], vectors: Matrix) -> tuple[Recogniser, list[Quality]]:
    """As learn, from the vectors of `texts_of`."""
    parts = np.split(vectors, np.cumsum([len(kind.examples) for kind in kinds]))
    return learn(parts[:-1], [kind.name for kind in kinds], parts[-1])
