"""How runs are put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from headrace.feedback.v1.runs_pb2_grpc import add_RunServiceServicer_to_server
from headrace_identity import current_principal
from headrace_privacy import Vault
from headrace_privacy.policy import Policy
from headrace_runtime.errors import NotFound
from headrace_runtime.grpc_server import Servicer
from headrace_stream import Bus, Ledger, Unit

from headrace_feedback.ports import Authorizer
from headrace_feedback.running.conducting import Conductor, Limits, Parts
from headrace_feedback.running.consumers import RunConsumers
from headrace_feedback.running.erasing import RunTombstones
from headrace_feedback.running.evaluations import QueuedEvaluations
from headrace_feedback.running.logged import LoggedCases
from headrace_feedback.running.planning import Office
from headrace_feedback.running.ports import Cases, Variants
from headrace_feedback.running.postgres import PostgresQuestions, PostgresRuns, PostgresShelf
from headrace_feedback.running.runs import Request
from headrace_feedback.running.servicer import Desk, RunServicer

CasesOf = Callable[[Request], Cases]


def no_datasets(request: Request) -> Cases:
    """There are none. Raises NotFound."""
    raise NotFound("dataset", request.dataset[:64])


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Whom runs ask. dataset_cases: where the cases of a dataset come from."""

    authorizer: Authorizer
    variants: Variants
    policy: Policy
    vault: Vault
    dataset_cases: CasesOf = no_datasets


@asynccontextmanager
async def open_runs(
    bus: Bus, ledger: Ledger, neighbours: Neighbours, *, limits: Limits | None = None
) -> AsyncIterator[Servicer]:
    """Subscribes to what runs consume, and conducts them while the context is open."""
    parts = Parts(
        ledger=ledger,
        runs_on=_runs_on,
        turns_on=_runs_on,
        evaluations_on=_evaluations_on,
        authorizer=neighbours.authorizer,
        policy=neighbours.policy,
        now=_now,
        limits=limits or Limits(),
    )
    conductor = Conductor(parts, new_id=uuid4)
    RunConsumers(
        ledger, _runs_on, _shelf_on, _evaluations_on, RunTombstones(neighbours.vault), wake=conductor.wake
    ).subscribe(bus)
    desk = Desk(
        ledger=ledger,
        runs_on=_runs_on,
        shelf_on=_shelf_on,
        cases_of=lambda request: cases_of(request, ledger, neighbours),
        office=Office(ledger, _runs_on, neighbours.authorizer, neighbours.policy, neighbours.variants),
        wake=conductor.wake,
        caller=current_principal,
        new_id=uuid4,
        now=_now,
    )
    async with conductor.conducting():
        yield Servicer(add_RunServiceServicer_to_server, RunServicer(desk), "headrace.feedback.v1.RunService")


def cases_of(request: Request, ledger: Ledger, neighbours: Neighbours) -> Cases:
    """Where the cases of a request come from. Raises NotFound for a dataset that there is none of."""
    if request.dataset:
        return neighbours.dataset_cases(request)
    return LoggedCases(request.tenant, request.wish, ledger, _questions_on, neighbours.vault)


def _now() -> datetime:
    return datetime.now(UTC)


def _runs_on(unit: Unit) -> PostgresRuns:
    return PostgresRuns(unit.connection)


def _shelf_on(unit: Unit) -> PostgresShelf:
    return PostgresShelf(unit.connection)


def _questions_on(unit: Unit) -> PostgresQuestions:
    return PostgresQuestions(unit.connection)


def _evaluations_on(unit: Unit) -> QueuedEvaluations:
    return QueuedEvaluations(unit.connection)
