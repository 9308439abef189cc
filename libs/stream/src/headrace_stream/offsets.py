"""Which offset may be committed when records finish out of order, and how often one was begun in vain."""

from __future__ import annotations

import heapq
import json
from dataclasses import dataclass, field

#: A process that began at one offset so often without getting past it takes one record at a time, to find the culprit.
CAREFUL_AFTER = 2
#: A record that ended its process so often is given up on.
CRASHES_AT_MOST = 5


@dataclass(slots=True)
class OffsetTracker:
    """Follows one partition. The committable offset is the lowest that is not finished."""

    next_offset: int
    _begun: list[int] = field(default_factory=list)
    _finished: set[int] = field(default_factory=set)

    def begin(self, offset: int) -> None:
        """Notes that a record is under way; offsets come in rising order, with gaps."""
        heapq.heappush(self._begun, offset)
        self.next_offset = offset + 1

    def finish(self, offset: int) -> None:
        """Notes that a record's effect is durable."""
        self._finished.add(offset)
        while self._begun and self._begun[0] in self._finished:
            self._finished.remove(heapq.heappop(self._begun))

    @property
    def committable(self) -> int:
        """The offset to commit: everything below it is finished."""
        return self._begun[0] if self._begun else self.next_offset

    @property
    def under_way(self) -> int:
        """How many records are begun and not finished, or finished behind one that is not."""
        return len(self._begun)


@dataclass(frozen=True, slots=True)
class Beginnings:
    """How often a process began at a committed offset.

    Kept in the commit's metadata: it survives the process, and needs no store of the service's own. Counted before the
    work, since a counter in an error handler never moves when the process is killed.
    """

    offset: int
    count: int

    def again(self) -> Beginnings:
        """Counts one more."""
        return Beginnings(self.offset, self.count + 1)

    @property
    def is_suspicious(self) -> bool:
        """Whether some record from here on seems to end the process."""
        return self.count > CAREFUL_AFTER

    @property
    def is_hopeless(self) -> bool:
        """Whether the record at this very offset ends the process every time."""
        return self.count > CRASHES_AT_MOST

    def metadata(self) -> str:
        """Writes the count for the commit."""
        return json.dumps({"begun": self.count})

    @classmethod
    def read(cls, offset: int, metadata: str) -> Beginnings:
        """Reads the count from a commit; whatever else stands there counts as none."""
        try:
            return cls(offset, int(json.loads(metadata)["begun"]))
        except (ValueError, KeyError, TypeError):
            return cls(offset, 0)
