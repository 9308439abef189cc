"""The books in memory, for tests: the same behaviour, and nothing survives. Transactions are not undone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any
from uuid import UUID

from headrace_stream import Delivery
from headrace_stream.memory import MemoryLedger, MemoryUnit

from headrace_drift.baselines import Baseline, State
from headrace_drift.measuring import Lexicon, Sketch
from headrace_drift.ports import AlertRecord, LookRecord, Mark
from headrace_drift.traffic import Cell, Place, Sample, Seen


@dataclass(slots=True)
class MemoryBooks:
    """See ports.Books."""

    now_state: State = field(default_factory=State)
    sketches: dict[Place, Sketch] = field(default_factory=dict)
    kept: dict[Place, dict[str, Sample]] = field(default_factory=dict)
    lexicons: dict[date, Lexicon] = field(default_factory=dict)
    late_counts: dict[datetime, int] = field(default_factory=dict)
    baselines: dict[UUID, tuple[Baseline, Mapping[Cell, Sketch]]] = field(default_factory=dict)
    look_records: dict[datetime, LookRecord] = field(default_factory=dict)
    alert_records: dict[UUID, AlertRecord] = field(default_factory=dict)
    marks: dict[tuple[str, int], tuple[datetime, datetime]] = field(default_factory=dict)
    buried: dict[bytes, datetime] = field(default_factory=dict)

    async def enter(self) -> None:
        """Nobody else is there."""

    async def erased(self, asked: Mapping[str, tuple[bytes, datetime]]) -> frozenset[str]:
        """See ports.Books."""
        return frozenset(
            query_id
            for query_id, (subject, at) in asked.items()
            if subject in self.buried and at <= self.buried[subject]
        )

    async def closed_until(self) -> datetime | None:
        """See ports.Books."""
        return self.now_state.closed_until

    async def add_sketches(self, sketches: Mapping[Place, Sketch]) -> None:
        """See ports.Books."""
        for place, sketch in sketches.items():
            self.sketches[place] = Sketch.merged([self.sketches.get(place, Sketch()), sketch])

    async def add_samples(self, samples: Mapping[Place, Sequence[Sample]]) -> None:
        """See ports.Books."""
        for place, found in samples.items():
            known = self.kept.setdefault(place, {})
            for sample in found:
                known.setdefault(sample.query_id, sample)

    async def add_words(self, week: date, seen: Sequence[Seen]) -> None:
        """See ports.Books."""
        lexicon = self.lexicons.setdefault(week, Lexicon())
        for one in seen:
            lexicon.add(one.words, tier=one.observation.tier, conversation=one.observation.conversation)

    async def add_late(self, counts: Mapping[datetime, int]) -> None:
        """See ports.Books."""
        for bucket, events in counts.items():
            self.late_counts[bucket] = self.late_counts.get(bucket, 0) + events

    async def note(self, marks: Sequence[Mark], *, now: datetime) -> None:
        """See ports.Books."""
        for mark in marks:
            at, _ = self.marks.get((mark.topic, mark.partition), (mark.at, now))
            self.marks[mark.topic, mark.partition] = (max(at, mark.at), now)

    async def close(self, until: datetime) -> State:
        """See ports.Books."""
        closed = max(until, self.now_state.closed_until or until)
        self.now_state = replace(self.now_state, closed_until=closed)
        return self.now_state

    async def state(self) -> State:
        """See ports.Books."""
        return self.now_state

    async def put_state(self, state: State) -> None:
        """See ports.Books."""
        self.now_state = state

    async def first_bucket(self) -> datetime | None:
        """See ports.Books."""
        return min((place.bucket for place in self.sketches), default=None)

    async def counts(self, begins: datetime, ends: datetime) -> Mapping[datetime, int]:
        """See ports.Books."""
        found: dict[datetime, int] = {}
        for place, sketch in self._between(begins, ends).items():
            found[place.bucket] = found.get(place.bucket, 0) + sketch.queries
        return found

    async def cells(self, begins: datetime, ends: datetime) -> Mapping[Cell, Sketch]:
        """See ports.Books."""
        found: dict[Cell, list[Sketch]] = {}
        for place, sketch in self._between(begins, ends).items():
            found.setdefault(place.cell, []).append(sketch)
        return {cell: Sketch.merged(sketches) for cell, sketches in found.items()}

    async def tidy(self, until: datetime) -> None:
        """See ports.Books."""
        for place, sketch in self.sketches.items():
            if place.bucket < until and place in self.kept:
                ids = {example.query_id for example in sketch.examples}
                self.kept[place] = {key: sample for key, sample in self.kept[place].items() if key in ids}

    async def samples(self, query_ids: Collection[str], begins: datetime, ends: datetime) -> Mapping[str, Sample]:
        """See ports.Books."""
        found: dict[str, Sample] = {}
        for place, samples in self.kept.items():
            if begins <= place.bucket < ends:
                found |= {key: sample for key, sample in samples.items() if key in query_ids}
        return found

    async def lexicon(self, since: date) -> Lexicon:
        """See ports.Books."""
        return Lexicon.merged(lexicon for week, lexicon in self.lexicons.items() if week >= since)

    async def late(self) -> int:
        """See ports.Books."""
        return sum(self.late_counts.values())

    async def prune(self, before: datetime) -> None:
        """See ports.Books."""
        for place in [place for place in self.sketches if place.bucket < before]:
            del self.sketches[place]
            self.kept.pop(place, None)
        self.late_counts = {bucket: n for bucket, n in self.late_counts.items() if bucket >= before}
        self.lexicons = {week: each for week, each in self.lexicons.items() if week >= before.date()}
        self.look_records = {ends: look for ends, look in self.look_records.items() if ends >= before}

    async def add_baseline(self, baseline: Baseline, cells: Mapping[Cell, Sketch]) -> None:
        """See ports.Books."""
        self.baselines = {key: (one, {}) for key, (one, _) in self.baselines.items()}
        self.baselines[baseline.baseline_id] = (baseline, dict(cells))

    async def baseline(self, baseline_id: UUID) -> Baseline | None:
        """See ports.Books."""
        return self.baselines[baseline_id][0] if baseline_id in self.baselines else None

    async def baseline_cells(self, baseline_id: UUID) -> Mapping[Cell, Sketch]:
        """See ports.Books."""
        return self.baselines[baseline_id][1]

    async def add_look(self, look: LookRecord) -> None:
        """See ports.Books."""
        self.look_records.setdefault(look.ends, look)

    async def looks(self, until: datetime, *, most: int) -> Sequence[LookRecord]:
        """See ports.Books."""
        found = sorted((look for look in self.look_records.values() if look.ends <= until), key=lambda look: look.ends)
        return found[::-1][:most]

    async def add_alert(self, alert: AlertRecord) -> None:
        """See ports.Books."""
        self.alert_records.setdefault(alert.alert_id, alert)

    async def close_alert(self, alert_id: UUID, at: datetime) -> AlertRecord | None:
        """See ports.Books."""
        alert = self.alert_records.get(alert_id)
        if alert is None or alert.closed_at is not None:
            return None
        self.alert_records[alert_id] = replace(alert, closed_at=at)
        return self.alert_records[alert_id]

    async def alerts(self, *, most: int) -> Sequence[AlertRecord]:
        """See ports.Books."""
        ordered = sorted(self.alert_records.values(), key=lambda alert: str(alert.alert_id))
        return sorted(ordered, key=lambda alert: alert.opened_at, reverse=True)[:most]

    async def open_alerts(self) -> Sequence[AlertRecord]:
        """See ports.Books."""
        return [alert for alert in await self.alerts(most=len(self.alert_records)) if alert.closed_at is None]

    async def alert(self, alert_id: UUID) -> AlertRecord | None:
        """See ports.Books."""
        return self.alert_records.get(alert_id)

    def _between(self, begins: datetime, ends: datetime) -> dict[Place, Sketch]:
        return {place: sketch for place, sketch in self.sketches.items() if begins <= place.bucket < ends}


class _Alone:
    """See ports.Leadership: there is no other instance."""

    async def holds(self) -> bool:
        return True


@dataclass(slots=True)
class MemoryDesk:
    """See ports.Desk. One transaction of a tenant's at a time."""

    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    shelf: dict[str, MemoryBooks] = field(default_factory=dict)
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)

    def books(self, tenant: str) -> MemoryBooks:
        """A tenant's books."""
        return self.shelf.setdefault(tenant, MemoryBooks())

    @asynccontextmanager
    async def open(self, tenant: str) -> AsyncIterator[tuple[MemoryUnit, MemoryBooks]]:
        """See ports.Desk."""
        async with self._lock(tenant), self.ledger.unit(tenant=tenant) as unit:
            yield unit, self.books(tenant)

    @asynccontextmanager
    async def together(
        self, tenant: str, deliveries: Sequence[Delivery[Any]]
    ) -> AsyncIterator[tuple[MemoryUnit, MemoryBooks, Sequence[Delivery[Any]]]]:
        """See ports.Desk."""
        async with self._lock(tenant), self.ledger.together(deliveries, tenant=tenant) as (unit, fresh):
            yield unit, self.books(tenant), fresh

    async def tenants(self) -> Sequence[str]:
        """See ports.Desk."""
        return sorted(self.shelf)

    async def marks(self) -> Mapping[tuple[str, int], datetime]:
        """See ports.Desk."""
        return {key: at for books in self.shelf.values() for key, (at, _) in books.marks.items()}

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[_Alone]:
        """See ports.Desk."""
        yield _Alone()

    def _lock(self, tenant: str) -> asyncio.Lock:
        return self._locks.setdefault(tenant, asyncio.Lock())
