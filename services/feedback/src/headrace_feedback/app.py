"""The composition root: the one place that knows the concrete parts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import uuid4

from headrace import topics
from headrace.feedback.v1.service_pb2_grpc import add_FeedbackServiceServicer_to_server
from headrace_database import open_database
from headrace_identity import current_principal
from headrace_runtime.grpc_server import Servicer
from headrace_runtime.keys import open_vault
from headrace_runtime.policy import load_policy
from headrace_runtime.service import Service
from headrace_stream import Ledger, Unit, open_bus
from headrace_stream.erasing import Eraser
from headrace_stream.erasures import forget_erased
from headrace_stream.publishers import open_publishers
from headrace_stream.security import bus_security
from headrace_stream.trimming import Trimmer

from headrace_feedback.adapters.classifier import open_classifier
from headrace_feedback.adapters.postgres import PostgresLog, PostgresReader
from headrace_feedback.adapters.vault import VaultKeeper
from headrace_feedback.consumers import Consumers
from headrace_feedback.datasets.app import make_datasets
from headrace_feedback.datasets.erasing import DatasetPart
from headrace_feedback.datasets.shelf import open_shelf
from headrace_feedback.erasing import LogHoldings, Tombstones, subscribe
from headrace_feedback.evaluating.app import open_evaluations
from headrace_feedback.evaluating.erasing import EvaluationHoldings
from headrace_feedback.evaluating.neighbours import open_neighbours
from headrace_feedback.evaluating.queue import QueuedAnswers
from headrace_feedback.evaluating.reading import OpenPassages
from headrace_feedback.handlers import Door
from headrace_feedback.reading import Desk
from headrace_feedback.reporting.app import serve_reports
from headrace_feedback.reviewing.app import serve_reviews
from headrace_feedback.reviewing.erasing import ReviewPart
from headrace_feedback.reviewing.intake import ReviewSampler
from headrace_feedback.running.app import Neighbours, open_runs
from headrace_feedback.running.erasing import RunHoldings
from headrace_feedback.running.variants import open_variants
from headrace_feedback.servicer import FeedbackServicer
from headrace_feedback.settings import Settings

#: Each event under way holds a connection; the pool has ten.
IN_FLIGHT = 4


@asynccontextmanager
async def open_app(settings: Settings) -> AsyncIterator[Service]:
    """Opens the service's parts and ties them together.

    Raises Conflict for a file that cannot be used or a neighbour that is not named, Unavailable when Kafka or Postgres
    is not there.
    """
    policy = load_policy(settings.policy)
    async with (
        open_bus(settings.kafka, service="feedback", security=bus_security(settings)) as bus,
        open_database(settings.database, schema="feedback") as database,
        open_publishers(settings, now=lambda: datetime.now(UTC)) as publishers,
        open_vault(settings) as vault,
        open_classifier(settings) as classifier,
        open_variants(settings) as variants,
        open_neighbours(settings, settings) as helpers,
    ):
        ledger = Ledger(database)
        reader = PostgresReader(database)
        door = Door(reader, classifier, VaultKeeper(vault))
        tombstones = Tombstones(vault)
        sampler, desk = ReviewSampler(vault), Desk(reader, classifier, policy)
        consumers = Consumers(
            ledger, _log_on, door=door, tombstones=tombstones, sampler=sampler, evaluations=QueuedAnswers()
        )
        bus.subscribe(topics.ANSWER_COMPLETED, consumers.on_answer, in_flight=IN_FLIGHT)
        admit = publishers.admit("headrace.feedback.v1.FeedbackService/Record")
        bus.subscribe(topics.FEEDBACK_SUBMITTED, consumers.on_feedback, in_flight=IN_FLIGHT, admit=admit)
        forget_erased(bus, vault.forget)
        passages = OpenPassages(vault, helpers)
        datasets = make_datasets(
            database,
            ledger,
            open_shelf(settings.datasets),
            vault=vault,
            classifier=classifier,
            policy=policy,
            passages=passages,
            documents=helpers.documents,
        )
        datasets.subscribe(bus)
        # Scores go with the answers that they are about, so their part comes after those of the answers.
        parts = (DatasetPart(), RunHoldings(), ReviewPart(), EvaluationHoldings())
        holdings = LogHoldings(database, Trimmer(settings.kafka, bus_security(settings)), parts, (datasets.files,))
        subscribe(bus, Eraser("feedback", ledger, vault, holdings, lambda: datetime.now(UTC)))
        servicer = FeedbackServicer(
            ledger,
            _log_on,
            door=door,
            desk=desk,
            vault=vault,
            caller=current_principal,
            new_id=uuid4,
            now=lambda: datetime.now(UTC),
            tombstones=tombstones,
            sampler=sampler,
        )
        neighbours = Neighbours(classifier, variants, policy, vault, datasets.rows)
        reviews = serve_reviews(database, ledger, _log_on, door=door, desk=desk, vault=vault, passages=passages)
        async with (
            ledger.relaying(bus),
            datasets.sweeping(),
            open_runs(bus, ledger, neighbours) as runs,
            open_evaluations(ledger, vault, classifier, helpers) as evaluations,
        ):
            yield Service(
                bus,
                [
                    Servicer(add_FeedbackServiceServicer_to_server, servicer, "headrace.feedback.v1.FeedbackService"),
                    runs,
                    evaluations,
                    datasets.servicer,
                    serve_reports(database, classifier, policy),
                    *reviews,
                ],
            )


def _log_on(unit: Unit) -> PostgresLog:
    return PostgresLog(unit.connection)
