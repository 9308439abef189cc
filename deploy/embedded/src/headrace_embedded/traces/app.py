"""The composition root of the receiver."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from headrace.trace.v1.service_pb2_grpc import add_TraceServiceServicer_to_server as add_contract
from headrace_database import open_database
from headrace_identity import current_principal
from headrace_runtime.grpc_server import Servicer
from headrace_runtime.service import Service
from headrace_runtime.settings import StatefulSettings
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import add_TraceServiceServicer_to_server as add_otlp
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from headrace_embedded.traces.intake import QUEUE_LIMIT, Intake
from headrace_embedded.traces.servicer import Receiver, TraceServicer
from headrace_embedded.traces.store import Retention, SpanStore, utc_now


class Settings(StatefulSettings):
    """HEADRACE_TRACES_*."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_TRACES_", extra="ignore", frozen=True)

    keep_days: float = Field(7.0, gt=0, description="How long a span is kept.")
    keep_rows: int = Field(1_000_000, gt=0, description="How many spans are kept at most, about 1 GB for a million.")


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[Service]:
    """Opens the receiver's parts."""
    retention = Retention(timedelta(days=settings.keep_days), settings.keep_rows)
    async with open_database(settings.database, schema="traces", connections=3) as database:
        store = SpanStore(database)
        intake = Intake(store, retention, utc_now, limit=QUEUE_LIMIT)
        otlp = "opentelemetry.proto.collector.trace.v1.TraceService"
        servicers = [
            # Exporters of spans have no tokens of ours; what they leave here is read with one.
            Servicer(add_otlp, Receiver(intake), otlp, is_open=True),
            Servicer(
                add_contract, TraceServicer(intake, store, caller=current_principal), "headrace.trace.v1.TraceService"
            ),
        ]
        yield Service(bus=intake, servicers=servicers)
