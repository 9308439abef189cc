"""A version of a model, and how it goes from one state to the next. Pure.

    CANDIDATE ──roll out──▶ CANARY ──promote──▶ LIVE ──a newer one is promoted──▶ LIVE, standing by ──▶ RETIRED
        └────refused, or promoted at once───────▶ │              ◀──────roll back──────┘
                                                  └──roll back, erased──▶ RETIRED ──▶ weights deleted

A step that changes what answers is written down first (`doing`), then carried out at those who serve, and only then
made true here, together with the event that tells of it. A process killed in between leaves what is to be done in the
table, and carrying it out twice is the same as once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum
from typing import Literal
from uuid import UUID

from headrace_privacy import Tier

from headrace_trainer.running.runs import Base, Memorisation, Person, Target

#: What stands for the model that nobody trained.
BASE = "base"

Because = Literal["gate", "person", "evidence", "time_limit", "failing", "erasure", "replaced", "run"]


class State(IntEnum):
    """headrace.training.v1.ModelState."""

    CANDIDATE = 1
    CANARY = 2
    LIVE = 3
    RETIRED = 4


class Change(IntEnum):
    """headrace.training.v1.ModelChange."""

    REGISTERED = 1
    CANARY = 2
    PROMOTED = 3
    ROLLED_BACK = 4
    RETIRED = 5
    DELETED = 6
    CONDEMNED = 7


class Doing(IntEnum):
    """What is being carried out at those who serve. NOTHING: what stands here is how it is there."""

    NOTHING = 0
    BEGINNING_CANARY = 1
    PROMOTING = 2
    ROLLING_BACK = 3


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant by name and version."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True, slots=True)
class Losses:
    """Nats a token on the held-out rows; 0: there were none to measure on."""

    model: float = 0.0
    base: float = 0.0


@dataclass(frozen=True, slots=True)
class GateLine:
    """headrace.training.v1.GateLine. Of what is no difference `low` and `high` are 0."""

    rule: str
    kind: str
    candidate: float
    champion: float
    low: float
    high: float
    limit: float
    passed: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class GateReport:
    """headrace.training.v1.GateReport."""

    passed: bool
    lines: tuple[GateLine, ...]
    champion: str
    rules_version: str
    judged_at: datetime


@dataclass(frozen=True, slots=True)
class Trial:
    """How far the gate is: what it has begun elsewhere, so that it is found again after a SIGKILL."""

    champion: Variant | None = None
    candidate: Variant | None = None
    run_id: str = ""
    must_pass_run_id: str = ""


@dataclass(frozen=True, slots=True)
class Arm:
    """A variant's share of a route."""

    variant: Variant
    weight: float


@dataclass(frozen=True, slots=True)
class Route:
    """Who answers a kind of query. rest: the contract's Route, as hex, for what
    the registry leaves as it is."""

    kind: str
    arms: tuple[Arm, ...]
    fallbacks: tuple[Variant, ...] = ()
    rest: str = ""

    def same_as(self, other: Route | None) -> bool:
        """Whether it sends queries as the other does; of weights the last digits do not count."""
        return (
            other is not None
            and self.fallbacks == other.fallbacks
            and [arm.variant for arm in self.arms] == [arm.variant for arm in other.arms]
            and all(math.isclose(a.weight, b.weight, rel_tol=1e-6) for a, b in zip(self.arms, other.arms, strict=True))
        )

    def names(self, variant: Variant) -> bool:
        """Whether it sends anything to a variant, or falls back to it."""
        return variant in self.fallbacks or any(arm.variant == variant for arm in self.arms)


@dataclass(frozen=True, slots=True)
class Touched:
    """A route that a rollout has changed: as it was found (None: there was none), and as it was left. wrote None: it
    is not written yet."""

    kind: str
    found: Route | None
    wrote: Route | None = None
    given_way: bool = False


Measure = Literal["failed", "slow", "grounded", "refused", "thumbs"]
Seen = Literal["worse", "better", "not_worse", "unknown"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """headrace.training.v1.Evidence."""

    measure: Measure
    canary: float
    champion: float
    low: float
    high: float
    verdict: Seen


@dataclass(frozen=True, slots=True)
class Rollout:
    """headrace.training.v1.Rollout, the routes that it touched, and the rules that it began by."""

    share: float
    margin: float
    least_answers: int
    most_seconds: int
    by_itself: bool
    champion: Variant
    routes: tuple[Touched, ...] = ()
    answers: int = 0
    champion_answers: int = 0
    evidence: tuple[Evidence, ...] = ()
    began_at: datetime | None = None
    until: datetime | None = None
    ended: str = ""
    because: str = ""

    @property
    def has_given_way(self) -> bool:
        """Whether every route that it touched was changed by somebody else meanwhile."""
        return bool(self.routes) and all(route.given_way for route in self.routes)

    def names(self, variant: Variant) -> bool:
        """Whether a route that it wrote, and nobody changed since, names a variant."""
        return any(one.wrote.names(variant) for one in self.routes if one.wrote and not one.given_way)


@dataclass(frozen=True, slots=True)
class Step:
    """What is being carried out, why, in fixed words, and by whom; `words`: why, in a sentence."""

    doing: Doing
    because: Because
    by: Person
    words: str = ""


@dataclass(frozen=True, slots=True)
class Model:
    """A version. model: "NAME@VERSION". traceparent: the W3C context of the run that made it. previous: what answered
    before it, once it does."""

    tenant: str
    model: str
    target: Target
    run_id: UUID
    dataset_id: str
    parent: str
    grants: tuple[str, ...]
    tier: Tier
    address: str
    files: Mapping[str, str]
    base: Base
    registered_at: datetime
    changed_at: datetime
    traceparent: str = ""
    bytes: int = 0
    losses: Losses = field(default_factory=Losses)
    memorisation: Memorisation | None = None
    state: State = State.CANDIDATE
    step: Step | None = None
    trial: Trial = field(default_factory=Trial)
    gate: GateReport | None = None
    variant: Variant | None = None
    rollout: Rollout | None = None
    previous: str = ""
    replaced_by: str = ""
    ended_by: str = ""
    retire_by: datetime | None = None
    erasures: tuple[str, ...] = ()
    deleted_at: datetime | None = None
    first_answer_at: datetime | None = None

    @property
    def name(self) -> str:
        """Without the version."""
        return self.model.rpartition("@")[0]

    @property
    def version(self) -> str:
        """The first 16 hex digits of the SHA-256 over its weights."""
        return self.model.rpartition("@")[2]

    @property
    def doing(self) -> Doing:
        """What is being carried out."""
        return self.step.doing if self.step else Doing.NOTHING

    @property
    def answers(self) -> bool:
        """Whether it is the one that answers; not one that stands by."""
        return self.state is State.LIVE and not self.replaced_by

    @property
    def stands_by(self) -> bool:
        """Whether it is the last good version: it answers when the live one cannot."""
        return self.state is State.LIVE and bool(self.replaced_by)

    @property
    def is_condemned(self) -> bool:
        """Whether something that it learned from was erased."""
        return self.retire_by is not None

    @property
    def may_begin(self) -> bool:
        """Whether it may be given queries: the gate let it through, and nothing that it learned from is gone."""
        return (
            self.state is State.CANDIDATE
            and self.gate is not None
            and self.gate.passed
            and not self.is_condemned
            and self.deleted_at is None
        )


def judged(model: Model, report: GateReport, *, now: datetime) -> Model:
    """With what the gate said; one that it refused is retired."""
    if report.passed:
        return replace(model, gate=report, changed_at=now)
    return replace(model, gate=report, state=State.RETIRED, ended_by="gate", changed_at=now)


def became_canary(model: Model, rollout: Rollout, *, now: datetime) -> Model:
    """Its routes are written."""
    return replace(model, state=State.CANARY, rollout=rollout, step=None, changed_at=now)


def became_live(model: Model, rollout: Rollout | None, *, previous: str, now: datetime) -> Model:
    """It answers; what did before stands by. rollout: None for what comes into service all at once."""
    ended = replace(rollout, ended="promoted", because=_words(model) or rollout.because) if rollout else None
    return replace(
        model,
        state=State.LIVE,
        rollout=ended,
        step=None,
        previous=previous,
        replaced_by="",
        ended_by="",
        changed_at=now,
    )


def stood_by(model: Model, *, replaced_by: str, now: datetime) -> Model:
    """It answers when the one that took its place cannot."""
    return replace(model, replaced_by=replaced_by, ended_by="replaced", changed_at=now)


def went_back(model: Model, rollout: Rollout | None, *, replaced_by: str, now: datetime) -> Model:
    """Its share was taken away, or the model before it answers again."""
    because = model.step.because if model.step else "person"
    ended = replace(rollout, ended="rolled_back", because=_words(model) or rollout.because) if rollout else None
    return replace(
        model,
        state=State.RETIRED,
        rollout=ended,
        step=None,
        replaced_by=replaced_by,
        ended_by=because,
        changed_at=now,
    )


def restored(model: Model, *, now: datetime) -> Model:
    """It answers again."""
    return replace(model, state=State.LIVE, replaced_by="", ended_by="", changed_at=now)


def retired(model: Model, because: Because, *, replaced_by: str, now: datetime) -> Model:
    """It answers no more."""
    return replace(
        model,
        state=State.RETIRED,
        step=None,
        ended_by=because,
        replaced_by=replaced_by or model.replaced_by,
        changed_at=now,
    )


def condemned(model: Model, *, retire_by: datetime, erasure: str) -> Model:
    """Something that it learned from was erased: to be replaced, or retired by then at the latest. The earliest
    deadline counts."""
    earliest = min(retire_by, model.retire_by) if model.retire_by else retire_by
    return replace(model, retire_by=earliest, erasures=tuple(dict.fromkeys((*model.erasures, erasure))))


def _words(model: Model) -> str:
    return model.step.words if model.step else ""
