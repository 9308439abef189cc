from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from google.protobuf import json_format
from headrace.document.v1.document_pb2 import Content, DocumentSubmitted
from headrace.feedback.v1.feedback_pb2 import THUMB_UP, FeedbackSubmitted
from headrace.privacy.v1.privacy_pb2 import TIER_1
from headrace.query.v1.events_pb2 import QuerySubmitted
from headrace_client import Encoding, Publisher, Refused
from headrace_client.tracing import new_traceparent, trace_id_of
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

ID = UUID("6a1b7b7e-4c39-4b8e-9a53-0d8f0e0a6f10")
QUERY = QuerySubmitted(query_id=str(ID), tenant="demo", product="docs", text="What?", declared_tier=TIER_1)


@dataclass
class FakeProducer:
    """Takes everything, as partition 3, offset 14."""

    sent: list[dict[str, Any]] = field(default_factory=list)
    partition = 3
    offset = 14

    async def send_and_wait(self, topic: str, value: bytes, **details: Any) -> FakeProducer:
        self.sent.append({"topic": topic, "value": value, **details})
        return self


def publisher(producer: FakeProducer) -> Publisher:
    now = datetime(2026, 11, 21, 9, tzinfo=UTC)
    return Publisher(producer, product="docs", clock=lambda: now, new_id=lambda: ID)  # type: ignore[arg-type]


async def test_a_question_travels_as_a_cloud_event() -> None:
    producer = FakeProducer()
    receipt = await publisher(producer).query(QUERY)
    [sent] = producer.sent
    assert (sent["topic"], sent["key"]) == ("query.submitted", str(ID).encode())
    assert QuerySubmitted.FromString(sent["value"]) == QUERY
    headers = dict(sent["headers"])
    traceparent = headers.pop("traceparent").decode()
    assert headers == {
        "content-type": b"application/protobuf",
        "ce_type": b"headrace.query.v1.QuerySubmitted",
        "ce_specversion": b"1.0",
        "ce_id": str(ID).encode(),
        "ce_source": b"docs",
        "ce_time": b"2026-11-21T09:00:00Z",
        "ce_tenant": b"demo",
        "ce_correlationid": str(ID).encode(),
        "ce_dataclassification": b"tier_1",
    }
    assert (receipt.partition, receipt.offset, receipt.event_id) == (3, 14, str(ID))
    assert receipt.trace_id == trace_id_of(traceparent), "its own, or that of a span where somebody traces"


def test_an_event_that_nobody_traces_begins_a_trace_of_its_own_id() -> None:
    assert new_traceparent(ID) == f"00-{ID.hex}-{ID.hex[16:]}-01"


async def test_json_is_the_canonical_one() -> None:
    producer = FakeProducer()
    await publisher(producer).query(QUERY, encoding=Encoding.JSON)
    [sent] = producer.sent
    assert dict(sent["headers"])["content-type"] == b"application/json"
    assert json_format.Parse(sent["value"], QuerySubmitted()) == QUERY
    assert b'"queryId"' in sent["value"]


async def test_documents_and_feedback_have_their_keys() -> None:
    producer = FakeProducer()
    await publisher(producer).document(DocumentSubmitted(tenant="demo", source="notes", document_id="a/b.md"))
    await publisher(producer).feedback(FeedbackSubmitted(query_id="q", thumb=THUMB_UP))
    await publisher(producer).feedback(FeedbackSubmitted(trace_id="t", thumb=THUMB_UP))
    assert [(s["topic"], s["key"]) for s in producer.sent] == [
        ("document.submitted", b"demo/notes/a/b.md"),
        ("feedback.submitted", b"q"),
        ("feedback.submitted", b"t"),
    ]


async def test_the_products_trace_goes_along() -> None:
    producer = FakeProducer()
    span = TracerProvider().get_tracer("tests").start_span("product")
    with trace.use_span(span, end_on_exit=True):
        receipt = await publisher(producer).query(QUERY)
    assert receipt.trace_id == format(span.get_span_context().trace_id, "032x")


async def test_what_is_too_large_for_the_topic_is_not_sent() -> None:
    producer = FakeProducer()
    document = DocumentSubmitted(content=Content(data=b"x" * 6_000_000))
    with pytest.raises(Refused, match="at most"):
        await publisher(producer).document(document)
    assert producer.sent == []
