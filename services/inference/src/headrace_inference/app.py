"""The composition root."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from uuid import uuid4

from headrace import topics
from headrace.inference.v1.routes_pb2_grpc import add_RouteServiceServicer_to_server
from headrace.inference.v1.service_pb2_grpc import add_InferenceServiceServicer_to_server
from headrace.privacy.v1.approvals_pb2_grpc import ApprovalServiceStub
from headrace_database import open_database
from headrace_identity import current_principal
from headrace_runtime.grpc_client import open_neighbour
from headrace_runtime.grpc_server import Servicer
from headrace_runtime.keys import open_vault
from headrace_runtime.policy import load_policy
from headrace_runtime.service import Service
from headrace_stream import Ledger, Unit, open_bus
from headrace_stream.erasing import Eraser
from headrace_stream.erasures import forget_erased
from headrace_stream.security import bus_security

from headrace_inference.adapters.answerers import CatalogueAnswerers
from headrace_inference.adapters.catalogue import DEFAULT, read_catalogue
from headrace_inference.adapters.embedder import GrpcEmbedder
from headrace_inference.adapters.engine import open_engine_model
from headrace_inference.adapters.gate import PolicyGate, backend_of
from headrace_inference.adapters.measuring import EvaluationGate
from headrace_inference.adapters.openai_server import open_server_model
from headrace_inference.adapters.postgres import PostgresAnswerIndex, PostgresAnswers, seed
from headrace_inference.adapters.postgres_routes import PostgresRouteBooks, PostgresSpending
from headrace_inference.adapters.traced import TracedModel
from headrace_inference.change_watch import Changes
from headrace_inference.consumers import Consumer
from headrace_inference.erasing import AnswerHoldings, HashedAskers, subscribe
from headrace_inference.ports import Model
from headrace_inference.route_choosing import Router
from headrace_inference.route_servicer import RouteServicer
from headrace_inference.route_tables import open_tables
from headrace_inference.servicer import InferenceServicer
from headrace_inference.settings import Settings
from headrace_inference.trial_consumers import IN_FLIGHT, TrialConsumer


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[Service]:
    """Opens all that inference is made of. Raises Conflict for settings or a policy that cannot be used."""
    policy = load_policy(settings.policy)
    async with (
        open_model(settings) as model,
        open_vault(settings) as vault,
        open_neighbour(settings.classifier, settings) as classifier,
        open_neighbour(settings.embedder, settings) as embedder,
        open_database(settings.database, schema="inference") as database,
        open_bus(settings.kafka, service="inference", security=bus_security(settings)) as bus,
        open_tables(
            PostgresRouteBooks(ledger := Ledger(database)), GrpcEmbedder(embedder), clock=time.monotonic, now=_now
        ) as tables,
    ):
        catalogue = read_catalogue()
        await seed(database, catalogue)
        gate = PolicyGate(
            policy,
            backend_of(settings.openai_url if settings.backend == "openai" else ""),
            ApprovalServiceStub(classifier),
        )
        answerers = CatalogueAnswerers(catalogue, model, gate, settings.backend)
        router = Router(tables, answerers, PostgresSpending(database, time.monotonic, _now), DEFAULT, _now)
        askers = HashedAskers(vault)
        index = PostgresAnswerIndex(database)
        consumer = Consumer(ledger, _answers_on, index, bus, router, vault, uuid4, _now, askers)
        # A few more than there are slots: while one answer is committed the next is being read.
        bus.subscribe(topics.QUERY_RETRIEVED, consumer.on_query, in_flight=settings.slots + 4)
        evaluation = EvaluationGate(policy, ApprovalServiceStub(classifier), time.monotonic)
        trials = TrialConsumer(ledger, _answers_on, index, router, evaluation, vault, _now, askers)
        bus.subscribe(topics.QUERY_SHADOWED, trials.on_trial, in_flight=IN_FLIGHT)
        bus.watch(topics.ROUTING_CHANGED, Changes([tables.follow]).on_change)
        forget_erased(bus, vault.forget)
        eraser = Eraser("inference", ledger, vault, AnswerHoldings(database), _now)
        subscribe(bus, eraser)
        servicer = InferenceServicer(TracedModel(model), gate)
        routes = RouteServicer(tables.books, router, answerers, current_principal, _now)
        servicers = [
            Servicer(add_InferenceServiceServicer_to_server, servicer, "headrace.inference.v1.InferenceService"),
            Servicer(add_RouteServiceServicer_to_server, routes, "headrace.inference.v1.RouteService"),
        ]
        async with ledger.relaying(bus):
            yield Service(bus, servicers)


def open_model(settings: Settings) -> AbstractAsyncContextManager[Model]:
    """The backend that the settings name."""
    if settings.backend == "openai":
        return open_server_model(
            settings.openai_url,
            model=settings.model,
            key=settings.openai_key.get_secret_value(),
            window=settings.context,
            timeout=settings.openai_timeout,
        )
    return open_engine_model(
        settings.model,
        cache=settings.cache,
        slots=settings.slots,
        context=settings.context,
        threads=settings.threads,
        waiting=settings.waiting,
    )


def _backend(settings: Settings) -> str:
    return backend_of(settings.openai_url if settings.backend == "openai" else "")


def _now() -> datetime:
    return datetime.now(UTC)


def _answers_on(unit: Unit) -> PostgresAnswers:
    return PostgresAnswers(unit.connection)
