"""An embedder's way from a run to the archive, on books of either kind: judged by search, switched at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from headrace_runtime.errors import Conflict, Denied, Unavailable
from headrace_trainer.registry.models import Doing, State
from headrace_trainer.registry.ports import HOUSE, Found, Loaded, Question
from headrace_trainer.registry.ranks import Ranked, lines_of, place_of
from headrace_trainer.running.runs import Cause, Person, Target

from services.trainer.tests.registry.house import House, refused
from services.trainer.tests.registry.test_lifecycle import erase, surviving

ANNA = Person("developer", "anna")


async def embedder(home: House, *, dataset: str = "d1") -> str:
    """One that the gate let through, and that nobody is searched by yet."""
    _, name = await home.candidate(dataset=dataset, target=Target.EMBEDDER)
    # The next one is better again.
    home.indexes.places |= {name: home.indexes.places.get(name, 1), HOUSE: 9}
    return name


async def live(home: House, *, dataset: str = "d1") -> str:
    """One that answers. What it finds second the next one finds first."""
    name = await embedder(home, dataset=dataset)
    assert (await home.office.promote(home.tenant, name, ANNA, reason="", doing=Doing.PROMOTING)).answers
    home.indexes.places[name] = 2
    return name


async def judged(home: House) -> tuple[str, set[str]]:
    """A candidate's name, and the rules that it did not hold."""
    run = home.run(target=Target.EMBEDDER)
    name = await home.office.register(run, home.made(run))
    await home.office.judge(run, name)
    gate = (await home.get(name)).gate
    assert gate is not None
    return name, {line.rule for line in gate.lines if not line.passed}


async def test_what_finds_better_passes_and_is_switched_to_once(home: House) -> None:
    run, name = await home.candidate(target=Target.EMBEDDER)
    model = await home.get(name)
    assert model.gate is not None
    assert model.gate.champion == "the house's embedder"
    assert "went from 0.333 to 1.000" in model.gate.lines[0].sentence
    await home.office.roll_out(run, name)
    await home.settle()
    model = await home.get(name)
    assert (model.answers, model.rollout, model.previous) == (True, None, "base")
    assert home.indexes.switched == [name]
    assert [change for change, _, _ in home.told()] == ["REGISTERED", "PROMOTED"]
    assert home.told()[-1] == ("PROMOTED", name, "gate")


async def test_what_finds_no_better_is_refused(home: House) -> None:
    home.indexes.places[HOUSE] = 1
    _, failed = await judged(home)
    assert failed == {"gain"}
    run = home.run(target=Target.EMBEDDER)
    made = home.made(run)
    home.indexes.places[made.model] = 9
    name = await home.office.register(run, made)
    verdict = await home.office.judge(run, name)
    assert (verdict.passed, verdict.failure) == (False, "gate_refused")
    refusing = {line.rule for line in (await home.get(name)).gate.lines if not line.passed}  # type: ignore[union-attr]
    assert refusing == {"gain", "reciprocal_rank", "recall_8"}
    with pytest.raises(Conflict, match="the gate refused"):
        await home.office.promote(home.tenant, name, ANNA, reason="", doing=Doing.PROMOTING)


async def test_too_few_questions_open_nothing(home: House) -> None:
    home.questions.count = 12
    assert (await judged(home))[1] == {"gain", "reciprocal_rank", "recall_8"}
    home.questions.refuse = Denied("a grant ended")
    assert "gain" in (await judged(home))[1]
    home.questions.refuse = refused()
    assert "gain" in (await judged(home))[1]


async def test_a_must_pass_row_that_the_live_one_finds_may_not_be_lost(home: House) -> None:
    home.loop.rules = replace(home.loop.rules, must_pass="ours")
    assert (await judged(home))[1] == set()
    home.loop.rules = replace(home.loop.rules, must_pass="gone")
    assert (await judged(home))[1] == {"must_pass"}


async def test_weights_that_cannot_be_loaded_are_refused(home: House) -> None:
    run = home.run(target=Target.EMBEDDER)
    made = home.made(run)
    home.indexes.indexes[made.model] = Loaded("failed", "corrupt", 0, 9)
    name = await home.office.register(run, made)
    assert (await home.office.judge(run, name)).failure == "not_loaded"
    assert (await home.get(name)).ended_by == "not_loaded corrupt"


async def test_an_index_that_stalls_is_waited_for_later(home: House) -> None:
    run = home.run(target=Target.EMBEDDER)
    made = home.made(run)
    home.indexes.indexes[made.model] = Loaded("loading", "unavailable", 3, 9)
    name = await home.office.register(run, made)
    with pytest.raises(Unavailable):
        await home.office.judge(run, name)
    assert (await home.get(name)).state is State.CANDIDATE
    home.indexes.indexes[made.model] = Loaded("up", "", 9, 9)
    assert (await home.office.judge(run, name)).passed


async def test_one_that_no_index_is_made_for_is_refused(home: House) -> None:
    home.indexes.refuse = True
    run = home.run(target=Target.EMBEDDER)
    name = await home.office.register(run, home.made(run))
    assert (await home.office.judge(run, name)).failure == "not_loaded"


async def test_a_newer_one_takes_the_index_of_one_that_nobody_promoted(home: House) -> None:
    home.loop.rules = replace(home.loop.rules, promote_by_itself=False)
    older, old = await embedder(home), await embedder(home, dataset="d2")
    home.indexes.places |= {HOUSE: 9}
    home.indexes.refuse = True
    run = home.run(dataset="d3", target=Target.EMBEDDER)
    name = await home.office.register(run, home.made(run))
    with pytest.raises(Unavailable):
        await home.office.judge(run, name)
    home.indexes.refuse = False
    assert (await home.get(older)).ended_by == "replaced"
    assert (await home.get(old)).state is State.CANDIDATE
    assert home.told()[-1] == ("RETIRED", older, "replaced")
    assert (await home.office.judge(run, name)).passed


async def test_a_person_promotes_where_the_rules_say_so(home: House) -> None:
    home.loop.rules = replace(home.loop.rules, promote_by_itself=False)
    run, name = await home.candidate(target=Target.EMBEDDER)
    await home.office.roll_out(run, name)
    await home.settle()
    assert (await home.get(name)).state is State.CANDIDATE
    model = await home.office.promote(home.tenant, name, ANNA, reason="it finds more", doing=Doing.BEGINNING_CANARY)
    assert model.answers, "there is no share of an index"
    assert home.told()[-1] == ("PROMOTED", name, "person")


async def test_what_the_gate_begins_waits_for_a_pause_and_a_person_does_not(home: House) -> None:
    home.loop.paused = True
    run, name = await home.candidate(target=Target.EMBEDDER)
    await home.office.roll_out(run, name)
    await home.settle()
    assert (await home.get(name)).state is State.CANDIDATE
    assert home.indexes.live == HOUSE
    assert (await home.office.promote(home.tenant, name, ANNA, reason="", doing=Doing.PROMOTING)).answers
    home.indexes.places[name] = 2
    second = await embedder(home, dataset="d2")
    await home.office.roll_out(home.loop.runs[-1], second)
    await home.settle()
    home.loop.paused = False
    await home.look(seconds=3)
    assert (await home.get(second)).answers


async def test_an_index_that_lacks_vectors_is_switched_to_when_it_has_them(home: House) -> None:
    run, name = await home.candidate(target=Target.EMBEDDER)
    home.indexes.lacking = {name}
    await home.office.roll_out(run, name)
    await home.settle()
    assert (await home.get(name)).state is State.CANDIDATE
    home.indexes.lacking = set()
    await home.look(seconds=3)
    assert (await home.get(name)).answers


async def test_what_somebody_switched_by_hand_stands(home: House) -> None:
    run, name = await home.candidate(target=Target.EMBEDDER)
    home.indexes.live = "acme-embedder@by-hand"
    await home.office.roll_out(run, name)
    await home.settle()
    model = await home.get(name)
    assert (model.state, model.step, home.indexes.live) == (State.CANDIDATE, None, "acme-embedder@by-hand")
    assert (await home.office.promote(home.tenant, name, ANNA, reason="", doing=Doing.PROMOTING)).answers


async def test_rolling_back_is_the_same_switch(home: House) -> None:
    first = await live(home)
    second = await live(home, dataset="d2")
    assert (await home.get(first)).stands_by
    model, now = await home.office.roll_back(home.tenant, "live-embedder", ANNA, reason="it misses the units")
    assert (model.model, now, home.indexes.live) == (second, first, first)
    assert home.told()[-2:] == [("ROLLED_BACK", second, "person"), ("PROMOTED", first, "person")]
    _, now = await home.office.roll_back(home.tenant, "live-embedder", ANNA, reason="")
    assert (now, home.indexes.live) == ("base", HOUSE)
    assert home.indexes.switched == [first, second, first, HOUSE]


async def test_where_the_one_before_is_not_to_be_had_the_houses_answers(home: House) -> None:
    first = await live(home)
    second = await live(home, dataset="d2")
    home.indexes.lacking = {first}
    _, now = await home.office.roll_back(home.tenant, second, ANNA, reason="")
    assert (now, home.indexes.live) == ("base", HOUSE)


async def test_a_promotion_that_hangs_can_be_taken_back(home: House) -> None:
    name = await embedder(home)
    home.indexes.lacking = {name}
    await home.office.promote(home.tenant, name, ANNA, reason="", doing=Doing.PROMOTING)
    assert (await home.get(name)).doing is Doing.PROMOTING
    _, now = await home.office.roll_back(home.tenant, name, ANNA, reason="")
    assert (now, home.indexes.live, home.indexes.switched) == ("base", HOUSE, [])


@pytest.mark.parametrize("kill_at", range(4))
async def test_killed_at_any_moment_it_comes_into_service_once(home: House, kill_at: int) -> None:
    """Before and after the index is prepared, and before and after the switch."""
    home.indexes.kill_at = kill_at
    run = home.run(target=Target.EMBEDDER)
    name = await home.office.register(run, home.made(run))
    for _ in range(2):
        async with surviving(home):
            assert (await home.office.judge(run, name)).passed
            await home.office.roll_out(run, name)
            await home.settle()
    await home.look(seconds=30)
    assert home.indexes.kill_at is None, "it was killed"
    assert (await home.get(name)).answers
    assert home.indexes.switched == [name]
    assert [change for change, _, _ in home.told()] == ["REGISTERED", "PROMOTED"]


@pytest.mark.parametrize("moment", range(2))
async def test_killed_while_rolling_back_it_goes_back_once(home: House, moment: int) -> None:
    first = await live(home)
    second = await live(home, dataset="d2")
    home.indexes.kill_at = 2 * home.indexes.writes + moment
    async with surviving(home):
        await home.office.roll_back(home.tenant, second, ANNA, reason="")
    await home.look(seconds=30)
    assert home.indexes.kill_at is None, "it was killed"
    assert home.indexes.switched == [first, second, first]
    assert (await home.get(first)).answers
    assert (await home.get(second)).state is State.RETIRED
    assert [change for change, _, _ in home.told()][-2:] == ["ROLLED_BACK", "PROMOTED"]


async def test_what_learned_from_the_erased_is_trained_anew_and_goes_when_that_answers(home: House) -> None:
    name = await live(home)
    await erase(home, "d1")
    assert [cause for cause, _, _ in home.loop.causes] == [Cause.ERASURE]
    assert home.loop.targets == [Target.EMBEDDER]
    assert (await home.get(name)).answers, "until another one does, or its time is over"
    after = await live(home, dataset="without")
    await home.look()
    gone = await home.get(name)
    assert gone.deleted_at is not None
    assert (gone.replaced_by, home.indexes.live) == (after, after)
    assert home.weights.deleted == [gone.address]


async def test_what_replaces_a_condemned_one_is_held_against_what_would_answer_without_it(home: House) -> None:
    name = await live(home)
    home.indexes.places[name] = 1
    await erase(home, "d1")
    after = await embedder(home, dataset="without")
    gate = (await home.get(after)).gate
    assert gate is not None
    assert (gate.passed, gate.champion) == (True, "the house's embedder")


async def test_at_the_deadline_it_goes_back_to_the_last_one_that_is_sound(home: House) -> None:
    first = await live(home)
    second = await live(home, dataset="d2")
    await erase(home, "d2")
    await home.look(seconds=home.loop.rules.erasure_seconds + 1)
    await home.look()
    assert (await home.get(second)).deleted_at is not None
    assert (home.indexes.live, (await home.get(first)).answers) == (first, True)


async def test_and_to_the_houses_where_the_one_before_is_condemned_too(home: House) -> None:
    first = await live(home)
    second = await live(home, dataset="d2")
    await erase(home, "d1", 1)
    await erase(home, "d2", 2)
    await home.look(seconds=home.loop.rules.erasure_seconds + 1)
    await home.look()
    for name in (first, second):
        assert (await home.get(name)).deleted_at is not None
    assert home.indexes.live == HOUSE


async def test_a_condemned_candidate_is_not_switched_to(home: House) -> None:
    run, name = await home.candidate(target=Target.EMBEDDER)
    home.loop.paused = True
    await home.office.roll_out(run, name)
    await erase(home, "d1")
    home.loop.paused = False
    await home.look(seconds=3)
    assert (await home.get(name)).deleted_at is not None
    assert home.indexes.switched == []


async def test_generators_and_embedders_answer_beside_each_other(home: House) -> None:
    generator, name = await home.live(), await live(home, dataset="d2")
    async with home.ledger.unit(tenant=home.tenant) as unit:
        standing = await home.office.standing(unit, home.tenant)
    assert standing.live == {Target.GENERATOR: generator, Target.EMBEDDER: name}
    loaded = await home.office.serving(await home.get(name))
    assert loaded is not None
    assert (loaded.state, loaded.done, loaded.of) == ("up", 9, 9)


QUESTION = Question("r", "why", passages=frozenset({"c2"}))


def test_the_place_is_that_of_the_first_passage_that_bears_it_out() -> None:
    found = [Found("c1", "handbook/a"), Found("c2", "handbook/b")]
    assert place_of(QUESTION, found) == 2
    assert place_of(QUESTION, found[:1]) == 0
    assert place_of(replace(QUESTION, documents=frozenset({"handbook/a"})), found) == 2, "passages are known better"
    assert place_of(Question("r", "why", documents=frozenset({"handbook/b"})), found) == 2


def test_reciprocal_rank_and_recall() -> None:
    ranked = [Ranked("how-to" if n % 2 else "", f"g{n}", champion=0 if n == 1 else 2, candidate=1) for n in range(24)]
    lines = {(line.kind, line.measure): line for line in lines_of(ranked)}
    whole = lines["", "reciprocal_rank"]
    assert (whole.pairs, whole.a, whole.b) == (24, pytest.approx(23 / 48), 1.0)
    assert whole.low > 0
    assert (lines["", "recall_8"].a, lines["", "recall_8"].lost) == (pytest.approx(23 / 24), 0)
    assert lines["how-to", "recall_1"].pairs == 12
    swapped = [replace(one, champion=one.candidate, candidate=one.champion) for one in ranked]
    assert {line.lost for line in lines_of(swapped) if line.measure == "recall_8" and not line.kind} == {1}


def test_questions_of_one_conversation_count_as_one() -> None:
    """Alike in their conversation, they prove less than as many that stand alone."""
    apart = [Ranked("", f"g{n}", champion=2, candidate=1 if n % 4 else 3) for n in range(48)]
    together = [replace(one, group=f"g{n // 4 * 4 % 12}") for n, one in enumerate(apart)]
    alone, grouped = (next(iter(lines_of(some))) for some in (apart, together))
    assert alone.pairs == grouped.pairs == 48
    assert lines_of([Ranked("", "g", 1, 1)]) == []
