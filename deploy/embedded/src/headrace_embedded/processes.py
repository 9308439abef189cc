"""Starting, watching and ending processes."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import psutil

from headrace_embedded.errors import NotReady

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if os.name == "posix" else None


class Lifetime(Enum):
    """What becomes of a process when the thread that started it ends."""

    #: It lives on until somebody stops it.
    OWN = "own"
    #: Linux kills it, so a crashed test run leaves nothing behind. Elsewhere as OWN.
    PARENTS = "parent's"


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine, by its ids."""

    name: str
    uid: int
    gid: int


def spawn(
    command: Sequence[str],
    *,
    log: Path,
    lifetime: Lifetime,
    environment: Mapping[str, str] | None = None,
    account: Account | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Starts a process in a session of its own, its output appended to `log`, so that Ctrl-C reaches only us."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - the command is ours
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_die_with_parent(lifetime),  # noqa: PLW1509 - one system call, after the change of user
            **as_account(account),
        )


def as_account(account: Account | None) -> dict[str, Any]:
    """Returns what `subprocess` needs to run something as that user; nothing for our own."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": [account.gid]}


def _die_with_parent(lifetime: Lifetime) -> Callable[[], None] | None:
    if lifetime is Lifetime.OWN or not Path("/proc/self/status").exists():
        return None
    libc = _LIBC
    assert libc is not None
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def stop(process: subprocess.Popen[bytes], *, grace_s: float, how: signal.Signals = signal.SIGTERM) -> None:
    """Ends a process gracefully, and firmly with all its children once the grace is over."""
    if process.poll() is not None:
        return
    process.send_signal(how)
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and its children with SIGKILL, as a crash would, and waits until they are gone."""
    victims = tree(process.pid)
    for victim in victims:
        try:
            victim.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait(10)
    _, alive = psutil.wait_procs(victims, timeout=10)
    if alive:
        raise NotReady(f"processes {[p.pid for p in alive]} outlived SIGKILL by 10 s")


def tree(pid: int) -> list[psutil.Process]:
    """Returns a process and all its descendants; empty when it is gone, if only its exit code is still to be read."""
    try:
        process = psutil.Process(pid)
        return [] if process.status() == psutil.STATUS_ZOMBIE else [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def wait_until(condition: Callable[[], bool], *, deadline_s: float = 15.0) -> None:
    """Looks at a condition until it holds. Raises NotReady at the deadline."""
    end = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > end:
            raise NotReady(f"what was waited for did not happen within {deadline_s:.0f} s")
        time.sleep(0.05)


def tail(log: Path, *, lines: int = 15) -> str:
    """Returns the last lines of a log, for messages about a failed start."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
