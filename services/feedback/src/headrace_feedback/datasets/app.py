"""How datasets are put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from headrace.feedback.v1.datasets_pb2_grpc import add_DatasetServiceServicer_to_server
from headrace_database import Database
from headrace_identity import current_principal
from headrace_privacy import Vault
from headrace_privacy.policy import Policy
from headrace_runtime.grpc_server import Servicer
from headrace_stream import Bus, Ledger, Unit
from headrace_stream.erasing import Names

from headrace_feedback.adapters.classifier import RemoteClassifier
from headrace_feedback.datasets.building import Site
from headrace_feedback.datasets.consumers import DatasetConsumers
from headrace_feedback.datasets.erasing import DatasetFiles, DatasetTombstones
from headrace_feedback.datasets.keeping import Library
from headrace_feedback.datasets.ports import Documents, Passages
from headrace_feedback.datasets.postgres import PostgresBooks, PostgresLogReader
from headrace_feedback.datasets.postgres_lineage import PostgresLineage
from headrace_feedback.datasets.reading import ReadingRoom
from headrace_feedback.datasets.servicer import DatasetServicer, Desk
from headrace_feedback.datasets.shelf import Shelf
from headrace_feedback.running.snapshot_rows import SnapshotRows

#: What is left of a build that died is swept after so many seconds; no build takes so long.
ABANDONED_SECONDS = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Datasets:
    """Everything about datasets that the service needs."""

    desk: Desk
    files: DatasetFiles
    shelf: Shelf

    @property
    def servicer(self) -> Servicer:
        """What serves DatasetService."""
        name = "headrace.feedback.v1.DatasetService"
        return Servicer(add_DatasetServiceServicer_to_server, DatasetServicer(self.desk), name)

    @property
    def rows(self) -> SnapshotRows:
        """The rows that runs ask."""
        return SnapshotRows(self.desk.room.usable, self.shelf)

    def subscribe(self, bus: Bus) -> None:
        """Subscribes to what datasets consume."""
        DatasetConsumers(self.desk.library).subscribe(bus)

    @asynccontextmanager
    async def sweeping(self) -> AsyncIterator[None]:
        """Sweeps what earlier processes have left, at the start."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self.shelf.sweep(older_than=ABANDONED_SECONDS))
            try:
                yield
            finally:
                task.cancel()


def make_datasets(
    database: Database,
    ledger: Ledger,
    shelf: Shelf,
    *,
    vault: Vault,
    classifier: RemoteClassifier,
    policy: Policy,
    passages: Passages,
    documents: Documents | None,
) -> Datasets:
    """Puts the parts together."""
    library = Library(ledger, _books_on, shelf, DatasetTombstones(vault))
    site = Site(PostgresLogReader(database), classifier, policy, vault, shelf, documents)
    room = ReadingRoom(ledger, _books_on, shelf, classifier, policy, vault, passages)
    desk = Desk(
        site,
        library,
        room,
        classifier,
        _lineage_on,
        caller=current_principal,
        new_id=uuid4,
        now=lambda: datetime.now(UTC),
    )
    return Datasets(desk, DatasetFiles(library), shelf)


def _lineage_on(unit: Unit, names: Names) -> PostgresLineage:
    return PostgresLineage(unit.connection, names)


def _books_on(unit: Unit) -> PostgresBooks:
    return PostgresBooks(unit.connection)
