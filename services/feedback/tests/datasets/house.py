"""Datasets over a real Postgres and a folder, with ten-line neighbours."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from headrace import topics
from headrace.feedback.v1 import datasets_pb2
from headrace.feedback.v1.datasets_pb2 import Dataset, DatasetQuery, DatasetRow
from headrace.privacy.v1.approvals_pb2 import GrantEnded
from headrace.privacy.v1.erasure_pb2 import (
    ErasureApplied,
    ErasureRequested,
    ErasureScope,
    ErasureVerified,
    ErasureVerifying,
)
from headrace.privacy.v1.privacy_pb2 import Purpose as WirePurpose
from headrace.privacy.v1.privacy_pb2 import Tier as WireTier
from headrace.retrieval.v1.retrieval_pb2 import ChunkReference, RetrievedChunk
from headrace_database import Database
from headrace_feedback.adapters.postgres import PostgresLog, PostgresReader
from headrace_feedback.adapters.vault import VaultKeeper
from headrace_feedback.consumers import Consumers
from headrace_feedback.datasets.building import Site
from headrace_feedback.datasets.consumers import DatasetConsumers
from headrace_feedback.datasets.erasing import DatasetFiles, DatasetPart, DatasetTombstones
from headrace_feedback.datasets.keeping import Library
from headrace_feedback.datasets.postgres import PostgresBooks, PostgresLogReader
from headrace_feedback.datasets.postgres_lineage import PostgresLineage
from headrace_feedback.datasets.reading import ReadingRoom
from headrace_feedback.datasets.servicer import DatasetServicer, Desk
from headrace_feedback.datasets.shelf import Shelf, open_shelf
from headrace_feedback.erasing import LogHoldings, Tombstones
from headrace_feedback.handlers import Door
from headrace_feedback.opening import OpenPassage
from headrace_identity import Principal
from headrace_privacy import Owner, Seal, Text, Tier, Vault
from headrace_privacy.memory import MemoryKeyring
from headrace_privacy.policy_file import read_policy
from headrace_stream import Ledger
from headrace_stream.erasing import Eraser, Names
from headrace_stream.memory import delivered

from services.feedback.tests.makers import (
    ANSWER,
    FEEDBACK,
    NOW,
    SomeAuthorizer,
    SomeClassifier,
    delivery,
    feedback,
    sealed_answer,
)

CONTEXT: Any = None
EVALUATE, TRAIN = WirePurpose.PURPOSE_EVALUATE, WirePurpose.PURPOSE_TRAIN
LATER = NOW + timedelta(days=1)


@dataclass
class SomePassages:
    """What is indexed, by chunk."""

    found: dict[str, str] = field(default_factory=lambda: {"chunk-b": "A headrace is a channel."})

    async def indexed(self, tenant: str, chunk_ids: Sequence[str], *, clearance: Tier) -> Mapping[str, OpenPassage]:
        del tenant, clearance
        return {one: OpenPassage(self.found[one], "Mills\nWater") for one in chunk_ids if one in self.found}


@dataclass
class SomeDocuments:
    """What is indexed, by source, two passages a page."""

    keyring: MemoryKeyring
    tenant: str
    found: dict[str, list[RetrievedChunk]] = field(default_factory=dict)

    async def put(self, source: str, document_id: str, *texts: str, tier: Tier = Tier.TIER_1) -> list[str]:
        """Indexes a document; returns the ids of its passages."""
        owner = Owner.document(self.tenant, source, document_id)
        seal = Seal(owner, await self.keyring.issue(owner))
        chunks = [
            RetrievedChunk(
                reference=ChunkReference(
                    chunk_id=str(uuid5(NAMESPACE_URL, f"{document_id}/{ordinal}/{text}")),
                    source=source,
                    document_id=document_id,
                    ordinal=ordinal,
                    tier=WireTier.ValueType(int(tier)),
                ),
                text=seal.protect(Text(text, tier)),
            )
            for ordinal, text in enumerate(texts)
        ]
        self.found.setdefault(source, []).extend(chunks)
        return [chunk.reference.chunk_id for chunk in chunks]

    async def page(self, tenant: str, source: str, *, token: str) -> tuple[Sequence[RetrievedChunk], str]:
        assert tenant == self.tenant
        chunks, start = self.found.get(source, []), int(token or 0)
        return chunks[start : start + 2], str(start + 2) if len(chunks) > start + 2 else ""


class NoBus:
    """There is nothing on the topics."""

    async def trim(self, *_: Any) -> int:
        return 0

    async def left(self, *_: Any) -> int:
        return 0


class DatasetHouse:
    """Everything about datasets, over one tenant's log."""

    def __init__(self, tenant: str, database: Database, folder: Path, *, batch: int = 500) -> None:
        self.tenant, self.database, self.folder = tenant, database, folder
        self.ledger = Ledger(database)
        self.keyring = MemoryKeyring()
        self.vault = Vault(self.keyring, clock=itertools.count(0, 100).__next__)
        self.authorizer, self.classifier, self.passages = SomeAuthorizer(), SomeClassifier(), SomePassages()
        self.documents = SomeDocuments(self.keyring, tenant)
        self.shelf: Shelf = open_shelf(str(folder))
        self.moment = NOW
        self.by = Principal("developer", tenant, "dora")
        library = Library(self.ledger, _books_on, self.shelf, DatasetTombstones(self.vault))
        policy = read_policy(None)
        self.library = library
        site = Site(
            PostgresLogReader(database), self.authorizer, policy, self.vault, self.shelf, self.documents, batch=batch
        )
        self.room = ReadingRoom(
            self.ledger, _books_on, self.shelf, self.authorizer, policy, self.vault, self.passages, batch=2
        )
        self.desk = Desk(site, library, self.room, self.classifier, _lineage_on, lambda: self.by, uuid4, self.tick)
        self.servicer = DatasetServicer(self.desk)
        self.consumers = DatasetConsumers(library)
        self._log = Consumers(
            self.ledger,
            lambda unit: PostgresLog(unit.connection),
            door=Door(PostgresReader(database), self.classifier, VaultKeeper(self.vault)),
            tombstones=Tombstones(self.vault),
        )
        self.files = DatasetFiles(library)
        holdings = LogHoldings(database, NoBus(), (DatasetPart(),), (self.files,))  # type: ignore[arg-type]
        self.eraser = Eraser("feedback", self.ledger, self.vault, holdings, lambda: LATER)

    def tick(self) -> datetime:
        """The time, a second after the one before."""
        self.moment += timedelta(seconds=1)
        return self.moment

    async def answered(self, question: str = "What is a headrace?", **changes: Any) -> UUID:
        """An answer comes over the bus as inference seals it."""
        query_id = changes.pop("query_id", None) or uuid4()
        query = {
            "queryId": str(query_id),
            "tenant": self.tenant,
            "product": "docs-search",
            "subject": "user-7",
            "conversationId": str(query_id),
            "acceptedAt": "2026-11-21T09:00:00Z",
        } | changes.pop("query", {})
        whole = {"query": query, "question": {"plain": question, "characters": len(question)}, **changes}
        message = await sealed_answer(self.keyring, self.tenant, query_id, **whole)
        await self._log.on_answer(delivery(message, ANSWER))
        return query_id

    async def judged(self, query_id: UUID, **changes: Any) -> None:
        """Somebody judges, a second after the one before."""
        message = feedback(self.tenant, queryId=str(query_id), **changes)
        arrived = delivered(message, FEEDBACK, service="feedback", event_id=uuid4(), received_at=self.tick())
        await self._log.on_feedback(arrived)

    async def build(self, *, name: str = "support", seed: int = 1, **query: Any) -> Dataset:
        """Builds, and returns the snapshot."""
        steps = await self.steps(name=name, seed=seed, **query)
        return steps[-1].dataset

    async def steps(self, *, name: str = "support", seed: int = 1, **query: Any) -> list[Any]:
        request = datasets_pb2.BuildDatasetRequest(
            tenant=self.tenant, name=name, seed=seed, query=DatasetQuery(**({"purpose": EVALUATE} | query))
        )
        return [one async for one in self.servicer.BuildDataset(request, CONTEXT)]

    async def bring(self, *rows: DatasetRow, name: str = "known", **more: Any) -> Any:
        request = datasets_pb2.ImportDatasetRequest(tenant=self.tenant, name=name, rows=rows, **more)
        return await self.servicer.ImportDataset(request, CONTEXT)

    async def trace(self, *, tenant: str = "", **what: str) -> datasets_pb2.TraceRowsResponse:
        request = datasets_pb2.TraceRowsRequest(tenant=tenant or self.tenant, **what)  # type: ignore[arg-type]
        return await self.servicer.TraceRows(request, CONTEXT)

    async def get(self, dataset: str, *, tenant: str = "") -> Dataset:
        request = datasets_pb2.GetDatasetRequest(tenant=tenant or self.tenant, dataset=dataset)
        return (await self.servicer.GetDataset(request, CONTEXT)).dataset

    async def read(self, dataset: str, *, split: Any = 0, tenant: str = "") -> list[DatasetRow]:
        request = datasets_pb2.ReadDatasetRequest(tenant=tenant or self.tenant, dataset=dataset, split=split)
        return [row async for one in self.servicer.ReadDataset(request, CONTEXT) for row in one.rows]

    async def told(self, topic: str) -> list[bytes]:
        """Takes what was published on a topic."""
        async with self.database.transaction() as connection:
            rows = await connection.fetch(
                "DELETE FROM outbox WHERE topic = $1 AND headers->>'ce_tenant' = $2 RETURNING value", topic, self.tenant
            )
        return [row["value"] for row in rows]

    def at_rest(self) -> bytes:
        """Every file of every snapshot."""
        return b"\n".join(path.read_bytes() for path in sorted(self.folder.rglob("*")) if path.is_file())

    async def end_grant(self, grant_id: str) -> None:
        """The classifier says that a grant has ended."""
        message = GrantEnded(grant_id=grant_id, tenant=self.tenant)
        await self.consumers.on_grant_ended(delivery(message, topics.GRANT_ENDED))

    async def erase(self, **what: Any) -> dict[str, int]:
        """Erases, twice as after a crash; returns what went of each store."""
        self.erasure_id = str(uuid4())
        self.request = ErasureRequested(
            erasure_id=self.erasure_id, scope=ErasureScope(tenant=self.tenant, **what), round=1
        )
        self.request.requested_at.FromDatetime(LATER - timedelta(hours=1))
        arrived = delivery(self.request, topics.ERASURE_REQUESTED)
        for _ in range(2):
            await self.eraser.apply(topics.ERASURE_APPLIED, arrived)
        (said,) = await self.told("erasure.applied")
        return {store.store: store.records for store in ErasureApplied.FromString(said).stores}

    async def verify(self) -> dict[str, int]:
        """Reads back; returns what is left."""
        message = ErasureVerifying(erasure_id=self.erasure_id, scope=self.request.scope, round=1)
        message.requested_at.CopyFrom(self.request.requested_at)
        await self.eraser.verify(topics.ERASURE_VERIFIED, delivery(message, topics.ERASURE_VERIFYING))
        (said,) = await self.told("erasure.verified")
        return {store.store: store.records for store in ErasureVerified.FromString(said).stores if store.records}


def _lineage_on(unit: Any, names: Names) -> PostgresLineage:
    return PostgresLineage(unit.connection, names)


def _books_on(unit: Any) -> PostgresBooks:
    return PostgresBooks(unit.connection)


def excluded(one: Dataset) -> dict[str, int]:
    """What was left out, by reason."""
    return {each.reason: each.rows for each in one.exclusions}
