"""What becomes of a query, as `Client.ask` and `Client.watch` yield it: the answer is always the last."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from headrace.query.v1.answer_pb2 import Answer
from headrace.query.v1.service_pb2 import Stage
from headrace.query.v1.service_pb2 import Update as UpdateMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What every update says. The sequence counts a query's updates from 1; the trace id is "" while not known."""

    query_id: str
    trace_id: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Seen):
    """The query moved on; `passages` counts what was found, once a model is writing."""

    stage: Stage.ValueType
    passages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Text(Seen):
    """More text of the answer."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarted(Seen):
    """The text so far is void: the answer is being written again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered(Seen):
    """The answer, whole."""

    answer: Answer = field(repr=False)


Update: TypeAlias = Progress | Text | Restarted | Answered


def to_update(message: UpdateMessage, *, query_id: str, trace_id: str) -> Update | None:
    """The update that a message stands for; None for a kind that this client does not know yet."""
    seen = {"query_id": query_id, "trace_id": trace_id}
    match message.WhichOneof("update"):
        case "progress":
            progress = message.progress
            return Progress(**seen, sequence=message.sequence, stage=progress.stage, passages=progress.passages)
        case "text":
            return Text(**seen, sequence=message.sequence, text=message.text)
        case "restart":
            return Restarted(**seen, sequence=message.sequence)
        case "answer":
            return Answered(**seen, sequence=message.sequence, answer=message.answer)
        case _:
            return None
