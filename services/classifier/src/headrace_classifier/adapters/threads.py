"""Masking and detection off the event loop, with a time limit that a hanging detector cannot outsit.

A thread of Python cannot be ended from outside. So each blocking call runs on a daemon thread; one that does not come
back in time is left behind, replaced by a fresh one, and ends by itself if it ever returns.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import structlog

from headrace_classifier.dictionary import EMPTY, Dictionary
from headrace_classifier.ports import Detector, Masker
from headrace_classifier.verdict import Finding, FindingKind, Masked

log = structlog.get_logger()
T = TypeVar("T")

#: With so many threads left behind detection is broken for good: what comes then is UNSURE without being tried.
ABANDONED_AT_MOST = 8

FAILED = (Finding("detection-failed", FindingKind.UNSURE, 1),)
TOO_SLOW = (Finding("detection-too-slow", FindingKind.UNSURE, 1),)


class MaskingFailed(Exception):
    """The text could not be masked, so it must not be passed on. A bug: dead-lettered after its attempts."""


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """How long detection may take: so many seconds for any text, and so many for each MiB of it."""

    seconds: float
    seconds_per_mebibyte: float

    def of(self, text: str) -> float:
        """Returns the limit for this text. Characters count as bytes: ASCII does, and the rest gets less, not more."""
        return self.seconds + self.seconds_per_mebibyte * len(text) / (1 << 20)


class _Thread:
    """A daemon thread that runs one blocking call at a time, on an event loop of its own."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def start(self) -> None:
        """Begins to take calls."""
        threading.Thread(target=self._run, name="inspector", daemon=True).start()

    def call(self, function: Callable[[str], T], text: str) -> asyncio.Future[T]:
        """Has the thread call the function. Whatever it raises is in the future, and is not logged if nobody looks."""
        future = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(_call(function, text), self._loop))
        future.add_done_callback(_look_at_the_exception)
        return future

    def end(self) -> None:
        """Ends the thread as soon as it is free."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self) -> None:
        self._loop.run_forever()
        self._loop.close()


async def _call(function: Callable[[str], T], text: str) -> T:
    return function(text)


def _look_at_the_exception(future: asyncio.Future[T]) -> None:
    """An exception that nobody looked at is logged by asyncio, with whatever text it holds."""
    if not future.cancelled():
        future.exception()


class ThreadedInspector:
    """Masks and detects on threads. A call waits for a free thread, and its time limit begins when it has one."""

    def __init__(self, masker: Masker, detector: Detector, *, limit: TimeLimit) -> None:
        """Takes the two that block. Threads come with open_inspector."""
        self._masker = masker
        self._detector = detector
        self._limit = limit
        self._idle: asyncio.Queue[_Thread] = asyncio.Queue()
        self._left_behind: set[_Thread] = set()

    async def mask(self, text: str) -> Masked:
        """Masks, which takes linear time and has no limit. Raises MaskingFailed, which says nothing of the text."""
        future = await self._run(self._masker.mask, text, None)
        failure = future.exception()
        if failure is not None:
            raise MaskingFailed(type(failure).__name__) from None
        return future.result()

    async def detect(self, text: str, dictionary: Dictionary = EMPTY) -> tuple[Finding, ...]:
        """Detects within the time limit; a failure or a late answer is UNSURE."""
        if len(self._left_behind) >= ABANDONED_AT_MOST:
            return TOO_SLOW
        look = partial(self._detector.detect, dictionary=dictionary)
        future = await self._run(look, text, self._limit.of(text))
        if not future.done():
            log.error("detection is too slow", chars=len(text), left_behind=len(self._left_behind))
            return TOO_SLOW
        failure = future.exception()
        if failure is not None:
            log.error("detection failed", chars=len(text), error=type(failure).__name__)
            return FAILED
        return future.result()

    async def _run(self, function: Callable[[str], T], text: str, seconds: float | None) -> asyncio.Future[T]:
        """Returns the call's future, done unless the time ran out. A caller that gives up leaves the thread to it."""
        thread = await self._idle.get()
        future = thread.call(function, text)
        future.add_done_callback(lambda _: self._came_back(thread))
        await asyncio.wait({future}, timeout=seconds)
        if not future.done():
            self._leave_behind(thread)
        return future

    def add_thread(self) -> None:
        """Starts one more thread."""
        thread = _Thread()
        thread.start()
        self._idle.put_nowait(thread)

    def end_threads(self) -> None:
        """Ends the threads that are free; those at work are daemons and hold up nobody."""
        while not self._idle.empty():
            self._idle.get_nowait().end()

    def _leave_behind(self, thread: _Thread) -> None:
        self._left_behind.add(thread)
        self.add_thread()

    def _came_back(self, thread: _Thread) -> None:
        if thread in self._left_behind:
            self._left_behind.discard(thread)
            thread.end()
        else:
            self._idle.put_nowait(thread)


@asynccontextmanager
async def open_inspector(
    masker: Masker, detector: Detector, *, limit: TimeLimit, threads: int
) -> AsyncIterator[ThreadedInspector]:
    """Starts the threads, and ends them."""
    inspector = ThreadedInspector(masker, detector, limit=limit)
    for _ in range(threads):
        inspector.add_thread()
    try:
        yield inspector
    finally:
        inspector.end_threads()
