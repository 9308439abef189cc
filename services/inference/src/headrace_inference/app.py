"""The composition root."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from uuid import uuid4

from headrace import topics
from headrace.inference.v1.service_pb2_grpc import add_InferenceServiceServicer_to_server
from headrace.privacy.v1.approvals_pb2_grpc import ApprovalServiceStub
from headrace_database import open_database
from headrace_runtime.grpc_client import open_neighbour
from headrace_runtime.grpc_server import Servicer
from headrace_runtime.keys import open_vault
from headrace_runtime.policy import load_policy
from headrace_runtime.service import Service
from headrace_stream import Ledger, Unit, open_bus
from headrace_stream.erasing import Eraser
from headrace_stream.erasures import forget_erased
from headrace_stream.security import bus_security

from headrace_inference.adapters.catalogue import DEFAULT, read_catalogue
from headrace_inference.adapters.engine import open_engine_model
from headrace_inference.adapters.gate import PolicyGate, backend_of
from headrace_inference.adapters.openai_server import open_server_model
from headrace_inference.adapters.postgres import PostgresAnswerIndex, PostgresAnswers, seed
from headrace_inference.adapters.traced import TracedModel
from headrace_inference.consumers import Consumer
from headrace_inference.erasing import AnswerHoldings, HashedAskers, subscribe
from headrace_inference.ports import Model
from headrace_inference.servicer import InferenceServicer
from headrace_inference.settings import Settings


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[Service]:
    """Opens all that inference is made of. Raises Conflict for settings or a policy that cannot be used."""
    policy = load_policy(settings.policy)
    async with (
        open_model(settings) as model,
        open_vault(settings) as vault,
        open_neighbour(settings.classifier, settings) as classifier,
        open_database(settings.database, schema="inference") as database,
        open_bus(settings.kafka, service="inference", security=bus_security(settings)) as bus,
    ):
        catalogue = read_catalogue()
        await seed(database, catalogue)
        variant = catalogue.variant(DEFAULT)
        ledger = Ledger(database)
        gate = PolicyGate(
            policy,
            backend_of(settings.openai_url if settings.backend == "openai" else ""),
            ApprovalServiceStub(classifier),
        )
        consumer = Consumer(
            ledger=ledger,
            answers_on=_answers_on,
            index=PostgresAnswerIndex(database),
            publisher=bus,
            model=TracedModel(model, prompt=variant.prompt.key),
            gate=gate,
            vault=vault,
            variant=variant,
            new_id=uuid4,
            now=lambda: datetime.now(UTC),
            askers=HashedAskers(vault),
        )
        # A few more than there are slots: while one answer is committed the next is being read.
        bus.subscribe(topics.QUERY_RETRIEVED, consumer.on_query, in_flight=settings.slots + 4)
        forget_erased(bus, vault.forget)
        eraser = Eraser("inference", ledger, vault, AnswerHoldings(database), lambda: datetime.now(UTC))
        subscribe(bus, eraser)
        servicer = InferenceServicer(TracedModel(model), gate)
        async with ledger.relaying(bus):
            yield Service(
                bus,
                [Servicer(add_InferenceServiceServicer_to_server, servicer, "headrace.inference.v1.InferenceService")],
            )


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


def _answers_on(unit: Unit) -> PostgresAnswers:
    return PostgresAnswers(unit.connection)
