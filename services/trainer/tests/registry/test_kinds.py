"""What recognises kinds on its way from a run to the archive, on books of either kind: judged by what people said of
questions, in service at the registry's own word."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from headrace_runtime.errors import Conflict, Denied, NotFound, Unavailable
from headrace_trainer.registry.cards import card
from headrace_trainer.registry.gate import lines_of_kinds
from headrace_trainer.registry.kinds import EXAMPLES, IN_SERVICE, Told
from headrace_trainer.registry.models import Doing, State
from headrace_trainer.registry.ports import HOUSE, Loaded
from headrace_trainer.registry.recognising import Guess, Guessed, calibration_error, findings_of, guess_of
from headrace_trainer.registry.rules import load_gate
from headrace_trainer.running.runs import Cause, Person, Target

from services.trainer.tests.registry.house import House
from services.trainer.tests.registry.test_lifecycle import erase

ANNA = Person("developer", "anna")


async def live(home: House, *, dataset: str = "d1") -> str:
    """One that is in service; the next one will be surer."""
    run, name = await home.candidate(dataset=dataset, target=Target.KINDS)
    await home.office.roll_out(run, name)
    await home.settle()
    assert (await home.get(name)).answers
    assert home.heard() == name
    home.recogniser.sure[name] = 0.7
    return name


async def judged(home: House) -> tuple[str, set[str]]:
    """A candidate's name, and the rules that it did not hold."""
    run = home.run(target=Target.KINDS)
    name = await home.office.register(run, home.made(run))
    await home.office.judge(run, name)
    gate = (await home.get(name)).gate
    assert gate is not None
    return name, {line.rule for line in gate.lines if not line.passed}


# --- the gate ---------------------------------------------------------------------------------------------------------


async def test_what_tells_kinds_better_passes_and_is_in_service_at_once(home: House) -> None:
    run, name = await home.candidate(target=Target.KINDS)
    gate = (await home.get(name)).gate
    assert gate is not None
    assert gate.champion == "the tenant's examples"
    assert {line.rule for line in gate.lines} == {"gain", "right", "calibration"}
    assert {line.kind for line in gate.lines if line.rule == "right"} == {"", "how-to", "why"}
    assert {by for by, _ in home.recogniser.asked} == {IN_SERVICE, name}
    await home.office.roll_out(run, name)
    await home.settle()
    model = await home.get(name)
    assert (model.answers, model.rollout, model.previous) == (True, None, "base")
    assert home.told() == [("REGISTERED", name, "run"), ("PROMOTED", name, "gate")]


async def test_what_tells_them_no_better_is_refused(home: House) -> None:
    home.recogniser.sure[HOUSE] = 0.9
    assert (await judged(home))[1] == {"gain"}
    run = home.run(target=Target.KINDS)
    made = home.made(run)
    home.recogniser.sure[made.model] = 0.3  # takes all for other
    name = await home.office.register(run, made)
    assert (await home.office.judge(run, name)).failure == "gate_refused"
    refusing = {line.rule for line in (await home.get(name)).gate.lines if not line.passed}  # type: ignore[union-attr]
    assert refusing == {"gain", "right", "calibration"}
    with pytest.raises(Conflict, match="the gate refused"):
        await home.office.promote(home.tenant, name, ANNA, reason="", doing=Doing.PROMOTING)


async def test_too_few_stated_kinds_open_nothing(home: House) -> None:
    home.stated.count = 12
    assert (await judged(home))[1] == {"gain", "right", "calibration"}
    home.stated.count = 40
    home.recogniser.defined = frozenset({"other"})  # all that was stated is of kinds that there are no more
    assert (await judged(home))[1] == {"gain", "right", "calibration"}


@pytest.mark.parametrize("why", [Denied("a grant ended"), Conflict("other kinds"), NotFound("dataset", "d1")])
async def test_what_cannot_be_measured_opens_nothing(why: Exception, home: House) -> None:
    if isinstance(why, Conflict):
        home.recogniser.refuse = why
    else:
        home.stated.refuse = why
    assert (await judged(home))[1] == {"gain", "right", "calibration"}


async def test_an_instance_that_has_not_heard_of_it_is_asked_again(home: House) -> None:
    """One has read the candidate, the next to answer has not."""
    deaf = iter([Conflict("no such model")] * 3)
    heard = home.recogniser.recognise

    async def recognise(tenant: str, question: str, *, by: str) -> Told:
        if by and (error := next(deaf, None)):
            raise error
        return await heard(tenant, question, by=by)

    home.recogniser.recognise = recognise  # type: ignore[method-assign]
    assert (await judged(home))[1] == set()


async def test_while_nothing_recognises_it_is_judged_later(home: House) -> None:
    run = home.run(target=Target.KINDS)
    name = await home.office.register(run, home.made(run))
    home.recogniser.refuse = Unavailable("inference")
    with pytest.raises(Unavailable):
        await home.office.judge(run, name)
    assert (await home.get(name)).state is State.CANDIDATE
    home.recogniser.refuse = None
    assert (await home.office.judge(run, name)).passed


async def test_a_head_that_cannot_be_read_is_refused(home: House) -> None:
    run = home.run(target=Target.KINDS)
    made = home.made(run)
    home.recogniser.states[made.model] = Loaded("failed", "corrupt")
    name = await home.office.register(run, made)
    assert (await home.office.judge(run, name)).failure == "not_loaded"
    assert (await home.get(name)).ended_by == "not_loaded corrupt"


async def test_it_is_held_against_the_one_in_service(home: House) -> None:
    first = await live(home)
    second = await live(home, dataset="d2")
    gate = (await home.get(second)).gate
    assert gate is not None
    assert gate.champion == first


async def test_its_card_says_what_it_is(home: House) -> None:
    run, name = await home.candidate(target=Target.KINDS)
    told = card(replace(await home.get(name), bytes=3 * 2**10), run)
    for words in (
        "it recognises kinds of queries.",
        "tier_1: the strictest that it learned from",
        "3 KiB: `model.safetensors`",
        "questions whose kind people stated",
        "Fitted to 100 questions of a stated kind (20 held out), seed 1",
        "1.200; 1.900 of a guess.",
        "**Passed** against the tenant's examples",
    ):
        assert words in told, told


# --- in service, and out of it ----------------------------------------------------------------------------------------


async def test_where_the_rules_say_so_a_person_promotes(home: House) -> None:
    home.loop.rules = replace(home.loop.rules, promote_by_itself=False)
    run, name = await home.candidate(target=Target.KINDS)
    await home.office.roll_out(run, name)
    await home.settle()
    assert (await home.get(name)).state is State.CANDIDATE
    assert (await home.office.promote(home.tenant, name, ANNA, reason="", doing=Doing.BEGINNING_CANARY)).answers
    assert home.told()[-1] == ("PROMOTED", name, "person")


async def test_rolling_back_brings_the_one_before_and_then_the_examples(home: House) -> None:
    first, second = await live(home), await live(home, dataset="d2")
    assert (await home.get(first)).stands_by
    _, now = await home.office.roll_back(home.tenant, "live-kinds", ANNA, reason="it mistakes whys")
    assert (now, home.heard()) == (first, first)
    assert home.told()[-2:] == [("ROLLED_BACK", second, "person"), ("PROMOTED", first, "person")]
    _, now = await home.office.roll_back(home.tenant, "live-kinds", ANNA, reason="")
    assert (now, home.heard()) == ("base", HOUSE)


async def test_a_pause_is_respected(home: House) -> None:
    home.loop.paused = True
    run, name = await home.candidate(target=Target.KINDS)
    await home.office.roll_out(run, name)
    await home.settle()
    assert home.heard() == HOUSE
    home.loop.paused = False
    await home.look(seconds=3)
    assert home.heard() == name


async def test_what_learned_from_the_erased_is_trained_anew_and_goes_by_the_deadline(home: House) -> None:
    name = await live(home)
    await erase(home, "d1")
    assert [cause for cause, _, _ in home.loop.causes] == [Cause.ERASURE]
    assert home.loop.targets == [Target.KINDS]
    assert home.heard() == name, "until another one does, or its time is over"
    await home.look(seconds=home.loop.rules.erasure_seconds + 1)
    await home.look()
    gone = await home.get(name)
    assert gone.deleted_at is not None
    assert (home.heard(), home.weights.deleted) == (HOUSE, [gone.address])


async def test_what_replaces_a_condemned_one_is_held_against_what_would_recognise_without_it(home: House) -> None:
    name = await live(home)
    home.recogniser.sure[name] = 0.99
    await erase(home, "d1")
    run, after = await home.candidate(dataset="without", target=Target.KINDS)
    gate = (await home.get(after)).gate
    assert gate is not None
    assert gate.champion == "the tenant's examples"
    assert (EXAMPLES, "how-to 0") in home.recogniser.asked
    await home.office.roll_out(run, after)
    await home.settle()
    await home.look()
    assert home.heard() == after
    assert (await home.get(name)).deleted_at is not None


async def test_a_generator_and_what_recognises_kinds_are_in_service_beside_each_other(home: House) -> None:
    generator = await home.live()
    name = await live(home, dataset="d2")
    assert (await home.get(generator)).answers
    assert (await home.get(name)).answers


# --- what is measured -------------------------------------------------------------------------------------------------


def guessed(kind: str, champion: float, candidate: float, group: str = "") -> Guessed:
    return Guessed(kind, group, *(guess_of({kind: p, "other": 1 - p}, kind) for p in (champion, candidate)))


def test_a_guess_is_the_likeliest_kind_and_how_likely_the_stated_one_was() -> None:
    assert guess_of({"why": 0.2, "how-to": 0.7, "other": 0.1}, "why") == Guess("how-to", 0.7, 0.2)
    assert guess_of({}, "why") == Guess("", 0.0, 0.0)


def test_the_measures_are_of_pairs_by_kind_and_of_all() -> None:
    found = findings_of([guessed("why", 0.4, 0.8, f"g{n}") for n in range(6)] + [guessed("how-to", 0.6, 0.6)] * 3)
    lines = {(line.kind, line.measure): line for line in found.lines}
    assert (lines["why", "right"].a, lines["why", "right"].b, lines["why", "right"].pairs) == (0.0, 1.0, 6)
    assert lines["why", "log_score"].b - lines["why", "log_score"].a == pytest.approx(math.log(2))
    assert lines["", "right"].b == 1.0
    assert lines["how-to", "right"].difference == 0
    assert found.asked == 9


def test_one_who_was_sure_and_wrong_weighs_no_more_than_a_thousandth() -> None:
    found = findings_of([guessed("why", 0.5, 0.0, f"g{n}") for n in range(4)])
    (line,) = [line for line in found.lines if (line.kind, line.measure) == ("", "log_score")]
    assert line.b == pytest.approx(math.log(1e-3))


def test_being_too_sure_is_a_calibration_error() -> None:
    sure, unsure = Guess("why", 0.95, 0.95), Guess("why", 0.55, 0.55)
    assert calibration_error([(sure, "why"), (sure, "how-to")]) == pytest.approx(0.45)
    assert calibration_error([(unsure, "why"), (unsure, "how-to")]) == pytest.approx(0.05)
    assert calibration_error([]) == 0.0


def test_one_that_grew_too_sure_is_refused_though_it_is_right_as_often() -> None:
    """As often right as the champion, and on the whole likelier; but it says .99 where nine in ten are right."""
    rows = [Guessed("why", f"g{n}", Guess("why", 0.6, 0.6), Guess("why", 0.7, 0.7)) for n in range(30)] + [
        Guessed("why", f"h{n}", Guess("how-to", 0.55, 0.3), Guess("how-to", 0.99, 0.25)) for n in range(30)
    ]
    lines = {line.rule: line for line in lines_of_kinds(load_gate(None), findings_of(rows)) if not line.kind}
    assert not lines["calibration"].passed
    assert lines["right"].passed
    assert "10.0 points more are allowed" in lines["calibration"].sentence
