"""What a worker says, one JSON object a line: numbers, names and fixed words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TextIO

Say = Callable[["Event"], None]


@dataclass(frozen=True, slots=True)
class Event:
    """Anything that is said."""


@dataclass(frozen=True, slots=True)
class Started(Event):
    """Work begins, at `step` of `of`: above 0 where a checkpoint was found. left_out: rows too long for the model.
    sharded: whether each process holds a piece of the model, and not all of it."""

    step: int
    of: int
    rows: int
    held_out_rows: int
    left_out: int
    base: Mapping[str, str]
    base_held_out_loss: float | None
    processes: int = 1
    sharded: bool = False


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """A step is done.

    loss, held_out_loss: nats a token; the second is None where it was not measured. tokens: of rows, since the first
    step. tokens_a_second: over the last steps. seconds: of all attempts that a checkpoint knows of.
    """

    step: int
    of: int
    loss: float
    held_out_loss: float | None
    tokens: int
    tokens_a_second: float
    learning_rate: float
    seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True)
class Checkpointed(Event):
    """What was learned in so many steps is on disk."""

    step: int


@dataclass(frozen=True, slots=True)
class Done(Event):
    """The last line of a run that made something.

    files: SHA-256 by name, of all files in the output folder; bytes: how large they are together. version: the first 16
    hex digits of the SHA-256 over the weights. measures: what is known of a small model by its test rows.
    """

    name: str
    version: str
    files: Mapping[str, str]
    bytes: int
    loss: float
    held_out_loss: float | None
    base_held_out_loss: float | None
    step: int
    tokens: int
    seconds: float
    peak_memory_bytes: int
    memorisation: Mapping[str, float] | None = None
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CancelledAt(Event):
    """The last line of a run that was told to stop."""

    step: int


@dataclass(frozen=True, slots=True)
class FailedFor(Event):
    """The last line of a run that can't go on. error: for "worker_failed", the class of what was not foreseen and the
    place in the code."""

    reason: str
    error: str = ""


_NAMES = {
    Started: "started",
    Progress: "progress",
    Checkpointed: "checkpoint",
    Done: "done",
    CancelledAt: "cancelled",
    FailedFor: "failed",
}


def lines(stream: TextIO) -> Say:
    """Says each event as a line of `stream`, at once."""

    def say(event: Event) -> None:
        said: dict[str, Any] = {"event": _NAMES[type(event)], **asdict(event)}
        stream.write(json.dumps(said) + "\n")
        stream.flush()

    return say


def nothing(event: Event) -> None:
    """Says nothing: of several processes only the first speaks."""
