"""How the registry is put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol
from uuid import uuid4

import grpc
from headrace.training.v1.service_pb2_grpc import add_ModelServiceServicer_to_server
from headrace_identity import current_principal
from headrace_runtime.grpc_server import Servicer
from headrace_stream import Bus, Ledger, Unit

from headrace_trainer.registry.conducting import Conductor, Parts
from headrace_trainer.registry.consumers import CanaryConsumers, Watchlist
from headrace_trainer.registry.erasing import ErasureConsumers
from headrace_trainer.registry.judging import Bench
from headrace_trainer.registry.neighbours import RemoteAsking, RemoteRows, RemoteServing
from headrace_trainer.registry.office import Office
from headrace_trainer.registry.postgres import PostgresBooks
from headrace_trainer.registry.rules import load_gate
from headrace_trainer.registry.servicer import Desk, ModelServicer
from headrace_trainer.registry.shelf import Shelf
from headrace_trainer.registry.tracing import Tracer
from headrace_trainer.registry.weights import FsspecWeights
from headrace_trainer.running.ports import Loop, Registry


class Told(Protocol):
    """What of the settings the registry needs."""

    @property
    def gate(self) -> Path | None:
        """The gate's rules; None takes those that are shipped."""


class OpenRegistry(Registry, Protocol):
    """The registry with what it serves."""

    @property
    def servicers(self) -> Sequence[Servicer]:
        """ModelService."""


@dataclass(frozen=True, slots=True)
class Served(Office):
    """See OpenRegistry."""

    servicers: Sequence[Servicer] = ()


@asynccontextmanager
async def open_registry(
    bus: Bus,
    ledger: Ledger,
    loop: Loop,
    settings: Told,
    *,
    feedback: grpc.aio.Channel,
    inference: grpc.aio.Channel,
) -> AsyncIterator[OpenRegistry]:
    """Subscribes to what canaries are judged by, and watches them while the context is open. Raises Conflict for a gate
    that cannot be used."""
    shelf = Shelf(ledger, _books_on, lambda: datetime.now(UTC))
    serving, rows = RemoteServing(inference), RemoteRows(feedback)
    bench = Bench(
        shelf=shelf,
        serving=serving,
        asking=RemoteAsking(feedback),
        loop=loop,
        gate=load_gate(settings.gate),
        sleep=asyncio.sleep,
        clock=asyncio.get_running_loop().time,
    )
    conductor = Conductor(Parts(shelf, serving, FsspecWeights(), loop), new_id=uuid4)
    office = Office(bench, conductor, asyncio.sleep)
    desk = Desk(office, Tracer(shelf, rows), current_principal)
    servicer = Servicer(add_ModelServiceServicer_to_server, ModelServicer(desk), "headrace.training.v1.ModelService")
    served = Served(bench, conductor, asyncio.sleep, servicers=(servicer,))
    watchlist = Watchlist(shelf)
    CanaryConsumers(shelf, watchlist, conductor.wake).subscribe(bus)
    ErasureConsumers(shelf, rows, loop, served).subscribe(bus)
    async with watchlist.watching(), conductor.conducting():
        yield served


def _books_on(unit: Unit) -> PostgresBooks:
    return PostgresBooks(unit.connection)
