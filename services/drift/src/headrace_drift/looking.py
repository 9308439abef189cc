"""Looking: closing buckets, putting windows together, measuring them, and settling what that came to.

    watermark ─▶ close buckets ─▶ for each window that has closed: read, measure (outside of any transaction) ─▶ settle
                                                                      alerts, look and state in one transaction ◀─┘

What is measured is closed, and what was decided before is part of the state: a look that was killed comes to the same
when it is taken again, and one that was settled is not settled twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from headrace_privacy import Tier
from headrace_stream.envelope import derived_id

from headrace_drift.baselines import Baseline, Claim, State, closable, due, window_begins
from headrace_drift.measuring import (
    Explanation,
    Lexicon,
    Look,
    Raised,
    Reading,
    Rules,
    Sketch,
    Slice,
    Standing,
    Windows,
    compare,
    decide,
    explain,
)
from headrace_drift.patience import Patience
from headrace_drift.ports import AlertRecord, Backlog, Books, Desk, LookRecord, Unit
from headrace_drift.telling import tell_closed, tell_opened
from headrace_drift.traffic import Cell, rolled, slices_of
from headrace_drift.translate import tier_of, to_look, to_record

#: Who set a baseline that nobody set.
BY_ITSELF = "by itself"


@dataclass(frozen=True, slots=True)
class Plan:
    """How traffic is looked at. idle: after so long without progress nobody waits for a partition. keep: how long
    sketches are kept."""

    windows: Windows = field(default_factory=Windows)
    rules: Rules = field(default_factory=Rules)
    claim: Claim = field(default_factory=Claim)
    idle: timedelta = timedelta(minutes=1)
    keep: timedelta = timedelta(days=35)


@dataclass(frozen=True, slots=True)
class Material:
    """What a window is measured by."""

    baseline: Baseline
    begins: datetime
    before: Mapping[Cell, Sketch]
    after: Mapping[Cell, Sketch]


@dataclass(frozen=True, slots=True)
class Observer:
    """Looks at everybody's traffic."""

    desk: Desk
    plan: Plan
    now: Callable[[], datetime]
    backlog: Backlog
    patience: Patience = field(default_factory=Patience)

    async def look_around(self) -> datetime:
        """Takes every look that is due; returns up to where windows have been looked at. Raises Unavailable."""
        # In this order: what is finished in between only makes the marks newer.
        now, behind = self.now(), await self.backlog.backlog()
        watermark = self.patience.watermark(now, behind, await self.desk.marks(), idle=self.plan.idle)
        for tenant in await self.desk.tenants():
            await self.look(tenant, watermark)
        return closable(watermark, self.plan.windows)

    async def look(self, tenant: str, watermark: datetime) -> int:
        """Takes a tenant's looks that are due. watermark: nothing older is expected."""
        async with self.desk.open(tenant) as (_, books):
            first = await books.first_bucket()
            if first is None:
                return 0
            state = await books.close(closable(watermark, self.plan.windows))
            pending = due(state, first, self.plan.windows)
        if pending:
            async with self.desk.open(tenant) as (_, books):
                await books.tidy(pending[-1])
        for ends in pending:
            await self._look_at(tenant, ends)
        if pending:
            async with self.desk.open(tenant) as (_, books):
                await books.prune(pending[-1] - self.plan.keep)
        return len(pending)

    async def _look_at(self, tenant: str, ends: datetime) -> None:
        async with self.desk.open(tenant) as (_, books):
            material = await self._material(tenant, books, ends)
        if material is None:
            return
        readings = await asyncio.to_thread(measure, tenant, material, self.plan.rules)
        look = Look(ends, material.begins, readings)
        async with self.desk.open(tenant) as (unit, books):
            await self._settle(look, material, unit, books)

    async def _material(self, tenant: str, books: Books, ends: datetime) -> Material | None:
        """What to measure; None when there is nothing, or nothing to measure against: then the state goes on."""
        state = await books.state()
        if state.looked_until is not None and state.looked_until >= ends:
            return None
        if state.baseline_id is None:
            await self._claim(tenant, books, state, ends)
            return None
        baseline = await books.baseline(state.baseline_id)
        assert baseline is not None, "a state names a baseline that is stored"
        counts = await books.counts(ends - self.plan.windows.span, ends)
        begins = window_begins(counts, ends, self.plan.windows, baseline=baseline)
        if (
            begins is None
            or sum(n for bucket, n in counts.items() if bucket >= begins) < self.plan.rules.minimum_queries
        ):
            await books.put_state(state.looked(ends))
            return None
        before, after = await books.baseline_cells(baseline.baseline_id), await books.cells(begins, ends)
        return Material(baseline, begins, before, after)

    async def _claim(self, tenant: str, books: Books, state: State, ends: datetime) -> None:
        """Takes the first full period as the baseline, once there is one."""
        claim, first = self.plan.claim, await books.first_bucket()
        queries = sum((await books.counts(first, ends)).values()) if first else 0
        least = max(claim.queries, self.plan.rules.minimum_queries)
        if first is None or ends - first < claim.span or queries < least:
            await books.put_state(state.looked(ends))
            return
        baseline_id = derived_id("drift baseline", tenant, first.isoformat(), ends.isoformat())
        baseline = Baseline(baseline_id, tenant, "", first, ends, queries, BY_ITSELF, self.now())
        await books.add_baseline(baseline, without_examples(await books.cells(first, ends)))
        await books.put_state(replace(state.looked(ends), baseline_id=baseline_id))

    async def _settle(self, look: Look, material: Material, unit: Unit, books: Books) -> None:
        state = await books.state()
        was_settled = state.looked_until is not None and state.looked_until >= look.at
        if was_settled or state.baseline_id != material.baseline.baseline_id:
            return
        standing = Standing.from_json(state.standing) if state.standing else Standing()
        decision = decide(look, standing, self.plan.rules)
        if decision.opened:
            lexicon = await books.lexicon((material.begins - timedelta(days=28)).date())
            for raised in decision.opened:
                await self._open(raised, decision.readings, material, lexicon, unit=unit, books=books)
        for raised in decision.closed:
            await close_alert(raised, unit, books)
        record = to_look(decision.readings)
        await books.add_look(LookRecord(material.begins, look.at, material.baseline.baseline_id, record))
        await books.put_state(state.looked(look.at, standing=decision.standing.to_json()))

    async def _open(
        self,
        raised: Raised,
        readings: Sequence[Reading],
        material: Material,
        lexicon: Lexicon,
        *,
        unit: Unit,
        books: Books,
    ) -> None:
        before, after = sides(raised.slice, material)
        mine = [reading for reading in readings if reading.slice == raised.slice]
        explanation: Explanation = await asyncio.to_thread(
            explain, before, after, mine, self.plan.rules, lexicon=lexicon
        )
        found = await books.samples(explanation.query_ids, material.begins, raised.window_until)
        alert = AlertRecord(
            UUID(raised.alert_id),
            raised.opened_at,
            None,
            material.baseline.baseline_id,
            Tier(tier_of(after)),
            to_record(raised, explanation, after, material.baseline.baseline_id),
            tuple(found[query_id] for query_id in explanation.query_ids if query_id in found),
        )
        await books.add_alert(alert)
        tell_opened(unit, alert, {example.query_id: example.trace_parent for example in after.examples})


async def close_alert(raised: Raised, unit: Unit, books: Books) -> None:
    """Closes an alert and tells of it, once."""
    assert raised.closed_at is not None, "it is closed"
    stored = await books.close_alert(UUID(raised.alert_id), raised.closed_at)
    if stored is not None:
        tell_closed(unit, stored)


def measure(tenant: str, material: Material, rules: Rules) -> tuple[Reading, ...]:
    """The readings of all slices."""
    names = slices_of(tenant, [*material.before, *material.after])
    found: list[Reading] = []
    for slice_, members in names.items():
        before, after = rolled(material.before, members), rolled(material.after, members)
        found += compare(before, after, rules, slice_=slice_)
    return tuple(found)


def sides(slice_: Slice, material: Material) -> tuple[Sketch, Sketch]:
    """A slice of the baseline, and of the window."""
    members = slices_of(slice_.tenant, [*material.before, *material.after])[slice_]
    return rolled(material.before, members), rolled(material.after, members)


def without_examples(cells: Mapping[Cell, Sketch]) -> dict[Cell, Sketch]:
    """The same without any query's id: a baseline outlives them."""
    return {
        cell: sketch.without_examples([example.query_id for example in sketch.examples])
        for cell, sketch in cells.items()
    }
