"""Looking again and again, by one of several instances."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog
from headrace_runtime.errors import Unavailable

from headrace_drift.baselines import closable
from headrace_drift.looking import Observer
from headrace_drift.ports import Leadership

log = structlog.get_logger()

#: How often one looks whether a look is due, in seconds: a tenth of a hop, within these.
SHORTEST, LONGEST = 0.5, 30.0
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


@asynccontextmanager
async def looking(observer: Observer) -> AsyncIterator[None]:
    """Takes looks while the context is open, when they are due. A look that raises anything but Unavailable ends the
    context, and with it the service: drift that nobody looks for goes unseen."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(_look_for_ever(observer))
        try:
            yield
        finally:
            task.cancel()


async def _look_for_ever(observer: Observer) -> None:
    while True:
        try:
            async with observer.desk.leading() as leadership:
                await _look_while_leading(observer, leadership)
        except Unavailable as down:
            log.warning("looks wait", reason=str(down))
            await asyncio.sleep(SHORTEST)


async def _look_while_leading(observer: Observer, leadership: Leadership) -> None:
    looked_until = BEGINNING
    while True:
        # Asking how far the topics have been read takes a while, so it is asked only when a window may have closed.
        if await leadership.holds() and looked_until < closable(observer.now(), observer.plan.windows):
            looked_until = await observer.look_around()
        await asyncio.sleep(pause(observer))


def pause(observer: Observer) -> float:
    """Seconds between two turns."""
    return min(LONGEST, max(SHORTEST, observer.plan.windows.hop.total_seconds() / 10))
