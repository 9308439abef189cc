"""One causal trace: what happens days after an answer points back to it."""

from __future__ import annotations

from headrace_telemetry.tracing import describe, extract, link_to
from opentelemetry import trace

from headrace_feedback.interaction import Known


def link_to_answer(interaction: Known | None) -> None:
    """Links the current span to the one that carried the answer."""
    if interaction is None:
        return
    current = trace.get_current_span()
    describe(current, {"headrace.query.id": str(interaction.query_id), "headrace.tier": interaction.tier.label})
    for link in link_to(extract({"traceparent": interaction.traceparent})):
        current.add_link(link.context)
