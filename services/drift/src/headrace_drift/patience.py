"""For whom a look waits: partitions that have records which nobody has finished, as long as they make progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

Partition = tuple[str, int]
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class Patience:
    """Remembers since when each partition stands where it stands."""

    _stands: dict[Partition, tuple[int, datetime]] = field(default_factory=dict)

    def watermark(
        self,
        now: datetime,
        behind: Mapping[Partition, int],
        marks: Mapping[Partition, datetime],
        *,
        idle: timedelta,
    ) -> datetime:
        """Up to when events have been read: what is older is not expected any more.

        behind: where the partitions stand that have something to read. marks: the time of the newest event that was
        read of each. One that nothing was ever read of holds up everything. One that stands where it stood `idle` ago
        is not waited for: something is wrong with it, and the others' drift would go unseen.
        """
        self._stands = {partition: self._since(partition, offset, now) for partition, offset in behind.items()}
        waited_for = [partition for partition, (_, since) in self._stands.items() if now - since < idle]
        return min([now, *(marks.get(partition, _LONG_AGO) for partition in waited_for)])

    def _since(self, partition: Partition, offset: int, now: datetime) -> tuple[int, datetime]:
        known = self._stands.get(partition)
        return known if known is not None and known[0] == offset else (offset, now)
