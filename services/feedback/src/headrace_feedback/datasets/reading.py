"""Reading a snapshot in the clear: authorized batch by batch, written down, and ended at once when it may not go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from headrace.feedback.v1.datasets_pb2 import DatasetRow
from headrace.privacy.v1.privacy_pb2 import SealedBytes
from headrace_identity import Principal
from headrace_privacy import Erased, Opener, Tier, Vault
from headrace_privacy.policy import Policy
from headrace_runtime.errors import Conflict, Denied, NotFound
from headrace_stream import Ledger, Unit

from headrace_feedback.datasets.ports import Books, Passages, Store
from headrace_feedback.datasets.shelf import Stored
from headrace_feedback.datasets.snapshots import Snapshot, Split, State
from headrace_feedback.datasets.translate import to_row, why_unusable
from headrace_feedback.opening import OpenPassage
from headrace_feedback.ports import Authorizer
from headrace_feedback.reading import refusal
from headrace_feedback.uses import Use, Verdict

#: Rows that are authorized, opened and held at a time.
BATCH = 100


@dataclass(frozen=True, slots=True)
class ReadingRoom:
    """Where snapshots are read. The policy only gives a refusal its name: the authorizer decides."""

    ledger: Ledger
    books_on: Callable[[Unit], Books]
    store: Store
    authorizer: Authorizer
    policy: Policy
    vault: Vault
    passages: Passages
    batch: int = BATCH

    async def find(self, tenant: str, reference: str) -> Snapshot:
        """A snapshot by id, first digits or name. Raises NotFound."""
        async with self.ledger.unit(tenant=tenant) as unit:
            found = await self.books_on(unit).find(tenant, reference)
        if found is None:
            raise NotFound("dataset", reference)
        return found

    async def usable(self, tenant: str, reference: str) -> Snapshot:
        """The same, as long as it may be used. Raises NotFound, and Conflict when it may not."""
        found = await self.find(tenant, reference)
        if found.state is not State.USABLE:
            raise Conflict(why_unusable(found))
        return found


_Group = tuple[Tier, tuple[str, ...]]


class Reading:
    """One reader's way through a snapshot. Each is an export: what was handed out is out of the house's hands."""

    def __init__(self, snapshot: Snapshot, room: ReadingRoom, *, split: Split, by: Principal, export_id: UUID) -> None:
        self._snapshot = snapshot
        self._room = room
        self._split = split
        self._by = by
        self._export_id = export_id
        self._rows = 0
        self._grants: set[str] = set()

    async def batches(self) -> AsyncIterator[Sequence[DatasetRow]]:
        """Yields the rows in order. Raises Denied when the reader may not, or may no longer; Conflict when the
        snapshot ends on the way."""
        await self._begin()
        try:
            async for batch in self._stored():
                await self._room.usable(self._snapshot.tenant, self._snapshot.dataset_id)
                yield await self._opened(batch)
        except (FileNotFoundError, Erased):
            current = await self._room.usable(self._snapshot.tenant, self._snapshot.dataset_id)
            raise Conflict(f"the rows of dataset {current.dataset_id[:12]} are not there") from None
        async with self._room.ledger.unit(tenant=self._snapshot.tenant) as unit:
            await self._room.books_on(unit).end_export(self._snapshot.tenant, self._export_id)

    def _stored(self) -> AsyncIterator[Sequence[Stored]]:
        one = self._snapshot
        return self._room.store.read(one.tenant, one.dataset_id, batch=self._room.batch, split=self._split)

    async def _begin(self) -> None:
        one = self._snapshot
        async with self._room.ledger.unit(tenant=one.tenant) as unit:
            await self._room.books_on(unit).begin_export(
                one.tenant, self._export_id, one.dataset_id, role=self._by.role, by=self._by.subject
            )

    async def _opened(self, batch: Sequence[Stored]) -> list[DatasetRow]:
        verdicts = await self._authorized(batch)
        sealed = [SealedBytes.FromString(row.content) for row in batch]
        opener = await self._room.vault.opener_for(*sealed)
        passages = await self._passages(batch)
        rows = [
            _in_the_clear(row, content, opener, verdicts[_group(row)], passages)
            for row, content in zip(batch, sealed, strict=True)
        ]
        await self._write_down(rows)
        return rows

    async def _authorized(self, batch: Sequence[Stored]) -> Mapping[_Group, Verdict]:
        """Asks for each tier with its sources. A dataset is read whole or not at all."""
        members: dict[_Group, list[str]] = {}
        for row in batch:
            members.setdefault(_group(row), []).append(row.row_id)
        verdicts: dict[_Group, Verdict] = {}
        for group, ids in members.items():
            use = self._use(group, ids)
            verdicts[group] = verdict = await self._room.authorizer.authorize(use)
            if not verdict.allowed:
                raise Denied(refusal(use, verdict, self._room.policy))
        return verdicts

    def _use(self, group: _Group, ids: Sequence[str]) -> Use:
        return Use(
            role=self._by.role,
            subject=self._by.subject,
            tenant=self._snapshot.tenant,
            purpose=self._snapshot.purpose,
            tier=group[0],
            sources=group[1],
            records=tuple(ids),
        )

    async def _passages(self, batch: Sequence[Stored]) -> Mapping[str, OpenPassage]:
        wanted = sorted({chunk for row in batch for chunk in row.chunks})
        if not wanted:
            return {}
        clearance = max(row.tier for row in batch)
        return await self._room.passages.indexed(self._snapshot.tenant, wanted, clearance=clearance)

    async def _write_down(self, rows: Sequence[DatasetRow]) -> None:
        self._rows += len(rows)
        self._grants |= {row.grant_id for row in rows if row.grant_id}
        async with self._room.ledger.unit(tenant=self._snapshot.tenant) as unit:
            await self._room.books_on(unit).extend_export(
                self._snapshot.tenant, self._export_id, rows=self._rows, grants=self._grants
            )


def _group(row: Stored) -> _Group:
    return row.tier, row.sources


def _in_the_clear(
    row: Stored, content: SealedBytes, opener: Opener, verdict: Verdict, passages: Mapping[str, OpenPassage]
) -> DatasetRow:
    opened = DatasetRow.FromString(opener.open(content))
    there = {chunk: passages[chunk] for chunk in row.chunks if chunk in passages}
    return to_row(opened, row, grant_id=verdict.grant_id, passages=there)
