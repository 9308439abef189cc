"""An OTLP receiver that keeps every span and metric as it came."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from tests.security.leaks.scanning import Written


@dataclass(slots=True)
class Received:
    """What came: exports as they were serialised."""

    address: str = ""
    exports: list[Written] = field(default_factory=list)

    def kinds(self) -> set[str]:
        """Returns which of "spans" and "metrics" came."""
        return {written.place for written in self.exports}


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, received: Received) -> None:
        self._received = received

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._received.exports.append(Written("spans", request.SerializeToString()))
        return trace_service_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, received: Received) -> None:
        self._received = received

    async def Export(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._received.exports.append(Written("metrics", request.SerializeToString()))
        return metrics_service_pb2.ExportMetricsServiceResponse()


@asynccontextmanager
async def receiving() -> AsyncIterator[Received]:
    """Receives until the end, at an address that `OTEL_EXPORTER_OTLP_ENDPOINT` may name."""
    received = Received()
    server = grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(received), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(received), server)
    received.address = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield received
    finally:
        await server.stop(1)
