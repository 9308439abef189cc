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
# Half of the capital at most is staked on one value (Waudby-Smith and Ramdas 2024, B.3, c = 1/2), so none ruins a bet.
STAKE = 0.5
# Answers of each side before a normal approximation is looked at.
BURN_IN = 30


def mean_at_any_time(values: Sequence[float], *, confidence: float = 0.95) -> Interval:
    """The mean of values between 0 and 1, in the order in which they came, valid after each of them at once.

    A bet against each candidate mean, upwards and downwards; one whose capital has ever exceeded 1 / (1 − confidence)
    is out. No assumption but the bounds and a constant mean given what came before; exact at any n. Source: I.
    Waudby-Smith, A. Ramdas, Estimating means of bounded random variables by betting. JRSS B 86 (2024), 1–27: hedged
    capital with the predictable plug-in, 4.2 and B.2. ValueError of a value outside 0 to 1; TooFew of none.
    """
    check_confidence(confidence)
    seen = np.asarray(values, dtype=float)
    if not np.all((seen >= 0) & (seen <= 1)):
        raise ValueError("values between 0 and 1, in the order in which they came")
    if seen.size == 0:
        raise TooFew("a mean of no values")
    candidates = np.linspace(0, 1, STEPS + 1)
    standing = np.flatnonzero(~_ever_ruined(seen, candidates, math.log(1 / (1 - confidence))))
    estimate = float(seen.mean())
    # All can be out only where the values do not have one mean; then what is left is the estimate, and a step.
    low, high = (int(standing[0]), int(standing[-1])) if standing.size else (round(estimate * STEPS),) * 2
    return Interval(estimate, max(low - 1, 0) / STEPS, min(high + 1, STEPS) / STEPS, confidence)


def contrast_of_streams(a: Sequence[float], b: Sequence[float]) -> Contrast:
    """A and B by `mean_at_any_time`, each at half the error: for scores between 0 and 1, exact from the first answer.

    The values stand in the order in which they came. At 100 answers a side it is some 1.6 times as wide as an
    interval that may be looked at once. `interval` raises what `mean_at_any_time` raises.
    """
    return _OfStreams(tuple(a), tuple(b))


def contrast_at_any_time(a: Proportion | Moments, b: Proportion | Moments, *, soonest: float) -> Contrast:
    """A and B by counts or moments alone: the mixture sequential probability ratio test, inverted to an interval.

    Nearly normal means are assumed, so it says nothing (TooFew) before 30 answers a side. It is narrowest around the
    time at which a test looked at once would find a difference of `soonest` with probability .8: name the difference
    that you most want to find soon.

    Sources: H. Robbins, Annals of Mathematical Statistics 41 (1970), 1397–1409; R. Johari, P. Koomen, L. Pekelis, D.
    Walsh, Always valid inference. Operations Research 70 (2022), 1806–1821; the choice of ρ: S. R. Howard, A. Ramdas,
    J. McAuliffe, J. Sekhon, Time-uniform, nonparametric, nonasymptotic confidence sequences. Annals of Statistics 49
    (2021), 1055–1080, 3.
    """
    if not 0 < soonest < math.inf:
        raise ValueError(f"a difference to find soon is above 0: {soonest}")
    return _AtAnyTime(_moments(a), _moments(b), soonest)


@dataclass(frozen=True, slots=True)
class _OfStreams:
    a: tuple[float, ...]
    b: tuple[float, ...]
    counted: Counted = "answers"
    method: Method = "betting"

    @property
    def n_a(self) -> int:
        return len(self.a)

    @property
    def n_b(self) -> int:
        return len(self.b)

    def interval(self, confidence: float) -> Interval:
        # Both hold at once with the confidence asked for, if each errs half as often.
        a, b = (mean_at_any_time(side, confidence=(1 + confidence) / 2) for side in (self.a, self.b))
        return Interval(b.estimate - a.estimate, b.low - a.high, b.high - a.low, confidence)


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


def _ever_ruined(values: Floats, candidates: Floats, limit: float) -> NDArray[np.bool_]:
    """Which candidates' hedged capital ever reached e^limit, in rows of values so that memory stays small."""
    stakes = _stakes(values, limit + math.log(2))
    with np.errstate(divide="ignore"):
        most_up, most_down = STAKE / candidates, STAKE / (1 - candidates)
    up, down = np.zeros(candidates.size), np.zeros(candidates.size)
    ruined = np.zeros(candidates.size, dtype=bool)
    for start in range(0, values.size, STEPS):
        part = slice(start, start + STEPS)
        off, stake = values[part, None] - candidates, stakes[part, None]
        ups = up + np.cumsum(np.log1p(np.minimum(stake, most_up) * off), axis=0)
        downs = down + np.cumsum(np.log1p(-np.minimum(stake, most_down) * off), axis=0)
        ruined |= (np.maximum(ups, downs) - math.log(2) >= limit).any(axis=0)
        up, down = ups[-1], downs[-1]
    return ruined


def _stakes(values: Floats, log_odds: float) -> Floats:
    """The predictable plug-in: √(2 log(2/α) / (variance so far · t · log(1 + t))), each from the values before it
    alone.
    """
    t = np.arange(1, values.size + 1)
    means = (0.5 + np.cumsum(values)) / (t + 1)
    variances = (0.25 + np.cumsum((values - means) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    return np.asarray(np.sqrt(2 * log_odds / (before * t * np.log1p(t))))
