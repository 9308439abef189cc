"""What the command writes where: results to standard output, the rest to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Columns where there is no terminal to ask: wide enough that no id is broken.
_WIDTH_WITHOUT_TERMINAL = 160


def output() -> Console:
    """Standard output. Made anew, since tests and pipes replace the stream."""
    return _console(stderr=False)


def notices() -> Console:
    """Standard error."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _WIDTH_WITHOUT_TERMINAL
    return Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)


def say(*lines: str, style: str = "") -> None:
    """Writes lines to standard output, as they are: not wrapped where there is no terminal."""
    for line in lines:
        output().print(Text(line, style=style), soft_wrap=not sys.stdout.isatty())


def notice(*lines: str, style: str = "") -> None:
    """Writes lines to standard error."""
    for line in lines:
        notices().print(Text(line, style=style), soft_wrap=True)


def say_json(value: Mapping[str, Any]) -> None:
    """Writes one object as one line to standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def say_table(columns: list[str], rows: list[list[str]]) -> None:
    """Writes a table without frames; long cells are folded, never cut."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*map(Text, row))
    output().print(table)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """A spinner on a terminal; without one, a line."""
    console = notices()
    if console.is_terminal:
        with console.status(what):
            yield
    else:
        notice(f"{what} …")
        yield
