"""The gRPC edge of the loop: its rules, and the switch that stops it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import grpc
from headrace.training.v1 import service_pb2, service_pb2_grpc
from headrace_identity import Principal
from headrace_runtime.errors import Denied, NotFound, Rejected
from headrace_stream import Ledger, Unit

from headrace_trainer.running.asking import change_rules
from headrace_trainer.running.failures import Stopped
from headrace_trainer.running.loop import BookedLoop
from headrace_trainer.running.ports import Books, Registry, Turns, Worker
from headrace_trainer.running.runs import State, Target
from headrace_trainer.running.translate import check_tenant, read_pause, read_rules, to_rules, to_stamp

#: Who may stop everybody's.
_STOPPER = "sre"

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class LoopDesk:
    """What the edge needs. wake: tells the conductor that something may go on, or has to let go."""

    ledger: Ledger
    books_on: Callable[[Unit], Books]
    turns_on: Callable[[Unit], Turns]
    loop: BookedLoop
    registry: Registry
    worker: Worker
    caller: Callable[[], Principal]
    wake: Callable[[], None]


class LoopServicer(service_pb2_grpc.LoopServiceServicer):
    """Serves headrace.training.v1.LoopService."""

    def __init__(self, desk: LoopDesk) -> None:
        self._desk = desk

    async def GetLoop(self, request: service_pb2.GetLoopRequest, context: Context) -> service_pb2.GetLoopResponse:
        del context
        _check(request.tenant)
        async with self._desk.ledger.unit(tenant=request.tenant) as unit:
            books = self._desk.books_on(unit)
            rules, pause = await books.rules(request.tenant), await books.pause_of(request.tenant)
            used, standing = await books.used(request.tenant), await self._desk.registry.standing(unit, request.tenant)
            run_id = await _current(books, request.tenant)
        return service_pb2.GetLoopResponse(
            rules=to_rules(rules),
            paused=pause is not None,
            paused_by=pause.by if pause else "",
            paused_at=to_stamp(pause.at if pause else None),
            paused_because=pause.because if pause else "",
            runs_today=used.runs,
            compute_seconds_today=used.compute_seconds,
            live=standing.live.get(Target.GENERATOR, ""),
            live_by_target={target.label: model for target, model in standing.live.items()},
            canary=standing.canary,
            run_id=str(run_id or ""),
        )

    async def PutLoopRules(
        self, request: service_pb2.PutLoopRulesRequest, context: Context
    ) -> service_pb2.PutLoopRulesResponse:
        del context
        rules, caller = read_rules(request), self._desk.caller()
        self._check_base(rules.base)
        async with self._desk.ledger.unit(tenant=request.tenant) as unit:
            books = self._desk.books_on(unit)
            await books.hold(request.tenant)
            version = (await books.rules(request.tenant)).version + 1
            rules = replace(rules, version=version, changed_by=caller.subject, changed_at=await books.now())
            await change_rules(books, request.tenant, rules)
        self._desk.wake()
        return service_pb2.PutLoopRulesResponse(rules=to_rules(rules))

    def _check_base(self, base: str) -> None:
        try:
            self._desk.worker.base_of(base)
        except Stopped:
            raise NotFound("base", base) from None

    async def PauseLoop(self, request: service_pb2.PauseLoopRequest, context: Context) -> service_pb2.PauseLoopResponse:
        del context
        caller = self._desk.caller()
        _check_whose(request.tenant, caller)
        async with self._desk.ledger.unit(tenant=request.tenant) as unit:
            books = self._desk.books_on(unit)
            pause = read_pause(request, by=caller.subject or caller.role, at=await books.now())
            await books.pause(request.tenant, pause)
        if not request.at_once:
            return service_pb2.PauseLoopResponse()
        stopped = await self._stop(request.tenant)
        self._desk.wake()
        taken_out = await self._desk.registry.take_out(request.tenant)
        return service_pb2.PauseLoopResponse(stopped_runs=map(str, stopped), taken_out=taken_out)

    async def _stop(self, tenant: str) -> list[UUID]:
        """Ends the runs that are under way, of everybody where the tenant is ''. What waits goes on waiting."""
        async with self._desk.ledger.unit() as unit:
            going_on = await self._desk.turns_on(unit).everybody()
        return [run_id for whose, run_id in going_on if tenant in ("", whose) and await self._end(whose, run_id)]

    async def _end(self, tenant: str, run_id: UUID) -> bool:
        async with self._desk.ledger.unit(tenant=tenant) as unit:
            run = await self._desk.books_on(unit).get(tenant, run_id)
            if run is None or not run.state.is_under_way:
                return False
            return await self._desk.loop.end(unit, run, State.CANCELLED, failure="paused")

    async def ResumeLoop(
        self, request: service_pb2.ResumeLoopRequest, context: Context
    ) -> service_pb2.ResumeLoopResponse:
        del context
        _check_whose(request.tenant, self._desk.caller())
        async with self._desk.ledger.unit(tenant=request.tenant) as unit:
            await self._desk.books_on(unit).resume(request.tenant)
        self._desk.wake()
        return service_pb2.ResumeLoopResponse()


def _check(tenant: str) -> None:
    if violations := list(check_tenant(tenant)):
        raise Rejected(*violations)


def _check_whose(tenant: str, caller: Principal) -> None:
    """Everybody's is the SRE's, who answers for the machines. Raises Denied, Rejected."""
    if tenant:
        _check(tenant)
    elif caller.role != _STOPPER:
        raise Denied("everybody's loop is for the role sre to stop: name a tenant")


async def _current(books: Books, tenant: str) -> UUID | None:
    """The run that is under way, else the one that waits; of several targets the first, generators before others."""
    for target in Target:
        if run_id := await books.under_way(tenant, target):
            return run_id
    for target in Target:
        if waiting := await books.waiting(tenant, target):
            return waiting.run_id
    return None
