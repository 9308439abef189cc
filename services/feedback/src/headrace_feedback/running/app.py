"""How runs are put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

from headrace.feedback.v1.runs_pb2_grpc import add_RunServiceServicer_to_server
from headrace_identity import current_principal
from headrace_privacy import Vault
from headrace_privacy.policy import Policy
from headrace_runtime.errors import NotFound
from headrace_runtime.grpc_server import Servicer
from headrace_stream import Bus, Ledger, Unit

from headrace_feedback.ports import Authorizer
from headrace_feedback.running.capping import open_tier
from headrace_feedback.running.conducting import Conductor, Limits, Parts
from headrace_feedback.running.consumers import RunConsumers
from headrace_feedback.running.dataset_cases import DatasetCases, Rows, SealedRow
from headrace_feedback.running.erasing import RunTombstones
from headrace_feedback.running.evaluations import QueuedEvaluations
from headrace_feedback.running.logged import LoggedCases
from headrace_feedback.running.planning import Office
from headrace_feedback.running.ports import Cases, Variants
from headrace_feedback.running.postgres import PostgresQuestions, PostgresRuns, PostgresShelf
from headrace_feedback.running.runs import Person, Request
from headrace_feedback.running.servicer import Desk, RunServicer


class NoRows:
    """There are no datasets."""

    async def usable(self, tenant: str, dataset: str) -> str:
        """See Rows. Raises NotFound."""
        del tenant
        raise NotFound("dataset", dataset[:64])

    async def held_out(self, tenant: str, dataset_id: str) -> AsyncIterator[Sequence[SealedRow]]:
        """See Rows."""
        del tenant, dataset_id
        nothing: Sequence[SealedRow] = ()
        for _ in nothing:
            yield nothing


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Whom runs ask. rows: the datasets."""

    authorizer: Authorizer
    variants: Variants
    policy: Policy
    vault: Vault
    rows: Rows = NoRows()  # noqa: RUF009 - it has no state


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
        cases_of=partial(cases_of, ledger=ledger, neighbours=neighbours),
        office=Office(ledger, _runs_on, neighbours.authorizer, neighbours.policy, neighbours.variants),
        wake=conductor.wake,
        caller=current_principal,
        new_id=uuid4,
        now=_now,
    )
    async with conductor.conducting():
        yield Servicer(add_RunServiceServicer_to_server, RunServicer(desk), "headrace.feedback.v1.RunService")


async def cases_of(request: Request, by: Person, *, ledger: Ledger, neighbours: Neighbours) -> tuple[Request, Cases]:
    """Where the cases of a request come from, and the request with the snapshot's whole id. Raises NotFound for a
    dataset that there is none of, Conflict for one that may not be used."""
    open_to = open_tier(neighbours.policy, by.role)
    if not request.dataset:
        return request, LoggedCases(
            request.tenant, request.wish, ledger, _questions_on, neighbours.vault, open_to=open_to
        )
    dataset_id = await neighbours.rows.usable(request.tenant, request.dataset)
    rows = DatasetCases(request.tenant, dataset_id, neighbours.rows, neighbours.vault, open_to=open_to)
    return replace(request, dataset=dataset_id), rows


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
