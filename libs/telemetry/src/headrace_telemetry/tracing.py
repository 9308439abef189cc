"""Making spans, and carrying their context through headers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from headrace_telemetry.names import Attribute, EventName

Value = str | int | float | bool | Sequence[str]
Attributes = Mapping[Attribute, Value]

_tracer = trace.get_tracer("headrace")
_propagator = TraceContextTextMapPropagator()


def _plain(attributes: Attributes) -> dict[str, Value]:
    return {str(name): value for name, value in attributes.items()}


@contextmanager
def span(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Attributes | None = None,
    parent: Context | None = None,
    links: Sequence[Link] = (),
) -> Iterator[Span]:
    """Opens a span and makes it current. An error inside marks it failed by the error's class, never by its text."""
    with _tracer.start_as_current_span(
        name,
        context=parent,
        kind=kind,
        attributes=_plain(attributes or {}),
        links=links,
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except BaseException as error:
            fail(current, type(error).__name__)
            raise


def fail(current: Span, error: str) -> None:
    """Marks a span as failed, by the error's class."""
    current.set_attribute("error.type", error)
    current.set_status(Status(StatusCode.ERROR))


def describe(current: Span, attributes: Attributes) -> None:
    """Adds attributes to a span."""
    current.set_attributes(_plain(attributes))


def note(current: Span, name: EventName, attributes: Attributes) -> None:
    """Adds an event to a span."""
    current.add_event(name, _plain(attributes))


def trace_id() -> str:
    """Returns the current trace's id, 32 hex digits; empty when there is none."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""


def inject() -> dict[str, str]:
    """Returns the current context as W3C headers: traceparent and, where there is one, tracestate."""
    headers: dict[str, str] = {}
    _propagator.inject(headers)
    return headers


def extract(headers: Mapping[str, str]) -> Context:
    """Reads the context that W3C headers carry; an empty context when there is none or it is malformed."""
    return _propagator.extract(dict(headers), context=Context())


def link_to(context: Context) -> list[Link]:
    """Returns a link to the span that a context names, or none."""
    span_context = trace.get_current_span(context).get_span_context()
    return [Link(span_context)] if span_context.is_valid else []


def trace_id_of(headers: Mapping[str, str]) -> str:
    """Returns the trace id that W3C headers carry, 32 hex digits; empty when there is none."""
    span_context = trace.get_current_span(extract(headers)).get_span_context()
    return trace.format_trace_id(span_context.trace_id) if span_context.is_valid else ""
