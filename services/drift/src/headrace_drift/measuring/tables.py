"""Counters by number, kept sorted and sparse: small while little was seen, bounded by their numbers' range.

What comes in waits in a list and is put in order together, so that counting a thing costs some hundred nanoseconds.
Putting two tables together adds counts, unites groups, and takes the least and the most of the rest; each of these is
commutative and associative, so tables may be put together in any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

#: So many may wait before they are put in order, or half as many as are in order already.
WAITING = 4096


@dataclass(slots=True)
class Counts:
    """How often each number below `limit` was seen."""

    limit: int
    numbers: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    counts: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32))
    _waiting: list[NDArray[np.uint32]] = field(default_factory=list)
    _waits: int = 0

    def add(self, numbers: NDArray[np.uint32]) -> None:
        """Counts each of them once more."""
        self._waiting.append(numbers)
        self._waits += numbers.size
        if self._waits > max(WAITING, self.numbers.size // 2):
            self.settle()

    def settle(self) -> None:
        """Puts in order what waits."""
        if not self._waiting:
            return
        waiting, self._waiting, self._waits = np.concatenate(self._waiting), [], 0
        fresh, counts = np.unique(waiting, return_counts=True)
        self._take([(self.numbers, self.counts), (fresh, counts.astype(np.uint32))])

    def merge(self, others: Iterable[Counts]) -> None:
        """Adds what the others counted."""
        self.settle()
        parts = [(self.numbers, self.counts)]
        for other in others:
            other.settle()
            parts.append((other.numbers, other.counts))
        self._take(parts)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.numbers.nbytes + self.counts.nbytes + 4 * self._waits

    def dense(self) -> NDArray[np.float64]:
        """All counts, `limit` of them."""
        self.settle()
        found = np.zeros(self.limit)
        found[self.numbers] = self.counts
        return found

    def _take(self, parts: list[tuple[NDArray[np.uint32], NDArray[np.uint32]]]) -> None:
        parts = [part for part in parts if part[0].size]
        if len(parts) > 1:
            numbers = np.concatenate([numbers for numbers, _ in parts])
            order = np.argsort(numbers, kind="stable")
            numbers, counts = numbers[order], np.concatenate([counts for _, counts in parts])[order]
            starts = _starts(numbers)
            self.numbers, self.counts = numbers[starts], np.add.reduceat(counts, starts)
        elif parts:
            self.numbers, self.counts = parts[0]


#: A word's bin; how often it was said; in which groups of conversations (a bit each); the least of the bin's hashes,
#: which stands for the word; the strictest tier that it was said in.
ROW = np.dtype([("bin", "<u4"), ("count", "<u4"), ("groups", "<u4"), ("tag", "<u8"), ("tier", "u1")])
Rows = NDArray[np.void]


@dataclass(slots=True)
class Words:
    """What was said, by bins of words' hashes. Two words share a bin rarely, and are then one.

    `patience`: so many may wait, or an eighth as many as are in order.
    """

    rows: Rows = field(default_factory=lambda: np.empty(0, ROW))
    patience: int = WAITING
    _waiting: list[Rows] = field(default_factory=list)
    _waits: int = 0

    def add(self, rows: Rows) -> None:
        """Takes rows in any order, a bin as often as it comes."""
        self._waiting.append(rows)
        self._waits += rows.size
        if self._waits > max(self.patience, self.rows.size // 8):
            self.settle()

    def settle(self) -> None:
        """Puts in order what waits."""
        if self._waiting:
            waiting, self._waiting, self._waits = self._waiting, [], 0
            self.rows = _united([self.rows, *waiting])

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.rows.nbytes + ROW.itemsize * self._waits

    def merge(self, others: Iterable[Words]) -> None:
        """Adds what the others saw."""
        self.settle()
        parts = [self.rows]
        for other in others:
            other.settle()
            parts.append(other.rows)
        self.rows = _united(parts)


def rows_of(hashes: NDArray[np.uint64], bins: int, *, group: int, tier: int) -> Rows:
    """One row for each word of a query, whose conversation is in `group`. The bin is the hash's upper bits."""
    rows = np.empty(hashes.size, ROW)
    rows["bin"] = bins_of(hashes, bins)
    rows["count"] = 1
    rows["groups"] = np.uint32(1 << group)
    rows["tag"] = hashes
    rows["tier"] = tier
    return rows


def bins_of(hashes: NDArray[np.uint64], bins: int) -> NDArray[np.uint32]:
    """The bins of words' hashes; `bins` is a power of two."""
    return (hashes >> np.uint64(64 - (bins.bit_length() - 1))).astype(np.uint32)


def _united(parts: list[Rows]) -> Rows:
    parts = [part for part in parts if part.size]
    if not parts:
        return np.empty(0, ROW)
    rows = np.concatenate(parts)
    rows = rows[np.argsort(rows["bin"], kind="stable")]
    starts = _starts(rows["bin"])
    if starts.size == rows.size:
        return rows
    united = rows[starts]
    united["count"] = np.add.reduceat(rows["count"], starts)
    united["groups"] = np.bitwise_or.reduceat(rows["groups"], starts)
    united["tag"] = np.minimum.reduceat(rows["tag"], starts)
    united["tier"] = np.maximum.reduceat(rows["tier"], starts)
    return united


def _starts(ordered: NDArray[np.uint32]) -> NDArray[np.intp]:
    """Where each different number of an ordered array begins."""
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
