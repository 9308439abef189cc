"""From a run's rows to the lines that its worker reads, by target."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from headrace_trainer.running.failures import Stopped
from headrace_trainer.running.ports import Laying, Row
from headrace_trainer.running.rendering import Renderer, pairs_of
from headrace_trainer.running.runs import Run
from headrace_trainer.running.tokens import Tokenizers

log = structlog.get_logger()

#: Rows that are rendered at a time.
_BATCH = 100

#: Renders one row, to as many lines as it teaches.
Render = Callable[[Row], Sequence[Mapping[str, Any]]]


class Rendering(Protocol):
    """How one target learns from rows. All lines are in memory, since a job says first how many there are."""

    async def lines(self, run: Run, rows: AsyncIterator[Row], *, base: str, laying: Laying) -> list[bytes]:
        """The rows as lines of learning/job.py. base: the folder of the base; "" for what comes with Headrace. laying:
        asks how inference makes a conversation of a question. Raises Stopped where nothing is left to learn from."""


@dataclass(frozen=True, slots=True)
class Conversations:
    """What generators learn from."""

    tokenizers: Tokenizers

    async def lines(self, run: Run, rows: AsyncIterator[Row], *, base: str, laying: Laying) -> list[bytes]:
        """See Rendering."""
        del run
        layout, tokens = await laying(), await self.tokenizers.of(base)
        renderer = Renderer(layout, tokens.count, tokens.window)
        return await rendered(rows, lambda row: [line for line in (renderer.render(row),) if line is not None])


class Pairs:
    """What embedders learn from."""

    async def lines(self, run: Run, rows: AsyncIterator[Row], *, base: str, laying: Laying) -> list[bytes]:
        """See Rendering."""
        del run, base, laying
        return await rendered(rows, pairs_of)


async def rendered(rows: AsyncIterator[Row], render: Render) -> list[bytes]:
    """Renders each row. Raises Stopped where none is left."""
    lines: list[bytes] = []
    read = 0
    batch: list[Row] = []
    async for row in rows:
        read += 1
        batch.append(row)
        if len(batch) == _BATCH:
            lines += await asyncio.to_thread(_lines, batch, render)
            batch = []
    lines += await asyncio.to_thread(_lines, batch, render)
    log.info("rows rendered", rows=read, lines=len(lines))
    if not lines:
        raise Stopped("empty_dataset" if not read else "bad_rows")
    return lines


def _lines(rows: Sequence[Row], render: Render) -> list[bytes]:
    return [json.dumps(line).encode() + b"\n" for row in rows for line in render(row)]
