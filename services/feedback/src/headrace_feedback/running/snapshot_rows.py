"""Snapshots of datasets, as runs need them: see dataset_cases.Rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

from headrace_runtime.errors import Conflict

from headrace_feedback.datasets.shelf import Stored
from headrace_feedback.datasets.snapshots import Snapshot, Split
from headrace_feedback.running.dataset_cases import SealedRow

#: Rows that are read at a time.
BATCH = 500


class Store(Protocol):
    """Where rows rest."""

    def read(
        self, tenant: str, dataset_id: str, *, batch: int, split: Split = Split.UNSPECIFIED
    ) -> AsyncIterator[Sequence[Stored]]:
        """The rows in order. Raises FileNotFoundError when they are gone."""


class SnapshotRows:
    """See dataset_cases.Rows. find: a usable snapshot, or raises NotFound, Conflict."""

    def __init__(self, find: Callable[[str, str], Awaitable[Snapshot]], store: Store) -> None:
        self._find = find
        self._store = store

    async def usable(self, tenant: str, dataset: str) -> str:
        """See Rows."""
        return (await self._find(tenant, dataset)).dataset_id

    async def held_out(self, tenant: str, dataset_id: str) -> AsyncIterator[Sequence[SealedRow]]:
        """See Rows. Passages of documents are no cases: nobody asked them. Raises Conflict when the rows are gone."""
        try:
            async for batch in self._store.read(tenant, dataset_id, batch=BATCH, split=Split.TEST):
                yield [_row(stored) for stored in batch if stored.asked]
        except FileNotFoundError:
            raise Conflict(f"the rows of dataset {dataset_id[:12]} are not there") from None


def _row(stored: Stored) -> SealedRow:
    return SealedRow(
        row_id=stored.row_id,
        tier=stored.tier,
        kind=stored.kind,
        completed_at=stored.completed_at,
        sources=stored.sources,
        documents=stored.documents,
        content=stored.content,
        asked=stored.asked,
    )
