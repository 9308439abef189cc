"""How ingest is put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from headrace.document.v1.service_pb2_grpc import add_DocumentServiceServicer_to_server
from headrace.query.v1.service_pb2_grpc import add_QueryServiceServicer_to_server
from headrace_database import open_database
from headrace_privacy import Tier
from headrace_runtime.grpc_client import own_key
from headrace_runtime.grpc_server import Servicer
from headrace_runtime.keys import open_vault
from headrace_runtime.policy import load_policy
from headrace_runtime.service import Service
from headrace_stream import Ledger, open_bus
from headrace_stream.erasing import Eraser
from headrace_stream.publishers import Prove, open_publishers, signing
from headrace_stream.security import bus_security
from headrace_stream.trimming import Trimmer

from headrace_ingest import consumers
from headrace_ingest.adapters.parsing import open_parser
from headrace_ingest.adapters.postgres import PostgresStore
from headrace_ingest.document_servicer import DocumentServicer
from headrace_ingest.erasing import DoorHoldings, subscribe
from headrace_ingest.handlers import Door
from headrace_ingest.live import Live
from headrace_ingest.query_servicer import QueryServicer
from headrace_ingest.settings import Settings


def clock() -> datetime:
    """Tells the time."""
    return datetime.now(UTC)


def _prove(settings: Settings) -> Prove[Any] | None:
    """What a call publishes is signed with ingest's own key, as a product signs what it publishes."""
    if settings.publishers == "broker":
        return None
    return signing(own_key(settings), audience=settings.audience, now=clock)


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[Service]:
    """Opens every part of ingest and wires them. Raises Conflict for settings or a policy that cannot be used."""
    policy = load_policy(settings.policy)
    async with (
        open_database(settings.database, schema="ingest") as database,
        open_bus(settings.kafka, service="ingest", prove=_prove(settings), security=bus_security(settings)) as bus,
        open_publishers(settings, now=clock) as publishers,
        open_parser(seconds=settings.parse_seconds) as parser,
        open_vault(settings) as vault,
    ):
        ledger, live = Ledger(database), Live(vault)
        store = PostgresStore(database, ledger)
        door = Door(store, vault, policy.clearance("product") or Tier.PUBLIC, clock)
        consumers.subscribe(
            bus, door=door, parser=parser, live=live, publishers=publishers, replay_seconds=settings.replay_seconds
        )
        holdings = DoorHoldings(database, Trimmer(settings.kafka, bus_security(settings)))
        subscribe(bus, Eraser("ingest", ledger, vault, holdings, clock))
        queries = QueryServicer(publish=bus.publish, store=store, live=live, vault=vault, policy=policy, clock=clock)
        documents = DocumentServicer(publish=bus.publish, store=store, vault=vault, clock=clock)
        async with ledger.relaying(bus):
            yield Service(
                bus,
                [
                    Servicer(add_QueryServiceServicer_to_server, queries, "headrace.query.v1.QueryService"),
                    Servicer(add_DocumentServiceServicer_to_server, documents, "headrace.document.v1.DocumentService"),
                ],
            )
