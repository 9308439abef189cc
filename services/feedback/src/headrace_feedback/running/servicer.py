"""The gRPC edge of runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import grpc
from headrace.feedback.v1 import runs_pb2, runs_pb2_grpc
from headrace_identity import Principal
from headrace_runtime.errors import NotFound
from headrace_stream import Ledger, Unit

from headrace_feedback.running.planning import Office, plan
from headrace_feedback.running.ports import Cases, Runs, Shelf
from headrace_feedback.running.runs import Person, Request, Run, State
from headrace_feedback.running.translate import read_request, read_run_id, read_stale_limit, to_run, to_stale
from headrace_feedback.translate import read_tenant

Context = grpc.aio.ServicerContext[Any, Any]

#: How often a run that is watched is looked at, in seconds.
WATCH_SECONDS = 0.5
LISTED = 1_000


@dataclass(frozen=True, slots=True)
class Desk:
    """What the edge needs. cases_of: a request made exact, and where its cases come from; wake: tells the conductor of
    a new run."""

    ledger: Ledger
    runs_on: Callable[[Unit], Runs]
    shelf_on: Callable[[Unit], Shelf]
    cases_of: Callable[[Request, Person], Awaitable[tuple[Request, Cases]]]
    office: Office
    wake: Callable[[], None]
    caller: Callable[[], Principal]
    new_id: Callable[[], UUID]
    now: Callable[[], datetime]


class RunServicer(runs_pb2_grpc.RunServiceServicer):
    """Serves headrace.feedback.v1.RunService."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def StartRun(self, request: runs_pb2.StartRunRequest, context: Context) -> runs_pb2.StartRunResponse:
        del context
        desk, caller, wanted = self._desk, self._desk.caller(), read_request(request)
        by = Person(caller.role, caller.subject)
        exact, cases = await desk.cases_of(wanted, by)
        run = await plan(exact, cases, desk.office, by=by, run_id=desk.new_id(), now=desk.now())
        desk.wake()
        return runs_pb2.StartRunResponse(run=to_run(run))

    async def WatchRun(
        self, request: runs_pb2.WatchRunRequest, context: Context
    ) -> AsyncIterator[runs_pb2.WatchRunResponse]:
        del context
        run_id = read_run_id(request.tenant, request.run_id)
        last: runs_pb2.Run | None = None
        while True:
            run = await self._run(request.tenant, run_id)
            if (now := to_run(run)) != last:
                yield runs_pb2.WatchRunResponse(run=now)
            if run.state is not State.RUNNING:
                return
            last = now
            await asyncio.sleep(WATCH_SECONDS)

    async def GetRun(self, request: runs_pb2.GetRunRequest, context: Context) -> runs_pb2.GetRunResponse:
        del context
        run = await self._run(request.tenant, read_run_id(request.tenant, request.run_id))
        return runs_pb2.GetRunResponse(run=to_run(run))

    async def ListRuns(self, request: runs_pb2.ListRunsRequest, context: Context) -> runs_pb2.ListRunsResponse:
        del context
        tenant = read_tenant(request.tenant)
        async with self._desk.ledger.unit(tenant=tenant) as unit:
            runs = await self._desk.runs_on(unit).newest(tenant, LISTED)
        return runs_pb2.ListRunsResponse(runs=map(to_run, runs))

    async def CancelRun(self, request: runs_pb2.CancelRunRequest, context: Context) -> runs_pb2.CancelRunResponse:
        del context
        run_id = read_run_id(request.tenant, request.run_id)
        run = await self._run(request.tenant, run_id)
        async with self._desk.ledger.unit(tenant=request.tenant) as unit:
            await self._desk.runs_on(unit).end(run, State.CANCELLED, now=self._desk.now())
        return runs_pb2.CancelRunResponse(run=to_run(await self._run(request.tenant, run_id)))

    async def ListStaleAnswers(
        self, request: runs_pb2.ListStaleAnswersRequest, context: Context
    ) -> runs_pb2.ListStaleAnswersResponse:
        del context
        limit = read_stale_limit(request)
        async with self._desk.ledger.unit(tenant=request.tenant) as unit:
            answers, total = await self._desk.shelf_on(unit).stale(
                request.tenant, source=request.source, document_id=request.document_id, limit=limit
            )
        return runs_pb2.ListStaleAnswersResponse(answers=map(to_stale, answers), total=total)

    async def _run(self, tenant: str, run_id: UUID) -> Run:
        async with self._desk.ledger.unit(tenant=tenant) as unit:
            run = await self._desk.runs_on(unit).get(tenant, run_id)
        if run is None:
            raise NotFound("run", str(run_id))
        return run
