"""What datasets need of the world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from headrace.retrieval.v1.retrieval_pb2 import RetrievedChunk
from headrace_privacy import Tier

from headrace_feedback.datasets.candidates import Candidate, Page
from headrace_feedback.datasets.shelf import Stored
from headrace_feedback.datasets.snapshots import Row, Snapshot, Split, State
from headrace_feedback.datasets.tracing import Answers, Asked, Holder
from headrace_feedback.interaction import Exported
from headrace_feedback.opening import OpenPassage
from headrace_feedback.uses import Span


class Log(Protocol):
    """The log as datasets see it, inside one transaction of one tenant."""

    async def count(self, tenant: str, span: Span) -> int:
        """How many interactions there are within a span."""

    async def page(self, tenant: str, span: Span, page: Page) -> Sequence[Candidate]:
        """The next interactions, oldest first."""

    async def contents(self, tenant: str, query_ids: Collection[UUID]) -> Sequence[Exported]:
        """These as they rest, each with the correction that counts, in no order, as far as the clearance goes."""


class LogReader(Protocol):
    """The log from outside a transaction."""

    def open(self, tenant: str, *, clearance: Tier = Tier.TIER_2) -> AbstractAsyncContextManager[Log]:
        """Opens a transaction that sees one tenant's rows up to a tier."""


class Books(Protocol):
    """What is known of snapshots, inside one transaction of one tenant."""

    async def hold(self, tenant: str) -> None:
        """Lets nobody else keep a snapshot of the tenant's, no grant end and no erasure pass, until this ends."""

    async def add(self, snapshot: Snapshot, rows: Sequence[Row]) -> None:
        """Stores a snapshot with its lineage, in place of one of the same rows that was erased."""

    async def get(self, tenant: str, dataset_id: str) -> Snapshot | None:
        """One snapshot."""

    async def find(self, tenant: str, reference: str) -> Snapshot | None:
        """By id, by 8 or more of its first digits, or the newest of a name, one that may be used first."""

    async def newest(self, tenant: str, *, name: str, most: int) -> Sequence[Snapshot]:
        """The snapshots of a name, or all, newest first."""

    async def has_ended(self, tenant: str, grants: Collection[str]) -> bool:
        """Says whether any of these grants has ended."""

    async def end_grant(self, tenant: str, grant_id: str, *, now: datetime) -> Sequence[Snapshot]:
        """Ends those usable ones that stand on a grant, and returns them as they are now."""

    async def untold(self, tenant: str) -> Sequence[Snapshot]:
        """Those whose end has not been published yet. Held until the transaction ends."""

    async def told(self, tenant: str, dataset_ids: Collection[str]) -> None:
        """Their end is published with this transaction."""

    async def ids(self, tenant: str, state: State | None = None) -> Sequence[str]:
        """The ids of all, or of those in a state."""

    async def exclude_keepers(self, tenant: str) -> None:
        """Lets nobody keep a snapshot of the tenant's until the transaction ends; unlike `hold`, erasures may pass."""

    async def begin_export(self, tenant: str, export_id: UUID, dataset_id: str, *, role: str, by: str) -> None:
        """Writes down that somebody reads it."""

    async def extend_export(self, tenant: str, export_id: UUID, *, rows: int, grants: Collection[str]) -> None:
        """Writes down how many rows were handed out so far, and under which grants."""

    async def end_export(self, tenant: str, export_id: UUID) -> None:
        """Writes down that it is whole."""


class Lineage(Protocol):
    """What is of what, inside one transaction of one tenant. Where nothing is known of a kind, it is empty."""

    async def holders(self, tenant: str, asked: Asked) -> Sequence[Holder]:
        """The snapshots that hold it, newest first; a snapshot that is asked for itself, with or without rows."""

    async def answers(self, tenant: str, asked: Asked) -> Answers:
        """Answers that a model gave, of a source or document, or for an end user."""

    async def documents(self, tenant: str, asked: Asked) -> Sequence[str]:
        """The documents behind a snapshot or an interaction, "source/document"."""


class Store(Protocol):
    """Where the rows rest; see shelf.Shelf."""

    def workplace(self) -> AbstractAsyncContextManager[Path]:
        """A folder for work under way."""

    async def put(self, tenant: str, dataset_id: str, folder: Path) -> None:
        """Makes a finished folder the snapshot's, whole or not at all."""

    def read(
        self, tenant: str, dataset_id: str, *, batch: int, split: Split = Split.UNSPECIFIED
    ) -> AsyncIterator[Sequence[Stored]]:
        """The rows in order."""

    async def manifest(self, tenant: str, dataset_id: str) -> bytes:
        """The manifest."""

    async def ids(self, tenant: str) -> Sequence[str]:
        """The ids of all folders of a tenant's that hold rows."""

    async def delete(self, tenant: str, dataset_id: str) -> None:
        """Deletes what names or holds rows."""

    async def has_rows(self, tenant: str, dataset_id: str) -> bool:
        """Reads back whether anything of these is there."""


class Passages(Protocol):
    """The passages that answers were made of."""

    async def indexed(self, tenant: str, chunk_ids: Sequence[str], *, clearance: Tier) -> Mapping[str, OpenPassage]:
        """Those that are still indexed, by id, in the clear; the others are left out."""


class Documents(Protocol):
    """The passages of whole sources."""

    async def page(self, tenant: str, source: str, *, token: str) -> tuple[Sequence[RetrievedChunk], str]:
        """The next of a source's passages by document and ordinal, sealed as they rest, and what to ask the next page
        with: "" after the last, and for the first. Raises Unavailable."""


class Tombstones(Protocol):
    """What keeps out what is erased, in the transaction that would store it."""

    async def keep_out_rows(self, unit: Any, tenant: str, rows: Sequence[Row]) -> None:
        """Raises Conflict for rows of somebody who is erased, of a query that is, or made of a document that is."""


class NoTombstones:
    """Nothing was ever erased."""

    async def keep_out_rows(self, unit: Any, tenant: str, rows: Sequence[Row]) -> None:
        """See Tombstones."""
