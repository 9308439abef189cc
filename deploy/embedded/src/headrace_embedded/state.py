"""The state folder: what runs, where, and since when.

.headrace/
  lock             held by the supervisor for as long as it lives
  plan.json        what `headrace up` asked for
  status.json      every part, rewritten at each change
  endpoints.json   the addresses, for clients; only while Headrace is up
  kafka/  postgres/  logs/
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from headrace_embedded.errors import InUse

HOME_VARIABLE = "HEADRACE_HOME"
FOLDER = ".headrace"

#: In the environment of every process that is started, so that one that got lost can be found.
MARK = "HEADRACE_EMBEDDED_STATE"


class PartState(StrEnum):
    """Where a part stands."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PartStatus:
    """One process, or one that should be. Times are seconds since 1970."""

    name: str
    kind: str  # "server" or "service"
    state: PartState
    address: str = ""
    pid: int = 0
    created: float = 0.0  # the process's own start time: with the pid it can't be mistaken for another process
    since: float = 0.0
    seconds: float = 0.0  # how long its start took
    restarts: int = 0
    reason: str = ""
    log: str = ""


@dataclass(frozen=True, slots=True)
class Status:
    """Everything that the supervisor knows."""

    supervisor: int
    created: float
    phase: str  # "starting", "ready", "failed", "stopping", "stopped"
    reason: str
    bus: str  # "kafka" or "mock"
    parts: tuple[PartStatus, ...]

    def part(self, name: str) -> PartStatus | None:
        """Returns a part by its name."""
        return next((part for part in self.parts if part.name == name), None)


def find_home(environ: Mapping[str, str], folder: Path) -> Path:
    """Returns the state folder: $HEADRACE_HOME, or the nearest .headrace at or above `folder`, or a new one in it."""
    if named := environ.get(HOME_VARIABLE):
        return Path(named).expanduser().resolve()
    for place in (folder, *folder.parents):
        if (place / FOLDER).is_dir():
            return (place / FOLDER).resolve()
    return (folder / FOLDER).resolve()


@contextmanager
def hold_lock(home: Path) -> Iterator[None]:
    """Makes this process the one supervisor of the folder, until the context ends or the process does.

    Raises InUse when there is one already. A crash or a reboot lets go by itself.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "lock").open("a") as lock:
        _acquire(lock, home)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _acquire(lock: IO[str], home: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InUse(f"Headrace already runs with its state in {home}") from error


def is_running(home: Path) -> bool:
    """Returns whether a supervisor holds the folder."""
    if not (home / "lock").exists():
        return False
    with (home / "lock").open("a") as lock:
        try:
            _acquire(lock, home)
        except InUse:
            return True
    return False


def read_status(home: Path) -> Status | None:
    """Returns the last status that was written; None when there is none that can be read."""
    try:
        content = json.loads((home / "status.json").read_text())
        parts = tuple(PartStatus(**{**part, "state": PartState(part["state"])}) for part in content.pop("parts"))
        return Status(**content, parts=parts)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_status(home: Path, status: Status) -> None:
    """Replaces the status in one step."""
    write_json(home / "status.json", asdict(status))


def write_endpoints(home: Path, *, kafka: str, services: Mapping[str, str], extra: Mapping[str, Any]) -> None:
    """Tells clients where everything is."""
    write_json(home / "endpoints.json", {"kafka": kafka, "services": dict(services), **extra})


def read_endpoints(home: Path) -> dict[str, Any]:
    """Returns what `write_endpoints` wrote; empty when nothing is there."""
    try:
        content: dict[str, Any] = json.loads((home / "endpoints.json").read_text())
    except (OSError, ValueError):
        return {}
    return content


def forget_endpoints(home: Path) -> None:
    """Tells clients that nothing is here any more."""
    (home / "endpoints.json").unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Writes a file so that a reader sees the old content or the new, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(f".{os.getpid()}.new")
    fresh.write_text(json.dumps(content, indent=1))
    fresh.replace(path)
