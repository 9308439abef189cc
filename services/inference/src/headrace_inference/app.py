"""The composition root."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from headrace import topics
from headrace.inference.v1.prompts_pb2_grpc import add_PromptServiceServicer_to_server
from headrace.inference.v1.routes_pb2_grpc import add_RouteServiceServicer_to_server
from headrace.inference.v1.service_pb2_grpc import add_InferenceServiceServicer_to_server
from headrace.inference.v1.variants_pb2 import TrainedModel
from headrace.inference.v1.variants_pb2_grpc import add_VariantServiceServicer_to_server
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
from headrace_inference.adapters.backends import EngineHost, Opening, open_backends, told
from headrace_inference.adapters.catalogue import DEFAULT, read_catalogue
from headrace_inference.adapters.embedder import GrpcEmbedder
from headrace_inference.adapters.gate import PolicyGate
from headrace_inference.adapters.measuring import EvaluationGate
from headrace_inference.adapters.postgres import PostgresAnswerIndex, PostgresAnswers, seed
from headrace_inference.adapters.postgres_routes import PostgresRouteBooks, PostgresSpending
from headrace_inference.adapters.postgres_trained import PostgresTrainedBooks
from headrace_inference.adapters.postgres_variants import PostgresVariantBooks
from headrace_inference.adapters.trained import TrainedModels, open_trained
from headrace_inference.adapters.trained_heads import TrainedHeads, open_heads
from headrace_inference.adapters.trained_loader import EngineLoader, NoLoader, no_backend
from headrace_inference.backend_file import BackendEntry, EngineBackend, ServerBackend, read_backends
from headrace_inference.change_watch import Changes
from headrace_inference.consumers import Consumer
from headrace_inference.erasing import AnswerHoldings, HashedAskers, subscribe
from headrace_inference.prompt_servicer import PromptServicer
from headrace_inference.route_choosing import Router
from headrace_inference.route_servicer import RouteServicer
from headrace_inference.route_tables import open_tables
from headrace_inference.servicer import InferenceServicer
from headrace_inference.settings import Settings
from headrace_inference.trained_consumers import TrainedConsumer, TrainedWatch
from headrace_inference.trained_ports import TrainedBooks
from headrace_inference.trained_records import Bounds
from headrace_inference.trial_consumers import TrialConsumer
from headrace_inference.variant_catalogue import open_catalogue
from headrace_inference.variant_servicer import ToldOfTenant, VariantServicer

#: Where the key of the settings' own server is said.
_KEY = "HEADRACE_INFERENCE_OPENAI_KEY"
#: A word that another instance has not written down yet when this one reads the table is heard again.
UNREAD_SECONDS = 300.0


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[Service]:
    """Opens all that inference is made of. Raises Conflict for settings or a policy that cannot be used."""
    policy = load_policy(settings.policy)
    async with (
        open_vault(settings) as vault,
        open_neighbour(settings.classifier, settings) as classifier,
        open_neighbour(settings.embedder, settings) as embedder,
        open_database(settings.database, schema="inference") as database,
        open_bus(settings.kafka, service="inference", security=bus_security(settings)) as bus,
        open_tables(
            PostgresRouteBooks(ledger := Ledger(database)), GrpcEmbedder(embedder), clock=time.monotonic, now=_now
        ) as tables,
        open_catalogue(
            (shipped := read_catalogue()).house(), PostgresVariantBooks(ledger), clock=time.monotonic
        ) as catalogue,
        open_backends(
            entries_of(settings),
            _opening(settings, lambda name: PolicyGate(policy, name, ApprovalServiceStub(classifier))),
        ) as backends,
        open_trained(
            trained_beside(backends.host, books := PostgresTrainedBooks(database), settings, clock=time.monotonic)
        ) as trained,
        open_heads(TrainedHeads(books, settings.cache / "kinds", _bounds(settings), time.monotonic, _now)) as heads,
    ):
        await seed(database, shipped)
        answerers = CatalogueAnswerers(catalogue, backends, trained)
        router = Router(tables, answerers, PostgresSpending(database, time.monotonic, _now), DEFAULT, _now, heads)
        askers = HashedAskers(vault)
        index = PostgresAnswerIndex(database)
        consumer = Consumer(ledger, _answers_on, index, bus, router, vault, uuid4, _now, askers)
        # A few more than can be written: while one answer is committed the next is being read.
        bus.subscribe(topics.QUERY_RETRIEVED, consumer.on_query, in_flight=backends.capacity + 4)
        evaluation = EvaluationGate(policy, ApprovalServiceStub(classifier), time.monotonic)
        trials = TrialConsumer(ledger, _answers_on, index, router, evaluation, vault, _now, askers)
        bus.subscribe(topics.QUERY_SHADOWED, trials.on_trial, in_flight=settings.trials)
        bus.watch(topics.ROUTING_CHANGED, Changes([catalogue.follow, tables.follow]).on_change)
        # Loading stands beside the consumer: the next word must not wait for it.
        bus.subscribe(topics.MODEL_CHANGED, TrainedConsumer(ledger, books).on_change, in_flight=4)
        noting = TrainedWatch([trained.note, heads.note])
        bus.watch(topics.MODEL_CHANGED, noting.on_change, since_seconds=UNREAD_SECONDS)
        forget_erased(bus, vault.forget)
        eraser = Eraser("inference", ledger, vault, AnswerHoldings(database), _now)
        subscribe(bus, eraser)
        servicer = InferenceServicer(backends)
        prompts = PromptServicer(catalogue, current_principal, _now)
        models = all_told(trained, heads)
        variants = VariantServicer(catalogue, answerers, lambda: told(backends), models, current_principal, _now)
        routes = RouteServicer(tables.books, router, answerers, current_principal, _now)
        servicers = [
            Servicer(add_InferenceServiceServicer_to_server, servicer, "headrace.inference.v1.InferenceService"),
            Servicer(add_PromptServiceServicer_to_server, prompts, "headrace.inference.v1.PromptService"),
            Servicer(add_VariantServiceServicer_to_server, variants, "headrace.inference.v1.VariantService"),
            Servicer(add_RouteServiceServicer_to_server, routes, "headrace.inference.v1.RouteService"),
        ]
        async with ledger.relaying(bus):
            yield Service(bus, servicers)


def trained_beside(
    host: EngineHost | None, books: TrainedBooks, settings: Settings, *, clock: Callable[[], float]
) -> TrainedModels:
    """What loads the tenants' own models beside an engine; where there is none, nothing can."""
    loader = NoLoader() if host is None else EngineLoader(host, settings.cache / "trained")
    return TrainedModels(books, loader, host.beside if host else no_backend, _bounds(settings), clock, _now)


def _bounds(settings: Settings) -> Bounds:
    return Bounds(settings.trained_models, timedelta(seconds=settings.rolled_back_seconds))


def all_told(trained: TrainedModels, heads: TrainedHeads) -> ToldOfTenant:
    """Tells of what writes and of what recognises kinds, by name and version."""

    def of(tenant: str) -> list[TrainedModel]:
        both = [*trained.told(tenant), *heads.told(tenant)]
        return sorted(both, key=lambda one: (one.model.name, one.model.version))

    return of


def entries_of(settings: Settings) -> Sequence[BackendEntry]:
    """The backends of the file, or one, "local", as the settings say. Raises Conflict."""
    if settings.backends is not None:
        return read_backends(settings.backends)
    if settings.backend == "engine":
        return [EngineBackend(name="local", kind="engine", model=settings.model)]
    return [
        ServerBackend(
            name="local",
            kind="openai",
            url=settings.openai_url,
            key_variable=_KEY if settings.openai_key.get_secret_value() else "",
            model=settings.model,
            timeout=settings.openai_timeout,
            in_flight=settings.slots,
        )
    ]


def _opening(settings: Settings, gate_of: Callable[[str], PolicyGate]) -> Opening:
    return Opening(
        gate_of,
        {**os.environ, _KEY: settings.openai_key.get_secret_value()},
        cache=settings.cache,
        slots=settings.slots,
        context=settings.context,
        threads=settings.threads,
        waiting=settings.waiting,
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _answers_on(unit: Unit) -> PostgresAnswers:
    return PostgresAnswers(unit.connection)
