"""What a run for kinds learns from: people's words about their queries, and nothing that a machine said of them.

    rows whose kind reviewers stated   ─┐
    the tenant's examples               ├─▶ vectors, by the embedder in service ─▶ rows as a worker reads them
    questions of no kind, as "other"   ─┘

What rows say of kinds that were merely recognised is never read: learning from one's own guesses confirms them.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from headrace_models.kinds import BACKGROUND, OTHER, Embedder
from headrace_runtime.errors import Unavailable

from headrace_trainer.running.failures import Stopped
from headrace_trainer.running.ports import Laying, Row
from headrace_trainer.running.runs import Run

log = structlog.get_logger()

#: Texts that are embedded at a time, as many as the embedder takes.
TEXTS_A_CALL = 256


@dataclass(frozen=True, slots=True)
class Defined:
    """A tenant's kinds: of each its examples."""

    version: int
    examples: Mapping[str, Sequence[str]] = field(repr=False)


class Kinds(Protocol):
    """The tenant's kinds, and vectors as the way of a query makes them."""

    async def defined(self, tenant: str) -> Defined | None:
        """The kinds in force; None where the tenant has none. Raises Unavailable."""

    async def embed(self, texts: Sequence[str]) -> tuple[Sequence[Sequence[float]], Embedder]:
        """A vector for each of at most TEXTS_A_CALL texts, and what made them. Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class _Said:
    """A question, and who says of what kind it is."""

    row_id: str
    kind: str
    text: str = field(repr=False)
    said: str
    held_out: bool = False


@dataclass(frozen=True, slots=True)
class Vectors:
    """See lines.Rendering. What recognises kinds learns from vectors of questions."""

    kinds: Kinds

    async def lines(self, run: Run, rows: AsyncIterator[Row], *, base: str, laying: Laying) -> list[bytes]:
        """See Rendering. Raises Unavailable too: while nothing embeds, and when another embedder answers in the
        middle, whose vectors say nothing to the first one's."""
        del base, laying
        asked = [
            _Said(row.row_id, row.kind, row.question, "people", row.held_out) async for row in rows if is_told(row)
        ]
        defined = await self.kinds.defined(run.tenant)
        if defined is None or not asked:
            raise Stopped("empty_dataset")
        lines, embedder = await self._embedded([*asked, *_examples(defined), *_background()])
        log.info("questions embedded", people=len(asked), rows=len(lines), kinds=len(defined.examples))
        return [json.dumps(line).encode() + b"\n" for line in (_told(defined, embedder), *lines)]

    async def _embedded(self, said: Sequence[_Said]) -> tuple[list[Mapping[str, Any]], Embedder]:
        lines: list[Mapping[str, Any]] = []
        made_by: set[Embedder] = set()
        for start in range(0, len(said), TEXTS_A_CALL):
            batch = said[start : start + TEXTS_A_CALL]
            vectors, embedder = await self.kinds.embed([one.text for one in batch])
            made_by.add(embedder)
            lines += [_line(one, vector) for one, vector in zip(batch, vectors, strict=True)]
        if len(made_by) != 1:
            raise Unavailable("one embedder for all questions")
        return lines, made_by.pop()


def is_told(row: Row) -> bool:
    """Whether people said what kind of query it is."""
    return row.kind_stated and bool(row.question)


def _examples(defined: Defined) -> Iterator[_Said]:
    for kind, examples in defined.examples.items():
        for place, text in enumerate(examples):
            yield _Said(f"example {kind} {place}", kind, text, "example")


def _background() -> Iterator[_Said]:
    for place, text in enumerate(BACKGROUND):
        yield _Said(f"background {place}", OTHER, text, "background")


def _told(defined: Defined, embedder: Embedder) -> Mapping[str, Any]:
    made_by = {"name": embedder.name, "dimensions": embedder.dimensions, "hash": embedder.hash}
    return {"names": list(defined.examples), "version": defined.version, "embedder": made_by}


def _line(one: _Said, vector: Sequence[float]) -> Mapping[str, Any]:
    return {
        "row_id": one.row_id,
        "split": "test" if one.held_out else "train",
        "kind": one.kind,
        # As float32 has them: a line of a job is half as long.
        "vector": [float(f"{number:.7g}") for number in vector],
        "said": one.said,
    }
