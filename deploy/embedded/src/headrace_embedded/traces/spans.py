"""A span as it is kept, and its translation from OTLP and to our contract."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from headrace.trace.v1 import service_pb2 as contract
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2 as otlp

QUERY_ID = "headrace.query.id"

_KINDS = {
    otlp.Span.SPAN_KIND_SERVER: "server",
    otlp.Span.SPAN_KIND_CLIENT: "client",
    otlp.Span.SPAN_KIND_PRODUCER: "producer",
    otlp.Span.SPAN_KIND_CONSUMER: "consumer",
}


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """One span. Times are nanoseconds since 1970; ids are hex digits, parent empty for a root."""

    trace_id: str
    span_id: str
    parent_span_id: str
    service: str
    name: str
    kind: str
    started_ns: int
    ended_ns: int
    failed: bool
    attributes: Mapping[str, str]
    links: tuple[str, ...]

    @property
    def query_id(self) -> str:
        """The query that it worked for; may be empty."""
        return self.attributes.get(QUERY_ID, "")


def from_otlp(request: ExportTraceServiceRequest) -> Iterator[StoredSpan]:
    """Yields the spans of an export, in its order."""
    for resource in request.resource_spans:
        service = _written_out(resource.resource.attributes).get("service.name", "")
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _span(span, service=service)


def _span(span: otlp.Span, *, service: str) -> StoredSpan:
    return StoredSpan(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=span.parent_span_id.hex(),
        service=service,
        # Postgres takes no NUL in text; a sender's mistake must not cost the whole batch.
        name=span.name.replace("\0", ""),
        kind=_KINDS.get(span.kind, "internal"),
        # A bigint holds what nanoseconds there will be until 2262.
        started_ns=min(span.start_time_unix_nano, 2**63 - 1),
        ended_ns=min(span.end_time_unix_nano, 2**63 - 1),
        failed=span.status.code == otlp.Status.STATUS_CODE_ERROR,
        attributes=_written_out(span.attributes),
        links=tuple(link.span_id.hex() for link in span.links),
    )


def _written_out(attributes: Iterable[KeyValue]) -> dict[str, str]:
    return {pair.key.replace("\0", ""): _value(pair.value).replace("\0", "") for pair in attributes}


def _value(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    if kind == "array_value":
        return ", ".join(_value(item) for item in value.array_value.values)
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    return str(getattr(value, kind))


def to_otlp(spans: Iterable[StoredSpan], *, project: str) -> ExportTraceServiceRequest:
    """Returns an export of stored spans, for another collector. `project` is where Phoenix files them."""
    request = ExportTraceServiceRequest()
    scopes: dict[str, otlp.ScopeSpans] = {}
    for span in spans:
        if span.service not in scopes:
            resource = request.resource_spans.add()
            named = {
                "service.name": span.service,
                "service.namespace": "headrace",
                "openinference.project.name": project,
            }
            resource.resource.attributes.extend(_pairs(named))
            scopes[span.service] = resource.scope_spans.add()
        scopes[span.service].spans.append(_otlp_span(span))
    return request


def _otlp_span(span: StoredSpan) -> otlp.Span:
    trace_id = bytes.fromhex(span.trace_id)
    return otlp.Span(
        trace_id=trace_id,
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_span_id),
        name=span.name,
        kind=next((kind for kind, word in _KINDS.items() if word == span.kind), otlp.Span.SPAN_KIND_INTERNAL),
        start_time_unix_nano=span.started_ns,
        end_time_unix_nano=span.ended_ns,
        status=otlp.Status(code=otlp.Status.STATUS_CODE_ERROR if span.failed else otlp.Status.STATUS_CODE_UNSET),
        attributes=_pairs(span.attributes),
        # Only the linked span's id is kept; nearly all links stay within their trace.
        links=[otlp.Span.Link(trace_id=trace_id, span_id=bytes.fromhex(link)) for link in span.links],
    )


def _pairs(attributes: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_typed(key, value)) for key, value in attributes.items()]


def _typed(key: str, value: str) -> AnyValue:
    """Token counts have to be numbers again for a collector that adds them up."""
    if key.startswith("gen_ai.usage.") and value.isdigit():
        return AnyValue(int_value=int(value))
    return AnyValue(string_value=value)


def to_contract(span: StoredSpan) -> contract.Span:
    """Returns the span as clients read it."""
    return contract.Span(
        trace_id=span.trace_id,
        span_id=span.span_id,
        parent_span_id=span.parent_span_id,
        service=span.service,
        name=span.name,
        kind=span.kind,
        started_at=_timestamp(span.started_ns),
        ended_at=_timestamp(span.ended_ns),
        failed=span.failed,
        attributes=span.attributes,
        links=span.links,
    )


def _timestamp(nanoseconds: int) -> Timestamp:
    return Timestamp(seconds=nanoseconds // 10**9, nanos=nanoseconds % 10**9)
