"""The gRPC edge of runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import grpc
from headrace.training.v1 import service_pb2, service_pb2_grpc, training_pb2
from headrace_identity import Principal
from headrace_runtime.errors import Conflict, NotFound, Rejected, Violation
from headrace_stream import Ledger, Unit

from headrace_trainer.running.asking import Wish, ask
from headrace_trainer.running.failures import Stopped
from headrace_trainer.running.loop import BookedLoop
from headrace_trainer.running.ports import Books, Datasets, Worker
from headrace_trainer.running.runs import Cause, Person, Run, State
from headrace_trainer.running.translate import check_tenant, read_run_id, read_wish, to_run, without_curves

Context = grpc.aio.ServicerContext[Any, Any]

#: How often a run that is watched is looked at, in seconds.
WATCH_SECONDS = 0.5
LISTED = 1_000
#: Whose word is a steward's, and starts a run by the loop's rules alone.
STEWARD = "steward"


@dataclass(frozen=True, slots=True)
class Desk:
    """What the edge needs. wake: tells the conductor of a new run."""

    ledger: Ledger
    books_on: Callable[[Unit], Books]
    loop: BookedLoop
    datasets: Datasets
    worker: Worker
    caller: Callable[[], Principal]
    new_id: Callable[[], UUID]
    wake: Callable[[], None]


class TrainingServicer(service_pb2_grpc.TrainingServiceServicer):
    """Serves headrace.training.v1.TrainingService."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def StartTraining(
        self, request: service_pb2.StartTrainingRequest, context: Context
    ) -> service_pb2.StartTrainingResponse:
        del context
        caller = self._desk.caller()
        wish = await self._checked(_as_steward(read_wish(request), caller))
        origin = replace(self._desk.loop.origin(self._desk.new_id()), by=Person(caller.role, caller.subject))
        async with self._desk.ledger.unit(tenant=wish.tenant) as unit:
            books = self._desk.books_on(unit)
            await _check_open(books, wish)
            asked = await ask(books, wish, origin)
        assert asked is not None  # its cause is new
        self._desk.wake()
        return service_pb2.StartTrainingResponse(run=to_run(asked[0]), created=asked[1])

    async def _checked(self, wish: Wish) -> Wish:
        """The wish with its snapshot's whole id. Raises NotFound, Conflict, Rejected, Unavailable."""
        if wish.target not in self._desk.worker.targets:
            served = ", ".join(sorted(target.label for target in self._desk.worker.targets))
            raise Rejected(Violation("target", "unsupported", f"What can be trained here: {served}."))
        if wish.base:
            try:
                self._desk.worker.base_of(wish.base)
            except Stopped:
                raise NotFound("base", wish.base) from None
        if not wish.dataset:
            return wish
        return replace(wish, dataset=(await self._desk.datasets.find(wish.tenant, wish.dataset)).dataset_id)

    async def WatchTraining(
        self, request: service_pb2.WatchTrainingRequest, context: Context
    ) -> AsyncIterator[service_pb2.WatchTrainingResponse]:
        del context
        run_id = read_run_id(request.tenant, request.run_id)
        last: training_pb2.TrainingRun | None = None
        while True:
            run = await self._run(request.tenant, run_id)
            (now,) = without_curves([run])
            if now != last:
                yield service_pb2.WatchTrainingResponse(run=now)
            if run.state.has_ended:
                return
            last = now
            await asyncio.sleep(WATCH_SECONDS)

    async def GetTraining(
        self, request: service_pb2.GetTrainingRequest, context: Context
    ) -> service_pb2.GetTrainingResponse:
        del context
        run = await self._run(request.tenant, read_run_id(request.tenant, request.run_id))
        return service_pb2.GetTrainingResponse(run=to_run(run))

    async def ListTrainings(
        self, request: service_pb2.ListTrainingsRequest, context: Context
    ) -> service_pb2.ListTrainingsResponse:
        del context
        if violations := list(check_tenant(request.tenant)):
            raise Rejected(*violations)
        async with self._desk.ledger.unit(tenant=request.tenant) as unit:
            runs = await self._desk.books_on(unit).newest(request.tenant, LISTED)
        return service_pb2.ListTrainingsResponse(runs=without_curves(runs))

    async def CancelTraining(
        self, request: service_pb2.CancelTrainingRequest, context: Context
    ) -> service_pb2.CancelTrainingResponse:
        del context
        run_id = read_run_id(request.tenant, request.run_id)
        run = await self._run(request.tenant, run_id)
        async with self._desk.ledger.unit(tenant=request.tenant) as unit:
            has_ended = await self._desk.loop.end(unit, run, State.CANCELLED, failure="person")
        if not has_ended:
            raise Conflict(f"run {run_id} has ended: there is nothing to stop")
        self._desk.wake()
        return service_pb2.CancelTrainingResponse(run=to_run(await self._run(request.tenant, run_id)))

    async def _run(self, tenant: str, run_id: UUID) -> Run:
        async with self._desk.ledger.unit(tenant=tenant) as unit:
            run = await self._desk.books_on(unit).get(tenant, run_id)
        if run is None:
            raise NotFound("run", str(run_id))
        return run


def _as_steward(wish: Wish, caller: Principal) -> Wish:
    """A steward changes documents; that they may not choose what else a model learns, or how, is theirs to know."""
    if caller.role != STEWARD:
        return wish
    if wish.dataset or wish.query is not None or wish.recipe or wish.base:
        said = "What a steward's run learns from, and how, is as the loop's rules say."
        raise Rejected(Violation("query", "unsupported", said))
    return replace(wish, cause=Cause.STEWARD)


async def _check_open(books: Books, wish: Wish) -> None:
    """Raises Conflict where nothing may start."""
    if pause := await books.pause_of(wish.tenant):
        whose = "for everybody" if pause.everybody else "for this tenant"
        raise Conflict(f"the loop is paused {whose} since {pause.at:%Y-%m-%d %H:%M} UTC: headrace loop show")
    if wish.cause is Cause.STEWARD and not (await books.rules(wish.tenant)).automatic:
        raise Conflict(
            "the loop starts nothing by itself for this tenant: ask a developer for headrace train start, or to set "
            "automatic in headrace loop rules"
        )
