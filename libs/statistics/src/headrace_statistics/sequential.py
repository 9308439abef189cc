"""Intervals that stay right however often one looks, for canaries that are watched while they run.

An ordinary 95 % interval is right 95 times in 100 if it is looked at once. Watched after every answer until it
decides, it will sooner or later decide wrongly. These are right 95 times in 100 at all times together, so one may
stop whenever they say so. Both are contrasts: `decide` draws a verdict from them as from any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import lambertw

from headrace_statistics.comparing import Contrast, Counted, Method
from headrace_statistics.errors import TooFew
from headrace_statistics.interval import Interval, check_confidence, normal_quantile
from headrace_statistics.means import Moments
from headrace_statistics.proportions import Proportion

Floats = NDArray[np.float64]

# Candidates for a mean between 0 and 1: the interval's ends are right to one of these steps, outwards.
STEPS = 1000
# Half of the capital at most is staked on one value (c = 1/2 of Waudby-Smith and Ramdas), so none ruins a bet.
STAKE = 0.5
# Values to bet on at a time: few, so that candidates that are out are soon dropped.
ROWS = 64
# Answers of each side before a normal approximation is looked at.
BURN_IN = 30


def mean_at_any_time(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """The mean of values between 0 and 1, in the order in which they came, valid after each of them at once.

    A bet against each candidate mean, upwards and downwards; one whose capital has ever exceeded 1 / (1 − confidence)
    is out. No assumption but the bounds and a constant mean given what came before; exact at any n. Source: I.
    Waudby-Smith, A. Ramdas, Estimating means of bounded random variables by betting. JRSS B 86 (2024), 1–27: hedged
    capital with predictable plug-in stakes. ValueError of a value outside 0 to 1; TooFew of none.
    """
    check_confidence(confidence)
    seen = np.asarray(values, dtype=float)
    if not np.all((seen >= 0) & (seen <= 1)):
        raise ValueError("values between 0 and 1, in the order in which they came")
    if seen.size == 0:
        raise TooFew("a mean of no values")
    candidates = np.linspace(0, 1, STEPS + 1)
    standing = _standing(seen, candidates, math.log(1 / (1 - confidence)))
    estimate = float(seen.mean())
    # All can be out only where the values do not have one mean; then what is left is the estimate, and a step.
    low, high = (int(standing[0]), int(standing[-1])) if standing.size else (round(estimate * STEPS),) * 2
    return Interval(estimate, max(low - 1, 0) / STEPS, min(high + 1, STEPS) / STEPS, confidence)


def contrast_of_streams(a: Sequence[float], b: Sequence[float], *, blocks: tuple[int, int] = (1, 1)) -> Contrast:
    """A and B by `mean_at_any_time` of (B − A + 1) / 2, block by block: for scores between 0 and 1, right from the
    first answer.

    The values stand in the order in which they came. `blocks` says how many of A and of B make one difference; a
    canary with a tenth of the traffic takes (9, 1), and keeps it: a size chosen by what was seen is no longer valid
    at any time. Values that fill no block yet wait. `interval` raises what `mean_at_any_time` raises.
    """
    if min(blocks) < 1:
        raise ValueError("a block has a value at least")
    ours, theirs = _blocks(a, blocks[0]), _blocks(b, blocks[1])
    count = min(ours.size, theirs.size)
    differences = (theirs[:count] - ours[:count] + 1) / 2
    return _OfStreams(tuple(differences.tolist()), count * blocks[0], count * blocks[1])


def contrast_at_any_time(a: Proportion | Moments, b: Proportion | Moments, *, soonest: float) -> Contrast:
    """A and B by counts or moments alone: the mixture sequential probability ratio test, inverted to an interval.

    Nearly normal means are assumed, so it says nothing (TooFew) before 30 answers a side. It is narrowest around the
    time at which a test looked at once would find a difference of `soonest` with probability .8: name the difference
    that you most want to find soon.

    Sources: H. Robbins, Annals of Mathematical Statistics 41 (1970), 1397–1409; R. Johari, P. Koomen, L. Pekelis, D.
    Walsh, Always valid inference. Operations Research 70 (2022), 1806–1821; the choice of ρ: S. R. Howard, A. Ramdas,
    J. McAuliffe, J. Sekhon, Time-uniform, nonparametric, nonasymptotic confidence sequences. Annals of Statistics 49
    (2021), 1055–1080.
    """
    if not 0 < soonest < math.inf:
        raise ValueError(f"a difference to find soon is above 0: {soonest}")
    return _AtAnyTime(_moments(a), _moments(b), soonest)


@dataclass(frozen=True, slots=True)
class _OfStreams:
    shifted: tuple[float, ...]
    n_a: int
    n_b: int
    counted: Counted = "answers"
    method: Method = "betting"

    def interval(self, confidence: float) -> Interval:
        found = mean_at_any_time(self.shifted, confidence=confidence)
        return Interval(2 * found.estimate - 1, 2 * found.low - 1, 2 * found.high - 1, confidence)


@dataclass(frozen=True, slots=True)
class _AtAnyTime:
    a: Moments
    b: Moments
    soonest: float
    counted: Counted = "answers"
    method: Method = "mixture_sprt"

    @property
    def n_a(self) -> int:
        return self.a.n

    @property
    def n_b(self) -> int:
        return self.b.n

    def interval(self, confidence: float) -> Interval:
        if min(self.a.n, self.b.n) < BURN_IN:
            raise TooFew(f"a normal approximation at {min(self.a.n, self.b.n)} answers of a side")
        squared = self.a.squared_error + self.b.squared_error
        if squared == 0:
            raise TooFew("values that are all alike")
        estimate, reach = self.b.mean - self.a.mean, _mixture_reach(1 / squared, self.soonest, confidence)
        return Interval(estimate, estimate - reach, estimate + reach, confidence)


def _blocks(values: Sequence[float], size: int) -> Floats:
    """The mean of each full block of so many values; ValueError of a value outside 0 to 1."""
    seen = np.asarray(values, dtype=float)
    if not np.all((seen >= 0) & (seen <= 1)):
        raise ValueError("values between 0 and 1, in the order in which they came")
    return np.asarray(seen[: seen.size // size * size].reshape(-1, size).mean(axis=1))


def _moments(sample: Proportion | Moments) -> Moments:
    """A share's variance is taken half a success and half a failure further in, so that 0 of n still varies."""
    if isinstance(sample, Moments):
        return sample
    inner = (sample.successes + 0.5) / (sample.n + 1)
    return Moments(sample.n, sample.successes / max(sample.n, 1), inner * (1 - inner))


def _mixture_reach(information: float, soonest: float, confidence: float) -> float:
    """√((I + ρ) log((I + ρ) / (ρ α²))) / I, with the information I = 1 / squared standard error.

    ρ makes it narrowest at the information that finds `soonest` at a single look with power .8 (z = .84).
    """
    error = 1 - confidence
    best = ((normal_quantile(confidence) + 0.8416) / soonest) ** 2
    rho = best / (-float(lambertw(-(error**2) / math.e, k=-1).real) - 1)
    return math.sqrt((information + rho) * math.log((information + rho) / (rho * error**2))) / information


def _standing(values: Floats, candidates: Floats, limit: float) -> NDArray[np.intp]:
    """The places of the candidates whose hedged capital never reached e^limit; the others are carried no further."""
    stakes = _stakes(values, limit + math.log(2))
    standing = np.arange(candidates.size)
    up, down = np.zeros(candidates.size), np.zeros(candidates.size)
    for start in range(0, values.size, ROWS):
        part, still = slice(start, start + ROWS), candidates[standing]
        ups, downs = _bet(values[part, None] - still, stakes[part, None], still)
        ups, downs = up + ups, down + downs
        left = (np.maximum(ups, downs) - math.log(2) < limit).all(axis=0)
        standing, up, down = standing[left], ups[-1, left], downs[-1, left]
    return standing


def _bet(off: Floats, stake: Floats, candidates: Floats) -> tuple[Floats, Floats]:
    """The logarithms of what bets on more, and on less, than each candidate are worth after each value.

    Both are rows × candidates.
    """
    with np.errstate(divide="ignore"):
        most_up, most_down = STAKE / candidates, STAKE / (1 - candidates)
    ups = np.cumsum(np.log1p(np.minimum(stake, most_up) * off), axis=0)
    downs = np.cumsum(np.log1p(-np.minimum(stake, most_down) * off), axis=0)
    return ups, downs


def _stakes(values: Floats, log_odds: float) -> Floats:
    """The predictable plug-in: √(2 log(2/α) / (variance so far · t · log(1 + t))), each from the values before it
    alone.
    """
    t = np.arange(1, values.size + 1)
    means = (0.5 + np.cumsum(values)) / (t + 1)
    variances = (0.25 + np.cumsum((values - means) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    return np.asarray(np.sqrt(2 * log_odds / (before * t * np.log1p(t))))
