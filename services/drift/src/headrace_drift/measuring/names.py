"""Counts by name, for a few names: kinds, evaluators, models, prompts.

Of more names than there is room for, those with the smallest hashes stay and the others are counted together. Which
those are depends on the names alone, so tables may be put together in any order.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from headrace_drift.measuring import layout

#: Under this name stands what there was no room for.
REST = ""


@dataclass(slots=True)
class Names:
    """By name, groups × `width` counts. At most `room` names beside the rest."""

    room: int
    width: int
    found: dict[str, NDArray[np.uint32]] = field(default_factory=dict)

    def of(self, name: str) -> NDArray[np.uint32]:
        """The counts of a name, to be raised in place: its own, or the rest's where there is no room."""
        name = name[: layout.LONGEST_NAME]
        if name not in self.found:
            self.found[name] = self._nothing()
            if not self._make_room(name):
                name = REST
        return self.found[name]

    def merge(self, others: Iterable[Names]) -> None:
        """Adds what the others counted."""
        for other in others:
            for name, counts in other.found.items():
                self.found[name] = self.found[name] + counts if name in self.found else counts.copy()
        while self._is_full():
            self._drop(max(self._named(), key=_place))

    def totals(self) -> dict[str, int]:
        """The first count of each name, over all groups."""
        return {name: int(counts[:, 0].sum()) for name, counts in sorted(self.found.items())}

    def _make_room(self, name: str) -> bool:
        """Whether the name, which is there already, may stay."""
        if not self._is_full():
            return True
        dropped = max(self._named(), key=_place)
        self._drop(dropped)
        return dropped != name

    def _drop(self, name: str) -> None:
        self.found[REST] = self.found.get(REST, self._nothing()) + self.found.pop(name)

    def _named(self) -> list[str]:
        return [name for name in self.found if name != REST]

    def _is_full(self) -> bool:
        return len(self.found) - (REST in self.found) > self.room

    def _nothing(self) -> NDArray[np.uint32]:
        return np.zeros((layout.GROUPS, self.width), np.uint32)


def _place(name: str) -> tuple[bytes, str]:
    return blake2b(name.encode(errors="replace"), digest_size=8).digest(), name
