"""Showing how parts come and go: a table that is redrawn on a terminal, a line at each change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from headrace_client.cli.console import notice, notices
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headrace_embedded.launch import Shown
from headrace_embedded.state import PartState, PartStatus, Status

_COLOURS = {
    PartState.READY: "green",
    PartState.FAILED: "red",
    PartState.RESTARTING: "yellow",
    PartState.STARTING: "cyan",
}

#: How services are called in what people read.
TITLES = {"kafka": "Kafka", "postgres": "PostgreSQL"}


def title(status: Status, part: PartStatus) -> str:
    """Returns a part's name for people."""
    if part.name == "kafka" and status.bus == "mock":
        return "mock Kafka"
    return TITLES.get(part.name, part.name)


def line(part: PartStatus) -> str:
    """Returns where a part stands, for people."""
    if part.state is PartState.READY:
        again = f", {part.restarts} restart{'' if part.restarts == 1 else 's'}" if part.restarts else ""
        return f"ready in {part.seconds:.1f} s{again}"
    if part.state in (PartState.STARTING, PartState.STOPPING, PartState.RESTARTING):
        return f"{part.state}…"
    return str(part.state)


@contextmanager
def shown(known: Status | None = None) -> Iterator[Shown]:
    """Gives a function that shows each status as it comes. What `known` says already is no news."""
    console = notices()
    if not console.is_terminal:
        yield _Lines(known).show
        return
    with Live(console=console, refresh_per_second=8) as live:
        yield lambda status: live.update(_table(status))


def _table(status: Status) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    for part in status.parts:
        running = f"{time.time() - part.since:5.1f} s" if part.state is PartState.STARTING else ""
        words = Text(line(part), style=_COLOURS.get(part.state, "dim"))
        table.add_row(Text(title(status, part)), words, Text(running, style="dim"))
    return table


class _Lines:
    """Writes a line at each change of a part."""

    def __init__(self, known: Status | None) -> None:
        self._known = {part.name: part.state for part in known.parts} if known is not None else {}

    def show(self, status: Status) -> None:
        """Writes what changed since the last time."""
        for part in status.parts:
            if self._known.get(part.name, PartState.WAITING) is not part.state:
                notice(f"  {title(status, part):<12} {line(part)}")
            self._known[part.name] = part.state
