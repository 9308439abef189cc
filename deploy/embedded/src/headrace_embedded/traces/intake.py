"""The queue between senders of spans and the database: bounded, and never waited for."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Protocol

import structlog
from headrace_runtime.errors import Unavailable

from headrace_embedded.traces.spans import StoredSpan
from headrace_embedded.traces.store import Retention

log = structlog.get_logger()

#: About 20 MB of spans: half a minute of 60 queries a second while the database is away.
QUEUE_LIMIT = 20_000
BATCH = 1_000
#: How long spans wait for company before they are stored.
GATHER_S = 0.1
RETRY_S = 1.0
FORGET_EVERY_S = 60.0


class Store(Protocol):
    """Where spans end up."""

    async def add(self, spans: Sequence[StoredSpan]) -> None:
        """Stores them, or raises Unavailable."""

    async def forget(self, retention: Retention, *, now: datetime) -> int:
        """Removes what is too much."""


class Intake:
    """Takes spans at once and stores them in batches. Has the shape of a service's consumer: start, stop, ready."""

    def __init__(self, store: Store, retention: Retention, clock: Callable[[], datetime], *, limit: int) -> None:
        self._store = store
        self._retention = retention
        self._clock = clock
        self._limit = limit
        self._queue: deque[StoredSpan] = deque()
        self._arrived = asyncio.Event()
        self._writing = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self.dropped = 0

    def offer(self, spans: Iterable[StoredSpan]) -> int:
        """Queues what fits and returns how many spans did not, and are lost."""
        lost = 0
        for span in spans:
            if len(self._queue) >= self._limit:
                lost += 1
            else:
                self._queue.append(span)
        self.dropped += lost
        self._arrived.set()
        return lost

    async def flush(self) -> None:
        """Stores everything that is queued. Raises Unavailable, and keeps what could not be stored."""
        async with self._writing:
            while self._queue:
                batch = [self._queue[n] for n in range(min(BATCH, len(self._queue)))]
                await self._store.add(batch)
                for _ in batch:
                    self._queue.popleft()

    async def start(self) -> None:
        """Begins to store."""
        self._tasks = [asyncio.create_task(self._write()), asyncio.create_task(self._forget())]

    async def stop(self, drain_seconds: float) -> None:
        """Stores what is queued, if the database is there in time, and ends."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await asyncio.wait_for(self.flush(), min(drain_seconds, 5.0))
        except (TimeoutError, Unavailable):
            log.warning("spans lost at the end", spans=len(self._queue))

    def ready(self) -> bool:
        """Says whether spans are being taken: always, since they are dropped before anybody waits."""
        return True

    async def _write(self) -> None:
        while True:
            await self._arrived.wait()
            await asyncio.sleep(GATHER_S)
            self._arrived.clear()
            try:
                await self.flush()
            except Unavailable:
                log.warning("spans wait for the database", queued=len(self._queue), dropped=self.dropped)
                self._arrived.set()
                await asyncio.sleep(RETRY_S)

    async def _forget(self) -> None:
        while True:
            try:
                await self._store.forget(self._retention, now=self._clock())
            except Unavailable:
                log.warning("old spans stay: the database is away")
            await asyncio.sleep(FORGET_EVERY_S)
