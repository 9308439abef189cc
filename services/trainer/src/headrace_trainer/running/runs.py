"""What a training run is, and how it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from headrace_privacy import Tier

from headrace_trainer.learning import job

_LORA = job.DEFAULTS["lora"]


class Target(IntEnum):
    """headrace.training.v1.Target."""

    GENERATOR = 1
    KINDS = 2
    EMBEDDER = 3

    @property
    def label(self) -> job.Target:
        """As it stands in names: "generator"."""
        return _LABELS[self]


_LABELS: Mapping[Target, job.Target] = {
    Target.GENERATOR: "generator",
    Target.KINDS: "kinds",
    Target.EMBEDDER: "embedder",
}


class Method(IntEnum):
    """headrace.training.v1.Method."""

    LORA = 1
    FULL = 2
    CONTINUED_PRETRAINING = 3


class State(IntEnum):
    """headrace.training.v1.RunState; ENDED ones never change."""

    WAITING = 1
    TRAINING = 2
    GATING = 3
    DONE = 4
    REFUSED = 5
    CANCELLED = 6
    FAILED = 7
    BUILDING = 8

    @property
    def is_under_way(self) -> bool:
        """Whether somebody works on it."""
        return self in (State.BUILDING, State.TRAINING, State.GATING)

    @property
    def has_ended(self) -> bool:
        """Whether it never changes again."""
        return self in (State.DONE, State.REFUSED, State.CANCELLED, State.FAILED)


class Cause(IntEnum):
    """headrace.training.v1.Cause."""

    PERSON = 1
    DRIFT = 2
    STEWARD = 3
    ERASURE = 4
    SCHEDULE = 5


@dataclass(frozen=True, slots=True)
class Recipe:
    """headrace.training.v1.Recipe with all numbers filled in; most_seconds 0 is no limit. The defaults are the worker's
    own (learning/job.py), for LoRA."""

    method: Method = Method.LORA
    epochs: float = _LORA.epochs
    context: int = _LORA.context
    tokens_a_step: int = _LORA.tokens_a_step
    learning_rate: float = _LORA.learning_rate
    rank: int = _LORA.rank
    checkpoint_steps: int = _LORA.checkpoint_steps
    most_seconds: int = 0


def recipe_for(target: Target, *, generators: Recipe) -> Recipe:
    """How a target learns where nobody says. generators: what the loop's rules say, which is of generators alone."""
    if target is Target.GENERATOR:
        return generators
    own = job.defaults(job.Recipe("full"), target.label)
    return Recipe(
        method=Method.FULL,
        epochs=own.epochs,
        context=own.context,
        tokens_a_step=own.tokens_a_step,
        learning_rate=own.learning_rate,
        rank=own.rank,
        checkpoint_steps=own.checkpoint_steps,
    )


@dataclass(frozen=True, slots=True)
class Base:
    """Weights that a run begins from: the name of their folder or wheel, and the hash over them. Both empty until the
    worker has looked."""

    name: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Person:
    """Who asked; "service:trainer" for what began by itself."""

    role: str
    subject: str


BY_ITSELF = Person("service:trainer", "service:trainer")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a run learns from. without_grant: rows that were left out for want of a grant. Ids and counts alone."""

    dataset_id: str = ""
    tier: Tier = Tier.TIER_2
    grants: tuple[str, ...] = ()
    rows: int = 0
    held_out_rows: int = 0
    without_grant: int = 0


@dataclass(frozen=True, slots=True)
class Memorisation:
    """headrace.training.v1.Memorisation."""

    planted: int = 0
    controls: int = 0
    exposure: float = 0.0
    controls_limit: float = 0.0
    extracted: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """What training made, and where it rests: hashes were verified there.

    model: "NAME@VERSION", the version being the first 16 hex digits of the SHA-256 over its weights. address: an
    fsspec address of the folder. files: SHA-256 by name. held_out_loss, base_held_out_loss: nats a token on the
    held-out rows, by the model and by its base; 0 where there were none to measure on.
    """

    model: str
    address: str
    files: Mapping[str, str] = field(default_factory=dict)
    base: Base = field(default_factory=Base)
    held_out_loss: float = 0.0
    base_held_out_loss: float = 0.0
    memorisation: Memorisation | None = None
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a loss curve."""

    step: int
    loss: float
    held_out_loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far training is. compute_seconds counts every attempt."""

    step: int = 0
    steps: int = 0
    loss: float = 0.0
    held_out_loss: float = 0.0
    tokens: int = 0
    tokens_a_second: float = 0.0
    compute_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it stands.

    wanted: the snapshot that was asked for by name; "" has one built by `query`, the contract's DatasetQuery as bytes,
    which names no subject. traceparent: the W3C context of its first cause; all of its spans hang there. begin_at: not
    before, while it waits. attempts: how often training was begun.
    """

    run_id: UUID
    tenant: str
    target: Target
    wanted: str
    query: bytes
    base: Base
    recipe: Recipe
    seed: int
    causes: tuple[Cause, ...]
    because: tuple[str, ...]
    traceparent: str
    by: Person
    created_at: datetime
    state: State = State.WAITING
    snapshot: Snapshot = field(default_factory=Snapshot)
    progress: Progress = field(default_factory=Progress)
    made: Made | None = None
    model: str = ""
    failure: str = ""
    begin_at: datetime | None = None
    begun_at: datetime | None = None
    ended_at: datetime | None = None
    attempts: int = 0
    curve: Sequence[Point] = ()

    @property
    def by_person(self) -> bool:
        """Whether a person asked for it: then it waits for nobody and counts against no budget of runs."""
        return Cause.PERSON in self.causes


def name_of(run: Run) -> str:
    """The name of the models of a tenant's target, without a version."""
    return f"{run.tenant}-{run.target.label}"
