"""EvaluationService over memory and Postgres, and what an erasure leaves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from headrace.feedback.v1 import evaluation_pb2
from headrace.feedback.v1.evaluation_pb2 import Judge as WireJudge
from headrace.query.v1.answer_pb2 import Versioned as WireVersioned
from headrace_database import Database
from headrace_feedback.evaluating.erasing import PAIRS, SCORES, TASKS, EvaluationHoldings
from headrace_feedback.evaluating.ports import Neighbours
from headrace_feedback.evaluating.queue import QueuedAnswers
from headrace_feedback.evaluating.reading import OpenPassages
from headrace_feedback.evaluating.servicer import EvaluationServicer
from headrace_feedback.evaluating.tasks import Depth
from headrace_feedback.reviewing.postgres import PostgresQueue as ReviewQueue
from headrace_feedback.reviewing.sampling import Reason, Rule
from headrace_feedback.reviewing.sampling import Sampling as ReviewSampling
from headrace_feedback.translate import read_answer
from headrace_identity import Principal
from headrace_privacy import Tier
from headrace_runtime.errors import NotFound, Rejected
from headrace_stream import Ledger
from headrace_stream.erasing import Erasure, Names, Subject

from services.feedback.tests.evaluating.house import (
    PASSAGE,
    RUBRIC,
    EvaluationHouse,
    MemoryHouse,
    PostgresHouse,
    a_calibration,
    chunk_id,
    judge,
)
from services.feedback.tests.evaluating.test_working import with_rubric
from services.feedback.tests.makers import NOW, answer

CONTEXT: Any = None


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.real)])
def house(request: pytest.FixtureRequest, tenant: str) -> EvaluationHouse:
    if request.param == "memory":
        return MemoryHouse(tenant)
    database: Database = request.getfixturevalue("opened")
    return PostgresHouse(tenant, database)


def servicer(house: EvaluationHouse) -> EvaluationServicer:
    return EvaluationServicer(house.parts(), caller=lambda: Principal("developer", house.tenant, "dora"))


def a_judge(**changes: Any) -> WireJudge:
    whole = {"name": "strict", "rubric": WireVersioned(name=RUBRIC.name), "mode": "single"}
    return WireJudge(**(whole | changes))


async def test_a_judge_is_stored_calibrated_and_listed(house: EvaluationHouse) -> None:
    await with_rubric(house)
    service = servicer(house)
    request = evaluation_pb2.PutJudgeRequest(tenant=house.tenant, judge=a_judge(votes=3, backend="big"))
    stored = await service.PutJudge(request, CONTEXT)
    assert (stored.created, stored.judge.version, stored.judge.rubric.version) == (True, 1, "1")
    assert (stored.judge.created_by, stored.judge.max_output_tokens) == ("dora", 16)
    assert not (await service.PutJudge(request, CONTEXT)).created
    async with house.desk.open(house.tenant) as entry:
        (known,) = await entry.books.judges(house.tenant, ())
        await entry.books.add_calibration(house.tenant, known, a_calibration("below"))
    listing = evaluation_pb2.ListJudgesRequest(tenant=house.tenant, name="strict")
    (listed,) = (await service.ListJudges(listing, CONTEXT)).judges
    assert (listed.calibration.state, listed.calibration.model.name) == ("below", "judge-model")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "No Name"}, "judge.name"),
        ({"mode": "both"}, "judge.mode"),
        ({"votes": 2}, "judge.votes"),
        ({"votes": 17}, "judge.votes"),
        ({"max_output_tokens": 2000}, "judge.max_output_tokens"),
        ({"rubric": WireVersioned(name="")}, "judge.rubric.name"),
        ({"rubric": WireVersioned(name="quality", version="one")}, "judge.rubric.version"),
        ({"backend": "a b"}, "judge.backend"),
    ],
)
async def test_what_is_wrong_with_a_judge_is_said_by_field(tenant: str, changes: dict[str, Any], field: str) -> None:
    request = evaluation_pb2.PutJudgeRequest(tenant=tenant, judge=a_judge(**changes))
    with pytest.raises(Rejected) as refused:
        await servicer(MemoryHouse(tenant)).PutJudge(request, CONTEXT)
    assert [violation.field for violation in refused.value.violations] == [field]


async def test_a_rubric_that_there_is_none_of_is_not_found(house: EvaluationHouse) -> None:
    request = evaluation_pb2.PutJudgeRequest(tenant=house.tenant, judge=a_judge(rubric=WireVersioned(name="absent")))
    with pytest.raises(NotFound):
        await servicer(house).PutJudge(request, CONTEXT)


async def test_settings_are_kept_and_say_which_evaluators_there_are(house: EvaluationHouse) -> None:
    await house.add_judge(judge())
    service = servicer(house)
    asked = evaluation_pb2.GetEvaluationRequest(tenant=house.tenant)
    before = await service.GetEvaluation(asked, CONTEXT)
    assert (before.share, list(before.judges), before.waiting) == (0.0, [], 0)
    await house.put(uuid4())
    put = evaluation_pb2.PutEvaluationRequest(tenant=house.tenant, share=0.25, judges=["strict"], judged_share=0.5)
    await service.PutEvaluation(put, CONTEXT)
    after = await service.GetEvaluation(asked, CONTEXT)
    assert (after.share, list(after.judges), after.judged_share, after.waiting) == (0.25, ["strict"], 0.5, 1)
    by_name = {evaluator.name: evaluator for evaluator in after.evaluators}
    assert by_name["cost"].unit == "micro_usd"
    assert by_name["token_f1"].needs_reference
    assert "Off here" not in by_name["relevance"].description
    with pytest.raises(NotFound):
        await service.PutEvaluation(evaluation_pb2.PutEvaluationRequest(tenant=house.tenant, judges=["x"]), CONTEXT)
    with pytest.raises(Rejected, match="judged_share"):
        wrong = evaluation_pb2.PutEvaluationRequest(tenant=house.tenant, judged_share=1.5)
        await service.PutEvaluation(wrong, CONTEXT)


def test_what_is_off_says_which_setting_would_turn_it_on() -> None:
    assert Neighbours().missing == {
        "passages": "HEADRACE_FEEDBACK_RETRIEVER",
        "vectors": "HEADRACE_FEEDBACK_EMBEDDER",
        "judges": "HEADRACE_FEEDBACK_INFERENCE",
    }


async def test_scores_are_shown_to_their_tenant_alone(house: EvaluationHouse) -> None:
    query_id = await house.answered()
    await house.put(query_id)
    await house.worker().work()
    service = servicer(house)
    request = evaluation_pb2.GetScoresRequest(tenant=house.tenant, query_id=str(query_id))
    scores = (await service.GetScores(request, CONTEXT)).scores
    assert {score.evaluator for score in scores} >= {"groundedness", "format"}
    for tenant, wanted in (("t-other", query_id), (house.tenant, uuid4())):
        with pytest.raises(NotFound):
            other = evaluation_pb2.GetScoresRequest(tenant=tenant, query_id=str(wanted))
            await service.GetScores(other, CONTEXT)
    with pytest.raises(Rejected):
        await service.GetScores(evaluation_pb2.GetScoresRequest(tenant=house.tenant, query_id="x"), CONTEXT)


async def test_passages_are_opened_for_whoever_may_read_them(tenant: str) -> None:
    house = MemoryHouse(tenant)
    house.passages.tier = Tier.TIER_2
    opened = OpenPassages(house.vault, Neighbours(house.passages))
    ids = [chunk_id("mills"), "not-a-uuid"]
    assert await opened.texts(tenant, ids, clearance=Tier.TIER_2) == {chunk_id("mills"): PASSAGE}
    assert (await opened.indexed(tenant, ids, clearance=Tier.TIER_2))[chunk_id("mills")].headings == "Mills\nWater"
    assert await opened.texts(tenant, ids, clearance=Tier.TIER_1) == {}
    assert await OpenPassages(house.vault, Neighbours()).texts(tenant, ids, clearance=Tier.TIER_2) == {}


# In Postgres alone


@pytest.mark.real
async def test_an_answer_is_put_into_the_queue_in_the_transaction_that_stores_it(opened: Database, tenant: str) -> None:
    house = PostgresHouse(tenant, opened)
    ids = [uuid4() for _ in range(40)]
    async with opened.transaction(tenant=tenant) as connection:
        put = "INSERT INTO evaluation_settings VALUES ($1, 0.5, '{strict}', 1, 'dora', now())"
        await connection.execute(put, tenant)
    for query_id in ids:
        async with Ledger(opened).unit(tenant=tenant) as unit:
            await QueuedAnswers().on_answer(unit, read_answer(answer(tenant, query_id), event_id=query_id))
    async with opened.transaction() as connection:
        rows = await connection.fetch("SELECT * FROM evaluation_tasks WHERE tenant = $1", tenant)
    depths = {row["query_id"]: (row["depth"], list(row["judges"])) for row in rows}
    assert set(depths) == set(ids)
    assert set(map(repr, depths.values())) == {"(1, [])", "(2, ['strict'])"}
    assert await house.waiting() == 40


NAMES = Names(b"x" * 32)


def everything_of(tenant: str, subject: str) -> Erasure:
    return Erasure(uuid4(), tenant, Subject(subject), 1, NOW + timedelta(days=1), NOW + timedelta(days=1))


@pytest.mark.real
async def test_an_erasure_reaches_scores_comparisons_and_what_waits(opened: Database, tenant: str) -> None:
    house = PostgresHouse(tenant, opened)
    await with_rubric(house)
    await house.add_judge(judge("pair", mode="pairwise"))
    house.backend.say = lambda _: "same"
    erased = await house.answered()
    other = await house.answered()
    await house.put(erased)
    await house.put(erased, against=other, run_id="r", case_id="c", judges=("pair",))
    await house.worker().work()
    await house.put(erased, run_id="again")
    holdings = EvaluationHoldings()
    erasure = everything_of(tenant, "user-7")
    async with opened.transaction(tenant=tenant) as connection:
        removed = await holdings.remove(connection, erasure, NAMES, queries=[erased])
        await connection.execute("DELETE FROM interactions WHERE query_id = $1", erased)
        left = await holdings.left(connection, erasure, NAMES)
    assert removed[SCORES] >= 7
    assert (removed[PAIRS], removed[TASKS]) == (2, 1)
    assert left == {SCORES: 0, PAIRS: 0, TASKS: 0}


@pytest.mark.real
async def test_what_is_left_of_an_answer_that_is_gone_is_found(opened: Database, tenant: str) -> None:
    """A removal that forgot the scores would be seen when it is read back."""
    house = PostgresHouse(tenant, opened)
    query_id = await house.answered()
    await house.put(query_id, depth=Depth.COUNTS)
    await house.worker().work()
    async with opened.transaction(tenant=tenant) as connection:
        await connection.execute("DELETE FROM interactions WHERE query_id = $1", query_id)
        left = await EvaluationHoldings().left(connection, everything_of(tenant, "user-7"), NAMES)
    assert left[SCORES] == 4


@pytest.mark.real
async def test_a_low_score_brings_a_live_answer_to_the_experts(opened: Database, tenant: str) -> None:
    house = PostgresHouse(tenant, opened)
    rule = Rule(Reason.LOW_SCORE, 1.0, evaluator="citations_support", below=0.5)
    async with opened.transaction(tenant=tenant) as connection:
        await ReviewQueue(connection).put_sampling(tenant, ReviewSampling((rule,), "answer-quality"), by="rita", at=NOW)
    text = "Cows eat fresh grass in summer [1]."
    bad = await house.answered(text={"plain": text, "characters": len(text)})
    good, tried = await house.answered(), await house.answered(text={"plain": text, "characters": len(text)})
    await house.put(bad)
    await house.put(good)
    await house.put(tried, run_id="a-run")
    await house.worker().work()
    async with opened.transaction(tenant=tenant) as connection:
        rows = await connection.fetch("SELECT query_id, reasons FROM review_items WHERE tenant = $1", tenant)
    assert [(row["query_id"], list(row["reasons"])) for row in rows] == [(bad, [int(Reason.LOW_SCORE)])]
