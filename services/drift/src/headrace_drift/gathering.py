"""Many events in one commit: each waits for the next, and is acknowledged when that has taken effect.

counted ─▶ waiting ─▶ a round: every `seconds`, or at once when `most` wait ─▶ one commit for each tenant
                         │ a dependency is down: everybody in the commit is told, and comes again
                         └ a bug: the commit is tried in halves, until the one event that causes it is alone
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from headrace_privacy import Erased
from headrace_runtime.errors import Failure
from headrace_stream import Delivery

from headrace_drift.traffic import Seen

#: Commits of several tenants that are under way at a time; each holds a connection.
COMMITS_AT_A_TIME = 4


@dataclass(frozen=True, slots=True)
class Waiting:
    """An event that waits for its commit."""

    delivery: Delivery[Any]
    seen: Seen
    done: asyncio.Future[None] = field(repr=False, compare=False)


#: Commits events of one tenant together; returns the ids of those whose query is erased. What was counted before has no
#: effect. Raises Unavailable.
Commit = Callable[[str, Sequence[Waiting]], Coroutine[Any, Any, frozenset[str]]]


class Gatherer:
    """Gathers what is counted. `seconds`: how long an event waits for others; `most`: how many at most."""

    def __init__(self, commit: Commit, *, seconds: float, most: int) -> None:
        self._commit = commit
        self._seconds = seconds
        self._most = most
        self._waiting: list[Waiting] = []
        self._wake = asyncio.Event()
        self._full = asyncio.Event()
        self._limit = asyncio.Semaphore(COMMITS_AT_A_TIME)

    async def count(self, delivery: Delivery[Any], seen: Seen) -> None:
        """Returns when the event has taken effect. Raises what its commit raised; Erased when the query is erased."""
        waiting = Waiting(delivery, seen, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._wake.set()
        if len(self._waiting) >= self._most:
            self._full.set()
        await waiting.done

    @asynccontextmanager
    async def gathering(self) -> AsyncIterator[None]:
        """Commits what waits while the context is open. What waits at its end is left: it will be delivered again."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._commit_for_ever())
            try:
                yield
            finally:
                task.cancel()

    async def _commit_for_ever(self) -> None:
        while True:
            self._wake.clear()
            await self._wake.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._seconds):
                    await self._full.wait()
            self._full.clear()
            await self._round()

    async def _round(self) -> None:
        waiting, self._waiting = self._waiting, []
        tenants: dict[str, list[Waiting]] = {}
        for one in waiting:
            if not one.done.cancelled():
                tenants.setdefault(one.seen.tenant, []).append(one)
        await asyncio.gather(*(self._settle(tenant, together) for tenant, together in tenants.items()))

    async def _settle(self, tenant: str, together: Sequence[Waiting]) -> None:
        async with self._limit:
            task = asyncio.create_task(self._commit(tenant, together))
            try:
                await asyncio.wait([task])
            finally:
                task.cancel()
        error = task.exception()
        if error is None:
            _tell(together, erased=task.result())
        elif isinstance(error, Failure) or len(together) == 1:
            _fail(together, error)
        else:
            half = len(together) // 2
            await self._settle(tenant, together[:half])
            await self._settle(tenant, together[half:])


def _tell(together: Sequence[Waiting], *, erased: frozenset[str]) -> None:
    for one in together:
        if one.done.done():
            continue
        if one.seen.observation.query_id in erased:
            one.done.set_exception(Erased("it came after the erasure"))
        else:
            one.done.set_result(None)


def _fail(together: Sequence[Waiting], error: BaseException) -> None:
    for one in together:
        if not one.done.done():
            one.done.set_exception(error)
