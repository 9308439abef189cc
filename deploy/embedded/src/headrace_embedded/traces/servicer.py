"""The gRPC edge of the receiver."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from headrace.trace.v1.service_pb2 import GetTraceRequest, GetTraceResponse
from headrace.trace.v1.service_pb2_grpc import TraceServiceServicer as ContractServicer
from headrace_identity import EVERYBODY, Principal
from headrace_runtime.errors import NotFound, Rejected, Violation
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceServicer as OtlpServicer

from headrace_embedded.traces.intake import Intake
from headrace_embedded.traces.spans import StoredSpan, from_otlp, to_contract
from headrace_embedded.traces.store import TENANT, SpanStore


class Receiver(OtlpServicer):
    """Takes spans as every OpenTelemetry exporter sends them."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake

    async def Export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        """Answers at once; what the queue could not take is reported as rejected, so that no sender tries again."""
        lost = self._intake.offer(from_otlp(request))
        if not lost:
            return ExportTraceServiceResponse()
        partial = ExportTracePartialSuccess(rejected_spans=lost, error_message="the queue of spans is full")
        return ExportTraceServiceResponse(partial_success=partial)


class TraceServicer(ContractServicer):
    """Serves what is kept: to whoever speaks for all tenants everything, to others what was done for theirs alone."""

    def __init__(self, intake: Intake, store: SpanStore, *, caller: Callable[[], Principal]) -> None:
        self._intake = intake
        self._store = store
        self._caller = caller

    async def GetTrace(self, request: GetTraceRequest, context: Any) -> GetTraceResponse:
        """See headrace.trace.v1.TraceService. What has been received so far is in the answer."""
        _check(request)
        await self._intake.flush()
        tenant = self._caller().tenant
        trace_id = request.trace_id or await self._store.trace_of_query(request.query_id, tenant=tenant)
        spans = await self._store.trace(trace_id) if trace_id else []
        if not spans or not _is_of(tenant, spans):
            wanted = ("trace", request.trace_id) if request.trace_id else ("trace of query", request.query_id)
            raise NotFound(*wanted)
        return GetTraceResponse(spans=map(to_contract, spans))


def _is_of(tenant: str, spans: Iterable[StoredSpan]) -> bool:
    """Whether what was done was done for the tenant: some of it says so, and none of it names another."""
    named = {span.attributes.get(TENANT, "") for span in spans} - {""}
    return tenant == EVERYBODY or named == {tenant}


def _check(request: GetTraceRequest) -> None:
    if request.trace_id and not re.fullmatch("[0-9a-f]{32}", request.trace_id):
        raise Rejected(Violation("trace_id", "unknown_value", "A trace's id is 32 hex digits, in lower case."))
    if not request.trace_id and not request.query_id:
        raise Rejected(Violation("trace_id", "missing", "Name the trace's id or the query's."))
    if len(request.query_id) > 128 or "\0" in request.query_id:
        raise Rejected(Violation("query_id", "too_long", "A query's id is a UUID."))
