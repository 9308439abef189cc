"""How fast is learned, step by step. Pure."""

from __future__ import annotations

import math

#: The share of all steps in which the rate rises.
WARM_UP = 0.1


def rate(step: int, *, of: int, peak: float) -> float:
    """The learning rate of a step, counted from 0: it rises in a line, then falls as half a cosine towards 0.

    Loshchilov and Hutter 2017, "SGDR", equation 5, without restarts.
    """
    warm = max(1, round(WARM_UP * of))
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (1 + math.cos(math.pi * (step - warm) / max(1, of - warm))) / 2
