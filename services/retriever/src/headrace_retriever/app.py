"""The composition root."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from headrace import topics
from headrace.retrieval.v1.service_pb2_grpc import add_RetrievalServiceServicer_to_server
from headrace_database import open_database
from headrace_runtime.grpc_client import open_neighbour
from headrace_runtime.grpc_server import Servicer
from headrace_runtime.service import Service
from headrace_stream import Ledger, open_bus

from headrace_retriever.adapters.embedder import GrpcEmbedder
from headrace_retriever.adapters.postgres import PostgresIndex, PostgresShelf
from headrace_retriever.consumers import DocumentConsumer, QueryConsumer
from headrace_retriever.servicer import RetrievalServicer
from headrace_retriever.settings import Settings


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[Service]:
    """Opens all that the retriever is made of."""
    async with (
        open_database(settings.database, schema="retriever", connections=settings.connections) as database,
        open_neighbour(settings.embedder, settings) as channel,
        open_bus(settings.kafka, service="retriever") as bus,
    ):
        ledger = Ledger(database)
        index = PostgresIndex(database, tuning=settings.tuning)
        # More at a time than there are connections would only wait for one; queries have the most.
        writers = max(1, settings.connections // 3)
        bus.subscribe(
            topics.QUERY_EMBEDDED,
            QueryConsumer(index, top_k=settings.top_k, now=_now),
            in_flight=settings.connections - writers,
        )
        bus.subscribe(
            topics.DOCUMENT_EMBEDDED,
            DocumentConsumer(ledger, shelf=PostgresShelf, now=_now),
            in_flight=writers,
        )
        servicer = RetrievalServicer(embedder=GrpcEmbedder(channel), index=index)
        async with ledger.relaying(bus):
            yield Service(
                bus,
                [Servicer(add_RetrievalServiceServicer_to_server, servicer, "headrace.retrieval.v1.RetrievalService")],
            )


def _now() -> datetime:
    return datetime.now(UTC)
