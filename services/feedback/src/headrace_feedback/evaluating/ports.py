"""What measuring needs of the world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import numpy as np
import numpy.typing as npt
from headrace.retrieval.v1.retrieval_pb2 import RetrievedChunk
from headrace_privacy import Tier
from headrace_stream import Event

from headrace_feedback.datasets.ports import Documents
from headrace_feedback.evaluating.judging import Ballot, Calibration, Judge, Model
from headrace_feedback.evaluating.measuring import Score, Scored, Subject
from headrace_feedback.evaluating.pairs import PairScore
from headrace_feedback.evaluating.tasks import Held, Sampling, Task
from headrace_feedback.interaction import Versioned
from headrace_feedback.reviewing.criteria import Rubric

#: One axis, unit length.
Vector = npt.NDArray[np.float32]


class Queue(Protocol):
    """What waits to be measured, of all tenants, inside one transaction."""

    async def claim(self, holder: UUID, *, seconds: float, most: int) -> Sequence[Held]:
        """Takes what is due for so long, counting an attempt; nobody else is given it meanwhile."""

    async def renew(self, holder: UUID, tasks: Sequence[Task], *, seconds: float) -> None:
        """Holds these for so long from now on, as far as they are still this one's."""

    async def release(self, holder: UUID, task: Task, *, seconds: float, attempts: int) -> None:
        """Gives one back, due after so long, with so many attempts on its account."""

    async def finish(self, holder: UUID, task: Task) -> bool:
        """Takes one off the queue; False when it is not this one's any more: then nothing may be stored of it."""

    async def waiting(self, tenant: str) -> int:
        """How many of a tenant's there are."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """What experts say of one answer: by criterion, one label for each reviewer, the last of each."""

    query_id: UUID
    labels: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Corrected:
    """What an answer should have said, as it rests: a ProtectedText, sealed, with the tier of the words."""

    words: bytes = field(repr=False)
    tier: Tier


class Books(Protocol):
    """Scores, judges and settings, inside one transaction of one tenant."""

    async def subjects(self, tenant: str, tasks: Sequence[Task]) -> Mapping[UUID, Subject]:
        """The answers that tasks are about, by the ids under which they rest; those that are gone are missing."""

    async def add_scores(self, task: Task, scores: Sequence[Score], *, tier: Tier, at: datetime) -> Sequence[Score]:
        """Stores scores; returns those that were not there before."""

    async def add_pairs(self, task: Task, scores: Sequence[PairScore], *, tier: Tier, at: datetime) -> None:
        """Stores comparisons, unless they are there."""

    async def scores(self, tenant: str, query_id: UUID) -> Sequence[Scored] | None:
        """By evaluator, newest version first; None when the tenant has no such answer."""

    async def judges(self, tenant: str, names: Sequence[str]) -> Sequence[Judge]:
        """The newest version of each of these, of all where none are named, with its last calibration."""

    async def judge_versions(self, tenant: str, name: str) -> Sequence[Judge]:
        """Every version of one, newest first, each with its last calibration."""

    async def add_judge(self, tenant: str, judge: Judge) -> None:
        """Stores a version. Who adds it holds the name; see `hold`."""

    async def hold(self, tenant: str, name: str) -> None:
        """Lets nobody else store a version of this name until the transaction ends."""

    async def add_calibration(self, tenant: str, judge: Judge, calibration: Calibration) -> None:
        """Stores a calibration; the last one counts."""

    async def sampling(self, tenant: str) -> Sampling:
        """The settings; nothing is sampled where there are none."""

    async def put_sampling(self, tenant: str, sampling: Sampling, *, by: str, at: datetime) -> None:
        """Replaces the settings."""

    async def rubric(self, tenant: str, name: str, version: int) -> Rubric | None:
        """One version; 0 is the newest."""

    async def labelled(self, tenant: str, rubric: Versioned) -> Sequence[Labelled]:
        """Every answer that experts labelled against a version of a rubric, by its id."""

    async def corrected(self, tenant: str, query_ids: Sequence[UUID]) -> Mapping[UUID, Corrected]:
        """The last correction of these, as far as there is one."""


class Desk(Protocol):
    """Queue and books from outside a transaction."""

    def open(self, tenant: str = "") -> AbstractAsyncContextManager[Entry]:
        """Opens a transaction of one tenant, or of none, for the queue alone. Raises Unavailable."""


class Entry(Protocol):
    """One transaction."""

    @property
    def queue(self) -> Queue:
        """See Queue."""

    @property
    def books(self) -> Books:
        """See Books."""

    async def offer(self, task: Task, scores: Sequence[Score], *, at: datetime) -> None:
        """Offers a live answer to the experts' queue, where a rule asks for answers with such scores."""

    def emit(self, *events: Event[Any]) -> None:
        """Has events published if, and only if, the transaction commits."""


class Passages(Protocol):
    """Where passages are, by their ids."""

    async def fetch(self, tenant: str, chunk_ids: Sequence[str], *, clearance: Tier) -> Sequence[RetrievedChunk]:
        """Those that are still indexed, sealed as they rest. Raises Unavailable."""


class Embedder(Protocol):
    """What turns texts into vectors."""

    async def embed(self, texts: Sequence[str]) -> Sequence[Vector]:
        """One of unit length for each, in order. Raises Unavailable and Overloaded."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a model said, and which it was."""

    text: str = field(repr=False)
    model: Model


class Backend(Protocol):
    """What writes a judge's words."""

    async def ask(self, judge: Judge, ballot: Ballot, *, tenant: str, tier: Tier) -> Said:
        """Asks for one vote. Raises Unavailable and Overloaded, Denied where the policy keeps the tier from the model,
        and Conflict where the backend is none, or cannot take it."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Who helps to measure; None: nobody is named, and what needs them is off."""

    passages: Passages | None = None
    embedder: Embedder | None = None
    backend: Backend | None = None
    documents: Documents | None = None

    @property
    def missing(self) -> Mapping[str, str]:
        """Which needs of evaluators, and "judges", are off, each with the setting that would turn it on."""
        found = {
            "passages": (self.passages, "HEADRACE_FEEDBACK_RETRIEVER"),
            "vectors": (self.embedder, "HEADRACE_FEEDBACK_EMBEDDER"),
            "judges": (self.backend, "HEADRACE_FEEDBACK_INFERENCE"),
        }
        return {need: setting for need, (there, setting) in found.items() if there is None}
