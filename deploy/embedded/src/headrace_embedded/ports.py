"""Ports on the loopback interface."""

from __future__ import annotations

import contextlib
import fcntl
import os
import random
import socket
import tempfile
import time
from pathlib import Path

from headrace_embedded.errors import NotReady

HOST = "127.0.0.1"

_OURS = range(21_000, 32_000)
#: One folder for all: whoever has a TMPDIR of their own would choose ports that others have chosen.
_LOCKS = (Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())) / "headrace-ports"  # noqa: S108 - locks, no secrets


def reserve(preferred: int = 0) -> int:
    """Returns the preferred port, or a free one when somebody has it or wants it, and keeps others off while we live.

    A service binds its port seconds after it was chosen: between Headraces a locked file keeps the choice. Nothing
    keeps a stranger off, but others are chosen below the ports that Linux gives to outgoing connections (from 32768).
    Raises NotReady when nothing is free.
    """
    candidates: list[int] = [preferred] if preferred else []
    for port in candidates + random.sample(_OURS, 200):
        if is_free(port) and _lock(port):
            return port
    raise NotReady(f"no port between {_OURS.start} and {_OURS.stop} is free")


def _lock(port: int) -> bool:
    """Takes the port's lock until the process ends. Somebody else's file that we may not open counts as taken."""
    _LOCKS.mkdir(exist_ok=True)
    with contextlib.suppress(PermissionError):
        _LOCKS.chmod(0o1777)
    try:
        file = os.open(_LOCKS / str(port), os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return False
    return True


def is_free(port: int) -> bool:
    """Returns whether a server could listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def answers(port: int) -> bool:
    """Returns whether somebody accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((HOST, port)) == 0


def wait_until_free(port: int, *, deadline_s: float) -> None:
    """Waits until nobody listens on the port any more.

    Raises NotReady at the deadline.
    """
    end = time.monotonic() + deadline_s
    while answers(port):
        if time.monotonic() > end:
            raise NotReady(f"port {port} is still in use after {deadline_s:.0f} s")
        time.sleep(0.02)
