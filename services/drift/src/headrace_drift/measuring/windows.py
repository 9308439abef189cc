"""How traffic is cut into buckets and windows, by event time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from headrace_drift.measuring.rules import Windows
from headrace_drift.measuring.sketch import Sketch

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """What a look compares: everything of its slice from `begins` up to `ends`, which is not in it."""

    sketch: Sketch
    begins: datetime
    ends: datetime


def bucket_of(at: datetime, windows: Windows) -> datetime:
    """When the bucket begins that an event of that time belongs to, in UTC."""
    return at.astimezone(UTC) - (at - _BEGINNING) % windows.bucket


def is_late(at: datetime, newest: datetime, windows: Windows) -> bool:
    """Whether an event is too far behind the newest one seen to be counted any more."""
    return newest - at > windows.lateness


def window_at(buckets: Mapping[datetime, Sketch], until: datetime, windows: Windows) -> Window:
    """The window that ends at `until`; buckets go by their beginning. Those that end later are not in it.

    With `Windows.queries`, the newest buckets that hold at least so many; without enough, all within `Windows.span`.
    """
    first = until - windows.span
    inside = sorted((at for at in buckets if first <= at and at + windows.bucket <= until), reverse=True)
    taken, queries = [], 0
    for at in inside:
        taken.append(at)
        queries += buckets[at].queries
        if 0 < windows.queries <= queries:
            break
    begins = taken[-1] if windows.queries and taken else first
    return Window(Sketch.merged(buckets[at] for at in taken), begins, until)
