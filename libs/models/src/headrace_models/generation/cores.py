"""Which engine computes on how many threads: all of them while it is alone, its share while others have work too.

Two engines that each split every product in two wait at each for threads that the other keeps from running, and as soon
as OpenMP has more threads than there are cores, GNU's puts them to sleep at the end of every product
(gomp_throttled_spin_count_var). Measured on two cores, one engine alone: 24 answers in 20 s so, in 12 s on two threads
that stay awake; two engines, 24 answers each: in 21 s on a thread each, in 24 s on two each.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Result = TypeVar("Result")


class Cores:
    """The threads of this process, and how many engines want them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._working = 0

    def begin(self) -> None:
        """One more engine has work."""
        with self._lock:
            self._working += 1

    def end(self) -> None:
        """One engine has none any more."""
        with self._lock:
            self._working -= 1

    def share(self, threads: int) -> int:
        """On how many of `threads` each engine that has work may compute; one at least."""
        return max(1, threads // max(1, self._working))


#: Engines of one process run on the same cores.
CORES = Cores()


class Seat:
    """One engine's place at the cores. Made where the process's number of threads is set; for one thread's use."""

    def __init__(self, cores: Cores = CORES) -> None:
        self._cores = cores
        self._threads = torch.get_num_threads()
        self._computes_on = 0
        self._works = False

    def take(self) -> None:
        """Before a step: from here on this thread computes on its share."""
        if not self._works:
            self._cores.begin()
            self._works = True
        share = self._cores.share(self._threads)
        if share != self._computes_on:
            # OpenMP keeps the number by thread: nobody else's changes.
            torch.set_num_threads(share)
            self._computes_on = share

    def leave(self) -> None:
        """There is nothing to compute."""
        if self._works:
            self._cores.end()
            self._works = False


async def aside(work: Callable[[], Result]) -> Result:
    """Does `work`, which computes, in a thread that ends with it: the threads that OpenMP keeps for it end too, or
    they would count for as long as the process lives."""
    passing = ThreadPoolExecutor(1)
    try:
        return await asyncio.get_running_loop().run_in_executor(passing, work)
    finally:
        passing.shutdown(wait=False)
