"""Reports over live traffic and over runs, on a real Postgres."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import numpy as np
import pytest
from headrace.feedback.v1 import reports_pb2
from headrace.query.v1.answer_pb2 import Versioned
from headrace.query.v1.query_pb2 import TRIAL_SETTING_ZERO_SHOT
from headrace_database import Database
from headrace_identity import Principal
from headrace_privacy.policy import Purpose
from headrace_runtime.errors import NotFound, Rejected, Unavailable

from services.feedback.tests.reporting.house import NOW, Answer, House, line_of, side

pytestmark = pytest.mark.real

REPLAY, EVALUATION, SHADOW = 2, 3, 1


@pytest.fixture
def house(tenant: str, opened: Database) -> House:
    return House(tenant, opened)


def a_rate(rate: float, count: int, *, seed: int, **changes: object) -> list[Answer]:
    """So many answers, this share of them grounded, each of a conversation of its own."""
    drawn = np.random.default_rng(seed).random(count) < rate
    words = {True: "grounded", False: "extracted"}
    return [Answer(grounding=words[bool(one)], **changes) for one in drawn]  # type: ignore[arg-type]


def twenty(variant: str = "default", **changes: object) -> list[Answer]:
    return [Answer(variant=variant, **changes) for _ in range(20)]  # type: ignore[arg-type]


async def test_what_is_truly_better_is_said_to_be_with_an_interval_that_holds_the_truth(house: House) -> None:
    await house.log(a_rate(0.6, 600, seed=1) + a_rate(0.75, 600, seed=2, variant="shorter"))
    response = await house.compare()
    line = line_of(response, "grounded")
    assert (line.better, line.unit, line.method, line.decides) == ("b", "share", "newcombe", True)
    assert line.difference.low < 0.15 < line.difference.high
    assert (line.a.answers, line.b.answers, response.answers_a, response.answers_b) == (600, 600, 600, 600)
    assert "B is better" in response.verdict


async def test_each_kind_has_its_lines_and_all_together_come_first(house: House) -> None:
    await house.log(
        a_rate(0.3, 300, seed=1, kind="how-to")
        + a_rate(0.8, 300, seed=2, kind="how-to", variant="shorter")
        + a_rate(0.5, 20, seed=3, kind="why")
        + a_rate(0.5, 20, seed=4, kind="why", variant="shorter")
    )
    response = await house.compare()
    assert list(dict.fromkeys(line.kind for line in response.lines)) == ["", "how-to", "why"]
    how_to = line_of(response, "grounded", "how-to")
    assert how_to.sentence.startswith("B is better on how-to questions: +")
    assert "corrected for 2 comparisons at once" in how_to.sentence
    assert line_of(response, "grounded", "why").better == "unknown"
    assert "why questions: only 20 answers of A and 20 of B." in response.notes
    alone = await house.compare(kind="how-to")
    assert {line.kind for line in alone.lines} == {"how-to"}
    assert (alone.answers_a, alone.answers_b) == (300, 300)
    assert "B is better on how-to questions" in alone.verdict


async def test_of_one_persons_thumbs_the_last_counts_once(house: House) -> None:
    answers = twenty() + twenty("shorter")
    await house.log(answers)
    changed_their_mind = [(one.query_id, "ann", "thumb", score, "") for one in answers[:12] for score in (-1, -1, 1)]
    another = [(one.query_id, "bob", "thumb", -1, "") for one in answers[20:32]]
    nobody = [(answers[0].query_id, "", "thumb", 1, ""), (answers[0].query_id, "", "thumb", -1, "")]
    await house.judge(changed_their_mind + another + nobody)
    line = line_of(await house.compare(), "thumbs")
    assert (line.a.answers, line.b.answers) == (13, 12)
    assert (line.a.value, line.b.value) == (pytest.approx(12 / 13), 0)
    assert line.better == "a"


async def test_what_users_did_counts_where_somebody_says_what_they_do(house: House) -> None:
    answers = twenty() + twenty("shorter")
    await house.log(answers)
    silent = await house.compare()
    assert "copied" not in {line.measure for line in silent.lines}
    copied = [(one.query_id, who, "act", 1, "copied") for one in answers[20:40] for who in ("ann", "bob")]
    await house.judge([*copied, (answers[0].query_id, "ann", "act", -1, "asked_again")])
    await house.judge([(one.query_id, "ann", "rating", 4, "") for one in answers])
    told = await house.compare()
    line = line_of(told, "copied")
    assert (line.a.value, line.b.value, line.b.answers, line.better) == (0, 1, 20, "b")
    assert line_of(told, "asked_again").a.value == pytest.approx(1 / 20)
    rating = line_of(told, "rating")
    assert (rating.unit, rating.a.value, rating.a.answers) == ("points", 4, 20)


async def test_scores_of_live_answers_are_compared_and_a_judges_mark_goes_with_them(house: House) -> None:
    def scored(variant: str, facts: float) -> list[Answer]:
        return twenty(variant, scores={"groundedness": facts, "judge:fair@1!": facts, "latency": 3.0})

    await house.log(scored("default", 0.2) + scored("shorter", 0.9))
    response = await house.compare()
    assert line_of(response, "groundedness").better == "b"
    judged = line_of(response, "judge:fair:correct")
    assert (judged.better, judged.decides) == ("b", False)
    assert "groundedness" in response.verdict
    assert "judge" not in response.verdict
    # Times are those of the answers themselves.
    assert line_of(response, "latency").a.value == 1.0


async def test_conversations_are_drawn_whole(house: House) -> None:
    async def log(variant: str, seed: int) -> None:
        answers = []
        for number, good in enumerate(np.random.default_rng(seed).random(12) < 0.5):
            for _ in range(10):
                word = "grounded" if good else "extracted"
                answers.append(Answer(variant, conversation=f"{variant}-{number}", grounding=word))
        await house.log(answers)

    await log("default", 1)
    await log("shorter", 3)
    line = line_of(await house.compare(), "grounded")
    assert (line.method, line.better, line.a.answers) == ("bca_bootstrap", "unknown", 120)
    assert line.difference.high - line.difference.low > 0.5


async def test_versions_times_and_products_are_told_apart(house: House) -> None:
    early = NOW - timedelta(days=2)
    await house.log(
        twenty()
        + twenty("shorter")
        + twenty("shorter", version="2")
        + twenty("shorter", version="2", product="other", at=early)
    )
    assert (await house.compare()).answers_b == 60
    assert (await house.compare(b="shorter@2")).answers_b == 40
    assert (await house.compare(b="shorter@2", product="other")).answers_b == 20
    since = (await house.compare(b="shorter@2", since=NOW - timedelta(days=1))).answers_b
    until = (await house.compare(b="shorter@2", until=NOW - timedelta(days=1))).answers_b
    assert (since, until) == (20, 20)
    # What both sides hold is that side's which names its version.
    response = await house.compare(a="shorter", b="shorter@2")
    assert (response.answers_a, response.answers_b) == (20, 40)


async def test_figures_of_tier_2_take_a_grant_and_what_it_does_not_cover_is_counted(house: House) -> None:
    answers = twenty() + twenty("shorter", tier=3)
    await house.log(answers)
    # An answer of a public question, made of a customer's document.
    await house.chunks([(answers[0].query_id, "contracts", 3), (answers[1].query_id, "handbook", 1)])
    response = await house.compare()
    assert (response.answers_a, response.answers_b) == (19, 0)
    (note,) = [note for note in response.notes if "left out" in note]
    assert note.startswith("21 answers of tier_2 are left out: no live grant")
    asked = {(use.tier.label, use.sources, len(use.records)) for use in house.authorizer.uses}
    assert asked == {("public", (), 0), ("tier_2", ("contracts",), 1), ("tier_2", (), 20)}
    assert {use.purpose for use in house.authorizer.uses} == {Purpose.EVALUATE}
    house.authorizer.grants.add(Purpose.EVALUATE)
    allowed = await house.compare()
    assert (allowed.answers_a, allowed.answers_b) == (20, 20)
    assert not [note for note in allowed.notes if "left out" in note]


async def test_with_nobody_to_ask_nothing_is_measured(house: House) -> None:
    await house.log(twenty() + twenty("shorter"))
    house.authorizer.is_down = True
    with pytest.raises(Unavailable):
        await house.compare()


async def test_stale_answers_are_counted(house: House) -> None:
    answers = twenty() + twenty("shorter")
    await house.log(answers)
    await house.chunks([(one.query_id, "handbook", 1) for one in answers[:3]])
    await house.index("handbook", 1)
    assert not [note for note in (await house.compare()).notes if "stale" in note]
    async with house.database.transaction(tenant=house.tenant) as connection:
        await connection.execute("UPDATE documents SET version = 2 WHERE tenant = $1", house.tenant)
    assert [note for note in (await house.compare()).notes if note.startswith("3 answers of A and 0 of B are stale")]


async def a_run(house: House, *, better_by: float, cases: int = 150) -> str:
    run_id = await house.run("default", "shorter")
    hard = np.random.default_rng(3).uniform(0.1, 0.8, cases)
    noise = np.random.default_rng(4).normal(0, 0.05, cases)
    await house.tried(
        run_id,
        [
            (str(number), Answer(variant=name, scores={"key_facts": float(hard[number] + plus * (1 + noise[number]))}))
            for number in range(cases)
            for name, plus in (("default", 0.0), ("shorter", better_by))
        ],
    )
    return run_id


async def test_a_run_is_compared_pair_by_pair(house: House) -> None:
    response = await house.compare(run_id=await a_run(house, better_by=0.05))
    line = line_of(response, "key_facts")
    assert (line.better, line.method, response.pairs) == ("b", "paired_t", 150)
    assert line.difference.value == pytest.approx(0.05, abs=0.002)
    assert line.a.high - line.a.low > 5 * (line.difference.high - line.difference.low)
    assert response.verdict.startswith("By key facts stated (known answers), B is better: +")


async def test_a_judges_wins_are_counted_whichever_was_shown_as_a(house: House) -> None:
    run_id = await house.run("default", "shorter")
    pairs = [(str(number), Answer(), Answer(variant="shorter")) for number in range(40)]
    await house.tried(run_id, [(case, one) for case, *both in pairs for one in both])
    for number, (case, a, b) in enumerate(pairs):
        outcome = "same" if number < 10 else "b"
        turned = {"same": "same", "b": "a"}[outcome]
        ids = (a.query_id, b.query_id) if number % 2 else (b.query_id, a.query_id)
        await house.judged(run_id, [(case, *ids, outcome if number % 2 else turned)])
    response = await house.compare(run_id=run_id)
    line = line_of(response, "wins:fair:correct")
    assert (line.a.value, line.b.value, line.better, line.method) == (
        pytest.approx(1 / 8),
        pytest.approx(7 / 8),
        "b",
        "tango",
    )
    assert response.verdict.startswith("By wins as fair judges correct (a calibrated judge), B is better")
    assert any(note.startswith("wins:fair:correct: B's answers are ") for note in response.notes)
    swapped = line_of(await house.compare("shorter", "default", run_id=run_id), "wins:fair:correct")
    assert swapped.better == "a"


async def test_a_replay_is_compared_with_the_answers_of_then(house: House) -> None:
    run_id = await house.run("shorter", kind=REPLAY)
    then = twenty(scores={"groundedness": 0.2}, seconds=2.0)
    await house.log(then)
    trials = [
        (str(one.query_id), Answer(variant="shorter", scores={"groundedness": 0.9}, seconds=1.0)) for one in then[:18]
    ]
    await house.tried(run_id, trials, trial_kind=REPLAY)
    response = await house.compare("", "shorter", run_id=run_id)
    assert (line_of(response, "groundedness").better, response.pairs) == ("b", 18)
    latency = line_of(response, "latency")
    assert (latency.a.value, latency.b.value, latency.difference.value, latency.better) == (2, 1, -1, "b")


async def test_a_shadow_is_compared_with_what_users_were_given(house: House) -> None:
    live = twenty(scores={"groundedness": 0.3})
    await house.log(live)
    shadows = [(str(one.query_id), Answer(variant="shorter", scores={"groundedness": 0.8})) for one in live]
    await house.tried("shadow:how-to", shadows, trial_kind=SHADOW)
    response = await house.compare(run_id="shadow:how-to")
    assert (line_of(response, "groundedness").better, response.pairs) == ("b", 20)
    assert (await house.compare("other", run_id="shadow:how-to")).pairs == 0
    with pytest.raises(NotFound):
        await house.compare(run_id="shadow:why")


async def test_cases_of_tier_2_take_a_grant_too(house: House) -> None:
    run_id = await house.run("default", "shorter")
    cases = [
        (str(number), Answer(variant=name, tier=3 if number < 5 else 1))
        for number in range(20)
        for name in ("default", "shorter")
    ]
    await house.tried(run_id, cases)
    response = await house.compare(run_id=run_id)
    assert response.pairs == 15
    assert any(note.startswith("5 questions of tier_2 are left out") for note in response.notes)
    house.authorizer.grants.add(Purpose.EVALUATE)
    assert (await house.compare(run_id=run_id)).pairs == 20


async def test_what_has_no_counterpart_is_left_out_and_said_to_be(house: House) -> None:
    run_id = await house.run("default", "shorter")
    await house.tried(run_id, [(str(number), Answer()) for number in range(20)])
    await house.tried(run_id, [(str(number), Answer(variant="shorter")) for number in range(12)])
    response = await house.compare(run_id=run_id)
    assert (response.answers_a, response.answers_b, response.pairs) == (20, 12, 12)
    assert "8 answers of A have no counterpart, and are left out." in response.notes


async def test_another_tenants_run_and_answers_are_not_there(house: House, opened: Database) -> None:
    run_id = await a_run(house, better_by=0.05, cases=20)
    await house.log(twenty() + twenty("shorter"))
    stranger = House(f"t-{uuid4().hex[:12]}", opened)
    for run in (run_id, str(uuid4()), "not-a-run"):
        with pytest.raises(NotFound):
            await stranger.compare(run_id=run)
    response = await stranger.compare()
    assert (response.answers_a, response.answers_b, list(response.lines)) == (0, 0, [])


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"tenant": ""}, {"tenant"}),
        ({"a": reports_pb2.Side()}, {"a.variant"}),
        ({"b": side("default")}, {"b"}),
        ({"least_difference": 2.0}, {"least_difference"}),
        ({"a": reports_pb2.Side(variant=Versioned(name="x"), setting=TRIAL_SETTING_ZERO_SHOT)}, {"a.setting"}),
        ({"a": side("x" * 200), "b": side("y" * 200)}, {"a.variant", "b.variant"}),
        ({"measures": ["x"] * 101}, {"measures"}),
    ],
)
async def test_what_is_wrong_with_a_request_is_said_field_by_field(
    house: House, fields: dict[str, object], wrong: set[str]
) -> None:
    with pytest.raises(Rejected) as refused:
        await house.compare(**fields)  # type: ignore[arg-type]
    assert {violation.field for violation in refused.value.violations} == wrong


async def test_a_side_that_a_run_was_not_asked_of_is_refused(house: House) -> None:
    run_id = await a_run(house, better_by=0.05, cases=20)
    for b in ("longer", "shorter@2", ""):
        with pytest.raises(Rejected) as refused:
            await house.compare(b=b, run_id=run_id)
        assert [violation.field for violation in refused.value.violations] == ["b.variant"]


async def test_prompts_have_their_figures_beside_them(house: House) -> None:
    answers = [
        *twenty(prompt="1"),
        *twenty(prompt="2", grounding="extracted"),
        *twenty(prompt="10", grounding="not_in_sources"),
        *twenty(prompt="2", tier=3),
    ]
    await house.log(answers)
    thumbs: list[tuple[UUID, str, str, int, str]] = [(answers[20].query_id, "ann", "thumb", s, "") for s in (1, -1)]
    await house.judge([*thumbs, (answers[20].query_id, "bob", "thumb", 1, "")])
    found = await house.prompts()
    # The versions in order, and without what takes a grant.
    assert [(one.prompt.version, one.answers) for one in found] == [("1", 20), ("2", 20), ("10", 20)]
    assert [(one.grounded, one.extracted, one.refused) for one in found] == [(20, 0, 0), (0, 20, 0), (0, 0, 20)]
    assert (found[1].thumbs_up, found[1].thumbs_down) == (1, 1)
    assert [one.answers for one in await house.prompts(name="nobodys")] == []
    house.caller = Principal("privacy", house.tenant, "pia")
    assert await house.prompts() is not None
