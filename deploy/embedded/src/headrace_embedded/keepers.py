"""Keeping one part up: started, watched, started again when it dies, ended when asked."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from headrace_embedded import processes
from headrace_embedded.board import Board
from headrace_embedded.errors import EmbeddedError, NotReady
from headrace_embedded.processes import Lifetime

log = logging.getLogger("supervisor")

#: A service loads its model in this time, on a slow disk too.
SERVICE_START_S = 180.0
#: Longer than a service's own drain (15 s).
SERVICE_GRACE_S = 20.0
#: A service that dies so often before it ever served is misconfigured: starting it again would hide why.
STILLBORN = 3
LOOK_S = 0.2
BACKOFF_S = (0.2, 1.0, 2.0, 5.0, 10.0, 30.0)
#: After running for so long, a crash counts as the first again.
HEALED_S = 60.0

#: Runs a blocking call off the event loop, in a thread that lives as long as the supervisor: Linux ends a child
#: together with the thread that started it.
Elsewhere = Callable[[Callable[[], object]], Awaitable[object]]


class Server(Protocol):
    """Kafka, its stand-in, or Postgres."""

    @property
    def pid(self) -> int | None:
        """Its process while it runs."""

    def start(self) -> None:
        """Returns once it serves; raises EmbeddedError."""

    def stop(self) -> None:
        """Ends it cleanly."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One process of a service, as it is to be started."""

    name: str
    command: Sequence[str]
    address: str
    environment: Mapping[str, str]
    log: Path


def backoff(failures: int) -> float:
    """Returns how many seconds to wait after so many failures in a row, from 1."""
    return BACKOFF_S[min(failures, len(BACKOFF_S)) - 1]


async def start_server(name: str, server: Server, *, board: Board, elsewhere: Elsewhere) -> None:
    """Starts a server and reports it. Raises EmbeddedError."""
    began = time.monotonic()
    board.starting(name)
    try:
        await elsewhere(server.start)
    except EmbeddedError as error:
        board.failed(name, str(error))
        raise
    board.spawned(name, server.pid or 0)
    board.ready(name, seconds=time.monotonic() - began)


async def keep_server(name: str, server: Server, *, board: Board, elsewhere: Elsewhere) -> None:
    """Starts a server again whenever it has died, on the same port and data, until cancelled."""
    failures = 0
    while True:
        await asyncio.sleep(LOOK_S)
        if server.pid is not None:
            continue
        failures += 1
        log.warning("%s died; starting it again", name)
        board.crashed(name, "it died")
        await asyncio.sleep(backoff(failures))
        try:
            await start_server(name, server, board=board, elsewhere=elsewhere)
            failures = 0
        except EmbeddedError as error:
            board.crashed(name, str(error))


async def end_server(name: str, server: Server, *, board: Board, elsewhere: Elsewhere) -> None:
    """Ends a server and reports it."""
    board.stopping(name)
    await elsewhere(server.stop)
    board.stopped(name)


class ServiceKeeper:
    """Keeps one instance of a service up. `first` is done once it served for the first time, or never will."""

    def __init__(
        self, instance: Instance, *, board: Board, elsewhere: Elsewhere, serving: Callable[[str], bool]
    ) -> None:
        self._instance = instance
        self._board = board
        self._elsewhere = elsewhere
        self._serving = serving
        self.first: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def name(self) -> str:
        """The instance's name."""
        return self._instance.name

    async def keep(self) -> None:
        """Runs until cancelled; then the process is drained, and ended firmly if it takes too long."""
        failures = 0
        while True:
            began = time.monotonic()
            reason = await self._live_once()
            failures = 1 if time.monotonic() - began > HEALED_S else failures + 1
            log.warning("%s %s", self.name, reason)
            if not self.first.done() and failures >= STILLBORN:
                return self._give_up(reason)
            self._board.crashed(self.name, reason)
            await asyncio.sleep(backoff(failures))

    async def _live_once(self) -> str:
        """Starts the process and returns how it ended."""
        began = time.monotonic()
        process = self._spawn()
        try:
            while process.poll() is None and not await self._elsewhere(lambda: self._serving(self._instance.address)):
                if time.monotonic() - began > SERVICE_START_S:
                    return f"did not serve within {SERVICE_START_S:.0f} s"
                await asyncio.sleep(LOOK_S)
            if process.poll() is None:
                self._report_ready(time.monotonic() - began)
            while process.poll() is None:  # noqa: ASYNC110 - processes tell nobody that they end
                await asyncio.sleep(LOOK_S)
            return f"ended with {process.returncode}"
        finally:
            await self._end(process)

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._board.at(self.name, self._instance.address)
        self._board.starting(self.name)
        process = processes.spawn(
            self._instance.command,
            log=self._instance.log,
            lifetime=Lifetime.PARENTS,
            environment=self._instance.environment,
        )
        self._board.spawned(self.name, process.pid)
        return process

    def _report_ready(self, seconds: float) -> None:
        self._board.ready(self.name, seconds=seconds)
        if not self.first.done():
            self.first.set_result(None)

    async def _end(self, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            self._board.stopping(self.name)
            await self._elsewhere(lambda: processes.stop(process, grace_s=SERVICE_GRACE_S))
        self._board.stopped(self.name)

    def _give_up(self, reason: str) -> None:
        words = processes.tail(self._instance.log)
        self._board.failed(self.name, reason)
        self.first.set_exception(
            NotReady(f"{self.name} {reason}, {STILLBORN} times. Its log, {self._instance.log}, ends:\n{words}")
        )
