"""What the registry needs of the world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from headrace_privacy import Tier

from headrace_trainer.registry.evidence import Answer, Sample
from headrace_trainer.registry.gate import Line
from headrace_trainer.registry.models import Model, Route, Variant
from headrace_trainer.registry.rules import Setting
from headrace_trainer.running.runs import Target


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
    """How a trained model stands at inference. state: "absent", "loading", "up", "failed", "unloading"."""

    state: str
    failure: str = ""


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
