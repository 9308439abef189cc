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

from headrace_trainer.registry.canaries import Canaries
from headrace_trainer.registry.conducting import Conductor
from headrace_trainer.registry.consumers import CanaryConsumers, Watchlist
from headrace_trainer.registry.embedders import SearchBench
from headrace_trainer.registry.erasing import ErasureConsumers
from headrace_trainer.registry.generators import Bench
from headrace_trainer.registry.indexes import RemoteIndexes
from headrace_trainer.registry.judging import Court
from headrace_trainer.registry.kinds import KindsBench, KindsSwitch
from headrace_trainer.registry.kinds_neighbours import RemoteRecogniser, RemoteStatedRows
from headrace_trainer.registry.moves import Moves
from headrace_trainer.registry.neighbours import RemoteAsking, RemoteQuestions, RemoteRows, RemoteServing
from headrace_trainer.registry.office import Office
from headrace_trainer.registry.postgres import PostgresBooks
from headrace_trainer.registry.rules import Gate, load_gate
from headrace_trainer.registry.servicer import Desk, ModelServicer
from headrace_trainer.registry.shelf import Shelf
from headrace_trainer.registry.switching import Switching
from headrace_trainer.registry.targets import Handling, Targets
from headrace_trainer.registry.tracing import Tracer
from headrace_trainer.registry.weights import FsspecWeights
from headrace_trainer.running.ports import Loop, Registry
from headrace_trainer.running.runs import Target


class Told(Protocol):
    """What of the settings the registry needs."""

    @property
    def gate(self) -> Path | None:
        """The gate's rules; None takes those that are shipped."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Whom the registry calls."""

    feedback: grpc.aio.Channel
    inference: grpc.aio.Channel
    retriever: grpc.aio.Channel


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
    neighbours: Neighbours,
) -> AsyncIterator[OpenRegistry]:
    """Subscribes to what canaries are judged by, and watches them while the context is open. Raises Conflict for a gate
    that cannot be used."""
    moves = Moves(Shelf(ledger, _books_on, lambda: datetime.now(UTC)), loop)
    gate, rows = load_gate(settings.gate), RemoteRows(neighbours.feedback)
    targets = _targets(moves, gate, neighbours)
    served = _served(moves, targets, gate, rows)
    conductor = Conductor(moves, targets, FsspecWeights(), new_id=uuid4)
    watchlist = Watchlist(moves.shelf)
    CanaryConsumers(moves.shelf, watchlist, moves.wake).subscribe(bus)
    ErasureConsumers(moves.shelf, rows, loop, served).subscribe(bus)
    async with watchlist.watching(), conductor.conducting():
        yield served


def _served(moves: Moves, targets: Targets, gate: Gate, rows: RemoteRows) -> Served:
    court = Court(moves.shelf, targets, gate.version)
    desk = Desk(Office(moves, targets, court, asyncio.sleep), Tracer(moves.shelf, rows), current_principal)
    servicer = Servicer(add_ModelServiceServicer_to_server, ModelServicer(desk), "headrace.training.v1.ModelService")
    return Served(moves, targets, court, asyncio.sleep, servicers=(servicer,))


def _targets(moves: Moves, gate: Gate, neighbours: Neighbours) -> Targets:
    """Who serves what: the one place that knows."""
    return Targets(
        {
            Target.GENERATOR: _generators(moves, gate, neighbours),
            Target.EMBEDDER: _embedders(moves, gate, neighbours),
            Target.KINDS: _kinds(moves, gate, neighbours),
        }
    )


def _kinds(moves: Moves, gate: Gate, neighbours: Neighbours) -> Handling:
    recogniser = RemoteRecogniser(neighbours.inference)
    clock = asyncio.get_running_loop().time
    bench = KindsBench(moves, recogniser, RemoteStatedRows(neighbours.feedback), gate, asyncio.sleep, clock)
    return Handling(bench, Switching(moves, KindsSwitch(moves, recogniser)))


def _embedders(moves: Moves, gate: Gate, neighbours: Neighbours) -> Handling:
    indexes = RemoteIndexes(neighbours.retriever)
    clock = asyncio.get_running_loop().time
    bench = SearchBench(moves, indexes, RemoteQuestions(neighbours.feedback), gate, asyncio.sleep, clock)
    return Handling(bench, Switching(moves, indexes))


def _generators(moves: Moves, gate: Gate, neighbours: Neighbours) -> Handling:
    serving = RemoteServing(neighbours.inference)
    bench = Bench(
        shelf=moves.shelf,
        serving=serving,
        asking=RemoteAsking(neighbours.feedback),
        loop=moves.loop,
        gate=gate,
        sleep=asyncio.sleep,
        clock=asyncio.get_running_loop().time,
    )
    return Handling(bench, Canaries(moves, serving))


def _books_on(unit: Unit) -> PostgresBooks:
    return PostgresBooks(unit.connection)
