"""Reading judgements and answers: every wrong field by name, none of its text."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf import json_format
from google.protobuf.timestamp_pb2 import Timestamp
from headrace.feedback.v1.feedback_pb2 import Act, FeedbackSubmitted, JudgementKind
from headrace.feedback.v1.service_pb2 import ExportRequest
from headrace.privacy.v1.privacy_pb2 import PURPOSE_TRAIN
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.query.v1.query_pb2 import Hop, Query
from headrace.retrieval.v1.retrieval_pb2 import ChunkReference
from headrace_feedback.interaction import Known, Routed
from headrace_feedback.translate import (
    read_answer,
    read_feedback,
    read_reference,
    read_tenant,
    read_wish,
    read_words,
    to_recorded,
)
from headrace_feedback.uses import Span, Wish
from headrace_privacy import Owner, Tier
from headrace_privacy.policy import Purpose
from headrace_runtime.errors import Rejected
from hypothesis import given
from hypothesis import strategies as st

from services.feedback.tests.makers import NOW, TRACE, answer, feedback

QUERY = "0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"
SECRET = "hunter2-the-users-own-words"


def violations(message: FeedbackSubmitted, path: str = "") -> list[str]:
    with pytest.raises(Rejected) as caught:
        read_feedback(message, now=NOW, path=path)
    assert SECRET not in str(caught.value)
    return [str(violation) for violation in caught.value.violations]


@pytest.mark.parametrize(
    ("judgement", "kind", "score"),
    [
        ({"thumb": "THUMB_UP"}, "thumb", 1),
        ({"thumb": "THUMB_DOWN"}, "thumb", -1),
        ({"rating": 1}, "rating", 1),
        ({"rating": 5}, "rating", 5),
        ({"comment": "x" * 4_000}, "comment", 0),
        ({"correction": "x" * 8_000}, "correction", 0),
        ({"citation": {"number": 2, "thumb": "THUMB_DOWN"}}, "citation", -1),
        ({"act": "ACT_COPIED"}, "act", 1),
        ({"act": "ACT_ASKED_AGAIN"}, "act", -1),
    ],
)
def test_each_kind_of_judgement_is_read(judgement: dict[str, Any], kind: str, score: int) -> None:
    read = read_feedback(feedback(queryId=QUERY, **judgement), now=NOW)
    assert (read.kind, read.score, read.recorded_at, read.joined_at) == (kind, score, NOW, None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tenant": ""}, "tenant: missing"),
        ({"tenant": "Demo Inc"}, "tenant: malformed"),
        ({"queryId": ""}, "query_id: missing"),
        ({"queryId": SECRET}, "query_id: not_a_uuid"),
        ({"traceId": SECRET}, "trace_id: malformed"),
        ({"traceId": "0" * 32}, "trace_id: malformed"),
        ({"feedbackId": ""}, "feedback_id: missing"),
        ({"feedbackId": SECRET}, "feedback_id: not_a_uuid"),
        ({"subject": SECRET * 10}, "subject: too_long"),
        ({"subject": f"{SECRET}\0"}, "subject: has_nul"),
        ({"thumb": "THUMB_UNSPECIFIED"}, "thumb: unknown_value"),
        ({"thumb": 9}, "thumb: unknown_value"),
        ({"rating": 0}, "rating: unknown_value"),
        ({"rating": 6}, "rating: unknown_value"),
        ({"comment": ""}, "comment: empty"),
        ({"comment": " \n"}, "comment: empty"),
        ({"comment": SECRET * 200}, "comment: too_long"),
        ({"comment": f"{SECRET}\0"}, "comment: has_nul"),
        ({"correction": SECRET * 400}, "correction: too_long"),
        ({"citation": {"number": 0, "thumb": "THUMB_UP"}}, "citation.number: out_of_range"),
        ({"citation": {"number": 1}}, "citation.thumb: unknown_value"),
        ({"act": "ACT_UNSPECIFIED"}, "act: unknown_value"),
        ({"act": 99}, "act: unknown_value"),
    ],
)
def test_a_wrong_field_is_named_without_its_text(changes: dict[str, Any], expected: str) -> None:
    assert violations(feedback(**({"queryId": QUERY} | changes))) == [expected]


def test_everything_wrong_is_said_at_once_with_the_callers_path() -> None:
    assert violations(FeedbackSubmitted(), "feedback.") == [
        "feedback.tenant: missing",
        "feedback.query_id: missing",
        "feedback.feedback_id: missing",
        "feedback.judgement: missing",
    ]


def test_a_time_that_no_calendar_has_is_refused() -> None:
    message = feedback(queryId=QUERY)
    message.submitted_at.seconds = 10**12
    assert violations(message) == ["submitted_at: unknown_value"]


def test_the_event_has_everything_but_the_words() -> None:
    read = read_feedback(feedback("demo", traceId=TRACE.upper(), comment=SECRET), now=NOW)
    event = to_recorded(read, None)
    assert SECRET not in str(event)
    assert SECRET not in repr(read)
    assert (event.kind, int(event.tier), event.query_id, event.trace_id) == (
        JudgementKind.JUDGEMENT_KIND_COMMENT,
        Tier.TIER_2,
        "",
        TRACE,
    )
    assert (event.joined, event.product, event.query_kind) == (False, "", "")
    owner = Owner.subject("demo", "user-7")
    known = Known(UUID(QUERY), TRACE, Tier.PUBLIC, "", "docs-search", "how-to", owner)
    joined = to_recorded(read.joined_to(known, NOW), known)
    assert (int(joined.tier), joined.query_id) == (Tier.PUBLIC, QUERY)
    assert (joined.joined, joined.product, joined.query_kind) == (True, "docs-search", "how-to")


def test_words_are_no_part_of_what_is_kept_beside_them() -> None:
    for kind in ("comment", "correction"):
        message = feedback("demo", queryId=QUERY, **{kind: SECRET})
        read = read_feedback(message, now=NOW)
        assert SECRET.encode() not in read.record
        assert FeedbackSubmitted.FromString(read.record).WhichOneof("judgement") == kind
        words = read_words(message)
        assert words is not None
        assert (words.reveal(), words.tier) == (SECRET, Tier.TIER_2)
        assert getattr(message, kind) == SECRET, "the caller's message is the caller's"
    assert read_words(feedback("demo", queryId=QUERY, rating=3)) is None


def test_an_event_says_which_citation_or_act_and_whether_it_replaces_one() -> None:
    citation = read_feedback(feedback(queryId=QUERY, citation={"number": 3, "thumb": "THUMB_UP"}), now=NOW)
    act = read_feedback(feedback(queryId=QUERY, act="ACT_OPENED_SOURCE"), now=NOW)
    assert (to_recorded(citation, None).citation, to_recorded(citation, None).act) == (3, Act.ACT_UNSPECIFIED)
    assert (to_recorded(act, None).citation, to_recorded(act, None).act) == (0, Act.ACT_OPENED_SOURCE)
    assert to_recorded(act, None, replaces=True).replaces
    assert not to_recorded(act, None).replaces


def test_how_an_answer_was_routed_is_read_and_what_says_nothing_is_other() -> None:
    said = {"kind": "how-to", "confidence": 0.9, "route": "*", "routeVersion": 2, "reason": "share", "backend": "local"}
    read = read_answer(answer(routing=said), event_id=uuid4())
    assert read.routed == Routed("how-to", 0.9, "*", 2, "share", "local")
    assert read_answer(answer(), event_id=uuid4()).routed == Routed("other")


def test_an_answer_is_read_with_all_that_made_it() -> None:
    event_id = uuid4()
    read = read_answer(answer("demo", QUERY), event_id=event_id, traceparent="00-x")
    assert (read.tenant, str(read.query_id), read.answer_event_id, read.traceparent) == (
        "demo",
        QUERY,
        event_id,
        "00-x",
    )
    assert (read.tier, read.grounding, read.finish_reason, read.trace_id) == (Tier.TIER_1, "grounded", "stop", TRACE)
    assert (read.prompt.name, read.model.version, read.provider) == ("grounded-answer", "0123", "transformers")
    assert (read.variant.version, read.embedder.version, read.usage.cached_input_tokens) == ("2", "abc", 200)
    assert read.timings_ms == {"ingest": 10.0, "classifier": 4.5, "total": 1500.0}
    assert read.accepted_at == datetime(2026, 11, 21, 9, tzinfo=UTC)
    assert AnswerCompleted.FromString(read.record) == answer("demo", QUERY)
    assert "mill wheel" not in repr(read)


def test_lineage_has_each_chunk_once_with_rank_and_citation() -> None:
    chunks = {c.chunk_id: (c.rank, c.citation, c.document_id) for c in read_answer(answer(), event_id=uuid4()).chunks}
    assert chunks == {"chunk-a": (1, 0, "rivers"), "chunk-b": (2, 1, "mills")}


def test_a_tier_or_grounding_of_a_later_version_is_the_strictest_and_unspecified() -> None:
    message = answer()
    message.tier = 9  # type: ignore[assignment]
    message.grounding = 9  # type: ignore[assignment]
    read = read_answer(message, event_id=uuid4())
    assert (read.tier, read.grounding) == (Tier.TIER_2, "unspecified")


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("query.tenant", "", "query.tenant: missing"),
        ("query.query_id", "", "query.query_id: not_a_uuid"),
        ("query.subject", "a\0b", "query.subject: has_nul"),
    ],
)
def test_an_answer_that_says_not_whose_is_refused(path: str, value: str, expected: str) -> None:
    message = answer()
    setattr(message.query, path.split(".")[1], value)
    with pytest.raises(Rejected, match=expected):
        read_answer(message, event_id=uuid4())


def test_an_answer_without_its_time_is_refused() -> None:
    message = answer()
    message.ClearField("completed_at")
    with pytest.raises(Rejected, match="completed_at: missing"):
        read_answer(message, event_id=uuid4())


ANYTHING = st.text(max_size=40) | st.sampled_from(["demo", QUERY, TRACE, "", "\0"])
MOMENTS = st.builds(Timestamp, seconds=st.integers(-(2**63), 2**63 - 1), nanos=st.integers(-(2**31), 2**31 - 1))


@given(
    message=st.builds(
        FeedbackSubmitted,
        feedback_id=ANYTHING,
        tenant=ANYTHING,
        query_id=ANYTHING,
        trace_id=ANYTHING,
        subject=ANYTHING,
        comment=st.none() | ANYTHING,
        submitted_at=st.none() | MOMENTS,
    )
)
def test_any_feedback_is_read_or_rejected(message: FeedbackSubmitted) -> None:
    with contextlib.suppress(Rejected):
        record = FeedbackSubmitted.FromString(read_feedback(message, now=NOW).record)
        assert record.comment == ""
        assert record.WhichOneof("judgement") == message.WhichOneof("judgement")
        assert record.feedback_id == message.feedback_id


@given(
    query=st.builds(
        Query, query_id=ANYTHING, tenant=ANYTHING, product=ANYTHING, accepted_at=MOMENTS, hops=st.lists(st.builds(Hop))
    ),
    completed_at=MOMENTS,
    chunk_ids=st.lists(ANYTHING),
)
def test_any_answer_is_read_or_rejected(query: Query, completed_at: Timestamp, chunk_ids: list[str]) -> None:
    retrieved = [ChunkReference(chunk_id=chunk_id) for chunk_id in chunk_ids]
    message = AnswerCompleted(query=query, completed_at=completed_at, retrieved=retrieved)
    with contextlib.suppress(Rejected):
        chunks = read_answer(message, event_id=uuid4()).chunks
        assert sorted({chunk.chunk_id for chunk in chunks}) == sorted(chunk.chunk_id for chunk in chunks)


def test_a_reference_needs_a_tenant_and_one_of_two_ids() -> None:
    assert read_reference("demo", QUERY.upper(), "").query_id == UUID(QUERY)
    with pytest.raises(Rejected, match="tenant: missing; query_id: missing"):
        read_reference("", "", "")
    assert read_tenant("") == ""
    with pytest.raises(Rejected, match="tenant: malformed"):
        read_tenant("Demo")


def test_a_chunk_whose_id_no_column_can_hold_is_refused() -> None:
    message = answer()
    message.retrieved[0].document_id = "a\0b"
    with pytest.raises(Rejected, match="retrieved: has_nul"):
        read_answer(message, event_id=uuid4())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tenant": ""}, "tenant: missing"),
        ({"tenant": "Demo Inc"}, "tenant: malformed"),
        ({"purpose": "PURPOSE_UNSPECIFIED"}, "purpose: missing"),
        ({"purpose": "PURPOSE_ANSWER"}, "purpose: unknown_value"),
        ({"purpose": 99}, "purpose: unknown_value"),
        ({"sources": ["handbook"] * 33}, "sources: out_of_range"),
    ],
)
def test_a_wrong_wish_is_named_by_its_field(changes: dict[str, Any], expected: str) -> None:
    whole = {"tenant": "demo", "purpose": "PURPOSE_TRAIN", "since": "2026-11-21T00:00:00Z"}
    request = json_format.ParseDict(whole | changes, ExportRequest())
    with pytest.raises(Rejected) as caught:
        read_wish(request)
    assert [str(violation) for violation in caught.value.violations] == [expected]


def test_a_wish_is_read_with_its_bounds() -> None:
    request = ExportRequest(tenant="demo", purpose=PURPOSE_TRAIN, sources=["b", "a", "a"])
    request.since.FromDatetime(NOW)
    assert read_wish(request) == Wish("demo", Purpose.TRAIN, frozenset({"a", "b"}), Span(since=NOW))
    request.until.seconds = 10**12
    with pytest.raises(Rejected, match="until: unknown_value"):
        read_wish(request)
