"""The composition root: the only place that knows every part of the embedder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from headrace.embedding.v1.service_pb2_grpc import add_EmbeddingServiceServicer_to_server
from headrace_models.embedding import Limits
from headrace_runtime.grpc_server import Servicer
from headrace_runtime.keys import open_vault
from headrace_runtime.service import Service
from headrace_stream import open_bus
from headrace_stream.security import bus_security

from headrace_embedder.adapters.engine import open_embedder, read_model
from headrace_embedder.adapters.splitter import open_chunker
from headrace_embedder.adapters.trained import EngineLoading, open_trained
from headrace_embedder.consumers import Consumers
from headrace_embedder.erasing import VectorEraser, subscribe
from headrace_embedder.servicer import EmbeddingServicer
from headrace_embedder.settings import Settings


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[Service]:
    """Opens the service's parts and ties them together."""
    folder = read_model(settings.model)
    shelf = settings.cache / "embedders"
    limits = Limits(settings.batch_tokens, waiting=settings.waiting_texts, cached=settings.cached_vectors)
    # A question of the house's may come behind a batch of another model's as well as one of its own documents.
    lesser = replace(limits, batch_tokens=settings.batch_tokens // 2)
    async with (
        open_chunker(folder.tokenizer, chunk_tokens=settings.chunk_tokens, window=folder.window) as chunker,
        open_embedder(folder, threads=settings.threads, limits=limits) as embedder,
        open_trained(
            EngineLoading(embedder.engine, settings.trained, shelf, lesser, settings.threads),
            most=settings.trained_models,
            shelf=shelf,
        ) as trained,
        open_vault(settings) as vault,
        open_bus(settings.kafka, service="embedder", security=bus_security(settings)) as bus,
    ):

        def forget_vectors() -> None:
            embedder.forget()
            trained.forget_vectors()

        consumers = Consumers(embedder, chunker, trained, vault, forget_vectors, now=lambda: datetime.now(UTC))
        consumers.subscribe(
            bus, queries_in_flight=settings.queries_in_flight, documents_in_flight=settings.documents_in_flight
        )
        subscribe(bus, VectorEraser(forget_vectors, lambda: datetime.now(UTC)))
        servicer = EmbeddingServicer(embedder, trained=trained, chunker=chunker)
        yield Service(
            bus,
            [Servicer(add_EmbeddingServiceServicer_to_server, servicer, "headrace.embedding.v1.EmbeddingService")],
        )
