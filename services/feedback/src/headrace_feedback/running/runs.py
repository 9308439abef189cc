"""A run: cases, asked of each arm, by whoever holds its turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import Literal
from uuid import UUID, uuid5

from headrace_privacy import Tier

from headrace_feedback.interaction import Interaction, Versioned


class Kind(IntEnum):
    """Why a query is answered that nobody waits for; the numbers of headrace.query.v1.TrialKind."""

    SHADOW = 1
    REPLAY = 2
    EVALUATION = 3


class Setting(IntEnum):
    """What of a variant is left out; the numbers of headrace.query.v1.TrialSetting."""

    WHOLE = 0
    ZERO_SHOT = 1
    CLOSED_BOOK = 2
    UNCHECKED = 3


class State(IntEnum):
    """How a run stands; the numbers of headrace.feedback.v1.RunState."""

    RUNNING = 1
    DONE = 2
    CANCELLED = 3
    FAILED = 4


class Standing(IntEnum):
    """How one case of one arm stands."""

    ASKED = 1
    ANSWERED = 2
    FAILED = 3


#: Why a case was left out before anything was asked.
Exclusion = Literal["denied_by_policy", "no_grant", "erased"]
#: Why a run could not go on.
Failure = Literal["", "grant_ended", "denied_by_policy"]
#: Why an answer does not come. "failed" and "withheld" are what inference says.
Reason = Literal["", "timed_out", "run_ended", "failed", "withheld"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to answer."""

    variant: Versioned
    setting: Setting = Setting.WHOLE


@dataclass(frozen=True, slots=True)
class Person:
    """Who started a run, and is asked about whenever it reads."""

    role: str
    subject: str


@dataclass(frozen=True, slots=True)
class Excluded:
    """What was left out for one reason, and of which tier."""

    reason: Exclusion
    tier: Tier
    cases: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is. begun: of cases times arms, so many were come to; answered, under_way: of these."""

    begun: int = 0
    answered: int = 0
    under_way: int = 0
    evaluated: int = 0

    @property
    def failed(self) -> int:
        """What was come to and will not be answered; what is erased has left nothing else to count."""
        return self.begun - self.answered - self.under_way


@dataclass(frozen=True, slots=True)
class Run:
    """A replay or an evaluation. dataset_id: the snapshot; empty for a replay."""

    tenant: str
    run_id: UUID
    kind: Kind
    arms: tuple[Arm, ...]
    seed: int
    cases: int
    by: Person
    created_at: datetime
    dataset_id: str = ""
    judges: tuple[str, ...] = ()
    exclusions: tuple[Excluded, ...] = ()
    state: State = State.RUNNING
    failure: str = ""
    ended_at: datetime | None = None
    progress: Progress = Progress()

    @property
    def total(self) -> int:
        """Answers to be had."""
        return self.cases * len(self.arms)

    def at(self, begun: int) -> tuple[int, int]:
        """Returns the place of the case, and the arm, that come after so many."""
        return divmod(begun, len(self.arms))


@dataclass(frozen=True, slots=True)
class Case:
    """One question of a run.

    tier: the strictest of the question and of what was answered of. documents: "source/document". of_time: when the
    original was answered. question: a QueryClassified, its text as it rests; reference: a dataset's row, sealed.
    """

    case_id: str
    place: int
    tier: Tier
    subject: str
    kind: str
    sources: tuple[str, ...]
    documents: tuple[str, ...]
    of_time: datetime
    question: bytes = field(repr=False)
    reference: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Ask:
    """One case of one arm, asked."""

    query_id: UUID
    run_id: UUID
    case_id: str
    arm: int
    asked_at: datetime
    standing: Standing = Standing.ASKED
    reason: Reason = ""


@dataclass(frozen=True, slots=True)
class TrialAnswer:
    """An answer that nobody was shown. run_id: the run's, or "shadow:" and the route's kind."""

    interaction: Interaction
    run_id: str
    case_id: str
    kind: Kind
    setting: Setting


def ask_id(run_id: UUID, case_id: str, arm: Arm) -> UUID:
    """Returns the id of the query that asks a case of an arm: the same whenever the run is resumed, and by whomever."""
    parts = (case_id, arm.variant.name, arm.variant.version, str(int(arm.setting)))
    return uuid5(run_id, "\x1f".join(parts))


@dataclass(frozen=True, slots=True)
class Wish:
    """Which logged queries are asked again; what is empty or None allows all."""

    query_ids: tuple[UUID, ...] = ()
    kind: str = ""
    product: str = ""
    variant: str = ""
    since: datetime | None = None
    until: datetime | None = None
    stale_only: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A run as it is asked for. dataset: an id; empty for a replay of what `wish` fits."""

    tenant: str
    arms: tuple[Arm, ...]
    limit: int
    seed: int
    judges: tuple[str, ...] = ()
    wish: Wish = Wish()
    dataset: str = ""

    @property
    def kind(self) -> Kind:
        """Why it asks."""
        return Kind.EVALUATION if self.dataset else Kind.REPLAY


@dataclass(frozen=True, slots=True)
class Candidate:
    """What must be known of a case before it may be read, and no word of it. sources: by name."""

    case_id: str
    tier: Tier
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StaleDocument:
    """A document that is not what an answer was made of. cited: or only before the model."""

    source: str
    document_id: str
    version: int
    current_version: int
    deleted: bool
    cited: bool


@dataclass(frozen=True, slots=True)
class StaleAnswer:
    """An answer made of what has changed."""

    query_id: UUID
    completed_at: datetime
    tier: Tier
    documents: tuple[StaleDocument, ...]


@dataclass(frozen=True, slots=True)
class Indexed:
    """What the index holds of a document."""

    tenant: str
    source: str
    document_id: str
    version: int
    deleted: bool
    tier: Tier
    indexed_at: datetime


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one case, to be compared. Empty ids of `first`: the answer of then."""

    run: Run
    case_id: str
    first: UUID | None
    second: UUID


def pairs_of(run: Run, case_id: str, answered: Sequence[int]) -> list[Pair]:
    """What is compared of a case once it is settled: each arm with the first, and in a replay with the answer of then.

    answered: the arms whose answers are in.
    """
    ids = {arm: ask_id(run.run_id, case_id, run.arms[arm]) for arm in sorted(answered)}
    base = None if run.kind is Kind.REPLAY else ids.pop(0, None)
    if run.kind is not Kind.REPLAY and base is None:
        return []
    return [Pair(run, case_id, base, query_id) for query_id in ids.values()]
