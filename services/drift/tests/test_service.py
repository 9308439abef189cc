"""What the drift monitor does, on books in memory and in Postgres alike."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from headrace.drift.v1 import drift_pb2, service_pb2
from headrace_database import Database
from headrace_drift.adapters.memory import MemoryBooks
from headrace_drift.errors import NoBaseline
from headrace_drift.measuring import Measure
from headrace_privacy import Tier
from headrace_runtime.errors import Conflict, NotFound, Rejected
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from services.drift.tests.house import House, MemoryHouse, PostgresHouse
from services.drift.tests.makers import (
    PYTHON,
    SQL,
    START,
    answer,
    arrived,
    embedded,
    evaluated,
    thumb,
    unit_vector,
)

NOBODY: Any = None
#: What becomes of a question that nothing is known about.
UNKNOWN = {"retrieved": [{"chunkId": "a", "similarity": 0.1}], "grounding": "GROUNDING_NOT_IN_SOURCES"}
OPEN, CLOSED = drift_pb2.ALERT_STATE_OPEN, drift_pb2.ALERT_STATE_CLOSED


async def report(house: House, **fields: Any) -> service_pb2.GetReportResponse:
    return await house.servicer.GetReport(service_pb2.GetReportRequest(tenant=house.tenant, **fields), NOBODY)


async def shifted(house: House) -> Sequence[str]:
    """From Python to SQL, of which there are no documents; returns the ids of the SQL questions."""
    await house.settle_in()
    await house.ask(PYTHON, 120, minute=6, minutes=2)
    await house.look(9)
    ids = await house.ask(SQL, 240, minute=9, minutes=4, **UNKNOWN)
    await house.look(14)
    return ids


class ServiceSuite:
    """Every test here holds for every store."""

    async def test_an_event_counts_once_however_often_it_comes(self, house: House) -> None:
        once = [arrived(answer(house.tenant)) for _ in range(20)]
        await house.take([*once, *once[:5]])
        await house.take(once)
        assert await house.queries() == 20

    async def test_without_a_baseline_it_says_how_much_is_missing(self, house: House) -> None:
        await house.ask(PYTHON, 60, minute=0, minutes=2)
        await house.look(4)
        with pytest.raises(NoBaseline, match="140 queries too few"):
            await report(house)
        with pytest.raises(NotFound):
            await house.servicer.GetBaseline(service_pb2.GetBaselineRequest(tenant=house.tenant), NOBODY)

    async def test_the_first_full_period_becomes_the_baseline(self, house: House) -> None:
        await house.settle_in()
        request = service_pb2.GetBaselineRequest(tenant=house.tenant)
        baseline = (await house.servicer.GetBaseline(request, NOBODY)).baseline
        assert (baseline.samples, baseline.set_by, baseline.dataset_id) == (300, "by itself", "")
        assert getattr(baseline, "from").ToDatetime(START.tzinfo) == START
        assert (await report(house)).readings == [], "nothing was measured against it yet"

    async def test_the_same_language_raises_nothing(self, house: House) -> None:
        await house.settle_in()
        await house.ask(PYTHON, 600, minute=6, minutes=8)
        assert await house.look(15) > 5
        assert await house.alerts() == []
        assert {reading.drifted for reading in (await report(house)).readings} == {False}

    async def test_a_shift_is_found_explained_and_told(self, house: House) -> None:
        ids = await shifted(house)
        (alert,) = await house.alerts()
        assert alert.state == OPEN
        assert Measure.VOCABULARY in {reading.measure for reading in alert.readings}
        assert alert.explanation.lever == drift_pb2.LEVER_DOCUMENTS
        assert alert.explanation.without_close_passage > 0.9
        assert {word.word for word in alert.explanation.words} & set(SQL), "many said them, in at most TIER_1"
        assert alert.explanation.query_ids
        assert set(alert.explanation.query_ids) <= set(ids)
        assert (alert.model.name, alert.model.version, alert.tier) == ("SmolLM2", "0123", Tier.TIER_1.value)
        ((message, trace),) = await house.told()
        assert message.alert.alert_id == alert.alert_id
        assert (message.alert.state, list(message.alert.explanation.words)) == (OPEN, [])
        assert trace.startswith("00-0af7651916cd43dd8448eb211c80319c-"), "in the first drifting query's trace"

    async def test_a_look_that_is_taken_again_raises_the_same_alert_once(self, house: House) -> None:
        await shifted(house)
        (before,) = await house.alerts()
        async with house.desk.open(house.tenant) as (_, books):
            state = await books.state()
        for _ in range(2):
            assert await house.look(14) == 0
        assert state.looked_until is not None
        assert await house.alerts() == [before]
        assert len(await house.told()) == 1

    async def test_words_of_tier_2_are_told_by_hash_alone(self, house: House) -> None:
        await house.settle_in()
        await house.ask(SQL, 240, minute=6, minutes=4, tier="TIER_2")
        await house.look(12)
        (alert,) = await house.alerts()
        assert alert.tier == Tier.TIER_2.value
        assert alert.explanation.words
        assert {word.word for word in alert.explanation.words} <= {"", *PYTHON, "how", "do", "i", "use"}
        assert not {word.word for word in alert.explanation.words} & set(SQL)

    async def test_an_alert_closes_when_the_traffic_is_back(self, house: House) -> None:
        await shifted(house)
        await house.ask(PYTHON, 600, minute=14, minutes=8)
        await house.look(23)
        (alert,) = await house.alerts()
        assert alert.state == CLOSED
        assert alert.closed_at.ToDatetime(START.tzinfo) > alert.opened_at.ToDatetime(START.tzinfo)
        assert [message.alert.state for message, _ in await house.told()] == [OPEN, CLOSED]
        assert list((await report(house)).alerts) == []

    async def test_events_after_their_bucket_closed_are_counted_as_late(self, house: House) -> None:
        await house.settle_in()
        await house.ask(PYTHON, 7, minute=1, minutes=1)
        assert await house.queries() == 300
        assert (await report(house)).late == 7

    async def test_a_late_event_that_comes_again_is_late_once(self, house: House) -> None:
        await house.settle_in()
        late = arrived(answer(house.tenant, at=START))
        await house.take([late])
        await house.take([late])
        assert (await report(house)).late == 1

    async def test_a_dataset_or_a_period_can_be_the_baseline(self, house: House) -> None:
        await house.ask(PYTHON, 100, minute=0, minutes=2)
        request = service_pb2.SetBaselineRequest(tenant=house.tenant, dataset="support")
        baseline = (await house.servicer.SetBaseline(request, NOBODY)).baseline
        assert (baseline.samples, baseline.dataset_id, baseline.set_by) == (100, "4f2a" * 16, "dora")
        period = service_pb2.SetBaselineRequest(tenant=house.tenant)
        getattr(period, "from").FromDatetime(START)
        period.until.FromDatetime(START + timedelta(minutes=1))
        assert (await house.servicer.SetBaseline(period, NOBODY)).baseline.samples == 50

    async def test_a_new_baseline_closes_what_stood_against_the_old(self, house: House) -> None:
        await shifted(house)
        request = service_pb2.SetBaselineRequest(tenant=house.tenant)
        getattr(request, "from").FromDatetime(START + timedelta(minutes=9))
        request.until.FromDatetime(START + timedelta(minutes=13))
        await house.servicer.SetBaseline(request, NOBODY)
        (alert,) = await house.alerts()
        assert alert.state == CLOSED
        assert [message.alert.state for message, _ in await house.told()] == [OPEN, CLOSED]
        await house.ask(SQL, 240, minute=14, minutes=4, **UNKNOWN)
        await house.look(19)
        assert [one.state for one in await house.alerts()] == [CLOSED], "SQL is what is usual now"

    async def test_a_period_with_too_few_queries_is_refused(self, house: House) -> None:
        await house.ask(PYTHON, 20, minute=0, minutes=2)
        request = service_pb2.SetBaselineRequest(tenant=house.tenant, dataset="support")
        with pytest.raises(Conflict, match="20 queries"):
            await house.servicer.SetBaseline(request, NOBODY)

    @pytest.mark.parametrize("fields", [{}, {"dataset": "a", "until": START}, {"until": START}])
    async def test_a_baseline_is_a_dataset_or_a_period(self, house: House, fields: dict[str, Any]) -> None:
        request = service_pb2.SetBaselineRequest(tenant=house.tenant, dataset=fields.get("dataset", ""))
        if "until" in fields:
            request.until.FromDatetime(fields["until"])
        with pytest.raises(Rejected):
            await house.servicer.SetBaseline(request, NOBODY)

    async def test_an_unknown_alert_is_not_found(self, house: House) -> None:
        with pytest.raises(NotFound):
            request = service_pb2.GetAlertRequest(tenant=house.tenant, alert_id=str(uuid4()))
            await house.servicer.GetAlert(request, NOBODY)
        with pytest.raises(Rejected):
            await house.servicer.GetAlert(service_pb2.GetAlertRequest(tenant=house.tenant, alert_id="x"), NOBODY)

    async def test_every_measure_has_its_events(self, house: House) -> None:
        for minute in (0, 7):
            await house.ask(PYTHON, 300, minute=minute, minutes=5)
            at = START + timedelta(minutes=minute + 4)
            more: list[Any] = [embedded(house.tenant, unit_vector(n), at=at) for n in range(80)]
            more += [thumb(house.tenant, at=at) for _ in range(80)]
            more += [evaluated(house.tenant, {}, at=at) for _ in range(80)]
            await house.take(map(arrived, more))
            await house.look(minute + 6)
        found = {reading.measure for reading in (await report(house)).readings}
        missing = {Measure.TIERS, Measure.KINDS}
        assert found >= {int(measure) for measure in set(Measure) - missing}

    async def test_old_sketches_go(self, house: House) -> None:
        await house.settle_in()
        week = 7 * 24 * 60
        await house.ask(PYTHON, 100, minute=week + 10, minutes=2)
        await house.look(week + 15)
        assert await house.queries() == 100

    async def test_a_report_tells_of_the_looks_before(self, house: House) -> None:
        await shifted(house)
        found = await report(house)
        assert found.baseline.samples == 300
        assert len({point.at.ToJsonString() for point in found.history}) > 3
        earlier = service_pb2.GetReportRequest(tenant=house.tenant)
        earlier.at.FromDatetime(START + timedelta(minutes=8))
        then = await house.servicer.GetReport(earlier, NOBODY)
        assert then.window_until.ToDatetime(START.tzinfo) <= START + timedelta(minutes=8)
        assert {reading.drifted for reading in then.readings} == {False}


class TestInMemory(ServiceSuite):
    @pytest.fixture
    def house(self, tenant: str, _spans: None) -> House:
        return MemoryHouse(tenant)


@pytest.mark.real
class TestInPostgres(ServiceSuite):
    @pytest.fixture
    def house(self, tenant: str, opened: Database, _spans: None) -> House:
        return PostgresHouse(tenant, opened)


class ForgetfulBooks(MemoryBooks):
    """A store with a seeded bug: it does not see what was closed."""

    async def closed_until(self) -> None:
        return None


async def test_the_suite_catches_a_store_that_takes_late_events(tenant: str) -> None:
    house = MemoryHouse(tenant)
    house.desk.shelf[tenant] = ForgetfulBooks()
    with pytest.raises(AssertionError):
        await ServiceSuite().test_events_after_their_bucket_closed_are_counted_as_late(house)


@pytest.fixture
def _spans() -> None:
    """Spans that have ids, so that events carry a trace."""
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(TracerProvider())
