"""The composition root: the one place that knows the concrete parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
from headrace_database import open_database
from headrace_runtime.errors import Conflict
from headrace_runtime.grpc_client import open_neighbour
from headrace_runtime.service import Service
from headrace_runtime.settings import variable
from headrace_stream import Ledger, open_bus
from headrace_stream.security import bus_security

from headrace_trainer.registry.app import Neighbours, open_registry
from headrace_trainer.running.app import make_loop, open_runs
from headrace_trainer.settings import Settings


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[Service]:
    """Opens the service's parts and ties them together.

    Raises Conflict for a neighbour that is not named or a file that cannot be used, Unavailable when Kafka or Postgres
    is not there.
    """
    async with (
        open_bus(settings.kafka, service="trainer", security=bus_security(settings)) as bus,
        open_database(settings.database, schema="trainer") as database,
        AsyncExitStack() as stack,
    ):
        feedback = await stack.enter_async_context(_neighbour(settings, "feedback"))
        inference = await stack.enter_async_context(_neighbour(settings, "inference"))
        retriever = await stack.enter_async_context(_neighbour(settings, "retriever"))
        embedder = await stack.enter_async_context(_neighbour(settings, "embedder"))
        neighbours = Neighbours(feedback, inference, retriever)
        ledger, loop = Ledger(database), make_loop()
        async with (
            ledger.relaying(bus),
            open_registry(bus, ledger, loop, settings, neighbours=neighbours) as registry,
            open_runs(
                bus,
                ledger,
                loop,
                settings,
                feedback=feedback,
                inference=inference,
                embedder=embedder,
                registry=registry,
            ) as runs,
        ):
            yield Service(bus, [*runs, *registry.servicers])


@asynccontextmanager
async def _neighbour(settings: Settings, name: str) -> AsyncIterator[grpc.aio.Channel]:
    address: str = getattr(settings, name)
    if not address:
        raise Conflict(f"{variable(settings, name)} is not set: {type(settings).model_fields[name].description}")
    async with open_neighbour(address, settings) as channel:
        yield channel
