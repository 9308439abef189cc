"""Spans fail by class and never by text, and their context travels in headers."""

from __future__ import annotations

import asyncio

import pytest
from headrace_telemetry.tracing import (
    Attributes,
    describe,
    extract,
    fail,
    inject,
    link_to,
    span,
    trace_id,
    trace_id_of,
)
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

CANARY = "canary-hunter2"
PARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}


@pytest.fixture(scope="module")
def seen() -> InMemorySpanExporter:
    """Sees every span of this process from here on."""
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(TracerProvider())
    spans = InMemorySpanExporter()
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return spans


@pytest.fixture(autouse=True)
def forget(seen: InMemorySpanExporter) -> None:
    seen.clear()


def told(spans: InMemorySpanExporter) -> str:
    return str([(s.name, s.attributes, s.events, s.status.description) for s in spans.get_finished_spans()])


def only(spans: InMemorySpanExporter) -> ReadableSpan:
    (found,) = spans.get_finished_spans()
    return found


@pytest.mark.parametrize("error", [ValueError(CANARY), KeyError(CANARY), asyncio.CancelledError(CANARY)])
def test_an_error_marks_its_span_by_its_class(seen: InMemorySpanExporter, error: BaseException) -> None:
    with pytest.raises(type(error)), span("work"):
        raise error
    found = only(seen)
    assert (found.attributes or {})["error.type"] == type(error).__name__
    assert found.status.status_code == StatusCode.ERROR
    assert CANARY not in told(seen)


def test_a_span_that_records_exceptions_is_caught(seen: InMemorySpanExporter) -> None:
    """A seeded bug: what OpenTelemetry does by default."""
    with pytest.raises(ValueError, match=CANARY), trace.get_tracer("x").start_as_current_span("work"):
        raise ValueError(CANARY)
    assert CANARY in told(seen)


def test_attributes_are_given_and_added(seen: InMemorySpanExporter) -> None:
    attributes: Attributes = {"headrace.tenant": "demo"}
    with span("work", attributes=attributes) as current:
        describe(current, {"headrace.tier": "tier_1"})
        fail(current, "Conflict")
    expected = {"headrace.tenant": "demo", "headrace.tier": "tier_1", "error.type": "Conflict"}
    assert dict(only(seen).attributes or {}) == expected


def test_context_travels_in_headers(seen: InMemorySpanExporter) -> None:
    with span("sender"):
        headers, sent = inject(), trace_id()
    assert trace_id_of(headers) == sent
    context = extract(headers)
    with span("receiver", parent=context, links=link_to(context)):
        assert trace_id() == sent
    sender, receiver = seen.get_finished_spans()
    assert receiver.parent is not None
    assert sender.context is not None
    assert receiver.parent.span_id == sender.context.span_id == receiver.links[0].context.span_id


def test_the_state_of_a_foreign_trace_travels_on() -> None:
    with span("receiver", parent=extract(PARENT)):
        assert inject()["tracestate"] == PARENT["tracestate"]


@pytest.mark.parametrize(
    "headers", [{}, {"traceparent": ""}, {"traceparent": "nonsense"}, {"traceparent": "00-" + "0" * 52}]
)
def test_headers_without_a_context_start_a_trace_of_their_own(
    seen: InMemorySpanExporter, headers: dict[str, str]
) -> None:
    with span("around"):
        context = extract(headers)
        assert link_to(context) == []
        assert trace_id_of(headers) == ""
        with span("receiver", parent=context):
            inner = trace_id()
        assert inner not in {"", trace_id()}


def test_no_span_is_no_trace() -> None:
    assert trace_id() == ""
    assert inject() == {}
