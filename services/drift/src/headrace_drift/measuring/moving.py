"""Which words and which kinds moved most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from headrace_privacy import Tier
from numpy.typing import NDArray

from headrace_drift.measuring.lexicon import Lexicon
from headrace_drift.measuring.scales import Scale, bin_of
from headrace_drift.measuring.sketch import Measured, OfKind, Tally

Floats = NDArray[np.float64]
#: How many words' worth of the two sides' common frequencies each side is believed to have said beforehand.
PRIOR = 500.0
#: Words beyond this are not chance alone, one by one (two-sided .05). They are ranked by it; together it is no proof.
LEAST_Z = 1.96
#: A word of fewer groups of conversations is somebody's own.
LEAST_GROUPS = 3
#: A word is new where the window says it so many times as often as the baseline.
NEW = 4.0
MOST_WORDS = 30
MOST_KINDS = 10


@dataclass(frozen=True, slots=True)
class MovedWord:
    """A word whose share of all words moved. `word` is empty where too few said it in the clear; `hash`: 16 digits."""

    word: str
    hash: str
    baseline: float
    window: float
    tier: Tier


@dataclass(frozen=True, slots=True)
class MovedKind:
    """A kind of query: its share of those whose kind is known, and the share of its answers that were grounded."""

    kind: str
    baseline_share: float
    window_share: float
    baseline_grounded: float
    window_grounded: float


@dataclass(frozen=True, slots=True)
class Words:
    """All words of both sides, by bin: uses on each side, how far each moved, in how many groups, and its hash."""

    bins: NDArray[np.uint32]
    before: Floats
    after: Floats
    z: Floats
    groups: NDArray[np.uint8]
    tags: NDArray[np.uint64]
    tiers: NDArray[np.uint8]

    @property
    def shares(self) -> tuple[Floats, Floats]:
        """Of all words of its side."""
        return self.before / max(1.0, self.before.sum()), self.after / max(1.0, self.after.sum())

    @property
    def new(self) -> frozenset[int]:
        """The bins of words that are new, or nearly, and that several conversations say."""
        before, after = self.shares
        return frozenset(self.bins[self._shown & (self.z > 0) & (after >= NEW * before)].tolist())

    @property
    def _shown(self) -> NDArray[np.bool_]:
        return np.asarray((np.abs(self.z) >= LEAST_Z) & (self.groups >= LEAST_GROUPS))

    def moved(self, lexicon: Lexicon) -> tuple[MovedWord, ...]:
        """Those that moved most, most important first."""
        before, after = self.shares
        found = np.flatnonzero(self._shown)
        order = found[np.lexsort((self.bins[found], -np.abs(self.z[found])))][:MOST_WORDS]
        return tuple(
            MovedWord(
                lexicon.word(int(self.tags[at])),
                f"{int(self.tags[at]):016x}",
                float(before[at]),
                float(after[at]),
                Tier(int(self.tiers[at])),
            )
            for at in order
        )


def words_of(baseline: Measured, window: Measured) -> Words:
    """The words of both sides, and how far each moved: the log-odds ratio with an informative Dirichlet prior, in
    units of its standard error.

    δ = log((y + α) / (n + α₀ - y - α)), after less before; var = 1 / (y + α) after + before; α is the word's share on
    both sides together times α₀ = `PRIOR`. Source: B. L. Monroe, M. P. Colaresi, K. M. Quinn, Political Analysis 16
    (2008) 372-403, equations 15, 16, 19, 20 and 22.
    """
    bins = np.union1d(baseline.words["bin"], window.words["bin"])
    before, after = _aligned(baseline.words, bins, "count"), _aligned(window.words, bins, "count")
    prior = PRIOR * (before + after) / max(1.0, float(before.sum() + after.sum()))
    z = (_log_odds(after, prior) - _log_odds(before, prior)) / np.sqrt(1 / (after + prior) + 1 / (before + prior))
    rising = z > 0
    groups = [np.bitwise_count(_aligned(side.words, bins, "groups").astype(np.uint32)) for side in (baseline, window)]
    tags = np.where(after > 0, _tags(window.words, bins), _tags(baseline.words, bins))
    tiers = np.where(after > 0, _aligned(window.words, bins, "tier"), _aligned(baseline.words, bins, "tier"))
    return Words(bins, before, after, z, np.where(rising, groups[1], groups[0]), tags, tiers.astype(np.uint8))


def moved_kinds(baseline: Measured, window: Measured) -> tuple[MovedKind, ...]:
    """The kinds by how far their share, or that of their grounded answers, moved: largest first."""
    names = sorted({*baseline.kinds, *window.kinds} - {""})
    before, after = _kinds(baseline, names), _kinds(window, names)
    found = [
        MovedKind(name, *shares, *grounded)
        for name, shares, grounded in zip(
            names, zip(before[0], after[0], strict=True), zip(before[1], after[1], strict=True), strict=True
        )
    ]
    return tuple(sorted(found, key=lambda kind: (-_movement(kind), kind.kind))[:MOST_KINDS])


def nothing_close(side: Measured, threshold: float) -> tuple[float, float]:
    """Of how many answers the nearest passage was below the threshold, or there was none; and how many answers."""
    histogram = side.scale(Scale.NEAREST).sum(axis=0)
    answers = float(side.tally(Tally.ANSWERS).sum())
    return float(histogram[: bin_of(Scale.NEAREST, threshold)].sum()) + answers - float(histogram.sum()), answers


def _log_odds(counts: Floats, prior: Floats) -> Floats:
    total = counts.sum() + prior.sum()
    return np.asarray(np.log((counts + prior) / np.maximum(1e-9, total - counts - prior)))


def _aligned(rows: NDArray[np.void], bins: NDArray[np.uint32], column: str) -> Floats:
    found = np.zeros(bins.size)
    found[np.searchsorted(bins, rows["bin"])] = rows[column]
    return found


def _tags(rows: NDArray[np.void], bins: NDArray[np.uint32]) -> NDArray[np.uint64]:
    found = np.zeros(bins.size, np.uint64)
    found[np.searchsorted(bins, rows["bin"])] = rows["tag"]
    return found


def _kinds(side: Measured, names: Sequence[str]) -> tuple[list[float], list[float]]:
    """Each kind's share, and the share of its answers that were grounded; 0 of none."""
    totals = {name: counts.sum(axis=0) for name, counts in side.kinds.items()}
    queries = sum(float(counts[OfKind.QUERIES]) for counts in totals.values())
    none = np.zeros(len(OfKind))
    of = [totals.get(name, none) for name in names]
    return (
        [float(counts[OfKind.QUERIES]) / max(1.0, queries) for counts in of],
        [float(counts[OfKind.GROUNDED]) / max(1.0, float(counts[OfKind.ANSWERS])) for counts in of],
    )


def _movement(kind: MovedKind) -> float:
    # A share of answers counts by how often the kind is asked: nobody minds what nobody asks.
    fallen = max(0.0, kind.baseline_grounded - kind.window_grounded) if kind.baseline_share else 0.0
    return abs(kind.window_share - kind.baseline_share) + fallen * kind.window_share
