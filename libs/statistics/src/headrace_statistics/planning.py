"""How many answers an experiment needs before it starts: to find a difference of a given size with a given power.

What a running comparison still needs, `Comparison.more_needed` says.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.special import nctdtr, ndtri

from headrace_statistics.interval import normal_quantile, t_quantile


def answers_for_proportions(a: float, b: float, *, confidence: float = 0.95, power: float = 0.8) -> int:
    """Answers that each side needs to tell a share of `b` from one of `a` (0 to 1), on independent answers.

    Source: J. L. Fleiss, Statistical Methods for Rates and Proportions (2nd ed. 1981), ch. 3, without the
    correction for continuity. ValueError where a = b.
    """
    if not (0 <= a <= 1 and 0 <= b <= 1 and a != b):
        raise ValueError(f"two different shares between 0 and 1: {a}, {b}")
    middle = (a + b) / 2
    error = normal_quantile(confidence) * math.sqrt(2 * middle * (1 - middle))
    missed = float(ndtri(power)) * math.sqrt(a * (1 - a) + b * (1 - b))
    return math.ceil(((error + missed) / (b - a)) ** 2)


def pairs_for_proportions(only_a: float, only_b: float, *, confidence: float = 0.95, power: float = 0.8) -> int:
    """Questions that both must answer, where a share `only_a` is answered well by A alone and `only_b` by B alone.

    Source: R. J. Connor, Sample size for testing differences in proportions for the paired-sample design. Biometrics 43
    (1987), 207–211, formula for McNemar's test. ValueError where both are the same.
    """
    discordant, difference = only_a + only_b, only_b - only_a
    if min(only_a, only_b) < 0 or discordant > 1 or difference == 0:
        raise ValueError(f"two different shares that together are at most 1: {only_a}, {only_b}")
    error = normal_quantile(confidence) * math.sqrt(discordant)
    missed = float(ndtri(power)) * math.sqrt(discordant - difference**2)
    return math.ceil(((error + missed) / difference) ** 2)


def answers_for_means(difference: float, deviation: float, *, confidence: float = 0.95, power: float = 0.8) -> int:
    """Answers that each side needs to tell means that differ by `difference`, of values with a standard `deviation`.

    By the power of the two-sample t test itself (J. Cohen, Statistical Power Analysis, 2nd ed. 1988, ch. 2).
    """
    effect = _effect(difference, deviation)
    return _smallest(
        lambda n: _power_of_t(effect * math.sqrt(n / 2), 2 * n - 2, confidence),
        power=power,
        start=2 * ((normal_quantile(confidence) + float(ndtri(power))) / effect) ** 2,
    )


def pairs_for_means(difference: float, deviation: float, *, confidence: float = 0.95, power: float = 0.8) -> int:
    """Questions that both must answer; `deviation` is that of the differences, question by question.

    By the power of the paired t test itself (J. Cohen, Statistical Power Analysis, 2nd ed. 1988, ch. 2).
    """
    effect = _effect(difference, deviation)
    return _smallest(
        lambda n: _power_of_t(effect * math.sqrt(n), n - 1, confidence),
        power=power,
        start=((normal_quantile(confidence) + float(ndtri(power))) / effect) ** 2,
    )


def _effect(difference: float, deviation: float) -> float:
    if difference == 0 or not deviation > 0 or not math.isfinite(difference / deviation):
        raise ValueError(f"a difference other than 0 and a deviation above 0: {difference}, {deviation}")
    return abs(difference) / deviation


def _power_of_t(shift: float, degrees: int, confidence: float) -> float:
    """How often a t statistic that is shifted by `shift` standard errors lies beyond its limit on the right side."""
    return 1 - float(nctdtr(degrees, shift, t_quantile(confidence, degrees)))


def _smallest(reached: Callable[[int], float], *, power: float, start: float) -> int:
    """The smallest n of at least 2 whose power is enough: the normal formula, which is a little low, and up from
    there.
    """
    n = max(math.floor(start), 2)
    while reached(n) < power:
        n += 1
    return n
