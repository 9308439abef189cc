"""An answer's stream outlives its connection: after a loss it goes on from the last update seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from headrace_client.errors import HeadraceError, NotFound, TimedOut, Unavailable, Unreachable
from headrace_client.updates import Answered, Update

#: Seconds between attempts; an instance of ingest restarts in about a second.
_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)

#: NotFound too: ingest may not have recorded yet what the bus already has.
_PASSING = (Unreachable, Unavailable, NotFound)

Stream = AsyncGenerator[Update, None]


async def resumed(
    first: Stream,
    again: Callable[[int], Stream],
    *,
    time_left: Callable[[], float],
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> Stream:
    """Yields a query's updates once each, in order, ending with the answer.

    `again(sequence)` opens the stream after that sequence. A first stream that fails before its first update is not
    resumed: nothing may have been submitted. Raises what the stream raises, and TimedOut when no time is left.
    """
    last, failures, stream = 0, 0, first
    while True:
        trouble: HeadraceError = TimedOut("The answer did not come in time.")
        try:
            async with aclosing(stream) as updates:
                async for update in updates:
                    if update.sequence > last:
                        last, failures = update.sequence, 0
                        yield update
                    if isinstance(update, Answered):
                        return
        except _PASSING as error:
            if last == 0:
                raise
            trouble = error
        wait = _PAUSES[min(failures, len(_PAUSES) - 1)]
        if time_left() <= wait:
            raise trouble
        await pause(wait)
        failures += 1
        stream = again(last)
