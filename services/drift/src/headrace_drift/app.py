"""The composition root: the one place that knows the concrete parts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from headrace import topics
from headrace.drift.v1.service_pb2_grpc import add_DriftServiceServicer_to_server
from headrace_database import open_database
from headrace_identity import current_principal
from headrace_runtime.errors import Conflict
from headrace_runtime.grpc_client import open_neighbour
from headrace_runtime.grpc_server import Servicer
from headrace_runtime.keys import open_vault
from headrace_runtime.service import Service
from headrace_runtime.settings import variable
from headrace_stream import Bus, Ledger, open_bus
from headrace_stream.erasing import Eraser
from headrace_stream.erasures import forget_erased
from headrace_stream.security import bus_security

from headrace_drift.adapters.feedback import RemoteDatasets
from headrace_drift.adapters.postgres import PostgresDesk
from headrace_drift.consumers import Consumers
from headrace_drift.counting import Counter
from headrace_drift.erasing import SampleHoldings, subscribe
from headrace_drift.following import ModelFollower
from headrace_drift.gathering import Gatherer
from headrace_drift.handlers import Office
from headrace_drift.keys import Keys
from headrace_drift.looking import Observer
from headrace_drift.servicer import DriftServicer
from headrace_drift.settings import Settings
from headrace_drift.turning import looking


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[Service]:
    """Opens the service's parts and ties them together.

    Raises Conflict for a neighbour that is not named, Unavailable when Kafka or Postgres is not there.
    """
    if not settings.feedback:
        raise Conflict(f"{variable(settings, 'feedback')} is not set: name the feedback logger, which knows datasets")
    plan = settings.plan()
    async with (
        open_bus(settings.kafka, service="drift", security=bus_security(settings)) as bus,
        open_database(settings.database, schema="drift") as database,
        open_vault(settings) as vault,
        open_neighbour(settings.feedback, settings) as feedback,
    ):
        ledger = Ledger(database)
        desk = PostgresDesk(database, ledger)
        counter = Counter(desk, plan.windows, _now)
        gatherer = Gatherer(counter.commit, seconds=settings.commit_seconds, most=settings.commit_events)
        count(bus, Consumers(gatherer, vault, Keys(vault)), in_flight=settings.commit_events)
        forget_erased(bus, vault.forget)
        subscribe(bus, Eraser("drift", ledger, vault, SampleHoldings(database), _now))
        office = Office(desk, plan, RemoteDatasets(feedback), _now, uuid4)
        if settings.baseline_of == "live_model":
            bus.subscribe(topics.MODEL_CHANGED, ModelFollower(office).on_model)
        servicer = DriftServicer(office, current_principal)
        async with ledger.relaying(bus), gatherer.gathering(), looking(Observer(desk, plan, _now, CountedBacklog(bus))):
            yield Service(
                bus, [Servicer(add_DriftServiceServicer_to_server, servicer, "headrace.drift.v1.DriftService")]
            )


def count(bus: Bus, consumers: Consumers, *, in_flight: int) -> None:
    """Subscribes to what is counted. in_flight: as many of each topic may wait for one commit."""
    bus.subscribe(topics.ANSWER_COMPLETED, consumers.on_answer, in_flight=in_flight)
    bus.subscribe(topics.QUERY_EMBEDDED, consumers.on_vector, in_flight=in_flight)
    bus.subscribe(topics.FEEDBACK_RECORDED, consumers.on_feedback, in_flight=in_flight)
    bus.subscribe(topics.ANSWER_EVALUATED, consumers.on_scores, in_flight=in_flight)


@dataclass(frozen=True, slots=True)
class CountedBacklog:
    """See ports.Backlog."""

    bus: Bus

    async def backlog(self) -> Mapping[tuple[str, int], int]:
        """See Backlog."""
        return await self.bus.backlog(
            topics.ANSWER_COMPLETED.name,
            topics.QUERY_EMBEDDED.name,
            topics.FEEDBACK_RECORDED.name,
            topics.ANSWER_EVALUATED.name,
        )


def _now() -> datetime:
    return datetime.now(UTC)
