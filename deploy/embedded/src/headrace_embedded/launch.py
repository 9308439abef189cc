"""Starting the supervisor from a terminal, following it, and ending it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from headrace_embedded import leftovers, plan, processes, state
from headrace_embedded.errors import NotReady
from headrace_embedded.plan import Plan
from headrace_embedded.processes import Lifetime
from headrace_embedded.state import Status

#: Servers, migrations and models on a slow disk.
UP_DEADLINE_S = 300.0
#: Services drain for 15 s, one group after the other; Kafka and Postgres take 20 s at worst.
DOWN_DEADLINE_S = 90.0
LOOK_S = 0.1

Shown = Callable[[Status], None]


def supervisor_log(home: Path) -> Path:
    """Returns where the supervisor writes."""
    return home / "logs" / "supervisor.log"


def launch(home: Path, wanted: Plan, *, lifetime: Lifetime) -> subprocess.Popen[bytes]:
    """Starts a supervisor in a session of its own."""
    home.mkdir(parents=True, exist_ok=True)
    plan.write_plan(home, wanted)
    command = [sys.executable, "-m", "headrace_embedded.supervisor", str(home)]
    # gRPC's handlers around a fork can end a process that starts others while it calls: seen as a segmentation fault of
    # the supervisor. What is started becomes another program at once. gRPC reads this when it is loaded.
    environment = {"GRPC_ENABLE_FORK_SUPPORT": "false", **os.environ, state.MARK: str(home)}
    return processes.spawn(command, log=supervisor_log(home), lifetime=lifetime, environment=environment)


def follow(home: Path, show: Shown, *, supervisor: int, alive: Callable[[], bool]) -> Status:
    """Shows each change of this supervisor's status until everything is ready, and returns the last.

    What an earlier supervisor left in the folder is passed over.
    Raises NotReady when it failed, when the supervisor ended, or at the deadline.
    """
    end = time.monotonic() + UP_DEADLINE_S
    while time.monotonic() < end:
        lived = alive()
        status = state.read_status(home)
        if status is not None and status.supervisor == supervisor:
            show(status)
            if status.phase == "ready":
                return status
        if not lived:
            raise NotReady(_why(home))
        time.sleep(LOOK_S)
    raise NotReady(f"not everything was ready within {UP_DEADLINE_S:.0f} s; see {supervisor_log(home)}")


def _why(home: Path) -> str:
    status = state.read_status(home)
    if status is not None and status.phase == "failed":
        return status.reason
    return f"the supervisor ended. Its log ends:\n{processes.tail(supervisor_log(home))}"


def holder(home: Path) -> int:
    """Returns the process id of the supervisor that wrote the lock; 0 when nobody did."""
    try:
        return int((home / "lock").read_text())
    except (OSError, ValueError):
        return 0


def halt(home: Path, show: Shown) -> list[int]:
    """Ends everything that belongs to the folder, and returns the ids of processes that could not be ended."""
    status = state.read_status(home)
    if state.is_running(home) and status is not None:
        _ask_to_end(holder(home))
        _wait_for_end(home, show)
    leftovers.end(home)
    state.forget_endpoints(home)
    return [process.pid for process in leftovers.find(home)]


def _ask_to_end(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        return


def _wait_for_end(home: Path, show: Shown) -> None:
    end = time.monotonic() + DOWN_DEADLINE_S
    while state.is_running(home) and time.monotonic() < end:
        if (status := state.read_status(home)) is not None:
            show(status)
        time.sleep(LOOK_S)


def is_alive(pid: int) -> bool:
    """Returns whether a process runs and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
