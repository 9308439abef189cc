"""Which side a row is on. Rows of one conversation, or that cite one document, are never on two."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b

from headrace_feedback.datasets.snapshots import Row, Split


class Groups:
    """Things that hang together: union-find with path halving."""

    def __init__(self) -> None:
        self._parents: dict[str, str] = {}

    def find(self, one: str) -> str:
        """What stands for the group that something is in."""
        parents = self._parents
        parents.setdefault(one, one)
        while parents[one] != one:
            parents[one] = parents[parents[one]]
            one = parents[one]
        return one

    def join(self, one: str, other: str) -> None:
        """Makes two groups one. The smaller name stands for it, so that it is the same in whichever order."""
        first, second = sorted((self.find(one), self.find(other)))
        self._parents[second] = first


def ties_of(row: Row) -> list[str]:
    """What a row may share with others: its conversation, and the documents that it cites."""
    conversation = [f"c{row.conversation.hex()}"] if row.conversation else []
    return [*conversation, *(f"d{document}" for document in row.cited)]


def grouped(rows: Sequence[Row], *, name: Callable[[str], str]) -> list[Row]:
    """The rows with their groups. name: what makes a group's name of what it is of, a keyed hash."""
    groups = Groups()
    for row in rows:
        for tie in ties_of(row):
            groups.join(f"r{row.row_id}", tie)
    names: dict[str, str] = {}
    return [replace(row, group=_named(groups.find(f"r{row.row_id}"), names, name)) for row in rows]


def _named(root: str, names: dict[str, str], name: Callable[[str], str]) -> str:
    if root not in names:
        names[root] = name(root)
    return names[root]


def split(rows: Sequence[Row], *, test_share: float, seed: int) -> list[Row]:
    """The rows with their sides; what has one keeps it, and takes its group along.

    Groups are drawn by seed and go to test as long as they fit; so a group that is larger than the share is trained on.
    """
    sides = _stated(rows)
    sizes = Counter(row.group for row in rows)
    room = round(test_share * len(rows)) - sum(sizes[group] for group, side in sides.items() if side is Split.TEST)
    for group in sorted(sizes.keys() - sides.keys(), key=lambda one: _lot(one, seed)):
        if sizes[group] <= room:
            sides[group] = Split.TEST
            room -= sizes[group]
    return [replace(row, split=sides.get(row.group, Split.TRAIN)) for row in rows]


def _stated(rows: Sequence[Row]) -> dict[str, Split]:
    return {row.group: row.split for row in rows if row.split is not Split.UNSPECIFIED}


def straddling(rows: Sequence[Row]) -> Mapping[str, set[Split]]:
    """Checks a split: conversations and documents on both sides, which must be none."""
    sides: dict[str, set[Split]] = {}
    for row in rows:
        for tie in [*ties_of(row), f"g{row.group}"]:
            sides.setdefault(tie, set()).add(row.split)
    return {tie: found for tie, found in sides.items() if len(found) > 1}


def lot(row_id: str, seed: int) -> bytes:
    """A row's place in a draw: the same for the same seed."""
    return _lot(row_id, seed)


def _lot(name: str, seed: int) -> bytes:
    return blake2b(f"{seed}\x1f{name}".encode(), digest_size=16).digest()
