"""Starting and stopping telemetry in a process."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Sequence

import structlog
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from structlog.typing import EventDict, WrappedLogger

# A dead collector must not hold a process back when it stops.
SHUTDOWN_SECONDS = 3.0
# How long a library's line is not repeated.
QUIET_SECONDS = 10.0


def start_telemetry(service: str, *, instance: str, collectors: Sequence[str]) -> None:
    """Sends spans to each collector, OTLP over gRPC at "http://host:port".

    Metrics go where the user's own variable says, and nowhere without it.
    OTEL_EXPORTER_OTLP_ENDPOINT and its kin work as everywhere; `collectors` come on top.
    """
    resource = Resource.create(
        {"service.name": service, "service.namespace": "headrace", "service.instance.id": instance}
    )
    provider = TracerProvider(resource=resource)
    own = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
    for endpoint in dict.fromkeys(address for address in (*collectors, own) if address):
        exporter = OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"), timeout=5)
        # 256 spans a batch: encoding a larger one holds the interpreter long enough to show in the p99.
        batches = BatchSpanProcessor(
            exporter, max_queue_size=8192, schedule_delay_millis=500, max_export_batch_size=256
        )
        provider.add_span_processor(batches)
    trace.set_tracer_provider(provider)
    if own:
        reader = PeriodicExportingMetricReader(OTLPMetricExporter(endpoint=own, insecure=own.startswith("http://")))
        metrics.set_meter_provider(MeterProvider(resource=resource, metric_readers=[reader]))
    # Its retries are logged at every batch; a dead collector is the collector's business.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)


def stop_telemetry() -> None:
    """Sends what is left and stops, in at most a few seconds."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, TracerProvider):
        worker = threading.Thread(target=provider.shutdown, daemon=True)
        worker.start()
        worker.join(SHUTDOWN_SECONDS)


def start_logging(service: str) -> None:
    """Writes one JSON object a line to standard error, each with the trace it belongs to."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _add_trace,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(service=service)
    logging.basicConfig(level=logging.WARNING, handlers=[_ClassOnlyHandler()], force=True)


class _ClassOnlyHandler(logging.Handler):
    """Keeps other libraries' log lines, without their arguments: those can hold a record's payload.

    A line that says the same again within QUIET_SECONDS is left out: a client without its broker writes ten a second.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, str, str | None], float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        template = record.msg if isinstance(record.msg, str) and record.args else "a library's message"
        line = (record.name, template, error)
        if record.created - self._last.get(line, 0.0) < QUIET_SECONDS:
            return
        self._last[line] = record.created
        # structlog knows the five standard levels only.
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        structlog.get_logger().log(level, "library", logger=record.name, template=template, error=error)


def _add_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = trace.format_trace_id(context.trace_id)
        event["span_id"] = trace.format_span_id(context.span_id)
    return event
