"""What draws a judge besides the answers: the seat in which one is shown, and its length. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from headrace_statistics.judging import Judged, Seat

Floats = npt.NDArray[np.float64]

#: Newton's method on a concave likelihood of two coefficients has converged to rounding long before.
_STEPS = 25


def first_position_rate(judged: Iterable[Judged]) -> float:
    """The share of votes for the answer that was shown first, of those for either; .5 is without bias, and where there
    are none."""
    votes = [vote for one in judged for vote in (*one.a_first, *one.b_first)]
    first, second = votes.count(Seat.FIRST), votes.count(Seat.SECOND)
    return first / (first + second) if first + second else 0.5


def length_effect(judged: Sequence[Judged], lengths: Sequence[tuple[int, int]]) -> float:
    """By how much, in log odds, an answer gains for each doubling of its length; 0 where nothing tells.

    The slope of a logistic regression, with intercept, of the votes' preference for B on log2(length of B / length of
    A), both lengths at least 1. Intercept and slope have standard normal priors, so that the slope is finite where the
    longer one always wins. Source: Y. Dubois and others, Length-controlled AlpacaEval, 2024.
    """
    if not judged:
        return 0.0
    preference = np.array([one.preference for one in judged])
    doublings = np.array([math.log2(max(1, b) / max(1, a)) for a, b in lengths])
    design = np.column_stack([np.ones(doublings.size), doublings])
    return float(_logistic(design, preference)[1])


def _logistic(design: Floats, wins: Floats) -> Floats:
    weights = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        chances = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        gradient = design.T @ (wins - chances) - weights
        curvature = (design.T * (chances * (1 - chances))) @ design + np.eye(weights.size)
        weights = weights + np.linalg.solve(curvature, gradient)
    return np.asarray(weights, dtype=float)
