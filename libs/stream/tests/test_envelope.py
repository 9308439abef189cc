"""What travels beside a message: ids that a replay makes again, and headers that anybody can send."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from headrace import topics
from headrace.query.v1.events_pb2 import QueryAccepted, QuerySubmitted
from headrace_privacy import Tier
from headrace_runtime.errors import Rejected
from headrace_stream.envelope import check_size, derived_id, event_id_of, readable_headers
from headrace_stream.memory import delivered
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
PLACE = {"topic": "t", "partition": 3, "offset": 7}


def arrived(event_id: UUID, headers: dict[str, str] | None = None) -> Any:
    return delivered(
        QuerySubmitted(), topics.QUERY_SUBMITTED, service="ingest", event_id=event_id, key="k", headers=headers
    )


def event_id(headers: dict[str, str], **place: Any) -> UUID:
    return event_id_of(headers, **{**PLACE, **place})


def test_a_replay_makes_the_same_event() -> None:
    cause = uuid4()
    first, again = (arrived(cause).follow(topics.QUERY_ACCEPTED, QueryAccepted()) for _ in range(2))
    assert first.event_id == again.event_id
    others = [
        arrived(cause).follow(topics.QUERY_ACCEPTED, QueryAccepted(), ordinal=1),
        arrived(cause).follow(topics.QUERY_CLASSIFIED, QueryAccepted()),
        arrived(uuid4()).follow(topics.QUERY_ACCEPTED, QueryAccepted()),
    ]
    assert len({first.event_id, *(other.event_id for other in others)}) == 4


def test_an_event_carries_what_its_cause_said() -> None:
    cause = uuid4()
    said = {"ce_correlationid": "q-1", "ce_tenant": "demo", "ce_dataclassification": "tier_1"}
    headers = arrived(cause, said).follow(topics.QUERY_ACCEPTED, QueryAccepted()).headers(NOW)
    assert headers["ce_type"] == "headrace.query.v1.QueryAccepted"
    assert headers["ce_source"] == "/headrace/ingest"
    assert headers["ce_causationid"] == str(cause)
    assert headers["ce_time"] == "2026-11-21T09:00:00+00:00"
    assert {name: headers[name] for name in said} == said


@pytest.mark.parametrize("headers", [{}, {"ce_dataclassification": "tier_9"}, {"ce_dataclassification": ""}])
def test_a_tier_that_nobody_knows_is_the_strictest(headers: dict[str, str]) -> None:
    assert arrived(uuid4(), headers).tier == Tier.TIER_2


def test_headers_that_are_no_text_are_left_out() -> None:
    sent = [("ce_id", None), ("ce_tenant", b"\xff"), ("ce_type", b"x"), ("traceparent", b"")]
    assert readable_headers(sent) == {"ce_type": "x", "traceparent": ""}


@given(st.lists(st.tuples(st.text(), st.none() | st.binary())))
def test_no_header_can_fail(sent: list[tuple[str, Any]]) -> None:
    assert all(isinstance(value, str) for value in readable_headers(sent).values())


def test_an_event_is_known_by_its_id() -> None:
    given_id = uuid4()
    assert event_id({"ce_id": str(given_id)}) == event_id({"ce_id": str(given_id).upper()}, offset=8) == given_id


def test_a_foreign_id_counts_within_its_source() -> None:
    shop, desk = ({"ce_id": "1", "ce_source": source} for source in ("/shop", "/desk"))
    assert event_id(shop) == event_id(shop, offset=8)
    assert event_id(shop) != event_id(desk)


@pytest.mark.parametrize("headers", [{}, {"ce_id": ""}, {"ce_id": "1"}])
def test_without_an_id_that_means_something_every_record_is_an_event_of_its_own(headers: dict[str, str]) -> None:
    """Two products that both count from 1 must not take each other's events away."""
    assert event_id(headers) == event_id(headers)
    places = [{}, {"offset": 8}, {"partition": 4}, {"topic": "u"}]
    assert len({event_id(headers, **place) for place in places}) == 4


@given(
    st.lists(st.text(alphabet="ab:/", max_size=3), min_size=1, max_size=3),
    st.lists(st.text(alphabet="ab:/", max_size=3), min_size=1, max_size=3),
)
def test_other_parts_give_another_id(one: list[str], other: list[str]) -> None:
    assert (derived_id(*one) == derived_id(*other)) == (one == other)


def test_an_event_that_its_topic_cannot_take_is_rejected() -> None:
    check_size(topics.QUERY_ACCEPTED, 1_048_576)
    with pytest.raises(Rejected, match="message: too_large"):
        check_size(topics.QUERY_ACCEPTED, 1_048_577)
