"""The workers, on queue and books in memory and in Postgres: what waits is measured once, whoever dies."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from headrace_database import Database
from headrace_feedback.evaluating.sampling import drawn
from headrace_feedback.evaluating.tasks import Depth, Sampling, live_task
from headrace_feedback.evaluating.working import MOST_ATTEMPTS, Worker
from headrace_privacy import Owner, Tier
from headrace_privacy.policy import Purpose
from headrace_runtime.errors import Conflict, Denied
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.feedback.tests.evaluating.house import (
    RUBRIC,
    TRACEPARENT,
    EvaluationHouse,
    MemoryHouse,
    PostgresHouse,
    a_calibration,
    chunk_id,
    cited,
    judge,
)

BY_COUNTS = {"citations_resolve", "format", "latency", "cost"}
BY_WORDS = BY_COUNTS | {"citations_support", "groundedness", "leaks", "relevance"}
JUDGED = {"judge:strict/correct", "judge:strict/helpful"}


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.real)])
def house(request: pytest.FixtureRequest, tenant: str) -> EvaluationHouse:
    if request.param == "memory":
        return MemoryHouse(tenant)
    database: Database = request.getfixturevalue("opened")
    return PostgresHouse(tenant, database)


async def with_rubric(house: EvaluationHouse) -> None:
    """The rubric is there; in memory it always is."""
    if isinstance(house, PostgresHouse):
        from headrace_feedback.reviewing.postgres import PostgresRubrics

        async with house.database.transaction(tenant=house.tenant) as connection:
            await PostgresRubrics(connection).put(house.tenant, RUBRIC, by="dora", at=house.now())


async def test_an_answer_is_measured_by_its_words(house: EvaluationHouse) -> None:
    query_id = await house.answered()
    await house.put(query_id)
    assert await house.worker().work() == 1
    values = await house.values(query_id)
    assert set(values) == BY_WORDS
    assert values["citations_resolve"] == 1.0
    assert values["citations_support"] == 1.0
    assert 0 < values["relevance"] < 1
    assert values["latency"] == 1.5
    assert await house.waiting() == 0
    (event,) = await house.events()
    assert (event.query_id, len(event.scores), event.kind) == (str(query_id), len(BY_WORDS), "other")
    assert all(score.decides for score in event.scores)


async def test_one_that_is_not_sampled_is_measured_by_counts_and_nobody_is_asked(house: EvaluationHouse) -> None:
    query_id = await house.answered(tier="TIER_2")
    await house.put(query_id, depth=Depth.COUNTS)
    await house.worker().work()
    assert set(await house.values(query_id)) == BY_COUNTS
    assert house.authorizer.uses == []
    assert house.passages.clearances == []


async def test_a_customers_answer_is_measured_under_a_grant_alone(house: EvaluationHouse) -> None:
    house.passages.tier = Tier.TIER_2
    without = await house.answered(tier="TIER_2")
    await house.put(without)
    await house.worker().work()
    assert set(await house.values(without)) == BY_COUNTS
    house.authorizer.grants.add(Purpose.EVALUATE)
    under = await house.answered(tier="TIER_2")
    await house.put(under)
    await house.worker().work()
    assert set(await house.values(under)) == BY_WORDS
    use = house.authorizer.uses[-1]
    assert (use.role, use.purpose, use.tier) == ("service:feedback", Purpose.EVALUATE, Tier.TIER_2)
    assert (use.sources, use.records) == (("handbook",), (str(under),))


async def test_an_answer_is_as_strict_as_what_its_model_read(house: EvaluationHouse) -> None:
    """A TIER_1 answer that had a customer's passage before it: nobody opens it without a grant."""
    query_id = await house.answered(retrieved=[cited("rivers", "TIER_2"), cited("mills", "TIER_1")])
    await house.put(query_id)
    await house.worker().work()
    assert set(await house.values(query_id)) == BY_COUNTS


async def test_judges_vote_and_decide_only_where_they_are_calibrated(house: EvaluationHouse) -> None:
    await with_rubric(house)
    await house.add_judge(judge(votes=3, calibration=a_calibration()))
    await house.add_judge(judge("unproven"))
    house.backend.say = lambda ballot: "hm" if ballot.seed == 3 else "pass"
    query_id = await house.answered()
    await house.put(query_id, judges=("strict", "unproven", "gone"))
    await house.worker().work()
    scores = await house.scores(query_id)
    one = scores["judge:strict/correct"]
    assert (one.value, one.label, one.decides, one.votes, one.unread) == (1.0, "pass", True, 2, 1)
    assert (one.rubric, one.rubric_version) == ("quality", 1)
    assert scores["judge:unproven/helpful"].decides is False
    assert len(house.backend.ballots) == 2 * 3 + 2


@pytest.mark.parametrize("state", ["below", "too_few"])
async def test_a_judge_below_its_threshold_decides_nothing(tenant: str, state: str) -> None:
    house = MemoryHouse(tenant)
    await house.add_judge(judge(calibration=a_calibration(state)))
    query_id = await house.answered()
    await house.put(query_id, judges=("strict",))
    await house.worker().work()
    assert (await house.scores(query_id))["judge:strict/correct"].decides is False


async def test_nor_does_another_model_in_its_place(tenant: str) -> None:
    house = MemoryHouse(tenant)
    await house.add_judge(judge(calibration=a_calibration(model=type(house.backend.model)("other", "1", "local"))))
    query_id = await house.answered()
    await house.put(query_id, judges=("strict",))
    await house.worker().work()
    assert (await house.scores(query_id))["judge:strict/correct"].decides is False


async def test_what_cannot_be_read_is_no_score(tenant: str) -> None:
    house = MemoryHouse(tenant)
    await house.add_judge(judge())
    house.backend.say = lambda _: "I would rather not say."
    query_id = await house.answered()
    await house.put(query_id, judges=("strict",))
    await house.worker().work()
    assert set(await house.values(query_id)) == BY_WORDS


async def test_two_answers_are_compared_both_ways_round(house: EvaluationHouse) -> None:
    await with_rubric(house)
    await house.add_judge(judge("pair", mode="pairwise"))

    def prefers_the_longer(ballot: Any) -> str:
        first, second = (ballot.user.split(f"<{seat}-answer")[1].split("</")[0] for seat in ("first", "second"))
        return "first" if len(first) > len(second) else "second"

    house.backend.say = prefers_the_longer
    one = await house.answered()
    text = "A channel to the mill wheel, and a long one at that [1]."
    other = await house.answered(text={"plain": text, "characters": len(text)})
    task = await house.put(one, against=other, run_id="run", case_id="case", judges=("pair",))
    assert await house.worker().work() == 1
    assert await house.waiting() == 0
    found = await pairs_of(house)
    assert [(outcome, lengths) for _, outcome, lengths in found] == [("b", (32, len(text)))] * 2
    assert task.against == other


async def pairs_of(house: EvaluationHouse) -> Sequence[tuple[str, str, tuple[int, int]]]:
    if isinstance(house, MemoryHouse):
        return [(pair.criterion, pair.outcome, pair.lengths) for pair in house.memory.books.pairs.values()]
    assert isinstance(house, PostgresHouse)
    async with house.database.transaction(tenant=house.tenant) as connection:
        rows = await connection.fetch(
            "SELECT criterion, outcome, length_a, length_b FROM pair_scores ORDER BY criterion"
        )
    return [(row["criterion"], row["outcome"], (row["length_a"], row["length_b"])) for row in rows]


# What can go wrong


async def test_an_instance_that_dies_loses_nothing_and_what_it_held_is_measured_once(house: EvaluationHouse) -> None:
    ids = [await house.answered() for _ in range(3)]
    for query_id in ids:
        await house.put(query_id)
    async with house.desk.open() as entry:  # one that took them and is killed before it stored anything
        assert len(await entry.queue.claim(uuid4(), seconds=0.3, most=10)) == 3
    other = house.worker()
    assert await other.work() == 0
    await asyncio.sleep(0.4)
    assert await other.work() == 3
    for query_id in ids:
        assert set(await house.values(query_id)) == BY_WORDS
    assert Counter(event.query_id for event in await house.events()) == {str(query_id): 1 for query_id in ids}


class Absent(Worker):
    """Believes that it still holds what another was given since: a long pause, a lost heartbeat."""

    async def _beat(self, tasks: Any) -> None:
        await asyncio.sleep(3600)


async def test_one_that_was_away_too_long_stores_nothing(house: EvaluationHouse) -> None:
    query_id = await house.answered()
    await house.put(query_id, judges=("strict",))
    await with_rubric(house)
    await house.add_judge(judge())
    slow, fast = Absent(house.parts(lease_seconds=0.2), uuid4()), house.worker()
    reached, go_on = asyncio.Event(), asyncio.Event()
    honest = house.backend.ask

    async def hold_up(*args: Any, **kwargs: Any) -> Any:
        if not reached.is_set():
            reached.set()
            await go_on.wait()
        return await honest(*args, **kwargs)

    house.backend.ask = hold_up  # type: ignore[method-assign]
    working = asyncio.create_task(slow.work())
    await reached.wait()
    await asyncio.sleep(0.3)
    assert await fast.work() == 1
    before = await house.scores(query_id)
    go_on.set()
    await working
    assert await house.scores(query_id) == before
    assert len(await house.events()) == 1
    assert await house.waiting() == 0


async def test_several_instances_share_the_work(house: EvaluationHouse) -> None:
    ids = [await house.answered() for _ in range(12)]
    for query_id in ids:
        await house.put(query_id)
        await house.put(query_id)  # once more
    workers = [house.worker(batch=2) for _ in range(4)]

    async def until_done(worker: Worker) -> int:
        done = 0
        while took := await worker.work():
            done += took
        return done

    assert sum(await asyncio.gather(*map(until_done, workers))) == 12
    assert Counter(event.query_id for event in await house.events()) == {str(query_id): 1 for query_id in ids}


@pytest.mark.parametrize("neighbour", ["passages", "embedder", "backend"])
async def test_with_a_neighbour_down_what_needs_it_waits_and_nothing_else(
    house: EvaluationHouse, neighbour: str
) -> None:
    await with_rubric(house)
    await house.add_judge(judge())
    cheap, dear = await house.answered(), await house.answered()
    await house.put(cheap, depth=Depth.COUNTS)
    await house.put(dear, judges=("strict",))
    getattr(house, neighbour).is_down = True
    worker = house.worker()
    for _ in range(2 * MOST_ATTEMPTS):  # however often: nobody is to blame
        await worker.work()
        await asyncio.sleep(0.012)
    assert set(await house.values(cheap)) == BY_COUNTS
    assert await house.values(dear) == {}
    assert await house.waiting() == 1
    getattr(house, neighbour).is_down = False
    await asyncio.sleep(0.02)
    await worker.work()
    assert set(await house.values(dear)) == BY_WORDS | JUDGED


async def test_with_nobody_to_ask_nothing_is_read(house: EvaluationHouse) -> None:
    query_id = await house.answered()
    await house.put(query_id)
    house.authorizer.is_down = True
    await house.worker().work()
    assert house.passages.clearances == []
    assert await house.waiting() == 1


async def test_a_grant_that_ends_stops_what_is_under_way(house: EvaluationHouse) -> None:
    """Three answers under one leave: after the first one's first vote the grant is revoked, and five seconds pass."""
    await with_rubric(house)
    await house.add_judge(judge())
    house.passages.tier = Tier.TIER_2
    house.authorizer.grants.add(Purpose.EVALUATE)
    ids = [await house.answered(tier="TIER_2") for _ in range(3)]
    for query_id in ids:
        await house.put(query_id, judges=("strict",))

    def revoke() -> None:
        house.authorizer.grants.clear()
        house.pass_time(6)

    house.backend.on_ask = revoke
    await house.worker().work()
    assert len(house.backend.ballots) == len(RUBRIC.criteria)  # those of the answer that was being judged
    assert await house.waiting() == 0
    judged = [query_id for query_id in ids if set(await house.values(query_id)) >= JUDGED]
    assert len(judged) == 1


async def test_what_is_erased_is_not_measured(house: EvaluationHouse) -> None:
    query_id = await house.answered(tier="TIER_2")
    house.authorizer.grants.add(Purpose.EVALUATE)
    house.keyring.destroy(Owner.subject(house.tenant, "user-7"))
    await house.put(query_id)
    await house.worker().work()
    assert set(await house.values(query_id)) == BY_COUNTS
    assert await house.waiting() == 0


async def test_an_answer_that_is_gone_leaves_nothing_to_do(house: EvaluationHouse) -> None:
    await house.put(uuid4())
    await house.worker().work()
    assert await house.waiting() == 0
    assert await house.events() == []


async def test_a_cited_passage_that_is_gone_leaves_support_unmeasured(house: EvaluationHouse) -> None:
    del house.passages.texts["mills"]
    query_id = await house.answered()
    await house.put(query_id)
    await house.worker().work()
    assert set(await house.values(query_id)) == BY_COUNTS | {"relevance"}


async def test_one_that_ends_the_process_is_given_up_and_the_others_are_measured(house: EvaluationHouse) -> None:
    """Its model's passages end every process that fetches them."""
    good = await house.answered()
    bad = await house.answered(retrieved=[cited("deadly", "TIER_1"), cited("mills", "TIER_1")])
    for query_id in (bad, good):
        await house.put(query_id)
    honest = house.passages.fetch

    async def deadly(tenant: str, chunk_ids: Sequence[str], *, clearance: Tier) -> Any:
        if chunk_id("deadly") in chunk_ids:
            raise KeyboardInterrupt  # no fault of an answer: it goes through everything
        return await honest(tenant, chunk_ids, clearance=clearance)

    house.passages.fetch = deadly  # type: ignore[method-assign]
    ended = 0
    for _ in range(2 * MOST_ATTEMPTS):
        try:
            await house.worker(lease_seconds=0.3).work()
        except KeyboardInterrupt:
            ended += 1
        await asyncio.sleep(0.35)
    assert ended == MOST_ATTEMPTS
    assert set(await house.values(good)) == BY_WORDS
    assert await house.waiting() == 0
    assert await house.values(bad) == {}


@pytest.mark.parametrize("fault", [ValueError("torn"), Conflict("it does not take it"), Denied("not for you")])
async def test_one_that_fails_by_itself_is_given_up_and_holds_up_nobody(
    house: EvaluationHouse, fault: Exception
) -> None:
    good = await house.answered()
    bad = await house.answered(retrieved=[cited("torn", "TIER_1"), cited("mills", "TIER_1")])
    for query_id in (bad, good):
        await house.put(query_id)
    honest = house.passages.fetch

    async def torn(tenant: str, chunk_ids: Sequence[str], *, clearance: Tier) -> Any:
        if chunk_id("torn") in chunk_ids:
            raise fault
        return await honest(tenant, chunk_ids, clearance=clearance)

    house.passages.fetch = torn  # type: ignore[method-assign]
    worker = house.worker()
    for attempt in range(1, MOST_ATTEMPTS + 1):
        assert await worker.work() == (2 if attempt == 1 else 1)
        assert set(await house.values(good)) == BY_WORDS
        assert await house.waiting() == (0 if attempt == MOST_ATTEMPTS else 1)
    assert await house.values(bad) == {}


async def test_scores_are_events_in_the_answers_own_trace(
    house: EvaluationHouse, span_exporter: InMemorySpanExporter
) -> None:
    await with_rubric(house)
    await house.add_judge(judge())
    query_id = await house.answered()
    await house.put(query_id, judges=("strict",))
    await house.worker().work()
    (span,) = [
        one
        for one in span_exporter.get_finished_spans()
        if one.name == "evaluate" and (one.attributes or {}).get("headrace.query.id") == str(query_id)
    ]
    _, trace, parent, _ = TRACEPARENT.split("-")
    assert span.parent is not None
    assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (trace, parent)
    events = {str((event.attributes or {})["gen_ai.evaluation.name"]): event for event in span.events}
    assert set(events) == BY_WORDS | JUDGED
    assert {event.name for event in span.events} == {"gen_ai.evaluation.result"}
    assert dict(events["judge:strict/correct"].attributes or {}) == {
        "gen_ai.evaluation.name": "judge:strict/correct",
        "gen_ai.evaluation.score.value": 1.0,
        "gen_ai.evaluation.score.label": "pass",
        "headrace.evaluator.version": "1",
        "headrace.rubric": "quality@1",
    }
    assert "mill wheel" not in span.to_json()


# Sampling


def test_a_hash_draws_the_share_that_is_asked_for() -> None:
    ids = [UUID(int=n) for n in range(4_000)]
    sampling = Sampling(0.25, ("strict",), 0.5)
    tasks = [live_task("demo", query_id, sampling) for query_id in ids]
    words = [task for task in tasks if task.depth is Depth.WORDS]
    judged = [task for task in words if task.judges]
    assert 0.22 < len(words) / len(ids) < 0.28
    assert 0.44 < len(judged) / len(words) < 0.56
    assert live_task("demo", ids[0], sampling) == tasks[0]
    assert live_task("demo", ids[0], Sampling()).depth is Depth.COUNTS
    assert all(live_task("demo", query_id, Sampling(1.0)).depth is Depth.WORDS for query_id in ids[:100])


def test_the_hash_is_the_one_that_is_written_down() -> None:
    """Others recompute it from the documentation: a change would draw other answers."""
    assert drawn("evaluate", "demo", "0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10") == pytest.approx(0.063117619100)
