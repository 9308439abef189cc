"""The composition root."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from headrace import topics
from headrace.privacy.v1.erasure_pb2 import ErasureRequested
from headrace.retrieval.v1.service_pb2_grpc import add_RetrievalServiceServicer_to_server
from headrace_database import open_database
from headrace_identity import current_principal
from headrace_privacy import Tier, Vault
from headrace_privacy.policy import Policy
from headrace_runtime.grpc_client import open_neighbour
from headrace_runtime.grpc_server import Servicer
from headrace_runtime.keys import open_vault
from headrace_runtime.policy import load_policy
from headrace_runtime.service import Service
from headrace_stream import Ledger, open_bus
from headrace_stream.erasing import Eraser
from headrace_stream.security import bus_security

from headrace_retriever.adapters.embedder import GrpcEmbedder
from headrace_retriever.adapters.generations import PostgresGenerations, end_in
from headrace_retriever.adapters.postgres import PostgresIndex, PostgresShelf
from headrace_retriever.consumers import DocumentConsumer, ModelConsumer, QueryConsumer
from headrace_retriever.erasing import IndexHoldings, subscribe
from headrace_retriever.filling import Filler
from headrace_retriever.own import OwnVectors
from headrace_retriever.servicer import Asker, RetrievalServicer, Searching
from headrace_retriever.settings import Settings

_TRAINER = "service:trainer"


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[Service]:
    """Opens all that the retriever is made of."""
    policy = load_policy(settings.policy)
    async with (
        open_database(settings.database, schema="retriever", connections=settings.connections) as database,
        open_neighbour(settings.embedder, settings) as channel,
        open_vault(settings) as vault,
        open_bus(settings.kafka, service="retriever", security=bus_security(settings)) as bus,
    ):
        ledger = Ledger(database)
        index = PostgresIndex(database, tuning=settings.tuning)
        embedder, generations = GrpcEmbedder(channel), PostgresGenerations(database)
        own = OwnVectors(embedder, time.monotonic)
        filler = Filler(generations, embedder, vault, time.monotonic, _now)
        # More at a time than there are connections would only wait for one; queries have the most.
        writers = max(1, settings.connections // 3)
        bus.subscribe(
            topics.QUERY_EMBEDDED,
            QueryConsumer(index, own=own, vault=vault, top_k=settings.top_k, now=_now),
            in_flight=settings.connections - writers,
        )
        bus.subscribe(
            topics.DOCUMENT_EMBEDDED,
            DocumentConsumer(ledger, vault=vault, shelf=PostgresShelf, own=own, changed=filler.wake, now=_now),
            in_flight=writers,
        )
        bus.subscribe(
            topics.MODEL_CHANGED, ModelConsumer(ledger, end=end_in, changed=filler.wake, now=_now), in_flight=4
        )
        bus.watch(topics.ERASURE_REQUESTED, _forgetting(vault))
        subscribe(bus, Eraser("retriever", ledger, vault, IndexHoldings(database), _now))
        searching = Searching(embedder, index, own, generations, vault, lambda: _asker(policy))
        servicer = RetrievalServicer(searching, passages=index, begun=filler.begin, now=_now)
        async with ledger.relaying(bus), _filling(filler):
            yield Service(
                bus,
                [Servicer(add_RetrievalServiceServicer_to_server, servicer, "headrace.retrieval.v1.RetrievalService")],
            )


def _forgetting(vault: Vault) -> Callable[[ErasureRequested], Awaitable[None]]:
    """Returns what drops every key that this process holds when somebody is erased."""

    async def forget(_: ErasureRequested) -> None:
        vault.forget()

    return forget


@asynccontextmanager
async def _filling(filler: Filler) -> AsyncIterator[None]:
    """Fills the tenants' own indexes while the context is open. A bug there ends it, and with it the service."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(filler.run())
        try:
            yield
        finally:
            task.cancel()


def _asker(policy: Policy) -> Asker:
    """Returns who calls. Outside of a call nobody does.

    The trainer measures by whose vectors a passage is found: among those of all tiers, and reads none.
    """
    role = current_principal().role
    if role == _TRAINER:
        return Asker(Tier.TIER_2, chooses=True, reads=False)
    return Asker(policy.clearance(role), chooses=role != "product", reads=True)


def _now() -> datetime:
    return datetime.now(UTC)
