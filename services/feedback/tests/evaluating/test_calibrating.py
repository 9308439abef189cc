"""Judges against experts: only one that agrees with them on what it had not seen may decide anything."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from headrace_feedback.evaluating import agreeing, bias, handlers
from headrace_feedback.evaluating.calibrating import Calibrating
from headrace_feedback.evaluating.judging import Ballot, Calibration, Judge
from headrace_feedback.evaluating.sampling import is_held_out
from headrace_feedback.reviewing.criteria import Criterion
from headrace_identity import Principal
from headrace_privacy import Tier
from headrace_privacy.policy import Purpose
from headrace_runtime.errors import Conflict, Denied, NotFound
from headrace_statistics.judging import Judged, Seat

from services.feedback.tests.evaluating.house import RUBRIC, MemoryHouse, judge

DORA = Principal("developer", "demo", "dora")
BOTH = ("correct", "helpful")


async def with_labels(house: MemoryHouse, number: int, **changes: Any) -> list[UUID]:
    """Answers that experts labelled: every other one is bad, and says so in a word that a good judge would see."""
    ids = []
    for n in range(number):
        is_good = n % 2 == 0
        text = f"{'Right' if is_good else 'Wrong'} answer number {n} [1]."
        query_id = await house.answered(text={"plain": text, "characters": len(text)}, **changes)
        house.label(query_id, **dict.fromkeys(BOTH, "pass" if is_good else "fail"))
        ids.append(query_id)
    return ids


async def calibrate(house: MemoryHouse, made: Judge) -> Calibration:
    await house.add_judge(made)
    bench = await handlers.bench_of(house.tenant, made.name, 0, parts := house.parts())
    progress = [one async for one in Calibrating(parts, bench, house.tenant, by=DORA).run()]
    assert [one.done for one in progress] == sorted(one.done for one in progress)
    assert progress[-1].calibration is not None
    return progress[-1].calibration


def shown(ballot: Ballot, mark: str) -> str:
    found = re.search(rf"<{mark} [0-9a-f]+>\n(.*?)\n</{mark}", ballot.user, re.DOTALL)
    assert found is not None
    return found[1]


def sees_it(ballot: Ballot) -> str:
    return "pass" if "Right" in shown(ballot, "answer") else "fail"


def flips(rate: float) -> Callable[[Ballot], str]:
    drawn = random.Random(7)

    def say(ballot: Ballot) -> str:
        right = sees_it(ballot)
        return right if drawn.random() >= rate else {"pass": "fail", "fail": "pass"}[right]

    return say


async def test_a_judge_that_agrees_with_experts_is_calibrated(tenant: str) -> None:
    house = MemoryHouse(tenant)
    ids = await with_labels(house, 120)
    house.backend.say = sees_it
    found = await calibrate(house, judge())
    held_out = sum(is_held_out(tenant, str(query_id)) for query_id in ids)
    assert found.state == "calibrated"
    assert [(one.criterion, one.answers, one.coefficient) for one in found.agreement] == [
        ("correct", held_out, 1.0),
        ("helpful", held_out, 1.0),
    ]
    assert len(house.backend.ballots) == 2 * held_out  # nobody looked at the other half
    (stored,) = await handlers.list_judges(tenant, "strict", house.desk)
    assert stored.decides(house.backend.model)


@pytest.mark.parametrize(
    ("say", "why"),
    [
        (lambda _: "pass", "always says pass"),
        (lambda ballot: {"pass": "fail", "fail": "pass"}[sees_it(ballot)], "says the opposite"),
        (flips(0.3), "is wrong three times in ten"),
        (lambda _: "I'd rather not say.", "says nothing that can be read"),
        (lambda ballot: sees_it(ballot) if "Is it true" in ballot.user else "pass", "knows one criterion of two"),
    ],
)
async def test_one_that_does_not_agree_is_below(tenant: str, say: Callable[[Ballot], str], why: str) -> None:
    house = MemoryHouse(tenant)
    await with_labels(house, 120)
    house.backend.say = say
    found = await calibrate(house, judge())
    assert found.state == "below", why
    (stored,) = await handlers.list_judges(tenant, "strict", house.desk)
    assert not stored.decides(house.backend.model)


async def test_few_labels_prove_nothing_however_well_they_agree(tenant: str) -> None:
    house = MemoryHouse(tenant)
    await with_labels(house, 40)
    house.backend.say = sees_it
    assert (await calibrate(house, judge())).state == "too_few"


async def test_without_labels_there_is_nothing_to_calibrate_on(tenant: str) -> None:
    with pytest.raises(Conflict, match="no held-out answer against quality@1"):
        await calibrate(MemoryHouse(tenant), judge())


async def test_silence_does_not_flatter(tenant: str) -> None:
    """A judge that answers only where it is sure would agree with all whom it answers."""
    house = MemoryHouse(tenant)
    await with_labels(house, 120)
    house.backend.say = lambda ballot: "fail" if sees_it(ballot) == "fail" else "hm"
    found = await calibrate(house, judge())
    assert (found.state, found.unread > 0) == ("below", True)
    assert found.agreement[0].raw < 0.6


async def test_customers_answers_need_a_grant_and_one_that_ends_ends_it(tenant: str) -> None:
    house = MemoryHouse(tenant)
    house.passages.tier = Tier.TIER_2
    await with_labels(house, 60, tier="TIER_2")
    house.backend.say = sees_it
    with pytest.raises(Denied, match="no live grant"):
        await calibrate(house, judge())
    assert house.backend.ballots == []
    house.authorizer.grants.add(Purpose.EVALUATE)

    def revoke() -> None:
        house.authorizer.grants.clear()
        house.pass_time(6)

    house.backend.on_ask = revoke
    with pytest.raises(Denied, match="a grant ended"):
        await calibrate(house, judge("again"))
    assert len(house.backend.ballots) == len(BOTH)
    use = house.authorizer.uses[0]
    assert (use.role, use.subject, use.purpose) == ("developer", "dora", Purpose.EVALUATE)


# Judges that compare


def asked(n: int) -> dict[str, Any]:
    """A question that no other is."""
    return {"plain": f"What is {n}?", "characters": len(f"What is {n}?")}


async def with_corrections(house: MemoryHouse, number: int) -> None:
    """Answers that experts gave the worst label and corrected."""
    for n in range(number):
        text = f"Wrong answer number {n} [1]."
        query_id = await house.answered(text={"plain": text, "characters": len(text)}, question=asked(n))
        house.label(query_id, **dict.fromkeys(BOTH, "fail"))
        await house.correct(query_id, f"Right answer number {n}, as an expert would put it.")


def prefers(right: Callable[[str, str], bool]) -> Callable[[Ballot], str]:
    def say(ballot: Ballot) -> str:
        return "first" if right(shown(ballot, "first-answer"), shown(ballot, "second-answer")) else "second"

    return say


async def test_one_that_prefers_what_experts_prefer_is_calibrated(tenant: str) -> None:
    house = MemoryHouse(tenant)
    await with_corrections(house, 100)
    house.backend.say = prefers(lambda first, _: "Right" in first)
    found = await calibrate(house, judge("pair", mode="pairwise"))
    assert found.state == "calibrated"
    assert found.agreement[0].method == "weighted_kappa"
    assert found.first_position_rate == 0.5


async def test_one_that_always_prefers_the_first_is_found_out(tenant: str) -> None:
    house = MemoryHouse(tenant)
    await with_corrections(house, 100)
    house.backend.say = lambda _: "first"
    found = await calibrate(house, judge("pair", mode="pairwise"))
    assert (found.state, found.first_position_rate) == ("below", 1.0)
    assert found.agreement[0].coefficient <= 0.0


async def test_one_that_prefers_the_longer_is_seen_to(tenant: str) -> None:
    """Here corrections are shorter as often as longer: length alone gets half of them right."""
    house = MemoryHouse(tenant)
    for n in range(120):
        filler = "and so on " * (2 + n % 5) if n % 2 else ""
        text = f"Wrong answer number {n} {filler}[1]."
        query_id = await house.answered(text={"plain": text, "characters": len(text)}, question=asked(n))
        house.label(query_id, **dict.fromkeys(BOTH, "fail"))
        await house.correct(query_id, f"Right answer number {n}." + ("" if n % 2 else " As an expert would put it."))
    house.backend.say = prefers(lambda first, second: len(first) > len(second))
    found = await calibrate(house, judge("pair", mode="pairwise"))
    assert found.state == "below"
    assert found.length_effect > 1.0


async def test_answers_to_the_same_question_are_compared_by_their_labels(tenant: str) -> None:
    house = MemoryHouse(tenant)
    await with_labels(house, 120)  # all asked the same
    house.backend.say = prefers(lambda first, second: "Right" in first and "Wrong" in second)
    found = await calibrate(house, judge("pair", mode="pairwise"))
    assert found.agreement[0].answers > agreeing.FEWEST_LABELS


# The numbers


@pytest.mark.parametrize(("effect", "tolerance"), [(0.0, 0.25), (1.0, 0.35), (-1.0, 0.35)])
def test_the_effect_of_length_is_found_again(effect: float, tolerance: float) -> None:
    drawn = random.Random(5)
    judged, lengths = [], []
    for _ in range(600):
        a, b = drawn.randint(50, 800), drawn.randint(50, 800)
        chance = 1 / (1 + math.exp(-effect * math.log2(b / a)))
        for_b = drawn.random() < chance
        judged.append(Judged((Seat.SECOND if for_b else Seat.FIRST,), (Seat.FIRST if for_b else Seat.SECOND,)))
        lengths.append((a, b))
    assert bias.length_effect(judged, lengths) == pytest.approx(effect, abs=tolerance)


def test_without_comparisons_there_is_no_bias() -> None:
    assert bias.length_effect([], []) == 0.0
    assert bias.first_position_rate([]) == 0.5
    assert bias.first_position_rate([Judged((Seat.NEITHER,), (Seat.NEITHER,))]) == 0.5


def test_near_misses_count_where_labels_have_an_order() -> None:
    scale = ("useless", "partly", "helpful")
    labels = [(scale[n % 3], scale[min(2, n % 3 + (n % 2))]) for n in range(90)]
    plain, _ = agreeing.agreement_on(Criterion("c", "?", scale), labels)
    weighted, _ = agreeing.agreement_on(Criterion("c", "?", scale, ordered=True), labels)
    assert (plain.method, weighted.method) == ("cohen_kappa", "weighted_kappa")
    assert weighted.coefficient > plain.coefficient
    assert agreeing.farthest("useless", scale) == "helpful"
    assert agreeing.farthest("helpful", scale) == "useless"


def test_the_threshold_is_the_rubrics() -> None:
    labels = [("pass" if n % 2 else "fail", "pass" if n % 2 or n % 10 == 0 else "fail") for n in range(200)]
    lenient, strict = Criterion("c", "?", least_kappa=0.5), Criterion("c", "?", least_kappa=0.9)
    assert agreeing.agreement_on(lenient, labels)[1]
    assert not agreeing.agreement_on(strict, labels)[1]


# Versions


async def test_a_judge_is_a_new_version_only_when_it_differs(tenant: str) -> None:
    house = MemoryHouse(tenant)
    wanted = replace(judge(), version=0, rubric=replace(judge().rubric, version="0"))
    first, is_new = await handlers.put_judge(tenant, wanted, house.desk, at=house.now())
    assert (first.version, first.rubric.version, is_new) == (1, str(RUBRIC.version), True)
    same, is_new = await handlers.put_judge(tenant, wanted, house.desk, at=house.now())
    assert (same.version, is_new) == (1, False)
    other, is_new = await handlers.put_judge(tenant, replace(wanted, votes=3), house.desk, at=house.now())
    assert (other.version, is_new) == (2, True)
    assert [one.version for one in await handlers.list_judges(tenant, "strict", house.desk)] == [2, 1]
    with pytest.raises(NotFound):
        absent = replace(wanted, rubric=replace(wanted.rubric, name="absent"))
        await handlers.put_judge(tenant, absent, house.desk, at=house.now())
