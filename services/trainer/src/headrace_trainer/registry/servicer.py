"""The gRPC edge of the registry."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from headrace.training.v1 import service_pb2, service_pb2_grpc
from headrace_identity import Principal
from headrace_runtime.errors import Rejected, Violation

from headrace_trainer.registry import shelf as shelves
from headrace_trainer.registry.cards import card
from headrace_trainer.registry.lineage import Graph
from headrace_trainer.registry.models import Doing
from headrace_trainer.registry.office import Office
from headrace_trainer.registry.tracing import Tracer
from headrace_trainer.registry.translate import read_reason, read_state, read_target, to_listed, to_model, to_serving
from headrace_trainer.running.runs import Person

Context = grpc.aio.ServicerContext[Any, Any]

#: A name, an id or a key is no longer than this.
MOST_CHARACTERS = 600
#: What a lineage begins at, as the feedback logger knows it, and how that is said. The rest may be any text.
_SOURCE = r"(dataset:)?[a-z0-9_-]{1,64}"
_TRACED = {
    "dataset": (re.compile(r"[a-z0-9_-]{1,64}"), "An id, 8 or more of its digits, or the name of a series."),
    "source": (re.compile(_SOURCE), "A source has 1 to 64 of a-z, 0-9, _ and -."),
    "document": (re.compile(_SOURCE + r"/.{1,512}", re.DOTALL), "As SOURCE/ID."),
    "query_id": (re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"), "A UUID is expected."),
}


@dataclass(frozen=True, slots=True)
class Desk:
    """What the edge needs."""

    office: Office
    tracer: Tracer
    caller: Callable[[], Principal]


class ModelServicer(service_pb2_grpc.ModelServiceServicer):
    """Serves headrace.training.v1.ModelService."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._shelf = desk.office.shelf

    async def ListModels(self, request: service_pb2.ListModelsRequest, context: Context) -> Any:
        del context
        state, target = read_state(request.state), read_target(request.target)
        models = [
            to_listed(model)
            for model in await self._shelf.all(_tenant(request.tenant))
            if target in (None, model.target) and state in (None, model.state)
        ]
        return service_pb2.ListModelsResponse(models=models)

    async def GetModel(self, request: service_pb2.GetModelRequest, context: Context) -> Any:
        del context
        tenant, wanted = _tenant(request.tenant), _named("model", request.model)
        model = shelves.find(await self._shelf.all(tenant), wanted)
        async with self._shelf.ledger.unit(tenant=tenant) as unit:
            run = await self._desk.office.loop.run_of(unit, tenant, model.run_id)
        serving = await self._desk.office.serving(model)
        return service_pb2.GetModelResponse(model=to_model(model), card=card(model, run), serving=to_serving(serving))

    async def PromoteModel(self, request: service_pb2.PromoteModelRequest, context: Context) -> Any:
        del context
        doing = Doing.PROMOTING if request.at_once else Doing.BEGINNING_CANARY
        model = await self._desk.office.promote(
            _tenant(request.tenant),
            _named("model", request.model),
            self._person(),
            reason=read_reason(request.reason),
            doing=doing,
        )
        return service_pb2.PromoteModelResponse(model=to_listed(model))

    async def RollBackModel(self, request: service_pb2.RollBackModelRequest, context: Context) -> Any:
        del context
        model, live = await self._desk.office.roll_back(
            _tenant(request.tenant),
            _named("model", request.model),
            self._person(),
            reason=read_reason(request.reason),
        )
        return service_pb2.RollBackModelResponse(model=to_listed(model), live=live)

    async def TraceLineage(self, request: service_pb2.TraceLineageRequest, context: Context) -> Any:
        del context
        what = request.WhichOneof("what")
        if what is None:
            raise Rejected(Violation("what", "missing", "Say of what: a model, a dataset, a source, a subject, …"))
        value = _named(what, getattr(request, what))
        _check_traced(what, value)
        return to_lineage(await self._desk.tracer.trace(_tenant(request.tenant), what, value))

    def _person(self) -> Person:
        caller = self._desk.caller()
        return Person(caller.role, caller.subject)


def to_lineage(graph: Graph) -> service_pb2.TraceLineageResponse:
    """Writes a graph."""
    nodes = [
        service_pb2.LineageNode(
            kind=node.kind, id=node.id, state=node.state, count=node.count, examples=node.examples, tier=node.tier
        )
        for node in graph.nodes
    ]
    edges = []
    for of, made in graph.edges:
        edge = service_pb2.LineageEdge(to=made)
        setattr(edge, "from", of)
        edges.append(edge)
    return service_pb2.TraceLineageResponse(nodes=nodes, edges=edges)


def _check_traced(what: str, value: str) -> None:
    """Raises Rejected for what can be the name of no such thing."""
    if what in _TRACED and not _TRACED[what][0].fullmatch(value):
        raise Rejected(Violation(what, "malformed", _TRACED[what][1]))


def _tenant(tenant: str) -> str:
    return _named("tenant", tenant)


def _named(field: str, value: str) -> str:
    """Raises Rejected, which does not repeat the value."""
    if not value.strip():
        raise Rejected(Violation(field, "missing", "It is required."))
    if len(value) > MOST_CHARACTERS:
        raise Rejected(Violation(field, "too_long", f"At most {MOST_CHARACTERS} characters."))
    if "\0" in value:
        raise Rejected(Violation(field, "has_nul", "It holds a NUL character."))
    return value
