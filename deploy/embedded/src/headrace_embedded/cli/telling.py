"""How a tour tells what it does: headlines, and a bar that becomes plain lines without a terminal."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from headrace_client.cli.console import notice, notices
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Advance = Callable[[], None]


@dataclass
class _Counted:
    done: int = 0


@contextmanager
def bar(what: str, total: int) -> Iterator[Advance]:
    """Counts up to a total; what is counted is said before the bar."""
    console = notices()
    if not console.is_terminal:
        counted = _Counted()

        def count() -> None:
            counted.done += 1
            if counted.done % 20 == 0 or counted.done == total:
                notice(f"  {counted.done} of {total}")

        yield count
        return
    columns = (TextColumn(f"  {what}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda: progress.advance(task)


def headline(words: str) -> None:
    """Begins a part of the tour."""
    notice("", f"── {words}", style="bold")


def quiet_libraries() -> None:
    """Has the clients' own log lines stay out of the tour."""
    for library in ("aiokafka", "asyncio", "opentelemetry", "grpc"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
