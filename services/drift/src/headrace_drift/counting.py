"""Counting what was seen: once for each event, in the bucket of its own time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from headrace_stream import Delivery
from headrace_telemetry.metrics import counter

from headrace_drift.gathering import Waiting
from headrace_drift.measuring import Sketch, Windows, bucket_of
from headrace_drift.ports import Books, Desk, Mark
from headrace_drift.traffic import Place, Sample, Seen


@dataclass(frozen=True, slots=True)
class Counter:
    """Commits what was gathered."""

    desk: Desk
    windows: Windows
    now: Callable[[], datetime]

    async def commit(self, tenant: str, together: Sequence[Waiting]) -> frozenset[str]:
        """See gathering.Commit."""
        seen = {_identity(one.delivery): one.seen for one in reversed(together)}
        async with self.desk.together(tenant, [one.delivery for one in together]) as (_, books, fresh):
            erased = await count([seen[_identity(one)] for one in fresh], books, self.windows)
            await books.note(_marks(together), now=self.now())
            return erased


def _marks(together: Sequence[Waiting]) -> list[Mark]:
    newest: dict[tuple[str, int], datetime] = {}
    for one in together:
        partition = one.delivery.arrival.topic, one.delivery.arrival.partition
        newest[partition] = max(one.seen.at, newest.get(partition, one.seen.at))
    return [Mark(*partition, at) for partition, at in sorted(newest.items())]


def _identity(delivery: Delivery[Any]) -> tuple[str, Any]:
    return delivery.arrival.topic, delivery.event_id


async def count(seen: Sequence[Seen], books: Books, windows: Windows) -> frozenset[str]:
    """Counts events of one tenant that never counted before; returns the ids of those queries that are erased."""
    await books.enter()
    erased = await books.erased(
        {one.observation.query_id: (one.subject, one.at) for one in seen if one.subject is not None}
    )
    kept = [one for one in seen if one.observation.query_id not in erased]
    closed = await books.closed_until()
    late = [one for one in kept if closed is not None and bucket_of(one.at, windows) < closed]
    if late:
        await books.add_late(_by_bucket(late, windows))
        kept = [one for one in kept if closed is None or bucket_of(one.at, windows) >= closed]
    if kept:
        sketches = await asyncio.to_thread(sketched, kept, windows)
        await books.add_sketches(sketches)
        await books.add_samples(_samples(sketches, kept))
        for week, said in sorted(_by_week(kept).items()):
            await books.add_words(week, said)
    counter("headrace.drift.events").add(len(kept))
    counter("headrace.drift.late").add(len(late))
    return erased


def sketched(seen: Sequence[Seen], windows: Windows) -> Mapping[Place, Sketch]:
    """A sketch of each place that something was seen in."""
    found: dict[Place, Sketch] = {}
    for one in seen:
        found.setdefault(Place(bucket_of(one.at, windows), one.cell), Sketch()).add(one.observation)
    return found


def _by_bucket(seen: Sequence[Seen], windows: Windows) -> dict[datetime, int]:
    counts: dict[datetime, int] = {}
    for one in seen:
        bucket = bucket_of(one.at, windows)
        counts[bucket] = counts.get(bucket, 0) + 1
    return counts


def _samples(sketches: Mapping[Place, Sketch], seen: Sequence[Seen]) -> dict[Place, list[Sample]]:
    asked = {one.observation.query_id: one for one in seen if one.observation.question is not None}
    return {
        place: [_sample(asked[example.query_id]) for example in sketch.examples if example.query_id in asked]
        for place, sketch in sketches.items()
        if sketch.examples
    }


def _sample(seen: Seen) -> Sample:
    return Sample(seen.observation.query_id, seen.subject, seen.observation.tier, seen.at)


def _by_week(seen: Sequence[Seen]) -> dict[date, list[Seen]]:
    found: dict[date, list[Seen]] = {}
    for one in seen:
        if one.words:
            day = one.at.astimezone(UTC).date()
            found.setdefault(day - timedelta(days=day.weekday()), []).append(one)
    return found
