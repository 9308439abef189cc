"""The caller's trace goes along with every call and every event (W3C trace context).

Spans are made through OpenTelemetry's API: they cost nothing and lead nowhere unless the program has set up an SDK.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from headrace_client.errors import HeadraceError

_PROPAGATOR = TraceContextTextMapPropagator()


@contextmanager
def outgoing_span(name: str, *, kind: SpanKind, attributes: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A span around one call or send, as the headers to take along: empty when nobody traces.

    The span is not made the current one: a generator may be closed from another task, where the context that it
    attached cannot be detached. An error of ours marks it failed, by its class.
    """
    span = trace.get_tracer("headrace_client").start_span(name, kind=kind, attributes=dict(attributes))
    headers: dict[str, str] = {}
    _PROPAGATOR.inject(headers, trace.set_span_in_context(span))
    try:
        yield headers
    except HeadraceError as error:
        span.set_attribute("error.type", type(error).__name__)
        span.set_status(StatusCode.ERROR)
        raise
    finally:
        span.end()


def new_traceparent(identity: UUID) -> str:
    """A trace of its own for an event whose publisher does not trace, so that it can still be found by trace id."""
    digits = identity.hex
    return f"00-{digits}-{digits[16:]}-01"


def trace_id_of(traceparent: str) -> str:
    """The 32 hex digits of the trace in a traceparent."""
    return traceparent.split("-")[1]
