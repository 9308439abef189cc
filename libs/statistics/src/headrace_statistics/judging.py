"""What a judge's votes between two answers are worth, once position and length are taken out of them.

A judge sees two answers in two seats and prefers the first, the second, or neither. Every question is judged with A
first and with B first, by as many votes each as one likes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from headrace_statistics.comparing import Winner
from headrace_statistics.errors import TooFew
from headrace_statistics.interval import Interval, t_quantile
from headrace_statistics.proportions import Pairs, Proportion, difference_of_pairs, proportion_interval

Floats = NDArray[np.float64]

# A standard normal prior on the effect of length: it may be large (e^2 = 7 times the odds), but not without evidence.
LENGTH_PENALTY = 1.0


class Seat(Enum):
    """Which of the two seats a vote prefers."""

    FIRST = 1
    SECOND = -1
    NEITHER = 0


@dataclass(frozen=True, slots=True)
class Judged:
    """All votes on one question, by the order in which the answers were shown; at least one in each."""

    a_first: tuple[Seat, ...]
    b_first: tuple[Seat, ...]

    def __post_init__(self) -> None:
        if not self.a_first or not self.b_first:
            raise ValueError(
                "a question is judged in both orders, or its votes tell of the seats and not of the answers"
            )

    @property
    def outcome(self) -> Winner:
        """A or B where the majority of both orders says so; else SAME: what turns with the order is no win.

        Source: L. Zheng and others, Judging LLM-as-a-judge with MT-Bench and Chatbot Arena. NeurIPS 2023.
        """
        leaning = _majority(self.a_first), -_majority(self.b_first)
        return {(1, 1): Winner.A, (-1, -1): Winner.B}.get(leaning, Winner.SAME)

    @property
    def preference(self) -> float:
        """How far the votes prefer B, from 0 (all for A) over 1/2 to 1, both orders weighing the same."""
        for_a = np.mean([seat.value for seat in self.a_first]) - np.mean([seat.value for seat in self.b_first])
        return float((2 - for_a) / 4)

    @property
    def drawn_to(self) -> int:
        """The seat rather than the answer that the two orders prefer: 1 the first, −1 the second, 0 neither."""
        return int(np.sign(_majority(self.a_first) + _majority(self.b_first)))


@dataclass(frozen=True, slots=True)
class PositionBias:
    """What the seat does: `towards_first` is the share of questions drawn to the first seat less those drawn to the
    second (−1 to 1, 0 without bias), `consistent` the share whose outcome is the same in both orders."""

    towards_first: Interval
    consistent: Interval


def tally(judged: Iterable[Judged]) -> Pairs:
    """Wins of A (`only_a`), of B (`only_b`), and ties (`neither`): what `compare_pairs` and `win_rate` take."""
    outcomes = [each.outcome for each in judged]
    return Pairs(0, outcomes.count(Winner.A), outcomes.count(Winner.B), outcomes.count(Winner.SAME))


def win_rate(pairs: Pairs, *, confidence: float = 0.95) -> Interval:
    """The share of questions that B wins, a tie being half a win: 1/2 + (wins of B − wins of A) / 2n, by Tango's
    interval.

    Raises TooFew of no questions.
    """
    net = difference_of_pairs(pairs, confidence=confidence)
    return Interval((1 + net.estimate) / 2, (1 + net.low) / 2, (1 + net.high) / 2, confidence)


def position_bias(judged: Iterable[Judged], *, confidence: float = 0.95) -> PositionBias:
    """How far the seat decides instead of the answer. Raises TooFew of no questions."""
    drawn = [each.drawn_to for each in judged]
    steady = drawn.count(0)
    return PositionBias(
        difference_of_pairs(Pairs(0, drawn.count(-1), drawn.count(1), steady), confidence=confidence),
        proportion_interval(Proportion(steady, len(drawn)), confidence=confidence),
    )


def length_controlled_win_rate(
    preferences: Sequence[float], extra_length: Sequence[float], *, confidence: float = 0.95
) -> Interval:
    """The share of questions that B would win if its answers were as long as A's.

    `preferences` are those of `Judged` (0 to 1), `extra_length` is by how much B's answer is longer than A's (in
    characters or tokens). A logistic regression of the preference on tanh(extra length / its root mean square): the
    win rate is its value at no extra length. Length's coefficient has a standard normal prior, and one tie at equal
    lengths is added, so that the result is finite where one side always wins. The interval is of the robust
    (sandwich) variance, on the scale of log odds.

    Sources: Y. Dubois, B. Galambosi, P. Liang, T. Hashimoto, Length-controlled AlpacaEval, 2024 (without its term for
    each question's difficulty); sandwich: H. White, Econometrica 50 (1982), 1–25. Raises TooFew of fewer than three
    questions, or where B is longer by the same each time, so that length cannot be told from the variant.
    """
    wins, extra = np.asarray(preferences, dtype=float), np.asarray(extra_length, dtype=float)
    if wins.shape != extra.shape or not np.all((wins >= 0) & (wins <= 1)):
        raise ValueError("as many preferences between 0 and 1 as lengths")
    if wins.size < 3:
        raise TooFew(f"{wins.size} questions: two coefficients need three")
    if np.ptp(extra) == 0 and extra[0] != 0:
        raise TooFew("B is longer by the same each time")
    design = np.column_stack([np.ones(wins.size), _bounded(extra)])
    odds, error = _logistic(design, wins)
    reach = t_quantile(confidence, wins.size - 2) * error
    return Interval(float(expit(odds)), float(expit(odds - reach)), float(expit(odds + reach)), confidence)


def _majority(votes: Sequence[Seat]) -> int:
    """1 where more votes prefer the first seat, −1 the second, 0 as many."""
    return int(np.sign(sum(vote.value for vote in votes)))


def _bounded(extra: Floats) -> Floats:
    scale = float(np.sqrt(np.mean(extra**2)))
    return np.tanh(extra / scale) if scale > 0 else extra


def _logistic(design: Floats, wins: Floats) -> tuple[float, float]:
    """The intercept of a penalised logistic regression, and its robust standard error.

    The added tie is a row like the others: without it in the variance, 50 wins of 50 would look like certainty.
    """
    rows, outcomes = np.vstack([design, [1.0, 0.0]]), np.append(wins, 0.5)
    penalty = np.diag([0.0, LENGTH_PENALTY])

    def loss(weights: Floats) -> tuple[float, Floats]:
        odds = rows @ weights
        value = np.sum(np.logaddexp(0, odds) - outcomes * odds) + weights @ penalty @ weights / 2
        return float(value), rows.T @ (expit(odds) - outcomes) + penalty @ weights

    weights = minimize(loss, np.zeros(2), jac=True, method="BFGS").x
    chances = expit(rows @ weights)
    bread = np.linalg.inv((rows.T * (chances * (1 - chances))) @ rows + penalty)
    scores = rows * (outcomes - chances)[:, None]
    return float(weights[0]), float(np.sqrt((bread @ scores.T @ scores @ bread)[0, 0]))
