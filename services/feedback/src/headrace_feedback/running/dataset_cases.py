"""The held-out rows of a dataset's snapshot as cases."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from headrace.feedback.v1.datasets_pb2 import DatasetRow
from headrace.privacy.v1.privacy_pb2 import ProtectedText, SealedBytes
from headrace.privacy.v1.privacy_pb2 import Tier as WireTier
from headrace.query.v1.events_pb2 import QueryClassified
from headrace.query.v1.query_pb2 import Query
from headrace_privacy import Opener, Tier, Vault
from headrace_privacy.sealing import encrypt, fresh_nonce

from headrace_feedback.running.capping import capped
from headrace_feedback.running.runs import Candidate, Case

#: Who asks, where a row does not say: it was written by hand.
IMPORTED = "dataset"


@dataclass(frozen=True, slots=True)
class SealedRow:
    """A row as it rests.

    tier: the strictest of the question and of what it was answered of; sources, documents ("source/document"): that.
    content, asked: a DatasetRow, and the Query that asked, each SealedBytes under its owner's key.
    """

    row_id: str
    tier: Tier
    kind: str
    completed_at: datetime
    sources: tuple[str, ...]
    documents: tuple[str, ...]
    content: bytes = field(repr=False)
    asked: bytes = field(repr=False)


class Rows(Protocol):
    """Snapshots, as runs need them."""

    async def usable(self, tenant: str, dataset: str) -> str:
        """The id of the snapshot that an id, its first digits or a name means. Raises NotFound, and Conflict for one
        that may not be used."""

    def held_out(self, tenant: str, dataset_id: str) -> AsyncIterator[Sequence[SealedRow]]:
        """Its held-out rows in batches, in its order."""


class DatasetCases:
    """See ports.Cases. dataset_id: the snapshot's, as `Rows.usable` says. open_to: what whoever asks may evaluate
    without a grant."""

    def __init__(self, tenant: str, dataset_id: str, rows: Rows, vault: Vault, *, open_to: Tier) -> None:
        self._tenant, self._dataset_id, self._rows, self._vault, self._open_to = (
            tenant,
            dataset_id,
            rows,
            vault,
            open_to,
        )
        self._sampled: dict[str, SealedRow] = {}

    async def candidates(self, *, limit: int, seed: int) -> Sequence[Candidate]:
        """See ports.Cases."""
        rows = [row async for batch in self._rows.held_out(self._tenant, self._dataset_id) for row in batch]
        rows.sort(key=lambda row: (_lot(seed, row.row_id), row.row_id))
        self._sampled = {row.row_id: row for row in rows[:limit]}
        return [Candidate(row.row_id, row.tier, row.sources) for row in self._sampled.values()]

    async def read(self, unit: Any, candidates: Sequence[Candidate], *, first: int) -> Sequence[Case]:
        """See ports.Cases. A row whose key is destroyed is erased."""
        del unit
        rows = [self._sampled[one.case_id] for one in candidates]
        contents = [SealedBytes.FromString(row.content) for row in rows]
        asked = [SealedBytes.FromString(row.asked) for row in rows]
        opener = await self._vault.opener_for(*contents, *asked)
        readable = [
            _Opened(row, content, Query.FromString(opener.open(query)))
            for row, content, query in zip(rows, contents, asked, strict=True)
            if {content.key_id, query.key_id} <= opener.keys.keys()
        ]
        return [self._case(one, opener, place) for place, one in enumerate(readable, start=first)]

    def _case(self, opened: _Opened, opener: Opener, place: int) -> Case:
        row, query = opened.row, opened.query
        question = DatasetRow.FromString(opener.open(opened.content)).question
        key = opener.keys[opened.content.key_id]
        text = ProtectedText(sealed=encrypt(key, question.encode(), nonce=fresh_nonce()), characters=len(question))
        query.tenant, query.product = self._tenant, query.product or IMPORTED
        query.ClearField("hops")
        query.ClearField("trial")
        classified = QueryClassified(
            query=capped(query, row.tier, self._open_to), text=text, tier=WireTier.ValueType(int(row.tier))
        )
        return Case(
            case_id=row.row_id,
            place=place,
            tier=row.tier,
            subject=query.subject,
            kind=row.kind,
            sources=row.sources,
            documents=row.documents,
            of_time=row.completed_at,
            question=classified.SerializeToString(),
            reference=row.content,
        )


@dataclass(frozen=True, slots=True)
class _Opened:
    row: SealedRow
    content: SealedBytes
    query: Query


def _lot(seed: int, row_id: str) -> str:
    return hashlib.md5(f"{seed}:{row_id}".encode(), usedforsecurity=False).hexdigest()
