"""A line of the service's log that anybody could cause, let through now and then."""

from __future__ import annotations

import time
from collections.abc import Callable

#: How long a line keeps silent after it was let through, in seconds.
SILENT_SECONDS = 60.0


class Seldom:
    """Lets one line of a kind through, and then counts for a minute. Kinds are few and fixed."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def held_back(self, kind: str) -> int | None:
        """Returns how many were held back since the last one; None where this one is to be held back too."""
        now = self._clock()
        if now - self._since.get(kind, -SILENT_SECONDS) < SILENT_SECONDS:
            self._held[kind] = self._held.get(kind, 0) + 1
            return None
        self._since[kind] = now
        return self._held.pop(kind, 0)
