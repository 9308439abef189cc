"""How lengths, seconds, cost and nearness are put into bins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from headrace_drift.measuring import layout


class Scale(IntEnum):
    """What is put into bins. The numbers are part of a sketch's format."""

    SENTENCE_LENGTH = 0
    QUERY_LENGTH = 1
    SECONDS = 2
    COST = 3
    NEAREST = 4


@dataclass(frozen=True, slots=True)
class _Logarithmic:
    """Bin 0 holds 0 and whatever is below `low`; the others divide `low` to `high` into equal ratios."""

    low: float
    high: float

    def bin(self, value: float) -> int:
        """Where a value of at least 0 belongs."""
        if value < self.low:
            return 0
        place = math.log(min(value, self.high) / self.low) / math.log(self.high / self.low) * (layout.BINS - 1)
        # The tiny addition keeps a whole number on the right side of a bin that begins with it.
        return min(layout.BINS - 1, 1 + int(place + 1e-9))

    def value(self, place: float) -> float:
        """What stands at a place between 0 and BINS: 1.5 is the middle of bin 1."""
        if place < 1:
            return 0.0
        return float(self.low * (self.high / self.low) ** ((place - 1) / (layout.BINS - 1)))


@dataclass(frozen=True, slots=True)
class _Linear:
    """Equal bins from `low` to `high`."""

    low: float
    high: float

    def bin(self, value: float) -> int:
        """Where a value belongs; what is beyond an end belongs to the end."""
        inside = min(self.high, max(self.low, value))
        return min(layout.BINS - 1, int((inside - self.low) / (self.high - self.low) * layout.BINS))

    def value(self, place: float) -> float:
        """What stands at a place between 0 and BINS."""
        return self.low + place * (self.high - self.low) / layout.BINS


#: Ratios of neighbouring bins: 1.06 (words), 1.09 (characters), 1.14 (seconds), 1.18 (cost); nearness .016 apart.
_SCALES: dict[Scale, _Logarithmic | _Linear] = {
    Scale.SENTENCE_LENGTH: _Logarithmic(1, 2e3),
    Scale.QUERY_LENGTH: _Logarithmic(1, 1e5),
    Scale.SECONDS: _Logarithmic(1e-3, 1e4),
    Scale.COST: _Logarithmic(1, 1e9),
    Scale.NEAREST: _Linear(-1, 1),
}


def bin_of(scale: Scale, value: float) -> int:
    """The bin of a value; never fails, whatever the value, for NaN is the least of all."""
    return 0 if math.isnan(value) else _SCALES[scale].bin(value)


def median(scale: Scale, histogram: NDArray[np.float64]) -> float:
    """The median of a histogram's values, evenly spread within their bin; 0 of none."""
    below = np.cumsum(histogram)
    if not below[-1]:
        return 0.0
    half = below[-1] / 2
    place = int(np.searchsorted(below, half))
    inside = (half - (below[place] - histogram[place])) / histogram[place]
    return _SCALES[scale].value(place + float(inside))
