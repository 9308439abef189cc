"""A model's way from a run to the archive, on books of either kind: every step, killed at every step."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import asyncpg
import pytest
from headrace_database import Database
from headrace_embedded import testing
from headrace_runtime.errors import Conflict, NotFound
from headrace_trainer.registry.evidence import Sample
from headrace_trainer.registry.models import Arm, Doing, Route, State, Variant
from headrace_trainer.registry.ports import Loaded
from headrace_trainer.registry.postgres import PostgresBooks
from headrace_trainer.registry.rollout import decide
from headrace_trainer.running.ports import Ended
from headrace_trainer.running.runs import Cause, Person, Target

from services.trainer.tests.registry.house import BEGIN, CHAMPION, House, Killed, moved, refused
from services.trainer.tests.registry.makers import a_model
from services.trainer.tests.registry.test_gate import own, served

ANNA = Person("developer", "anna")


async def test_a_run_registers_once(home: House) -> None:
    run = home.run()
    first, again = [await home.office.register(run, home.made(run)) for _ in range(2)]
    assert first == again
    assert [(change, because) for change, _, because in home.told()] == [("REGISTERED", "run")]
    model = await home.get(first)
    assert (model.state, model.tier, model.dataset_id) == (State.CANDIDATE, run.snapshot.tier, "d1")


async def test_the_gate_lets_a_sound_one_through_and_asks_only_once(home: House) -> None:
    run, name = await home.candidate()
    assert (await home.office.judge(run, name)).passed
    assert home.asking.begun == ["run 1"]
    model = await home.get(name)
    assert (model.variant, model.trial.champion) == (Variant("tuned", 1), CHAMPION)
    assert home.serving.variants[Variant("tuned", 1)] == model.version


async def test_the_gate_refuses_one_trained_on_shuffled_answers(home: House) -> None:
    home.asking.lines = {"as_served": served(), "own_words": own(key_facts=0.05, relevance=0.2, groundedness=0.2)}
    run = home.run()
    name = await home.office.register(run, home.made(run))
    verdict = await home.office.judge(run, name)
    assert (verdict.passed, verdict.failure) == (False, "gate_refused")
    model = await home.get(name)
    assert (model.state, model.ended_by) == (State.RETIRED, "gate")
    assert home.told()[-1] == ("RETIRED", name, "gate")
    await home.office.roll_out(run, name)
    await home.settle()
    assert home.serving.now() == {}
    with pytest.raises(Conflict, match="the gate refused"):
        await home.office.promote(home.tenant, name, ANNA, reason="", doing=Doing.PROMOTING)


async def test_what_inference_cannot_load_is_refused(home: House) -> None:
    run = home.run()
    name = await home.office.register(run, home.made(run))
    home.serving.models[name.partition("@")[2]] = Loaded("failed", "corrupt")
    assert (await home.office.judge(run, name)).failure == "not_loaded"
    assert (await home.get(name)).ended_by == "not_loaded corrupt"
    assert (await home.office.judge(run, name)).failure


async def test_a_snapshot_that_may_not_be_asked_opens_nothing(home: House) -> None:
    home.asking.refuse = refused()
    run = home.run()
    name = await home.office.register(run, home.made(run))
    assert not (await home.office.judge(run, name)).passed


async def test_must_pass_rows_are_asked_and_a_series_that_is_gone_is_no_way_around(home: House) -> None:
    home.loop.rules = replace(home.loop.rules, must_pass="gone")
    run = home.run()
    name = await home.office.register(run, home.made(run))
    assert not (await home.office.judge(run, name)).passed
    assert {line.rule for line in (await home.get(name)).gate.lines if not line.passed} == {"must_pass"}  # type: ignore[union-attr]


async def test_a_canary_takes_its_share_and_the_champion_stands_in(home: House) -> None:
    name = await home.canary()
    assert home.serving.now() == {"default 1": 0.75, "tuned 1": 0.25}
    assert home.serving.stored["*"][0].route.fallbacks == (CHAMPION,)  # type: ignore[union-attr]
    assert home.told()[-1] == ("CANARY", name, "gate")


async def test_a_sound_canary_is_promoted_and_the_last_good_version_stays(home: House) -> None:
    name = await home.live()
    assert home.serving.now() == {"tuned 1": 1.0, "default 1": 0.0}
    assert home.told()[-1] == ("PROMOTED", name, "evidence")
    assert "proven not worse by 5 points" in (await home.get(name)).rollout.because  # type: ignore[union-attr]


async def test_a_failing_canary_is_out_after_four_answers(home: House) -> None:
    name = await home.canary()
    await home.prove(name, canary=4, failing=4)
    await home.look()
    assert home.serving.now() == {}, "there was no route before it"
    assert home.told()[-1] == ("ROLLED_BACK", name, "failing")
    assert (await home.get(name)).state is State.RETIRED


async def test_a_canary_that_proves_nothing_is_out_when_its_time_is_over(home: House) -> None:
    name = await home.canary()
    await home.prove(name, canary=5)
    await home.look()
    assert (await home.get(name)).state is State.CANARY
    await home.look(seconds=home.loop.rules.canary_most_seconds)
    assert home.told()[-1] == ("ROLLED_BACK", name, "time_limit")
    assert "not proven" in (await home.get(name)).rollout.because  # type: ignore[union-attr]


async def test_a_proven_canary_waits_for_a_person_where_the_rules_say_so(home: House) -> None:
    home.loop.rules = replace(home.loop.rules, promote_by_itself=False)
    name = await home.canary()
    await home.prove(name)
    await home.look()
    assert (await home.get(name)).state is State.CANARY
    model = await home.office.promote(home.tenant, name, ANNA, reason="looks good", doing=Doing.PROMOTING)
    assert model.answers
    assert home.told()[-1] == ("PROMOTED", name, "person")


async def test_a_pause_stops_promotions_and_lets_what_fails_be_taken_out(home: House) -> None:
    sound = await home.canary()
    home.loop.paused = True
    await home.prove(sound)
    await home.look()
    assert (await home.get(sound)).state is State.CANARY
    assert await home.office.take_out(home.tenant) == [sound]
    await home.settle()
    assert home.told()[-1] == ("ROLLED_BACK", sound, "person")
    run, name = await home.candidate()
    await home.office.roll_out(run, name)
    await home.settle()
    assert (await home.get(name)).state is State.CANDIDATE
    home.loop.paused = False
    await home.look(seconds=3)
    assert (await home.get(name)).state is State.CANARY, "it goes on where it waited"


async def test_a_person_goes_ahead_of_a_pause(home: House) -> None:
    home.loop.paused = True
    run, name = await home.candidate()
    await home.office.roll_out(run, name)
    await home.settle()
    assert (await home.office.promote(home.tenant, name, ANNA, reason="", doing=Doing.PROMOTING)).answers


async def test_the_champion_that_the_rules_name_is_the_version_that_answers(home: House) -> None:
    home.loop.rules = replace(home.loop.rules, champion_variant="short")
    home.serving.variants |= {Variant("short", 1): "", Variant("short", 2): ""}
    home.serving.put("*", Route("*", (Arm(Variant("short", 1), 1.0),)))
    await home.canary()
    assert home.serving.now() == {"short 1": 0.75, "tuned 1": 0.25}


async def test_a_newer_canary_takes_the_olders_place(home: House) -> None:
    older = await home.canary()
    newer = await home.canary(dataset="d2")
    await home.look()
    assert (await home.get(older)).ended_by == "replaced"
    assert home.serving.now() == {"default 1": 0.75, "tuned 2": 0.25}
    assert (await home.get(newer)).state is State.CANARY


async def test_routes_of_kinds_are_shared_where_the_champion_answers(home: House) -> None:
    other = Variant("short", 3)
    home.serving.put("*", Route("*", (Arm(CHAMPION, 2.0), Arm(other, 2.0))))
    home.serving.put("how-to", Route("how-to", (Arm(CHAMPION, 1.0),)))
    home.serving.put("billing", Route("billing", (Arm(other, 1.0),)))
    await home.canary()
    assert home.serving.now() == {"default 1": 0.25, "short 3": 0.5, "tuned 1": 0.25}
    assert home.serving.now("how-to") == {"default 1": 0.75, "tuned 1": 0.25}
    assert home.serving.now("billing") == {"short 3": 1.0}


async def test_only_the_kinds_that_the_rules_name(home: House) -> None:
    home.loop.rules = replace(home.loop.rules, canary_kinds=("how-to",))
    home.serving.put("*", Route("*", (Arm(CHAMPION, 1.0),)))
    name = await home.canary()
    assert home.serving.now() == {"default 1": 1.0}
    assert home.serving.now("how-to") == {"default 1": 0.75, "tuned 1": 0.25}
    await home.office.roll_back(home.tenant, name, ANNA, reason="")
    assert home.serving.now("how-to") == {}


async def test_a_route_that_a_person_changed_meanwhile_is_left_alone(home: House) -> None:
    home.serving.put("*", Route("*", (Arm(CHAMPION, 1.0),)))
    name = await home.canary()
    theirs = moved(home.serving.stored["*"][0].route, Variant("short", 3))  # type: ignore[arg-type]
    home.serving.put("*", theirs)
    await home.prove(name)
    await home.look()
    assert home.serving.now() == {"short 3": 1.0}
    assert home.told()[-1] == ("ROLLED_BACK", name, "person")
    assert "theirs stand" in (await home.get(name)).rollout.because  # type: ignore[union-attr]


async def test_a_change_that_slips_in_while_a_route_is_written_is_put_back(home: House) -> None:
    home.serving.put("*", Route("*", (Arm(CHAMPION, 1.0),)))
    theirs = Route("*", (Arm(Variant("short", 3), 1.0),))
    home.serving.meanwhile = lambda: home.serving.put("*", theirs) and None
    await home.canary()
    assert home.serving.now() == {"short 3": 1.0}


async def test_rolling_the_live_one_back_restores_the_one_before(home: House) -> None:
    first = await home.live()
    second = await home.live(dataset="d2")
    assert (await home.get(first)).stands_by
    assert home.serving.now() == {"tuned 2": 1.0, "tuned 1": 0.0, "default 1": 0.0}
    model, live = await home.office.roll_back(home.tenant, "live", ANNA, reason="people complain")
    assert (model.model, live) == (second, first)
    assert home.serving.now() == {"tuned 1": 1.0, "default 1": 0.0}
    assert home.told()[-2:] == [("ROLLED_BACK", second, "person"), ("PROMOTED", first, "person")]
    model, live = await home.office.roll_back(home.tenant, "live", ANNA, reason="")
    assert (model.model, live) == (first, "base")
    assert home.serving.now() == {}


async def test_the_one_before_the_last_is_let_go(home: House) -> None:
    first, second, third = [await home.live(dataset=f"d{number}") for number in range(3)]
    assert ("RETIRED", first, "replaced") in home.told()
    assert (await home.get(second)).stands_by
    assert (await home.get(third)).previous == second
    assert home.serving.now() == {"tuned 3": 1.0, "tuned 2": 0.0, "default 1": 0.0}


async def test_promoting_at_once_needs_no_canary(home: House) -> None:
    _, name = await home.candidate()
    model = await home.office.promote(home.tenant, name[-16:-6], ANNA, reason="", doing=Doing.PROMOTING)
    assert model.answers
    assert home.serving.now() == {"tuned 1": 1.0, "default 1": 0.0}


async def test_what_may_not_be_promoted(home: House) -> None:
    with pytest.raises(NotFound):
        await home.office.promote(home.tenant, "live", ANNA, reason="", doing=Doing.PROMOTING)
    _, name = await home.candidate()
    home.serving.models[name.partition("@")[2]] = Loaded("loading")
    with pytest.raises(Conflict, match="has not loaded"):
        await home.office.promote(home.tenant, name, ANNA, reason="", doing=Doing.PROMOTING)
    with pytest.raises(Conflict, match="nothing to roll back"):
        await home.office.roll_back(home.tenant, name, ANNA, reason="")


@pytest.mark.parametrize("kill_at", range(6))
async def test_killed_at_any_moment_a_rollout_ends_the_same(home: House, kill_at: int) -> None:
    """Before and after every write of a route, from the canary's beginning to its promotion: what is done and what is
    said is what would have been, once."""
    home.serving.put("how-to", Route("how-to", (Arm(CHAMPION, 1.0),)))
    home.serving.put("*", Route("*", (Arm(CHAMPION, 1.0),)))
    home.serving.kill_at = kill_at
    run, name = await home.candidate()
    async with surviving(home):
        await home.office.roll_out(run, name)
        await home.settle()
    await home.look(seconds=30)
    assert (await home.get(name)).state is State.CANARY
    await home.prove(name)
    async with surviving(home):
        await home.look()
    await home.look(seconds=30)
    assert home.serving.kill_at is None, "it was killed"
    assert (await home.get(name)).answers
    assert home.serving.now() == home.serving.now("how-to") == {"tuned 1": 1.0, "default 1": 0.0}
    assert [change for change, _, _ in home.told()] == ["REGISTERED", "CANARY", "PROMOTED"]


@pytest.mark.parametrize("kill_at", range(2, 6))
async def test_killed_while_rolling_back_it_ends_as_it_was_found(home: House, kill_at: int) -> None:
    found = Route("*", (Arm(CHAMPION, 1.0),), fallbacks=(Variant("short", 3),))
    home.serving.put("*", found)
    home.serving.put("how-to", Route("how-to", (Arm(CHAMPION, 1.0),)))
    home.serving.kill_at = kill_at
    run, name = await home.candidate()
    async with surviving(home):
        await home.office.roll_out(run, name)
        await home.settle()
    await home.look(seconds=30)
    await home.prove(name, canary=6, failing=6)
    async with surviving(home):
        await home.look()
    await home.look(seconds=30)
    assert home.serving.kill_at is None, "it was killed"
    assert found.same_as(home.serving.stored["*"][0].route)
    assert home.serving.now("how-to") == {"default 1": 1.0}
    assert [change for change, _, _ in home.told()] == ["REGISTERED", "CANARY", "ROLLED_BACK"]


async def test_what_a_person_rolls_back_beside_a_canary_is_asked_nothing_more(home: House) -> None:
    """The canary's routes are its own to write: it is held against what answers again, anew."""
    name = await home.live()
    canary = await home.canary(dataset="d2")
    await home.prove(canary, canary=8)
    await home.look()
    after, answers = await home.office.roll_back(home.tenant, name, ANNA, reason="It is wrong.")
    assert (after.state, answers) == (State.RETIRED, "base")
    assert home.serving.now() == {"default 1": 0.75, "tuned 2": 0.25}
    held = (await home.get(canary)).rollout
    assert (held.champion, held.answers) == (CHAMPION, 0)
    await home.prove(canary)
    await home.look()
    assert home.serving.now() == {"tuned 2": 1.0, "default 1": 0.0}
    await home.office.roll_back(home.tenant, canary, ANNA, reason="")
    assert home.serving.now() == {"default 1": 1.0}


@pytest.mark.parametrize("kill_at", range(4))
async def test_killed_while_its_champion_goes_a_canary_names_it_no_more(home: House, kill_at: int) -> None:
    home.serving.put("how-to", Route("how-to", (Arm(CHAMPION, 1.0),)))
    home.serving.put("*", Route("*", (Arm(CHAMPION, 1.0),)))
    name = await home.live()
    canary = await home.canary(dataset="d2")
    home.serving.kill_at = 2 * home.serving.writes + kill_at
    async with surviving(home):
        await home.office.roll_back(home.tenant, name, ANNA, reason="")
    await home.look(seconds=30)
    assert home.serving.kill_at is None, "it was killed"
    assert home.serving.now() == home.serving.now("how-to") == {"default 1": 0.75, "tuned 2": 0.25}
    assert (await home.get(canary)).state is State.CANARY


async def test_a_person_gives_one_everything_and_the_canary_beside_it_goes(home: House) -> None:
    await home.live()
    canary = await home.canary(dataset="d2")
    _, chosen = await home.candidate(dataset="d3")
    assert (await home.office.promote(home.tenant, chosen, ANNA, reason="", doing=Doing.PROMOTING)).answers
    assert home.serving.now() == {"tuned 3": 1.0, "tuned 1": 0.0, "default 1": 0.0}
    assert ("ROLLED_BACK", canary, "replaced") in home.told()


@asynccontextmanager
async def surviving(home: House) -> AsyncIterator[None]:
    """Another process goes on once this one was killed: its turn is over then."""
    try:
        yield
    except Killed:
        home.restart()


def erased(home: House, dataset: str, number: int = 1) -> Ended:
    """A snapshot of which something was erased."""
    return Ended(home.tenant, dataset, erased=True, by=f"erasure {number}", ended_at=home.clock.now)


async def erase(home: House, dataset: str, number: int = 1) -> None:
    """As the event's consumer does."""
    async with home.ledger.unit(tenant=home.tenant) as unit:
        await home.office.dataset_ended(unit, erased(home, dataset, number))
    await home.settle()


async def test_a_live_model_that_learned_from_the_erased_answers_until_one_takes_its_place(home: House) -> None:
    name = await home.live()
    await erase(home, "d1")
    await erase(home, "d1")
    assert [(cause, because) for cause, because, _ in home.loop.causes] == [(Cause.ERASURE, ("erasure 1",))]
    model = await home.get(name)
    assert model.answers
    assert (model.erasures, model.is_condemned) == (("erasure 1",), True)
    after = await home.live(dataset="without")
    await home.look()
    gone = await home.get(name)
    assert gone.deleted_at is not None
    assert gone.replaced_by == after
    assert home.weights.deleted == [gone.address]
    assert home.serving.now() == {"tuned 2": 1.0, "default 1": 0.0}, "the champion that stands in is not the erased"
    changes = [(change, of) for change, of, _ in home.told() if of == name]
    assert changes[-3:] == [("CONDEMNED", name), ("RETIRED", name), ("DELETED", name)]


async def test_what_replaces_a_condemned_one_is_held_against_what_would_answer_without_it(home: House) -> None:
    name = await home.live()
    _, sound = await home.candidate(dataset="d2")
    assert (await home.get(sound)).trial.champion == (await home.get(name)).variant
    await erase(home, "d1")
    _, after = await home.candidate(dataset="without")
    assert (await home.get(after)).trial.champion == CHAMPION


async def test_a_condemned_one_is_no_bar_for_the_canary_that_replaces_it(home: House) -> None:
    name = await home.live()
    await erase(home, "d1")
    canary = await home.canary(dataset="without")
    assert home.serving.now() == {"default 1": 0.0, "tuned 1": 0.75, "tuned 2": 0.25}, "it answers on until then"
    await home.prove(canary, refusing=130)
    await home.look()
    assert (await home.get(canary)).answers
    assert (await home.get(name)).state is State.RETIRED


async def test_at_the_deadline_a_condemned_one_goes_from_beside_the_canary_too(home: House) -> None:
    name = await home.live()
    await erase(home, "d1")
    canary = await home.canary(dataset="without")
    await home.look(seconds=home.loop.rules.erasure_seconds + 1)
    for _ in range(3):
        await home.look()
    assert (await home.get(name)).deleted_at is not None
    # Whoever has the first turn writes the route last: the sound one's, or none, which comes to the same.
    assert home.serving.now() in ({"default 1": 1.0}, {})
    assert (await home.get(canary)).state is State.RETIRED


async def test_at_the_deadline_a_young_canary_goes_on_beside_what_answers_then(home: House) -> None:
    name = await home.live()
    await erase(home, "d1")
    await home.look(seconds=home.loop.rules.erasure_seconds - 100)
    canary = await home.canary(dataset="without")
    await home.look(seconds=101)
    await home.look()
    assert (await home.get(name)).deleted_at is not None
    assert home.serving.now() == {"default 1": 0.75, "tuned 2": 0.25}
    await home.prove(canary, refusing=130)
    await home.look()
    assert home.told()[-1] == ("ROLLED_BACK", canary, "evidence"), "it is held against a sound one again"
    assert home.serving.now() == {"default 1": 1.0}


async def test_one_that_refuses_more_than_a_sound_champion_is_out(home: House) -> None:
    await home.live()
    canary = await home.canary(dataset="d2")
    await home.prove(canary, refusing=130)
    await home.look()
    assert home.told()[-1] == ("ROLLED_BACK", canary, "evidence")


async def test_at_the_deadline_it_goes_back_to_the_base(home: House) -> None:
    name = await home.live()
    await erase(home, "d1")
    await home.look(seconds=home.loop.rules.erasure_seconds + 1)
    await home.look()
    gone = await home.get(name)
    assert (gone.state, gone.replaced_by) == (State.RETIRED, "base")
    assert home.weights.deleted == [gone.address]
    assert home.serving.now() == {}


async def test_a_candidate_and_a_canary_go_at_once(home: House) -> None:
    _, candidate = await home.candidate()
    canary = await home.canary(dataset="d2")
    await erase(home, "d1")
    await erase(home, "d2")
    await home.look()
    for name in (candidate, canary):
        assert (await home.get(name)).deleted_at is not None
    assert home.serving.now() == {}
    with pytest.raises(Conflict, match="erased"):
        await home.office.promote(home.tenant, candidate, ANNA, reason="", doing=Doing.PROMOTING)


async def test_one_that_stands_by_is_taken_out_of_the_routes(home: House) -> None:
    first = await home.live()
    await home.live(dataset="d2")
    await erase(home, "d1")
    await home.look()
    assert (await home.get(first)).deleted_at is not None
    assert home.serving.now() == {"tuned 2": 1.0, "default 1": 0.0}
    _, live = await home.office.roll_back(home.tenant, "live", ANNA, reason="")
    assert live == "base"
    assert home.serving.now() == {"default 1": 1.0}


async def test_a_grant_that_ended_condemns_nothing(home: House) -> None:
    name = await home.live()
    ended = replace(erased(home, "d1"), erased=False, by="grant 1")
    async with home.ledger.unit(tenant=home.tenant) as unit:
        await home.office.dataset_ended(unit, ended)
    assert not (await home.get(name)).is_condemned


async def test_turns_are_taken_once_and_again_when_their_holder_is_gone(home: House) -> None:
    one, other = uuid4(), uuid4()
    async with home.shelf.open(home.tenant) as (_, books):
        await books.put(home.tenant, "m@1", due_at=BEGIN, watched=1)
        assert await books.take(one, now=BEGIN, seconds=20) == (home.tenant, "m@1")
        assert await books.take(other, now=BEGIN, seconds=20) is None
        later = home.clock.now.replace(minute=5)
        assert await books.take(other, now=later, seconds=20) == (home.tenant, "m@1")
        await books.release(one, home.tenant, "m@1", due_at=BEGIN)
        assert await books.take(one, now=later, seconds=20) is None, "whoever lost a turn gives nothing back"
        await books.put(home.tenant, "m@1", due_at=BEGIN, watched=0)
        await books.release(other, home.tenant, "m@1", due_at=later.replace(year=2030))
        assert await books.take(one, now=later, seconds=20) == (home.tenant, "m@1"), "it was made due meanwhile"
        assert (home.tenant, "m@1") not in await books.watched()
        await books.drop(home.tenant, "m@1")


@pytest.mark.real
async def test_one_turn_is_taken_at_a_time_whatever_the_planner_believes(
    alone: Database, database: testing.Database, tenant: str
) -> None:
    """Statistics of one row are what a canary that ran by itself leaves behind."""
    several = [f"m@{number}" for number in range(1, 5)]
    async with alone.transaction() as connection:
        await PostgresBooks(connection).put(tenant, several[0], due_at=BEGIN, watched=1)
    superuser = await asyncpg.connect(database.superuser)
    await superuser.execute("VACUUM ANALYZE trainer.model_turns")
    await superuser.close()
    async with alone.transaction() as connection:
        books = PostgresBooks(connection)
        for name in several[1:]:
            await books.put(tenant, name, due_at=BEGIN, watched=1)
        taken = [await books.take(uuid4(), now=BEGIN, seconds=20) for _ in several]
    assert taken == [(tenant, name) for name in several]


async def test_standing_is_told_to_runs(home: House) -> None:
    live = await home.live()
    canary = await home.canary(dataset="d2")
    async with home.ledger.unit(tenant=home.tenant) as unit:
        standing = await home.office.standing(unit, home.tenant)
    assert (standing.live, standing.canary) == ({Target.GENERATOR: live}, canary)


def test_nothing_is_decided_of_what_has_not_begun() -> None:
    assert decide(a_model(), Sample((), (), 0.1), now=BEGIN, paused=False).does == "goes_on"
