"""Finding and ending what a supervisor that is gone has left behind."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from headrace_embedded.state import MARK, read_status

GRACE_S = 5.0


def find(home: Path) -> list[psutil.Process]:
    """Returns the processes that belong to this state folder, our own and our ancestors not among them.

    A process belongs to it when the last status names it, by pid and start time, or when it carries the folder's mark.
    """
    spared = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = {process.pid: process for process in (*_recorded(home), *_marked(home))}
    for process in list(found.values()):
        found |= {child.pid: child for child in _children(process)}
    return [process for pid, process in found.items() if pid not in spared]


def end(home: Path) -> int:
    """Ends them, gracefully and then firmly, and returns how many there were."""
    processes = find(home)
    for process in processes:
        _send(process, firmly=False)
    _, alive = psutil.wait_procs(processes, timeout=GRACE_S)
    for process in alive:
        _send(process, firmly=True)
    psutil.wait_procs(alive, timeout=GRACE_S)
    return len(processes)


def _send(process: psutil.Process, *, firmly: bool) -> None:
    try:
        (process.kill if firmly else process.terminate)()
    except psutil.NoSuchProcess:
        return


def _recorded(home: Path) -> list[psutil.Process]:
    status = read_status(home)
    if status is None:
        return []
    named = [(status.supervisor, status.created), *((part.pid, part.created) for part in status.parts)]
    return [process for pid, created in named if pid and (process := _same(pid, created)) is not None]


def _same(pid: int, created: float) -> psutil.Process | None:
    """Returns the process only if it is the one that was recorded: its pid may be another's after a reboot."""
    try:
        process = psutil.Process(pid)
        alive = process.status() != psutil.STATUS_ZOMBIE and abs(process.create_time() - created) < 1.0
    except psutil.NoSuchProcess:
        return None
    return process if alive else None


def _marked(home: Path) -> list[psutil.Process]:
    return [process for process in psutil.process_iter() if _mark(process) == str(home)]


def _mark(process: psutil.Process) -> str:
    try:
        return process.environ().get(MARK, "") if process.status() != psutil.STATUS_ZOMBIE else ""
    except (psutil.Error, OSError):
        return ""


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
