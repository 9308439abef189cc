"""What windows are measured against, how far a tenant's traffic has been looked at, and where windows begin. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from headrace_drift.measuring import Windows

#: More looks than this are not made up for at once; after a week without the service only the newest are.
MOST_LOOKS = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Baseline:
    """A period that windows are measured against; `dataset_id` says for whose sake, "" for its own."""

    baseline_id: UUID
    tenant: str
    dataset_id: str
    begins: datetime
    ends: datetime
    samples: int
    set_by: str
    set_at: datetime


@dataclass(frozen=True, slots=True)
class Claim:
    """What becomes the baseline by itself: the first period that is so long and has so many queries."""

    span: timedelta = timedelta(days=7)
    queries: int = 500


@dataclass(frozen=True, slots=True)
class State:
    """How far a tenant's traffic has been looked at.

    closed_until: what belongs to a bucket before comes too late. looked_until: where the last window ended.
    standing: what deciding remembers, as it writes it; "" before the first look.
    """

    closed_until: datetime | None = None
    looked_until: datetime | None = None
    standing: str = ""
    baseline_id: UUID | None = None

    def looked(self, until: datetime, *, standing: str | None = None) -> State:
        """The state after a look."""
        return replace(self, looked_until=until, standing=self.standing if standing is None else standing)


def floor(at: datetime, step: timedelta) -> datetime:
    """The last multiple of `step` since 1970 that is not after `at`."""
    return at - (at - _EPOCH) % step


def ceiling(at: datetime, step: timedelta) -> datetime:
    """The first multiple of `step` that is not before `at`."""
    return floor(at + step - timedelta.resolution, step)


def closable(watermark: datetime, windows: Windows) -> datetime:
    """Up to where buckets need wait for nothing more. watermark: nothing older than this is expected."""
    return floor(watermark - windows.lateness, windows.hop)


def due(state: State, first: datetime | None, windows: Windows) -> Sequence[datetime]:
    """Where the windows end that are closed and not looked at, oldest first. first: the oldest bucket."""
    if first is None or state.closed_until is None:
        return ()
    after = state.looked_until or floor(first, windows.hop)
    count = max(0, (state.closed_until - after) // windows.hop)
    return [state.closed_until - n * windows.hop for n in reversed(range(min(count, MOST_LOOKS)))]


def window_begins(
    counts: Mapping[datetime, int], ends: datetime, windows: Windows, *, baseline: Baseline
) -> datetime | None:
    """Where the window that ends there begins; None while it would overlap with the baseline.

    counts: queries in each bucket. A window by time is whole or there is none: one that lacks days that the baseline
    has would show them as a change. One by count begins where it has its queries, after the baseline at the earliest.
    """
    earliest = ends - windows.span
    if not windows.queries:
        return None if earliest < baseline.ends and baseline.begins < ends else earliest
    if baseline.begins < ends:
        earliest = max(earliest, baseline.ends)
    enough = 0
    for bucket in sorted((b for b in counts if earliest <= b < ends), reverse=True):
        enough += counts[bucket]
        if enough >= windows.queries:
            return bucket
    return earliest if earliest < ends else None
