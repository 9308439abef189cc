"""The part of the composition root that is about reviews."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import uuid4

from headrace.feedback.v1.reviews_pb2_grpc import add_ReviewServiceServicer_to_server
from headrace.feedback.v1.rubrics_pb2_grpc import add_RubricServiceServicer_to_server
from headrace_database import Database
from headrace_identity import current_principal
from headrace_privacy import Vault
from headrace_runtime.grpc_server import Servicer
from headrace_stream import Ledger, Unit

from headrace_feedback.handlers import Door
from headrace_feedback.ports import Log
from headrace_feedback.reading import Desk
from headrace_feedback.reviewing.ports import NoPassages, Passages
from headrace_feedback.reviewing.postgres import PostgresBooks, PostgresQueue
from headrace_feedback.reviewing.review_servicer import House, ReviewServicer
from headrace_feedback.reviewing.rubric_servicer import RubricServicer


def serve_reviews(
    database: Database,
    ledger: Ledger,
    log_on: Callable[[Unit], Log],
    *,
    door: Door,
    desk: Desk,
    vault: Vault,
    passages: Passages = NoPassages(),  # noqa: B008 - it has no state
) -> list[Servicer]:
    """Returns what serves rubrics and the queue. passages: the retriever, where it is named."""
    books = PostgresBooks(database)
    house = House(
        books=books,
        queue_on=lambda unit: PostgresQueue(unit.connection),
        log_on=log_on,
        ledger=ledger,
        door=door,
        desk=desk,
        vault=vault,
        passages=passages,
        caller=current_principal,
        new_id=uuid4,
        now=lambda: datetime.now(UTC),
    )
    rubrics = RubricServicer(books, caller=current_principal, now=lambda: datetime.now(UTC))
    return [
        Servicer(add_ReviewServiceServicer_to_server, ReviewServicer(house), "headrace.feedback.v1.ReviewService"),
        Servicer(add_RubricServiceServicer_to_server, rubrics, "headrace.feedback.v1.RubricService"),
    ]
