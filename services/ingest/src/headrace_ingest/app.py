"""How ingest is put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from headrace.document.v1.service_pb2_grpc import add_DocumentServiceServicer_to_server
from headrace.query.v1.service_pb2_grpc import add_QueryServiceServicer_to_server
from headrace_database import open_database
from headrace_runtime.grpc_server import Servicer
from headrace_runtime.service import Service
from headrace_stream import Ledger, open_bus

from headrace_ingest import consumers
from headrace_ingest.adapters.parsing import open_parser
from headrace_ingest.adapters.postgres import PostgresStore
from headrace_ingest.document_servicer import DocumentServicer
from headrace_ingest.live import Live
from headrace_ingest.query_servicer import QueryServicer
from headrace_ingest.settings import Settings


def clock() -> datetime:
    """Tells the time."""
    return datetime.now(UTC)


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[Service]:
    """Opens every part of ingest and wires them."""
    async with (
        open_database(settings.database, schema="ingest") as database,
        open_bus(settings.kafka, service="ingest") as bus,
        open_parser(seconds=settings.parse_seconds) as parser,
    ):
        ledger, live = Ledger(database), Live()
        store = PostgresStore(database, ledger)
        consumers.subscribe(
            bus, store=store, parser=parser, live=live, clock=clock, replay_seconds=settings.replay_seconds
        )
        queries = QueryServicer(publish=bus.publish, store=store, live=live, clock=clock)
        documents = DocumentServicer(publish=bus.publish, store=store, clock=clock)
        async with ledger.relaying(bus):
            yield Service(
                bus,
                [
                    Servicer(add_QueryServiceServicer_to_server, queries, "headrace.query.v1.QueryService"),
                    Servicer(add_DocumentServiceServicer_to_server, documents, "headrace.document.v1.DocumentService"),
                ],
            )
