"""What is asked over gRPC: reports, alerts, and what windows are measured against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from headrace_runtime.errors import Conflict, NotFound

from headrace_drift.baselines import Baseline, ceiling, floor
from headrace_drift.errors import NoBaseline
from headrace_drift.looking import Plan, close_alert, without_examples
from headrace_drift.measuring import Standing
from headrace_drift.ports import AlertRecord, Books, Datasets, Desk, LookRecord, Unit
from headrace_drift.translate import Wish

#: Looks that a report tells of, for a plot.
HISTORY = 200
MOST_ALERTS = 1000


@dataclass(frozen=True, slots=True)
class Report:
    """How a tenant's traffic stands. looks: newest first; none while nothing was measured against this baseline."""

    baseline: Baseline
    looks: Sequence[LookRecord]
    alerts: Sequence[AlertRecord]
    late: int


@dataclass(frozen=True, slots=True)
class Office:
    """What the calls need."""

    desk: Desk
    plan: Plan
    datasets: Datasets
    now: Callable[[], datetime]
    new_id: Callable[[], UUID]


async def get_report(tenant: str, at: datetime | None, office: Office) -> Report:
    """The newest look, or that of a moment, with those before it. Raises NoBaseline."""
    async with office.desk.open(tenant) as (_, books):
        baseline = await _baseline(books, office.plan)
        looks = await books.looks(at or office.now(), most=HISTORY)
        return Report(baseline, looks, await books.open_alerts(), await books.late())


async def list_alerts(tenant: str, office: Office) -> Sequence[AlertRecord]:
    """All alerts, newest first."""
    async with office.desk.open(tenant) as (_, books):
        return await books.alerts(most=MOST_ALERTS)


async def get_alert(tenant: str, alert_id: UUID, office: Office) -> AlertRecord:
    """One alert. Raises NotFound."""
    async with office.desk.open(tenant) as (_, books):
        found = await books.alert(alert_id)
    if found is None:
        raise NotFound("alert", str(alert_id))
    return found


async def get_baseline(tenant: str, office: Office) -> Baseline:
    """What windows are measured against. Raises NotFound."""
    async with office.desk.open(tenant) as (_, books):
        state = await books.state()
        found = await books.baseline(state.baseline_id) if state.baseline_id else None
    if found is None:
        raise NotFound("baseline", tenant)
    return found


@dataclass(frozen=True, slots=True)
class Period:
    """A time of a tenant's traffic; `dataset_id` says for whose sake, "" for its own."""

    tenant: str
    dataset_id: str
    begins: datetime
    ends: datetime


async def set_baseline(wish: Wish, office: Office, *, by: str) -> Baseline:
    """Takes a period, or that of a dataset's answers. Raises NotFound, Conflict for too few queries, Unavailable."""
    if wish.begins is not None and wish.ends is not None:
        period = Period(wish.tenant, "", wish.begins, wish.ends)
    else:
        period = await period_of(wish.tenant, wish.dataset, office)
    async with office.desk.open(wish.tenant) as (unit, books):
        return await set_baseline_to(period, office, by=by, unit=unit, books=books)


async def period_of(tenant: str, dataset: str, office: Office) -> Period:
    """The time of a dataset's answers. Raises NotFound, Conflict, Unavailable."""
    dataset_id, begins, ends = await office.datasets.period(tenant, dataset)
    return Period(tenant, dataset_id, begins, ends)


async def set_baseline_to(period: Period, office: Office, *, by: str, unit: Unit, books: Books) -> Baseline:
    """Takes a period, in a transaction, and closes the alerts that stood against the one before. Raises Conflict."""
    bucket = office.plan.windows.bucket
    begins, ends = floor(period.begins, bucket), ceiling(period.ends, bucket)
    await books.enter()
    state = await books.state()
    cells = await books.cells(begins, ends)
    samples = sum(sketch.queries for sketch in cells.values())
    least = office.plan.rules.minimum_queries
    if samples < least:
        raise Conflict(f"the period has {samples} queries of which sketches are kept; {least} are wanted")
    now = office.now()
    baseline = Baseline(office.new_id(), period.tenant, period.dataset_id, begins, ends, samples, by, now)
    await books.add_baseline(baseline, without_examples(cells))
    standing = Standing.from_json(state.standing) if state.standing else Standing()
    standing, closed = standing.rebased(now)
    for raised in closed:
        await close_alert(raised, unit, books)
    await books.put_state(replace(state, standing=standing.to_json(), baseline_id=baseline.baseline_id))
    return baseline


async def _baseline(books: Books, plan: Plan) -> Baseline:
    state = await books.state()
    found = await books.baseline(state.baseline_id) if state.baseline_id else None
    if found is None:
        first = await books.first_bucket()
        so_far = sum((await books.counts(first, datetime.max.replace(tzinfo=first.tzinfo))).values()) if first else 0
        raise NoBaseline(max(plan.claim.queries, plan.rules.minimum_queries) - so_far)
    return found
