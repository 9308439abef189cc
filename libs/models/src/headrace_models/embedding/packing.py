"""Rows of tokens into batches, and batches into one flat stream without padding.

The linear layers, nine tenths of the work, see the stream of all rows' tokens end to end. Only attention needs to know
where rows begin; rows of the same length share one call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Group:
    """Neighbouring rows of one length: tokens start .. start + rows * length of the stream."""

    start: int
    rows: int
    length: int

    @property
    def end(self) -> int:
        """Where the next group begins."""
        return self.start + self.rows * self.length


@dataclass(frozen=True, slots=True)
class Packed:
    """Rows end to end. ids and positions: one per token."""

    ids: list[int]
    positions: list[int]
    groups: tuple[Group, ...]


def pack(rows: Sequence[Sequence[int]]) -> Packed:
    """Packs rows that are sorted by length."""
    groups: list[Group] = []
    start = 0
    for length, same in groupby(map(len, rows)):
        groups.append(Group(start, sum(1 for _ in same), length))
        start = groups[-1].end
    positions = list(chain.from_iterable(range(len(row)) for row in rows))
    return Packed(list(chain.from_iterable(rows)), positions, tuple(groups))


def take_batch(waiting: list[T], size: Callable[[T], int], *, budget: int) -> list[T]:
    """Takes from the end of `waiting` as many as fit the budget, at least one, in the order that they had."""
    total = 0
    taken = 0
    for item in reversed(waiting):
        total += size(item)
        if taken and total > budget:
            break
        taken += 1
    batch = waiting[len(waiting) - taken :]
    del waiting[len(waiting) - taken :]
    return batch
