"""What happens days later points back to the answer."""

from __future__ import annotations

from uuid import UUID

from headrace_feedback.interaction import Known
from headrace_feedback.links import link_to_answer
from headrace_privacy import Owner, Tier
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import format_trace_id

TRACE = "0af7651916cd43dd8448eb211c80319c"
QUERY = UUID("0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10")


def known(trace_id: str, traceparent: str) -> Known:
    """An interaction of TIER_1."""
    return Known(QUERY, trace_id, Tier.TIER_1, traceparent, "docs-search", "how-to", Owner.subject("demo", "user-7"))


def linked(interaction: Known | None) -> ReadableSpan:
    """The span of a recording."""
    with TracerProvider().get_tracer("test").start_as_current_span("process feedback.submitted") as span:
        link_to_answer(interaction)
    assert isinstance(span, ReadableSpan)
    return span


def test_a_recording_links_to_the_answer_it_judges() -> None:
    span = linked(known(TRACE, f"00-{TRACE}-b7ad6b7169203331-01"))
    assert [format_trace_id(link.context.trace_id) for link in span.links] == [TRACE]
    assert dict(span.attributes or {}) == {"headrace.query.id": str(QUERY), "headrace.tier": "tier_1"}


def test_without_an_answer_or_its_context_there_is_nothing_to_link() -> None:
    assert linked(None).links == ()
    assert linked(known("", "")).links == ()
