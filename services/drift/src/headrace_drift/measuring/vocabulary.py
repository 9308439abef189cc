"""Which words a baseline knows, and how often the next word is one that it does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace_drift.measuring import layout

Rows = NDArray[np.void]
Floats = NDArray[np.float64]
_BITS = np.arange(layout.GROUPS, dtype=np.uint32)


@dataclass(frozen=True, slots=True)
class Known:
    """A baseline's vocabulary. `rows` are all its words by bin; those of at least `floor` uses are known.

    The floor is 1, until more than half of all bins are filled: then a new word would mostly fall on an old one's bin,
    and only the words used oftenest, in half of the bins, count as known.
    """

    rows: Rows
    floor: int

    @classmethod
    def of(cls, rows: Rows) -> Known:
        """The vocabulary of a baseline's words."""
        most = layout.WORDS // 2
        if rows.size <= most:
            return cls(rows, 1)
        return cls(rows, int(np.partition(rows["count"], rows.size - most)[rows.size - most]) + 1)

    @property
    def bins(self) -> NDArray[np.uint32]:
        """The bins of known words, ordered."""
        return np.asarray(self.rows["bin"][self.rows["count"] >= self.floor])

    def left_out(self) -> Floats:
        """By group, the words of the baseline itself that the other groups together would not know.

        What the next group would bring: the turn of each group to be the new one (Good's and Turing's estimate, I. J.
        Good, Biometrika 40 (1953) 237-264, with groups of conversations in place of single words).
        """
        groups = self.rows["groups"]
        alone = (groups & (groups - np.uint32(1))) == 0
        return by_group(self.rows[alone | (self.rows["count"] < self.floor)])

    @property
    def surprise(self) -> float:
        """The part of the variance of `left_out` that does not show between groups: which words the baseline missed.

        Good's estimate of the share of unseen words is off by (N₁ + 2 N₂) / N² in the mean square, for N words of which
        N₁ were said once and N₂ twice (D. McAllester, R. Schapire, COLT 2000). The groups show N₁; this is the rest,
        with words that two groups said for those said twice.
        """
        twice = np.bitwise_count(self.rows["groups"]) == 2
        said = float(self.rows["count"].sum())
        return float(2 * ((self.rows["count"][twice] / 2.0) ** 2).sum()) / said**2 if said else 0.0

    def unknown_of(self, rows: Rows) -> Floats:
        """By group, those of a window's words that the baseline does not know."""
        return by_group(rows[~self.knows(rows["bin"])])

    def knows(self, bins: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """Whether each bin is one of a known word."""
        return np.isin(bins, self.bins, assume_unique=True)


def by_group(rows: Rows) -> Floats:
    """How often the words were said in each group: of a word that several said, each the same part."""
    said_in = (rows["groups"][:, None] >> _BITS) & np.uint32(1)
    return np.asarray((rows["count"] / said_in.sum(axis=1)) @ said_in.astype(np.float64))
