"""Runs, on stores in memory and in Postgres: planned as the policy allows, conducted by anybody, ended one way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from headrace import topics
from headrace.query.v1.query_pb2 import Trial, TrialKind
from headrace_database import Database
from headrace_feedback.interaction import Versioned
from headrace_feedback.running import conducting
from headrace_feedback.running.conducting import Conductor, Limits, Turn, Window
from headrace_feedback.running.runs import Arm, Excluded, Kind, Run, Setting, State, ask_id, pairs_of
from headrace_privacy import Tier, is_sealed
from headrace_privacy.policy import Purpose
from headrace_runtime.errors import Conflict, Denied, NotFound, Rejected

from services.feedback.tests.makers import answer, delivery
from services.feedback.tests.running_house import (
    DORA,
    INSTANT,
    LONGER,
    NOW,
    SHORTER,
    Asked,
    MemoryHouse,
    PostgresHouse,
    RunHouse,
    breaches,
    reply,
)

STRICT = {"tier": "TIER_2"}


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.real)])
def house(request: pytest.FixtureRequest, tenant: str) -> RunHouse:
    if request.param == "memory":
        return MemoryHouse(tenant)
    database: Database = request.getfixturevalue("opened")
    return PostgresHouse(tenant, database)


async def taken(house: RunHouse) -> tuple[Conductor, Turn]:
    conductor = house.conductor()
    turn = await conductor.take()
    assert turn is not None
    return conductor, turn


def stored(house: RunHouse, run: Run, asked: Asked) -> list[tuple[str, str, str]]:
    answers = [a for a in house.evaluations.answers if a.run_id == str(run.run_id)]
    return [(a.run_id, a.case_id, f"{a.interaction.variant} {a.setting}") for a in answers]


async def test_every_case_is_asked_of_every_arm_and_compared_with_the_answer_of_then(house: RunHouse) -> None:
    ids = await house.logged({}, {}, {})
    run = await house.plan(SHORTER, LONGER, Arm(SHORTER.variant, Setting.ZERO_SHOT))
    ended, asked = await house.finish(run)
    assert (ended.state, ended.cases, ended.total) == (State.DONE, 3, 9)
    assert (ended.progress.answered, ended.progress.failed, ended.progress.under_way) == (9, 0, 0)
    assert ended.ended_at == NOW
    assert len(asked.events) == 9
    assert breaches(asked.events, stored(house, run, asked)) == []
    assert house.evaluations.baselines == set(ids)
    assert len(house.evaluations.pairs) == 9
    assert {pair.first for pair in house.evaluations.pairs} == {None}


async def test_what_is_asked_is_the_question_as_it_rested_in_the_name_of_whoever_asked(house: RunHouse) -> None:
    (query_id,) = await house.logged({}, sealed=True)
    run = await house.plan(SHORTER)
    conductor, turn = await taken(house)
    await conductor.step(turn, Window())
    (event,) = await house.new_events()
    query = event.message.query
    assert query.trial == Trial(
        run_id=str(run.run_id),
        case_id=query_id,
        kind=TrialKind.TRIAL_KIND_REPLAY,
        variant="shorter",
        variant_version="2",
    )
    assert query.query_id == str(ask_id(run.run_id, query_id, SHORTER))
    assert (query.tenant, query.product, query.subject) == (house.tenant, "docs-search", "user-7")
    assert not query.hops
    opener = await house.vault.opener_for(event.message)
    assert is_sealed(event.message.text)
    assert opener.reveal(event.message.text, Tier.TIER_1).reveal() == "What is a headrace?"


async def test_a_question_that_was_plain_travels_sealed_where_its_answer_was_stricter(house: RunHouse) -> None:
    house.authorizer.grants.add(Purpose.EVALUATE)
    await house.logged(STRICT)  # as nobody's question may be, citing what is stricter
    await house.plan(SHORTER)
    conductor, turn = await taken(house)
    await conductor.step(turn, Window())
    (event,) = await house.new_events()
    assert is_sealed(event.message.text)
    assert "headrace" not in str(event.message.text)


async def test_few_are_under_way_at_a_time(house: RunHouse) -> None:
    await house.logged(*[{}] * 12)
    run = await house.plan(SHORTER)
    conductor, turn = await taken(house)
    window = Window()
    assert await conductor.step(turn, window)
    first = await house.new_events()
    assert len(first) == conducting.UNDER_WAY
    assert await conductor.step(turn, window)
    assert await house.new_events() == []
    await house.answered(first[0])
    assert await conductor.step(turn, window)
    assert len(await house.new_events()) == 1
    assert (await house.run(run)).progress.under_way == conducting.UNDER_WAY


async def test_the_same_seed_samples_the_same_and_another_others(house: RunHouse) -> None:
    await house.logged(*[{}] * 30)
    runs = [await house.plan(SHORTER, limit=10, seed=seed) for seed in (7, 7, 8)]
    samples = []
    for run in runs:
        async with house.ledger.unit(tenant=house.tenant) as unit:
            cases = await house.runs_on(unit).cases(run, first=0, most=100)
        samples.append([case.case_id for case in cases])
    assert samples[0] == samples[1] != samples[2]
    assert len(samples[0]) == 10


async def test_a_filter_is_obeyed(house: RunHouse) -> None:
    ids = await house.logged(
        {"query": {"product": "shop"}},
        {"routing": {"kind": "how-to"}},
        {"variant": {"name": "longer", "version": "1"}},
        {"completedAt": "2026-11-20T09:00:00Z"},
        {},
    )
    since = datetime.fromisoformat("2026-11-21T00:00:00+00:00")
    for wish, expected in (
        ({"product": "shop"}, {ids[0]}),
        ({"kind": "how-to"}, {ids[1]}),
        ({"variant": "longer"}, {ids[2]}),
        ({"until": since}, {ids[3]}),
        ({"since": since}, set(ids) - {ids[3]}),
        ({"query_ids": (UUID(ids[4]), uuid4())}, {ids[4]}),
    ):
        run = await house.plan(SHORTER, **wish)  # type: ignore[arg-type]
        async with house.ledger.unit(tenant=house.tenant) as unit:
            cases = await house.runs_on(unit).cases(run, first=0, most=100)
        assert {case.case_id for case in cases} == expected
    with pytest.raises(Conflict, match="nothing to ask"):
        await house.plan(SHORTER, kind="nobody's")


async def test_what_may_not_be_read_is_left_out_and_counted(house: RunHouse) -> None:
    await house.logged({}, STRICT, STRICT)
    run = await house.plan(SHORTER)
    assert run.cases == 1
    assert run.exclusions == (Excluded("no_grant", Tier.TIER_2, 2),)
    assert (await house.run(run)).exclusions == run.exclusions
    asked = {(use.role, use.subject, use.purpose, use.tenant) for use in house.authorizer.uses}
    assert asked == {("developer", "dora", Purpose.EVALUATE, house.tenant)}


async def test_a_run_of_which_nothing_may_be_read_is_denied_and_says_what_would_help(house: RunHouse) -> None:
    await house.logged(STRICT)
    with pytest.raises(Denied, match="headrace approvals request"):
        await house.plan(SHORTER)
    with pytest.raises(Denied, match="no grant changes that"):
        await house.plan(SHORTER, by=replace(DORA, role="sre"))


async def test_a_strict_document_makes_a_case_strict(house: RunHouse) -> None:
    chunk = {"chunkId": "c", "version": "1", "source": "letters", "documentId": "d", "tier": "TIER_2"}
    await house.logged({"retrieved": [chunk]})
    with pytest.raises(Denied):
        await house.plan(SHORTER)


async def test_a_variant_that_there_is_none_of_is_not_found(house: RunHouse) -> None:
    await house.logged({})
    with pytest.raises(NotFound):
        await house.plan(Arm(Versioned("nobody", "")))
    run = await house.plan(Arm(Versioned("shorter", "")))
    assert run.arms[0].variant.version == "2"


async def test_another_instance_goes_on_where_the_first_died(house: RunHouse) -> None:
    """The first is killed with eight under way, two of them answered; whoever comes asks no case twice."""
    await house.logged(*[{}] * 20)
    run = await house.plan(SHORTER, LONGER)
    conductor, turn = await taken(house)
    await conductor.step(turn, Window())
    before = Asked(await house.new_events())
    for event in before.events[:2]:
        await house.answered(event)
    assert await house.conductor().take() is None, "its turn is held"
    await pass_turn(house, turn)
    ended, after = await house.finish(run)
    again = set(before.ids()) & set(after.ids())
    assert len(again) == 6, "what was under way was asked once more, under the same ids"
    assert (ended.state, ended.progress.answered) == (State.DONE, 40)
    assert len(set(before.ids()) | set(after.ids())) == 40
    assert breaches([*before.events, *after.events], stored(house, run, after)) == []
    assert not await conductor.step(turn, Window()), "the first finds its turn gone"


async def pass_turn(house: RunHouse, turn: Turn) -> None:
    """Time passes without a heartbeat."""
    async with house.ledger.unit() as unit:
        await house.runs_on(unit).keep(turn.holder, turn.run_id, seconds=-1)


async def test_an_instance_that_ends_in_order_passes_its_runs_on_at_once(house: RunHouse) -> None:
    await house.logged(*[{}] * 12)
    run = await house.plan(SHORTER)
    async with house.conductor().conducting():
        async with asyncio.timeout(20):
            while not (await house.run(run)).progress.under_way:
                await asyncio.sleep(0.02)
        assert await house.conductor().take() is None
    house.clock.seconds += 0.001
    assert await house.conductor().take() is not None


async def test_ids_made_anew_would_be_noticed(house: RunHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seeded bug: a question's id is random, so a resumed run would ask twice what was under way."""
    await house.logged(*[{}] * 4)
    run = await house.plan(SHORTER)
    conductor, turn = await taken(house)
    await conductor.step(turn, Window())
    before = await house.new_events()
    original = conducting.to_event

    def with_an_id_of_its_own(run: Run, case: Any, ask: Any) -> Any:
        return original(run, case, replace(ask, query_id=uuid4()))

    monkeypatch.setattr(conducting, "to_event", with_an_id_of_its_own)
    await pass_turn(house, turn)
    second, turn = await taken(house)
    await second.resume(turn)
    after = await house.new_events()
    found = breaches([*before, *after], [])
    assert len(found) == 4
    assert all(str(run.run_id) in one for one in found)


async def test_two_conductors_of_one_run_do_not_come_to_the_same_case(house: RunHouse) -> None:
    """One that slept through the end of its turn wakes up beside its successor."""
    await house.logged(*[{}] * 3)
    run = await house.plan(SHORTER)
    async with house.ledger.unit(tenant=house.tenant) as unit:
        runs = house.runs_on(unit)
        assert await runs.begin(run, None, begun=0) is False
        assert await runs.begin(run, None, begun=0) is None


async def test_a_cancelled_run_stops_and_keeps_what_it_measured(house: RunHouse) -> None:
    await house.logged(*[{}] * 12)
    run = await house.plan(SHORTER)
    conductor, turn = await taken(house)
    window = Window()
    await conductor.step(turn, window)
    events = await house.new_events()
    await house.answered(events[0])
    async with house.ledger.unit(tenant=house.tenant) as unit:
        assert await house.runs_on(unit).end(run, State.CANCELLED, now=NOW)
    async with house.ledger.unit(tenant=house.tenant) as unit:
        assert not await house.runs_on(unit).end(run, State.DONE, now=NOW)
    assert not await conductor.step(turn, window)
    await house.answered(events[1])
    ended = await house.run(run)
    assert (ended.state, ended.progress.answered, ended.progress.failed) == (State.CANCELLED, 1, 7)
    assert len(house.evaluations.answers) == 1
    assert await house.conductor().take() is None


async def test_what_does_not_come_back_in_time_is_given_up_on(house: RunHouse) -> None:
    await house.logged({}, {})
    run = await house.plan(SHORTER, LONGER)
    conductor, turn = await taken(house)
    window = Window()
    await conductor.step(turn, window)
    events = await house.new_events()
    for event in events[:3]:
        await house.answered(event)
    house.clock.seconds += conducting.CASE_SECONDS + 1
    assert not await conductor.step(turn, window)
    ended = await house.run(run)
    assert (ended.state, ended.progress.answered, ended.progress.failed) == (State.DONE, 3, 1)
    assert len(house.evaluations.pairs) == 3


async def test_an_answer_that_is_late_is_welcome_while_the_run_goes_on(house: RunHouse) -> None:
    await house.logged({}, {})
    run = await house.plan(SHORTER)
    conductor, turn = await taken(house)
    await conductor.step(turn, Window())
    first, second = await house.new_events()
    house.clock.seconds += conducting.CASE_SECONDS + 1
    async with house.ledger.unit(tenant=house.tenant) as unit:
        assert len(await house.runs_on(unit).time_out(run, before=house.clock())) == 2
    await house.answered(first)
    progress = (await house.run(run)).progress
    assert (progress.answered, progress.failed) == (1, 1)
    del second


@pytest.mark.parametrize("reason", ["failed", "withheld"])
async def test_a_trial_that_could_not_be_answered_fails_and_ends_its_case(house: RunHouse, reason: str) -> None:
    await house.logged({})
    run = await house.plan(SHORTER, LONGER)
    conductor, turn = await taken(house)
    window = Window()
    await conductor.step(turn, window)
    first, second = await house.new_events()
    await house.answered(first, finishReason=reason)
    await house.answered(second)
    assert not await conductor.step(turn, window)
    ended = await house.run(run)
    assert (ended.state, ended.progress.answered, ended.progress.failed) == (State.DONE, 1, 1)
    assert len(house.evaluations.answers) == 1
    assert len(house.evaluations.pairs) == 1


async def test_the_same_answer_twice_counts_once(house: RunHouse) -> None:
    await house.logged({})
    run = await house.plan(SHORTER)
    conductor, turn = await taken(house)
    await conductor.step(turn, Window())
    (event,) = await house.new_events()
    message = reply(event.message)
    for _ in range(2):
        await house.consumers.on_trial(delivery(message, topics.ANSWER_TRIALED))
    assert (await house.run(run)).progress.answered == 1
    assert len(house.evaluations.answers) == 1


async def test_a_grant_that_ends_in_mid_run_ends_the_run(tenant: str) -> None:
    """Cases that were decided about together are asked for a moment; then the policy is asked again."""
    house = MemoryHouse(tenant, limits=replace(INSTANT, under_way=2))
    house.authorizer.grants.add(Purpose.EVALUATE)
    await house.logged(*[STRICT] * 6)
    run = await house.plan(SHORTER)
    conductor, turn = await taken(house)
    window = Window()
    await conductor.step(turn, window)
    first, second = await house.new_events()
    house.authorizer.grants.clear()
    await house.answered(first)
    house.clock.seconds += conducting.LEAVE_SECONDS
    assert not await conductor.step(turn, window)
    assert await house.new_events() == []
    await house.answered(second)
    ended = await house.run(run)
    assert (ended.state, ended.failure) == (State.FAILED, "grant_ended")
    assert (ended.progress.answered, ended.progress.failed) == (1, 1)
    assert len(house.evaluations.answers) == 1


async def test_a_case_that_is_erased_in_mid_run_is_not_asked_and_its_answer_not_stored(tenant: str) -> None:
    house = MemoryHouse(tenant, limits=replace(INSTANT, under_way=2))
    await house.logged(*[{}] * 4)
    run = await house.plan(SHORTER)
    conductor, turn = await taken(house)
    window = Window()
    await conductor.step(turn, window)
    first, second = await house.new_events()
    waiting = [case for case in window.cases.values() if case.place == 2]
    house.books.erase(first.message.query.trial.case_id)
    house.books.erase(waiting[0].case_id)
    await house.answered(first)
    await house.answered(second)
    assert await conductor.step(turn, window)
    (third,) = await house.new_events()
    await house.answered(third)
    assert not await conductor.step(turn, window)
    ended = await house.run(run)
    assert (ended.state, ended.progress.answered, ended.progress.failed) == (State.DONE, 2, 2)


async def test_a_shadow_is_stored_and_measured_by_itself(house: RunHouse) -> None:
    query_id = str(uuid4())
    shadow = answer(house.tenant, query_id, routing={"kind": "how-to"})
    shadow.query.trial.CopyFrom(
        Trial(run_id="shadow:how-to", case_id=str(uuid4()), kind=TrialKind.TRIAL_KIND_SHADOW, variant="v")
    )
    for _ in range(2):
        await house.consumers.on_trial(delivery(shadow, topics.ANSWER_TRIALED))
    (kept,) = house.evaluations.answers
    assert (kept.run_id, kept.kind, kept.interaction.routed.kind) == ("shadow:how-to", Kind.SHADOW, "how-to")


async def test_a_trial_that_does_not_say_of_what_is_refused(house: RunHouse) -> None:
    with pytest.raises(Rejected, match=r"query.trial.run_id: missing; query.trial.case_id: missing; query.trial.kind"):
        await house.consumers.on_trial(delivery(answer(house.tenant), topics.ANSWER_TRIALED))


async def test_an_answer_of_no_run_is_dropped(house: RunHouse) -> None:
    stray = answer(house.tenant)
    stray.query.trial.CopyFrom(
        Trial(run_id=str(uuid4()), case_id="c", kind=TrialKind.TRIAL_KIND_REPLAY, variant="v", variant_version="1")
    )
    await house.consumers.on_trial(delivery(stray, topics.ANSWER_TRIALED))
    assert house.evaluations.answers == []


async def test_the_time_of_a_trial_is_that_of_the_services_at_work(house: RunHouse) -> None:
    await house.logged({"routing": {"kind": "how-to"}})
    await house.finish(await house.plan(SHORTER))
    (kept,) = house.evaluations.answers
    assert kept.interaction.timings_ms == {"embedder": 5.0, "total": 5.0}
    assert kept.interaction.routed.kind == "how-to", "the kind is that of the case"


def a_run(kind: Kind, *arms: Arm) -> Run:
    return Run("t", uuid4(), kind, arms, 0, 1, DORA, NOW)


def test_an_evaluation_compares_with_its_first_arm() -> None:
    run = a_run(Kind.EVALUATION, SHORTER, LONGER, Arm(LONGER.variant, Setting.CLOSED_BOOK))
    ids = [ask_id(run.run_id, "c", arm) for arm in run.arms]
    assert [(p.first, p.second) for p in pairs_of(run, "c", [0, 1, 2])] == [(ids[0], ids[1]), (ids[0], ids[2])]
    assert pairs_of(run, "c", [1, 2]) == []


def test_an_id_is_of_run_case_variant_version_and_setting() -> None:
    run_id = uuid4()
    arms = [SHORTER, LONGER, Arm(SHORTER.variant, Setting.ZERO_SHOT), Arm(Versioned("shorter", "3"))]
    ids = {ask_id(run, case, arm) for run in (run_id, uuid4()) for case in ("a", "b") for arm in arms}
    assert len(ids) == 16
    assert ask_id(run_id, "a", SHORTER) == ask_id(run_id, "a", SHORTER)


async def test_runs_are_listed_newest_first_and_only_the_tenants(house: RunHouse) -> None:
    await house.logged({})
    first = await house.plan(SHORTER)
    house.clock.seconds += 1
    second = await house.plan(LONGER)
    async with house.ledger.unit(tenant=house.tenant) as unit:
        runs = house.runs_on(unit)
        assert [run.run_id for run in await runs.newest(house.tenant, 10)] == [second.run_id, first.run_id]
        assert [run.run_id for run in await runs.newest(house.tenant, 1)] == [second.run_id]
    async with house.ledger.unit(tenant="another") as unit:
        assert await house.runs_on(unit).get("another", first.run_id) is None


def test_limits_are_those_that_are_documented() -> None:
    assert Limits() == Limits(8, 600.0, 10.0, 10.0, 0.25)
    assert timedelta(seconds=conducting.TURN_SECONDS) < timedelta(seconds=conducting.CASE_SECONDS)
