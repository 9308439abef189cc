"""What the registry needs of the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from headrace_privacy import Tier

from headrace_trainer.registry.evidence import Answer, Sample
from headrace_trainer.registry.gate import Line
from headrace_trainer.registry.models import Model, Route, Variant
from headrace_trainer.registry.rules import Setting
from headrace_trainer.running.runs import Target

#: What stands for the house's own model of a target that is switched.
HOUSE = ""


class Models(Protocol):
    """The registry's books, in one transaction."""

    async def hold(self, tenant: str) -> None:
        """Waits until nobody else changes the tenant's models, until the transaction ends."""

    async def add(self, model: Model) -> bool:
        """Stores a model; False when one of that name, or of that run, is there."""

    async def save(self, model: Model) -> None:
        """Stores how it stands now."""

    async def get(self, tenant: str, model: str) -> Model | None:
        """By its whole name."""

    async def of_run(self, tenant: str, run_id: UUID) -> Model | None:
        """What a run made."""

    async def of_dataset(self, tenant: str, dataset_id: str) -> Sequence[Model]:
        """What learned from a snapshot, newest first."""

    async def newest(self, tenant: str, most: int) -> Sequence[Model]:
        """Newest first."""


class Counts(Protocol):
    """What is seen of canaries, in one transaction."""

    async def count(self, tenant: str, model: str, query_id: UUID, answer: Answer) -> None:
        """Adds what came of a query, once."""

    async def thumb(self, tenant: str, query_id: UUID, *, up: int) -> None:
        """Adds a judgement (1 up, 0 down); a later one of the same query takes its place."""

    async def sample(self, tenant: str, model: str, *, share: float, most: int) -> Sample:
        """All of it, in the order in which it came, at most so many answers."""

    async def forget(self, tenant: str, model: str) -> None:
        """Removes a canary's, and the thumbs."""


class Turns(Protocol):
    """Whose turn it is to look after which model, in one transaction."""

    async def put(self, tenant: str, model: str, *, due_at: datetime, watched: int) -> None:
        """Has a model looked after from then on, also where it is somebody's turn now. watched: 1 where its answers
        are counted."""

    async def drop(self, tenant: str, model: str) -> None:
        """It needs no looking after."""

    async def take(self, holder: UUID, *, now: datetime, seconds: float) -> tuple[str, str] | None:
        """The tenant and model that is due and nobody's, for so many seconds."""

    async def release(self, holder: UUID, tenant: str, model: str, *, due_at: datetime) -> None:
        """Gives a turn back; unless something made it due sooner."""

    async def watched(self) -> Sequence[tuple[str, str]]:
        """All whose answers are counted."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """How a trained model stands at those who serve it. state: "absent", "loading", "up", "failed", "unloading".
    done, of: how far it is, where that is counted; of an embedder passages that have their vector."""

    state: str
    failure: str = ""
    done: int = 0
    of: int = 0


@dataclass(frozen=True, slots=True)
class Stored:
    """A version of a route as it is stored. route: None where it took the route away. by_us: 1 where the trainer
    stored it."""

    route: Route | None
    version: int
    by_us: int = 0


class Serving(Protocol):
    """Inference. Everything may raise Unavailable, and Conflict for what it does not take."""

    async def loaded(self, tenant: str, version: str) -> Loaded:
        """How a model stands there."""

    async def variant(self, tenant: str, name: str) -> Variant | None:
        """The newest version of a variant."""

    async def put_variant(self, tenant: str, champion: Variant, *, name: str, model_version: str) -> Variant:
        """Stores a copy of the champion that asks for another model; the same again is the same version."""

    async def routes(self, tenant: str) -> Sequence[Route]:
        """The routes in force."""

    async def versions(self, tenant: str, kind: str) -> Sequence[Stored]:
        """Every version of one kind's route, newest first."""

    async def put_route(self, tenant: str, route: Route, *, reason: str) -> Stored:
        """Stores a route."""

    async def delete_route(self, tenant: str, kind: str, *, reason: str) -> None:
        """Takes a route away; nothing where there is none."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How a run of questions stands. is_over: nothing more will come; failure: why it could not go on."""

    is_over: bool
    cases: int = 0
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """A report. answers_a, answers_b: of the champion and of the candidate."""

    lines: Sequence[Line]
    answers_a: int
    answers_b: int


class Asking(Protocol):
    """The feedback logger's runs and reports. Everything may raise Unavailable."""

    async def begin(self, tenant: str, dataset_id: str, arms: Sequence[tuple[Variant, Setting]], *, most: int) -> str:
        """Has a snapshot's held-out rows asked, and returns the run's id: the one that is there already where these
        arms were asked these rows before. Raises NotFound, Conflict for what is not usable, Denied."""

    async def standing(self, tenant: str, run_id: str) -> Standing:
        """How far it is."""

    async def compare(self, tenant: str, run_id: str, a: Variant, b: Variant, setting: Setting) -> Compared:
        """The candidate (B) against the champion (A), pair by pair."""

    async def newest_of(self, tenant: str, series: str) -> str:
        """The id of a series' newest usable snapshot. Raises NotFound, Conflict."""


class Switch(Protocol):
    """Whoever serves the models of a target one at a time for each tenant. Everything may raise Unavailable, and
    Conflict for what it does not take now."""

    async def loaded(self, model: Model) -> Loaded:
        """How a model stands there; "up" where it could answer at once."""

    async def answers(self, tenant: str) -> str:
        """The model that answers, "NAME@VERSION"; HOUSE where it is the house's own."""

    async def switch(self, tenant: str, to: str, *, instead_of: str) -> None:
        """Has another one answer; HOUSE is the house's own. Conflict where by now another than `instead_of` does. What
        answers already stays so."""


@dataclass(frozen=True, slots=True)
class Found:
    """A passage that a search found. chunk_id: of the passage; document: "SOURCE/ID"."""

    chunk_id: str
    document: str


class Indexes(Switch, Protocol):
    """The retriever, which keeps an index for each of a tenant's embedders beside the house's."""

    async def prepare(self, model: Model) -> None:
        """Has every passage of the tenant get its vector by this model, in the background; once."""

    async def search(self, tenant: str, question: str, *, embedder: str, most: int) -> Sequence[Found]:
        """The passages that are found by an embedder's index, best first, of every tier; HOUSE is the house's."""


@dataclass(frozen=True, slots=True)
class Question:
    """A row that is held out, to search for: in the clear, in memory alone.

    passages: the ids of the passages that bear its known answer out. documents: "SOURCE/ID" of those that answer it,
    where nobody says which passages do.
    """

    row_id: str
    text: str = field(repr=False)
    kind: str = ""
    group: str = ""
    passages: frozenset[str] = frozenset()
    documents: frozenset[str] = frozenset()

    @property
    def is_answered(self) -> bool:
        """Whether it is known what would have to be found."""
        return bool(self.passages or self.documents)


class Questions(Protocol):
    """Rows of snapshots that nothing learns from. May raise Unavailable; NotFound, Conflict and Denied for what may not
    be read."""

    async def held_out(self, tenant: str, dataset_id: str, *, most: int) -> Sequence[Question]:
        """The snapshot's held-out rows, in its order, at most so many."""

    async def newest_of(self, tenant: str, series: str) -> str:
        """See Asking."""


@dataclass(frozen=True, slots=True)
class TracedDataset:
    """A snapshot that holds rows of something."""

    dataset_id: str
    name: str
    state: str
    rows: int
    row_ids: tuple[str, ...]
    grants: tuple[str, ...]
    tier: Tier


@dataclass(frozen=True, slots=True)
class Traced:
    """What the feedback logger knows of something: snapshots that hold it, answers of it, documents behind it."""

    datasets: Sequence[TracedDataset] = ()
    answers: int = 0
    query_ids: Sequence[str] = ()
    documents: Sequence[str] = ()


class Rows(Protocol):
    """Where rows came from. May raise Unavailable and NotFound."""

    async def trace(self, tenant: str, what: str, value: str) -> Traced:
        """what: "dataset", "source", "document", "subject", "query_id" or "model_version"."""

    async def ended_by(self, tenant: str, by: str) -> Sequence[str]:
        """The ids of the snapshots that an erasure made unusable. by: "erasure ID"."""


class Weights(Protocol):
    """Where models rest."""

    async def delete(self, address: str) -> None:
        """Deletes a model's folder; nothing where there is none. Raises Unavailable."""

    async def is_there(self, address: str) -> bool:
        """Whether anything of it is left. Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which models are listed. None: all."""

    target: Target | None = None
    state: int | None = None
