"""What an answer's event says of a canary, and how it is counted once."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from headrace import topics
from headrace.feedback.v1.feedback_pb2 import JUDGEMENT_KIND_RATING, JUDGEMENT_KIND_THUMB, FeedbackRecorded
from headrace.query.v1 import answer_pb2, query_pb2
from headrace_stream.memory import delivered
from headrace_trainer.registry.consumers import CanaryConsumers, Watchlist, read_answer
from headrace_trainer.registry.counting import Answered, count
from headrace_trainer.registry.evidence import Answer
from headrace_trainer.registry.models import Rollout, Touched, Variant

from services.trainer.tests.registry.house import CHAMPION, House
from services.trainer.tests.registry.makers import a_model

CANARY = Variant("tuned", 1)
MODEL = replace(
    a_model(),
    variant=CANARY,
    rollout=Rollout(0.1, 0.05, 50, 86_400, 1, CHAMPION, routes=(Touched("*", None),)),  # type: ignore[arg-type]
)


def answered(**more: object) -> Answered:
    """By the canary, in its own words."""
    plain = Answered("acme", UUID(int=1), CANARY, "*", "grounded", "stop", service_ms=700.0, tokens=300)
    return replace(plain, **more)  # type: ignore[arg-type]


def test_an_answer_counts_for_whoever_wrote_it() -> None:
    assert count(answered(), MODEL) == Answer("canary", grounded=True, latency_ms=700.0)
    assert count(answered(variant=CHAMPION, grounding="not_in_sources"), MODEL) == Answer(
        "champion", refused=True, latency_ms=700.0
    )


@pytest.mark.parametrize("reason", ["failed", "broken"])
def test_a_canary_that_was_stood_in_for_has_failed(reason: str) -> None:
    """The seeded bug: to count the champion's answer as the champion's own."""
    found = count(answered(variant=CHAMPION, passed_over=((CANARY, reason),)), MODEL)
    assert found == Answer("canary", failed=True)


def test_one_that_was_expected_to_be_too_slow_was_slow() -> None:
    assert count(answered(variant=CHAMPION, passed_over=((CANARY, "latency"),)), MODEL) == Answer(
        "canary", too_slow=True
    )


@pytest.mark.parametrize("reason", ["tier", "cost", "rate", "budget"])
def test_what_it_was_not_given_says_nothing_of_it(reason: str) -> None:
    found = count(answered(variant=CHAMPION, passed_over=((CANARY, reason),)), MODEL)
    assert found is not None
    assert found.side == "champion"


def test_others_routes_and_variants_say_nothing() -> None:
    assert count(answered(route="billing"), MODEL) is None
    assert count(answered(variant=Variant("short", 3)), MODEL) is None
    assert count(answered(variant=None), MODEL) is None
    assert count(answered(finish_reason="withheld"), MODEL) is None
    assert count(answered(grounding="not_in_sources", tokens=0), MODEL) is None, "no model was asked"
    assert count(answered(finish_reason="failed", tokens=0), MODEL) == Answer("canary", failed=True, grounded=True)
    given_way = replace(MODEL.rollout, routes=(Touched("*", None, given_way=True),))  # type: ignore[type-var]
    assert count(answered(), replace(MODEL, rollout=given_way)) is None


def completed(home: House, variant: Variant, **more: object) -> answer_pb2.AnswerCompleted:
    """As inference says it."""
    hop = query_pb2.Hop(service="inference")
    hop.received_at.FromMilliseconds(1_000)
    hop.finished_at.FromMilliseconds(1_700)
    return answer_pb2.AnswerCompleted(
        query=query_pb2.Query(query_id=str(uuid4()), tenant=home.tenant, hops=[hop]),
        variant=answer_pb2.Versioned(name=variant.name, version=str(variant.version)),
        grounding=answer_pb2.GROUNDING_GROUNDED,
        finish_reason="stop",
        usage=answer_pb2.Usage(input_tokens=290, output_tokens=10),
        routing=answer_pb2.Routing(route="*", reason="share"),
        **more,  # type: ignore[arg-type]
    )


def test_the_event_is_read() -> None:
    message = answer_pb2.AnswerCompleted(
        query=query_pb2.Query(query_id=str(UUID(int=1)), tenant="acme"),
        variant=answer_pb2.Versioned(name="external", version="gpt-9"),
        routing=answer_pb2.Routing(passed_over=[answer_pb2.PassedOver(variant=CHAMPION_WIRE, reason="failed")]),
    )
    found = read_answer(message)
    assert (found.variant, found.route, found.service_ms) == (None, "*", None)
    assert found.passed_over == ((CHAMPION, "failed"),)


CHAMPION_WIRE = answer_pb2.Versioned(name="default", version="1")


async def test_each_event_is_counted_once_and_the_first_answer_is_noted(home: House) -> None:
    name = await home.canary()
    watchlist = Watchlist(home.shelf)
    await watchlist.refresh()
    consumers = CanaryConsumers(home.shelf, watchlist, lambda: None)
    message = completed(home, CANARY)
    delivery = delivered(message, topics.ANSWER_COMPLETED, service="trainer", event_id=uuid4())
    for _ in range(3):
        await consumers.on_answer(delivery)
    await consumers.on_answer(
        delivered(completed(home, CHAMPION), topics.ANSWER_COMPLETED, service="trainer", event_id=uuid4())
    )
    async with home.shelf.open(home.tenant) as (_, books):
        sample = await books.sample(home.tenant, name, share=0.25, most=100)
    assert (sample.count("canary"), sample.count("champion")) == (1, 1)
    assert sample.answers[0].latency_ms == 700.0
    assert (await home.get(name)).first_answer_at is not None


async def test_thumbs_find_their_answers_whichever_comes_first(home: House) -> None:
    name = await home.canary()
    watchlist = Watchlist(home.shelf)
    await watchlist.refresh()
    consumers = CanaryConsumers(home.shelf, watchlist, lambda: None)
    message = completed(home, CANARY)

    async def judge(score: int, kind: int = JUDGEMENT_KIND_THUMB) -> None:
        said = FeedbackRecorded(tenant=home.tenant, query_id=message.query.query_id, kind=kind, score=score)  # type: ignore[arg-type]
        await consumers.on_feedback(delivered(said, topics.FEEDBACK_RECORDED, service="trainer", event_id=uuid4()))

    await judge(1)
    await consumers.on_answer(delivered(message, topics.ANSWER_COMPLETED, service="trainer", event_id=uuid4()))
    await judge(-1)
    await judge(5, JUDGEMENT_KIND_RATING)
    async with home.shelf.open(home.tenant) as (_, books):
        sample = await books.sample(home.tenant, name, share=0.25, most=100)
    assert [(thumb.side, thumb.up) for thumb in sample.thumbs] == [("canary", False)]


async def test_without_a_canary_an_answer_costs_nothing(home: House) -> None:
    consumers = CanaryConsumers(home.shelf, Watchlist(home.shelf), lambda: None)
    delivery = delivered(completed(home, CANARY), topics.ANSWER_COMPLETED, service="trainer", event_id=uuid4())
    await consumers.on_answer(delivery)
    assert not await home.ledger.has_received(delivery)
