"""An erasure: what is to be gone, how far it is, and what each service has said.

REQUESTED ──all have applied──▶ VERIFYING ──all read back nothing──▶ CLOSED
    ▲                               │
    └── the next round ◀── something is left
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import IntEnum
from uuid import UUID

from headrace_privacy import Tier
from headrace_privacy.policy import Policy
from headrace_stream.erasing import Document, Expired, Source, Subject, What

#: The service that knows which models learned from what.
TRAINER = "trainer"
#: Who has to answer. Each holds something: rows, vectors, keys, a cache, or what it learned.
SERVICES = ("ingest", "classifier", "embedder", "retriever", "inference", "feedback", "drift", TRAINER)
#: What stands for the model that nobody trained.
BASE = "base"

LONGEST_REASON = 1_000
_FIRST_DELAY = timedelta(seconds=1)
_LONGEST_DELAY = timedelta(minutes=5)


class State(IntEnum):
    """Where it stands; the numbers of headrace.privacy.v1.ErasureState."""

    REQUESTED = 1
    VERIFYING = 2
    CLOSED = 3


@dataclass(frozen=True, slots=True)
class Stored:
    """One store in a report: how many records were removed, or are left, and how it is emptied."""

    store: str
    records: int
    how: str


@dataclass(frozen=True, slots=True)
class Reached:
    """A model that learned from what is erased. retire_by: when it is retired at the latest.

    retired_at: when its weights were deleted; None while they are there. replaced_by: what answers in its place, BASE
    where nobody trained that; empty while nothing does.
    """

    model: str
    dataset_id: str
    retire_by: datetime
    retired_at: datetime | None = None
    replaced_by: str = ""

    def retired(self, at: datetime, *, replaced_by: str) -> Reached:
        """The same, once its weights are deleted."""
        return replace(self, retired_at=at, replaced_by=replaced_by or BASE)


@dataclass(frozen=True, slots=True)
class Report:
    """What one service said in one round, in the state that the erasure was in. models: the trainer alone names any."""

    service: str
    round: int
    state: State
    stores: tuple[Stored, ...]
    reported_at: datetime
    models: tuple[Reached, ...] = ()

    @property
    def records(self) -> int:
        """Over all stores."""
        return sum(stored.records for stored in self.stores)


@dataclass(frozen=True, slots=True)
class Record:
    """One erasure. keys: how many data keys were destroyed with the request."""

    erasure_id: UUID
    tenant: str
    what: What
    reason: str
    requested_by: str
    requested_role: str
    requested_at: datetime
    keys: int
    state: State = State.REQUESTED
    round: int = 1
    due_at: datetime | None = None
    closed_at: datetime | None = None
    receipt: str = field(default="", repr=False)
    receipt_text: str = field(default="", repr=False)
    completion: str = field(default="", repr=False)
    completion_text: str = field(default="", repr=False)

    def expects(self, report: Report) -> bool:
        """Says whether a report is of where the erasure stands; one that is late says nothing new."""
        return (report.round, report.state) == (self.round, self.state)

    def verifying(self) -> Record:
        """The same, once every service has applied it."""
        return replace(self, state=State.VERIFYING)

    def again(self, now: datetime) -> Record:
        """The same in its next round, which is announced after a pause: what is left may need time to go."""
        pause = min(_FIRST_DELAY * 2 ** (self.round - 1), _LONGEST_DELAY)
        return replace(self, state=State.REQUESTED, round=self.round + 1, due_at=now + pause)

    def announced(self) -> Record:
        """The same, once its round is announced."""
        return replace(self, due_at=None)

    def closed(self, now: datetime, *, receipt: str, receipt_text: str) -> Record:
        """The same, done. A subject is no longer named."""
        what = Subject("") if isinstance(self.what, Subject) else self.what
        return replace(self, what=what, state=State.CLOSED, closed_at=now, receipt=receipt, receipt_text=receipt_text)

    def completed(self, *, completion: str, completion_text: str) -> Record:
        """The same, once the last model that learned from it is retired."""
        return replace(self, completion=completion, completion_text=completion_text)


def models_in(record: Record, reports: Sequence[Report]) -> tuple[Reached, ...]:
    """Returns the models that learned from what is erased, as the trainer read back in this round."""
    said = [r for r in reports if (r.service, r.round, r.state) == (TRAINER, record.round, State.VERIFYING)]
    return tuple(sorted((model for report in said for model in report.models), key=lambda model: model.model))


def waiting_for(record: Record, reports: Sequence[Report]) -> tuple[str, ...]:
    """Returns the services that have yet to answer."""
    if record.state is State.CLOSED:
        return ()
    answered = {report.service for report in reports if record.expects(report)}
    return tuple(service for service in SERVICES if service not in answered)


def left(record: Record, reports: Sequence[Report]) -> int:
    """Returns how many records the services still found when they read back in this round."""
    return sum(report.records for report in reports if record.expects(report))


def moment(at: datetime) -> str:
    """Writes a moment as receipts do."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def said_of(what: What) -> str:
    """Says what is erased in words for the audit log: never an end user's name, nor a document's."""
    match what:
        case Subject():
            return "an end user"
        case Source(source):
            return f"the source {source}"
        case Document(source, _):
            return f"a document of {source}"
        case Expired(tier, before):
            return f"{tier.label} from before {before.isoformat(timespec='minutes')}"


def last_day(policy: Policy, tier: Tier, now: datetime) -> datetime | None:
    """Returns the midnight (UTC) before which nothing of a tier is kept; None where it is kept without limit."""
    days = policy.retention(tier)
    if not days:
        return None
    return now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=days)


def last_day_of_all(policy: Policy, now: datetime) -> datetime | None:
    """Returns the midnight before which nothing of any tier is kept; None where something is kept without limit."""
    days = [last_day(policy, tier, now) for tier in Tier]
    return None if None in days else min(day for day in days if day)
