"""The Kafka and gRPC edges, on memory."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from headrace import topics
from headrace.feedback.v1 import service_pb2
from headrace_privacy import Owner, Tier
from headrace_runtime.errors import NotFound, Rejected, Unavailable

from services.feedback.tests.house import CONTEXT, MADE, House
from services.feedback.tests.makers import ANSWER, FEEDBACK, NOW, TRACE, answer, delivery, feedback

QUERY = "0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"
WORDS = "my password is hunter2"
MASKED = "my password is [secret:password]"


@pytest.fixture
def house() -> House:
    return House()


async def test_a_redelivered_answer_is_stored_once(house: House) -> None:
    event = delivery(answer("demo", QUERY), ANSWER)
    for _ in range(2):
        assert await house.consumers.on_answer(event) == ()
    assert len(house.log.interactions) == 1
    assert house.ledger.published == []


async def test_feedback_on_the_bus_is_stored_and_told(house: House) -> None:
    await house.consumers.on_answer(delivery(answer("demo", QUERY), ANSWER))
    event = delivery(feedback("demo", queryId=QUERY, rating=2), FEEDBACK)
    for _ in range(2):
        await house.consumers.on_feedback(event)
    (told,) = house.ledger.published
    assert (told.topic, told.key, told.correlation_id, told.tenant, told.tier) == (
        topics.FEEDBACK_RECORDED,
        QUERY,
        QUERY,
        "demo",
        Tier.TIER_1,
    )
    assert (told.message.score, told.message.query_id, told.causation_id) == (2, QUERY, str(event.event_id))


async def test_the_same_feedback_in_two_events_is_told_once(house: House) -> None:
    message = feedback("demo", queryId=QUERY)
    for _ in range(2):
        await house.consumers.on_feedback(delivery(message, FEEDBACK))
    assert len(house.ledger.published) == 1


async def test_early_feedback_is_told_again_when_its_answer_comes(house: House) -> None:
    for number in range(2):
        await house.consumers.on_feedback(delivery(feedback("demo", traceId=TRACE, rating=number + 1), FEEDBACK))
    await house.consumers.on_answer(delivery(answer("demo", QUERY), ANSWER))
    early, later = house.ledger.published[:2], house.ledger.published[2:]
    assert [(e.message.query_id, e.tier, e.key) for e in early] == [("", Tier.TIER_2, TRACE)] * 2
    assert [(e.message.query_id, e.tier, e.key) for e in later] == [(QUERY, Tier.TIER_1, QUERY)] * 2
    assert len({e.event_id for e in house.ledger.published}) == 4


async def test_bad_feedback_on_the_bus_is_rejected_and_nothing_is_stored(house: House) -> None:
    with pytest.raises(Rejected, match=r"^rating: unknown_value$"):
        await house.consumers.on_feedback(delivery(feedback("demo", queryId=QUERY, rating=7), FEEDBACK))
    assert not house.log.feedback


async def test_record_makes_an_id_and_says_whether_it_joined(house: House) -> None:
    message = feedback("demo", queryId=QUERY, feedbackId="")
    assert await house.record(message) == service_pb2.RecordResponse(feedback_id=str(MADE), joined=False)
    await house.consumers.on_answer(delivery(answer("demo", QUERY), ANSWER))
    assert await house.record(message) == service_pb2.RecordResponse(feedback_id=str(MADE), joined=True)
    assert message.feedback_id == "", "the caller's message is the caller's"


async def test_record_tells_once(house: House) -> None:
    message = feedback("demo", queryId=QUERY)
    for _ in range(2):
        await house.record(message)
    (told,) = house.ledger.published
    assert (told.topic, told.source, told.causation_id) == (topics.FEEDBACK_RECORDED, "feedback", message.feedback_id)


async def test_record_names_the_field_by_its_path(house: House) -> None:
    with pytest.raises(Rejected, match=r"^feedback\.rating: unknown_value$"):
        await house.record(feedback("demo", queryId=QUERY, rating=9))


async def test_get_shows_the_interaction_with_its_feedback(house: House) -> None:
    await house.consumers.on_answer(delivery(answer("demo", QUERY), ANSWER))
    await house.record(feedback("demo", traceId=TRACE, correction="A mill race."))
    shown = await house.servicer.Get(service_pb2.GetRequest(tenant="demo", trace_id=TRACE), CONTEXT)
    assert shown.interaction == answer("demo", QUERY)
    assert shown.stored_at.ToSeconds() == int(NOW.timestamp())
    assert [one.correction for one in shown.feedback] == ["A mill race."]


async def test_get_knows_nothing_of_another_tenants(house: House) -> None:
    await house.consumers.on_answer(delivery(answer("demo", QUERY), ANSWER))
    with pytest.raises(NotFound):
        await house.servicer.Get(service_pb2.GetRequest(tenant="other", query_id=QUERY), CONTEXT)
    with pytest.raises(Rejected, match="query_id: missing"):
        await house.servicer.Get(service_pb2.GetRequest(tenant="demo"), CONTEXT)


async def test_tally_streams_what_was_answered_by_which_event(house: House) -> None:
    event_id = uuid4()
    await house.consumers.on_answer(delivery(answer("demo", QUERY), ANSWER, event_id=event_id))
    batches = [batch async for batch in house.servicer.Tally(service_pb2.TallyRequest(), CONTEXT)]
    (one,) = [one for batch in batches for one in batch.interactions]
    assert (one.tenant, one.query_id, one.answer_event_id) == ("demo", QUERY, str(event_id))


@pytest.mark.parametrize("kind", ["comment", "correction"])
@pytest.mark.parametrize("over", ["bus", "grpc"])
@pytest.mark.parametrize("comes", ["before", "after"])
async def test_words_are_masked_and_sealed_before_they_rest(house: House, kind: str, over: str, comes: str) -> None:
    message = feedback("demo", queryId=QUERY, subject="judge-1", **{kind: WORDS})
    if comes == "after":
        await house.answered(QUERY)
    if over == "bus":
        await house.consumers.on_feedback(delivery(message, FEEDBACK))
    else:
        await house.record(message)
    if comes == "before":
        assert WORDS.encode() not in house.stored()
        await house.answered(QUERY)
    for part in ("hunter2", "password"):
        assert part.encode() not in house.stored()
    shown = (await house.get(QUERY)).feedback
    assert [getattr(one, kind) for one in shown] == [MASKED]
    assert house.classifier.products == ["docs-search" if comes == "after" else ""]


async def test_words_are_in_the_hands_of_whoever_asked_once_that_is_known(house: House) -> None:
    early = feedback("demo", queryId=QUERY, subject="judge-1", comment="Too long.")
    await house.record(early)
    await house.answered(QUERY)
    house.moment = NOW + timedelta(seconds=1)
    late = feedback("demo", queryId=QUERY, subject="judge-1", comment="Still too long.")
    await house.record(late)
    house.keyring.destroy(Owner.subject("demo", "judge-1"))
    assert [one.comment for one in (await house.get(QUERY)).feedback] == ["Too long.", "Still too long."]
    house.keyring.destroy(Owner.subject("demo", "user-7"))
    with pytest.raises(NotFound):
        await house.get(QUERY)


async def test_words_of_a_judge_who_was_erased_meanwhile_are_left_out_and_the_rest_stays(house: House) -> None:
    await house.record(feedback("demo", queryId=QUERY, subject="judge-1", comment="Too long."))
    await house.record(feedback("demo", queryId=QUERY, subject="judge-2", rating=2, feedbackId=str(uuid4())))
    house.keyring.destroy(Owner.subject("demo", "judge-1"))
    await house.answered(QUERY)
    assert [one.rating for one in (await house.get(QUERY)).feedback] == [2]


@pytest.mark.parametrize("over", ["bus", "grpc"])
async def test_without_a_classifier_no_words_are_kept_and_thumbs_are(house: House, over: str) -> None:
    house.classifier.is_down = True
    message = feedback("demo", queryId=QUERY, comment=WORDS)
    with pytest.raises(Unavailable):
        await (house.record(message) if over == "grpc" else house.consumers.on_feedback(delivery(message, FEEDBACK)))
    assert not house.log.feedback
    assert not house.ledger.published
    await house.record(feedback("demo", queryId=QUERY))
    assert len(house.log.feedback) == 1


async def test_the_same_words_again_are_not_looked_at_again(house: House) -> None:
    message = feedback("demo", queryId=QUERY, comment="Just what I needed.")
    for _ in range(2):
        await house.record(message)
    assert len(house.classifier.products) == 1
    assert len(house.log.feedback) == 1
    assert len(house.ledger.published) == 1


async def test_the_event_tells_the_stricter_of_answer_and_words(house: House) -> None:
    await house.answered(QUERY)
    await house.record(feedback("demo", queryId=QUERY, comment=WORDS))
    (told,) = house.ledger.published
    assert (told.tier, told.message.tier) == (Tier.TIER_2, 3)
    assert "hunter2" not in str(told)
