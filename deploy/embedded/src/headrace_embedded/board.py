"""What stands where, kept in memory and written to the state folder at each change."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from headrace_embedded import state
from headrace_embedded.state import PartState, PartStatus, Status


class Board:
    """The supervisor's view of its parts."""

    def __init__(self, home: Path, *, bus: str) -> None:
        self._home = home
        self._bus = bus
        self._parts: dict[str, PartStatus] = {}
        self._phase = "starting"
        self._reason = ""
        self._supervisor = psutil.Process()

    def add(self, name: str, *, kind: str, log: Path) -> None:
        """Lists a part that is still to come."""
        self._parts[name] = PartStatus(name, kind, PartState.WAITING, log=str(log), since=time.time())
        self._write()

    def starting(self, name: str) -> None:
        """A part is being started; after its first start, restarted."""
        was = self._parts[name].state
        again = PartState.RESTARTING if was is PartState.RESTARTING else PartState.STARTING
        self._set(name, state=again, since=time.time())

    def at(self, name: str, address: str) -> None:
        """A part has its address."""
        self._set(name, address=address)

    def spawned(self, name: str, pid: int) -> None:
        """A part has its process."""
        self._set(name, pid=pid, created=_created(pid))

    def ready(self, name: str, *, seconds: float) -> None:
        """A part serves; its start took so long."""
        self._set(name, state=PartState.READY, seconds=seconds, since=time.time(), reason="")

    def crashed(self, name: str, reason: str) -> None:
        """A part ended by itself and will be started again."""
        restarts = self._parts[name].restarts + 1
        self._set(name, state=PartState.RESTARTING, pid=0, created=0.0, restarts=restarts, reason=reason)

    def failed(self, name: str, reason: str) -> None:
        """A part is given up on."""
        self._set(name, state=PartState.FAILED, reason=reason)

    def stopping(self, name: str) -> None:
        """A part has been asked to end."""
        self._set(name, state=PartState.STOPPING)

    def stopped(self, name: str) -> None:
        """A part is gone."""
        self._set(name, state=PartState.STOPPED, pid=0, created=0.0)

    def phase(self, phase: str, reason: str = "") -> None:
        """The whole enters another phase."""
        self._phase, self._reason = phase, reason
        self._write()

    def _set(self, name: str, **changes: Any) -> None:
        self._parts[name] = replace(self._parts[name], **changes)
        self._write()

    def _write(self) -> None:
        process = self._supervisor
        parts = tuple(self._parts.values())
        status = Status(process.pid, process.create_time(), self._phase, self._reason, self._bus, parts)
        state.write_status(self._home, status)


def _created(pid: int) -> float:
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return 0.0
