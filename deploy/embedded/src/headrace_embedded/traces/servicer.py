"""The gRPC edge of the receiver."""

from __future__ import annotations

import re
from typing import Any

from headrace.trace.v1.service_pb2 import GetTraceRequest, GetTraceResponse
from headrace.trace.v1.service_pb2_grpc import TraceServiceServicer as ContractServicer
from headrace_runtime.errors import NotFound, Rejected, Violation
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceServicer as OtlpServicer

from headrace_embedded.traces.intake import Intake
from headrace_embedded.traces.spans import from_otlp, to_contract
from headrace_embedded.traces.store import SpanStore


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
    """Serves what is kept."""

    def __init__(self, intake: Intake, store: SpanStore) -> None:
        self._intake = intake
        self._store = store

    async def GetTrace(self, request: GetTraceRequest, context: Any) -> GetTraceResponse:
        """See headrace.trace.v1.TraceService. What has been received so far is in the answer."""
        _check(request)
        await self._intake.flush()
        trace_id = request.trace_id or await self._store.trace_of_query(request.query_id)
        spans = await self._store.trace(trace_id) if trace_id else []
        if not spans:
            raise NotFound("trace", trace_id) if trace_id else NotFound("trace of query", request.query_id)
        return GetTraceResponse(spans=map(to_contract, spans))


def _check(request: GetTraceRequest) -> None:
    if request.trace_id and not re.fullmatch("[0-9a-f]{32}", request.trace_id):
        raise Rejected(Violation("trace_id", "unknown_value", "A trace's id is 32 hex digits, in lower case."))
    if not request.trace_id and not request.query_id:
        raise Rejected(Violation("trace_id", "missing", "Name the trace's id or the query's."))
    if len(request.query_id) > 128 or "\0" in request.query_id:
        raise Rejected(Violation("query_id", "too_long", "A query's id is a UUID."))
