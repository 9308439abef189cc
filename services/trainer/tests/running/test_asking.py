"""Causes become runs: two at once are one, what is missing waits for its steward, and the rules say how long."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from headrace import topics
from headrace.drift.v1.drift_pb2 import Alert, AlertState, DriftDetected, Explanation, Lever, Slice
from headrace.feedback.v1.datasets_pb2 import DatasetQuery
from headrace.privacy.v1.privacy_pb2 import PURPOSE_TRAIN
from headrace_runtime.errors import Rejected
from headrace_telemetry.tracing import extract
from headrace_trainer.running.rules import Moment, Rules, Used, hindrance
from headrace_trainer.running.runs import BY_ITSELF, Cause, Recipe, State, Target
from opentelemetry import context

from services.trainer.tests.running.house import DORA, House, delivery_of

ALERT_TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
STEWARD_TRACE = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def alert(
    tenant: str, lever: Lever, *, alert_id: str = "", state: AlertState = AlertState.ALERT_STATE_OPEN
) -> DriftDetected:
    return DriftDetected(
        alert=Alert(
            alert_id=alert_id or str(uuid4()),
            slice=Slice(tenant=tenant),
            explanation=Explanation(lever=lever),
            state=state,
        )
    )


async def test_two_causes_at_once_are_one_run(house: House) -> None:
    first, second = await asyncio.gather(house.asked(Cause.DRIFT, "alert a"), house.asked(Cause.ERASURE, "erasure e"))
    assert first.run_id == second.run_id
    (run,) = await house.runs()
    assert sorted(run.causes) == [Cause.DRIFT, Cause.ERASURE]
    assert sorted(run.because) == ["alert a", "erasure e"]
    assert run.by == BY_ITSELF


async def test_a_cause_that_came_before_is_none(house: House) -> None:
    cause_id = uuid4()
    assert await house.ask(Cause.DRIFT, cause_id=cause_id) is not None
    assert await house.ask(Cause.DRIFT, cause_id=cause_id) is None
    assert len(await house.runs()) == 1


async def test_a_run_waits_for_more_causes_and_a_person_for_none(house: House) -> None:
    await house.put_rules(automatic=True, debounce_seconds=60)
    run = await house.asked(Cause.DRIFT)
    assert run.begin_at is not None
    assert run.begin_at - run.created_at == timedelta(seconds=60)
    assert not await house.conduct()
    await house.pass_time(30)
    folded = await house.asked(Cause.SCHEDULE)
    assert folded.run_id == run.run_id
    assert not await house.conduct()
    await house.pass_time(31)
    assert (await house.finish(run)).state is State.DONE
    again = await house.asked(Cause.DRIFT)
    person = await house.asked(Cause.PERSON)
    assert (person.run_id, person.by) == (again.run_id, DORA)
    assert (await house.finish(person)).state is State.DONE


@pytest.mark.parametrize(("seconds", "begins"), [(20, True), (600, False)])
async def test_a_run_that_waits_does_so_as_long_as_the_newest_rules_say(
    house: House, seconds: int, begins: bool
) -> None:
    await house.put_rules(automatic=True, debounce_seconds=60)
    run = await house.asked(Cause.DRIFT)
    await house.pass_time(30)
    await house.put_rules(automatic=True, debounce_seconds=seconds)
    found = await house.run(run)
    assert found.begin_at == found.created_at + timedelta(seconds=seconds)
    await house.pass_time(31)
    assert bool(await house.conduct()) is begins


async def test_rules_hold_no_person_up(house: House) -> None:
    run = await house.asked(Cause.PERSON)
    await house.put_rules(automatic=True, debounce_seconds=600)
    assert (await house.finish(run)).state is State.DONE


async def test_a_persons_word_goes_before_the_rules(house: House) -> None:
    rules_query = DatasetQuery(purpose=PURPOSE_TRAIN, limit=10).SerializeToString()
    await house.put_rules(automatic=True, query=rules_query)
    run = await house.asked(Cause.DRIFT)
    assert (run.query, run.recipe) == (rules_query, Recipe())
    recipe = Recipe(epochs=1.0, rank=4)
    run = await house.asked(Cause.PERSON, query=b"", recipe=recipe, base="tiny", seed=7)
    assert (run.query, run.recipe, run.base.name, run.seed) == (b"", recipe, "tiny", 7)
    assert await house.run(run) == run


async def test_missing_documents_wait_for_the_steward_and_the_run_is_in_the_alerts_trace(house: House) -> None:
    await house.put_rules(automatic=True)
    noticed = alert(house.tenant, Lever.LEVER_DOCUMENTS)
    with within(ALERT_TRACE):
        await house.consumers.on_drift(delivery_of(noticed, topics.DRIFT_DETECTED))
    assert list(await house.runs()) == []
    await house.pass_time(1)
    run = await house.asked(Cause.STEWARD, "document manual/joins", traceparent=STEWARD_TRACE)
    assert run.causes == (Cause.DRIFT, Cause.STEWARD)
    assert run.because == (f"alert {noticed.alert.alert_id}", "document manual/joins")
    assert run.traceparent == ALERT_TRACE


@contextmanager
def within(traceparent: str) -> Iterator[None]:
    """As the bus has it when it hands over a record: within the trace of who published it."""
    token = context.attach(extract({"traceparent": traceparent}))
    try:
        yield
    finally:
        context.detach(token)


async def test_an_alert_that_closes_waits_no_more(house: House) -> None:
    await house.put_rules(automatic=True)
    noticed = alert(house.tenant, Lever.LEVER_DOCUMENTS)
    await house.consumers.on_drift(delivery_of(noticed, topics.DRIFT_DETECTED))
    noticed.alert.state = AlertState.ALERT_STATE_CLOSED
    await house.consumers.on_drift(delivery_of(noticed, topics.DRIFT_DETECTED))
    assert (await house.asked(Cause.STEWARD)).causes == (Cause.STEWARD,)


@pytest.mark.parametrize(
    ("lever", "starts"),
    [(Lever.LEVER_PROMPT, True), (Lever.LEVER_TUNING, True), (Lever.LEVER_UNSPECIFIED, False)],
)
async def test_drift_starts_a_run_where_one_can_help(house: House, lever: Lever, *, starts: bool) -> None:
    await house.put_rules(automatic=True)
    await house.consumers.on_drift(delivery_of(alert(house.tenant, lever), topics.DRIFT_DETECTED))
    assert [run.causes for run in await house.runs()] == [(Cause.DRIFT,)] * starts


async def test_nothing_starts_by_itself_where_the_rules_do_not_say_so(house: House) -> None:
    for lever in (Lever.LEVER_TUNING, Lever.LEVER_PROMPT, Lever.LEVER_UNSPECIFIED):
        await house.consumers.on_drift(delivery_of(alert(house.tenant, lever), topics.DRIFT_DETECTED))
    async with house.ledger.unit(tenant=house.tenant) as unit:
        target, cause = Target.GENERATOR, Cause.ERASURE
        assert await house.loop.add_cause(unit, house.tenant, target, cause, because=(), cause_id=uuid4()) is None
        assert await house.books_on(unit).held(house.tenant, target) == []
    await house.consumers.on_drift(delivery_of(alert(house.tenant, Lever.LEVER_DOCUMENTS), topics.DRIFT_DETECTED))
    assert list(await house.runs()) == []


async def test_an_alert_without_an_id_or_a_tenant_is_refused(house: House) -> None:
    with pytest.raises(Rejected):
        await house.consumers.on_drift(delivery_of(DriftDetected(), topics.DRIFT_DETECTED))


async def test_drift_has_trained_what_the_rules_name(house: House) -> None:
    await house.put_rules(automatic=True, targets=(Target.GENERATOR, Target.KINDS))
    tuning = alert(house.tenant, Lever.LEVER_TUNING)
    for _ in range(2):
        await house.consumers.on_drift(delivery_of(tuning, topics.DRIFT_DETECTED))
    runs = await house.runs()
    assert {run.target for run in runs} == {Target.GENERATOR, Target.KINDS}
    assert len(runs) == 2


async def test_the_schedule_has_trained_what_the_rules_name(house: House) -> None:
    await house.put_rules(automatic=True, schedule_seconds=3600, targets=(Target.EMBEDDER, Target.KINDS))
    await house.pass_time(3601)
    await house.conductor().start_scheduled()
    assert {run.target for run in await house.runs()} == {Target.EMBEDDER, Target.KINDS}


async def test_the_schedule_starts_runs(house: House) -> None:
    await house.put_rules(automatic=True, schedule_seconds=3600, debounce_seconds=1)
    conductor = house.conductor()
    await conductor.start_scheduled()
    assert list(await house.runs()) == []
    await house.pass_time(3601)
    await conductor.start_scheduled()
    await conductor.start_scheduled()
    assert [run.causes for run in await house.runs()] == [(Cause.SCHEDULE,)]
    await house.put_rules(automatic=False, schedule_seconds=3600)
    await house.pass_time(3601)
    await conductor.start_scheduled()
    assert len(await house.runs()) == 1


@pytest.mark.parametrize(
    ("moment", "by_person", "hindered"),
    [
        (Moment(0, False, False, Used()), False, ""),
        (Moment(5, False, False, Used()), False, "early"),
        (Moment(5, False, False, Used(9, 1e9)), True, ""),
        (Moment(0, True, False, Used()), True, "paused"),
        (Moment(0, False, True, Used()), True, "under_way"),
        (Moment(0, False, False, Used(runs=4)), False, "runs"),
        (Moment(0, False, False, Used(compute_seconds=14_400)), False, "compute"),
    ],
)
def test_what_keeps_a_run_from_beginning(moment: Moment, hindered: str, *, by_person: bool) -> None:
    assert hindrance(Rules(), moment, by_person=by_person) == hindered
