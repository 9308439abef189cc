"""What the drift monitor needs of the world."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Protocol
from uuid import UUID

from headrace_privacy import Tier
from headrace_stream import Delivery, Event

from headrace_drift.baselines import Baseline, State
from headrace_drift.measuring import Lexicon, Sketch
from headrace_drift.traffic import Cell, Place, Sample, Seen


@dataclass(frozen=True, slots=True)
class LookRecord:
    """What a look came to. record: headrace.drift.v1.GetReportResponse with its readings."""

    begins: datetime
    ends: datetime
    baseline_id: UUID
    record: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """An alert as it stands. record: headrace.drift.v1.Alert without its state and its queries."""

    alert_id: UUID
    opened_at: datetime
    closed_at: datetime | None
    baseline_id: UUID
    tier: Tier
    record: bytes = field(repr=False)
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class Mark:
    """How far a partition has been read, by event time."""

    topic: str
    partition: int
    at: datetime


class Unit(Protocol):
    """Tells of what happens in a transaction, if it commits."""

    def emit_here(self, event: Event[Any]) -> None:
        """Has an event published that carries the span that is open now."""


class Books(Protocol):
    """A tenant's sketches and what came of them, inside one transaction of the tenant's."""

    # Counting

    async def enter(self) -> None:
        """To be called first by whoever counts: many do at the same time, but nobody beside `close` and an erasure."""

    async def erased(self, asked: Mapping[str, tuple[bytes, datetime]]) -> frozenset[str]:
        """Of queries by id, with their subject's hash and when they were asked, those whose subject is erased."""

    async def closed_until(self) -> datetime | None:
        """See State."""

    async def add_sketches(self, sketches: Mapping[Place, Sketch]) -> None:
        """Adds what was counted to what is there."""

    async def add_samples(self, samples: Mapping[Place, Sequence[Sample]]) -> None:
        """Notes whose queries the sketches keep by id."""

    async def add_words(self, week: date, seen: Sequence[Seen]) -> None:
        """Adds the words of questions to those of the week, which begins on that Monday."""

    async def add_late(self, counts: Mapping[datetime, int]) -> None:
        """Counts events that came too late, by bucket."""

    async def note(self, marks: Sequence[Mark], *, now: datetime) -> None:
        """Notes how far partitions have been read. The last to be called: others wait for it."""

    # Looking

    async def close(self, until: datetime) -> State:
        """Lets nobody count what belongs to a bucket before, once those who do now have. Never goes back."""

    async def state(self) -> State:
        """How far it has been looked at; nobody else changes it until the transaction ends."""

    async def put_state(self, state: State) -> None:
        """Stores it."""

    async def first_bucket(self) -> datetime | None:
        """The oldest bucket."""

    async def counts(self, begins: datetime, ends: datetime) -> Mapping[datetime, int]:
        """Queries in each bucket that has any."""

    async def cells(self, begins: datetime, ends: datetime) -> Mapping[Cell, Sketch]:
        """What was counted in the buckets from one moment until another, by cell."""

    async def tidy(self, until: datetime) -> None:
        """Puts the parts of closed buckets together, and drops the samples that were not kept."""

    async def samples(self, query_ids: Collection[str], begins: datetime, ends: datetime) -> Mapping[str, Sample]:
        """Those of these queries that are kept by id."""

    async def lexicon(self, since: date) -> Lexicon:
        """The words of the weeks since."""

    async def late(self) -> int:
        """Events that came too late, as long as that is kept."""

    async def prune(self, before: datetime) -> None:
        """Drops sketches, words and looks that are older."""

    # What came of it

    async def add_baseline(self, baseline: Baseline, cells: Mapping[Cell, Sketch]) -> None:
        """Stores a baseline with its sketches; drops the sketches of those that came before."""

    async def baseline(self, baseline_id: UUID) -> Baseline | None:
        """A baseline, as long as it was ever one."""

    async def baseline_cells(self, baseline_id: UUID) -> Mapping[Cell, Sketch]:
        """Its sketches, by cell; none when another took its place."""

    async def add_look(self, look: LookRecord) -> None:
        """Stores a look, unless its window has one."""

    async def looks(self, until: datetime, *, most: int) -> Sequence[LookRecord]:
        """The newest looks whose window ended then or before, newest first."""

    async def add_alert(self, alert: AlertRecord) -> None:
        """Stores an alert, unless it is there."""

    async def close_alert(self, alert_id: UUID, at: datetime) -> AlertRecord | None:
        """Closes an alert; None when it was closed before, or there is none."""

    async def alerts(self, *, most: int) -> Sequence[AlertRecord]:
        """Newest first."""

    async def open_alerts(self) -> Sequence[AlertRecord]:
        """Those that hold, newest first."""

    async def alert(self, alert_id: UUID) -> AlertRecord | None:
        """One alert."""


class Leadership(Protocol):
    """Which of several instances looks."""

    async def holds(self) -> bool:
        """Whether it is this one. Raises Unavailable, after which another context is to be opened."""


class Desk(Protocol):
    """Opens the books."""

    def open(self, tenant: str) -> AbstractAsyncContextManager[tuple[Unit, Books]]:
        """One transaction of a tenant's."""

    def together(
        self, tenant: str, deliveries: Sequence[Delivery[Any]]
    ) -> AbstractAsyncContextManager[tuple[Unit, Books, Sequence[Delivery[Any]]]]:
        """One transaction in which deliveries take effect: those that did not before."""

    async def tenants(self) -> Sequence[str]:
        """Everybody who has traffic."""

    async def marks(self) -> Mapping[tuple[str, int], datetime]:
        """How far partitions have been read, by topic and partition: the newest event's time."""

    def leading(self) -> AbstractAsyncContextManager[Leadership]:
        """Opens what says which of several instances looks."""


class Backlog(Protocol):
    """What is still to be read, by whichever instance."""

    async def backlog(self) -> Mapping[tuple[str, int], int]:
        """Where partitions stand that have something to be counted: see headrace_stream.Bus. Raises Unavailable."""


class Datasets(Protocol):
    """What knows which answers a dataset is made of."""

    async def period(self, tenant: str, dataset: str) -> tuple[str, datetime, datetime]:
        """A snapshot's whole id, and when its first and its last answer were given.

        Raises NotFound; Conflict for one that has no answers of its own; Unavailable.
        """
