"""How runs are put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

import grpc
from headrace.training.v1.service_pb2_grpc import (
    add_LoopServiceServicer_to_server,
    add_TrainingServiceServicer_to_server,
)
from headrace_identity import current_principal
from headrace_runtime.grpc_server import Servicer
from headrace_stream import Bus, Ledger, Unit

from headrace_trainer.running.conducting import Conductor, Limits, Parts
from headrace_trainer.running.consumers import RunConsumers
from headrace_trainer.running.kinds import Kinds, Vectors
from headrace_trainer.running.kinds_neighbours import RemoteKinds
from headrace_trainer.running.lines import Conversations, Pairs, Rendering
from headrace_trainer.running.loop import BookedLoop
from headrace_trainer.running.loop_servicer import LoopDesk, LoopServicer
from headrace_trainer.running.neighbours import RemoteDatasets, RemoteLayouts
from headrace_trainer.running.ports import Registry
from headrace_trainer.running.postgres import PostgresBooks
from headrace_trainer.running.runs import Target
from headrace_trainer.running.servicer import Desk, TrainingServicer
from headrace_trainer.running.shelf import FileShelf
from headrace_trainer.running.tokens import Tokenizers
from headrace_trainer.running.worker import Premises, ProcessWorker, command_of
from headrace_trainer.settings import Settings


def make_loop() -> BookedLoop:
    """What the registry may ask of runs."""
    return BookedLoop(_books_on, uuid4)


@asynccontextmanager
async def open_runs(
    bus: Bus,
    ledger: Ledger,
    loop: BookedLoop,
    settings: Settings,
    *,
    feedback: grpc.aio.Channel,
    inference: grpc.aio.Channel,
    embedder: grpc.aio.Channel,
    registry: Registry,
    limits: Limits | None = None,
) -> AsyncIterator[Sequence[Servicer]]:
    """Subscribes to what starts and stops runs, and conducts them while the context is open."""
    datasets = RemoteDatasets(feedback)
    worker = ProcessWorker(_premises(settings), _renderings(settings, RemoteKinds(inference, embedder)))
    parts = Parts(
        ledger=ledger,
        books_on=_books_on,
        turns_on=_books_on,
        loop=loop,
        datasets=datasets,
        layouts=RemoteLayouts(inference),
        worker=worker,
        shelf=FileShelf(settings.models),
        registry=registry,
        limits=limits or Limits(),
    )
    conductor = Conductor(parts, new_id=uuid4)
    RunConsumers(ledger, _books_on, loop, registry, wake=conductor.wake).subscribe(bus)
    training = Desk(ledger, _books_on, loop, datasets, worker, current_principal, uuid4, wake=conductor.wake)
    switch = LoopDesk(
        ledger, _books_on, _books_on, loop, registry, worker, caller=current_principal, wake=conductor.wake
    )
    async with conductor.conducting():
        yield [
            Servicer(
                add_TrainingServiceServicer_to_server,
                TrainingServicer(training),
                "headrace.training.v1.TrainingService",
            ),
            Servicer(add_LoopServiceServicer_to_server, LoopServicer(switch), "headrace.training.v1.LoopService"),
        ]


def _premises(settings: Settings) -> Premises:
    return Premises(
        work=settings.work,
        cache=settings.cache,
        bases=settings.bases,
        command=command_of(settings.launcher),
        threads=settings.threads,
        alone=command_of(""),
    )


def _renderings(settings: Settings, kinds: Kinds) -> Mapping[Target, Rendering]:
    return {
        Target.GENERATOR: Conversations(Tokenizers(settings.cache)),
        Target.EMBEDDER: Pairs(),
        Target.KINDS: Vectors(kinds),
    }


def _books_on(unit: Unit) -> PostgresBooks:
    return PostgresBooks(unit.connection)
