"""The index's part in an erasure, on a real Postgres."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from headrace import topics
from headrace.document.v1.document_pb2 import Document as WireDocument
from headrace.privacy.v1.erasure_pb2 import (
    ErasedDocument,
    ErasureApplied,
    ErasureRequested,
    ErasureScope,
    ErasureVerified,
    ErasureVerifying,
)
from headrace_database import Database
from headrace_privacy import Erased, Tier, Vault
from headrace_privacy.memory import MemoryKeyring
from headrace_retriever.erasing import CHUNKS, DOCUMENTS, OWN_VECTORS, IndexHoldings
from headrace_retriever.testing import document, put, towards, write
from headrace_retriever.tombstones import keep_out_document
from headrace_stream import Ledger
from headrace_stream.erasing import Eraser
from headrace_stream.memory import delivered

from services.retriever.tests.generations import FIRST, SECOND, Home

pytestmark = pytest.mark.real

REQUESTED = datetime(2026, 11, 21, 9, tzinfo=UTC)


class House:
    """The index of one tenant, and its part in erasures."""

    def __init__(self, database: Database) -> None:
        self.database, self.tenant = database, f"t-{uuid4().hex[:12]}"
        self.ledger, self.vault = Ledger(database), Vault(MemoryKeyring(), clock=time.monotonic)
        self.eraser = Eraser("retriever", self.ledger, self.vault, IndexHoldings(database), lambda: REQUESTED)

    async def put(self, name: str, *, source: str = "docs", tier: Tier = Tier.TIER_2) -> None:
        which = document(name, tenant=self.tenant, source=source)
        await write(self.database, put(which, ["one", "two"], [towards(0), towards(1)], tier=tier))

    async def erase(self, **what: Any) -> dict[str, int]:
        scope = ErasureScope(tenant=self.tenant, **what)
        request = ErasureRequested(erasure_id=str(uuid4()), scope=scope, round=1)
        verifying = ErasureVerifying(erasure_id=request.erasure_id, scope=scope, round=1)
        for message in (request, verifying):
            message.requested_at.FromDatetime(REQUESTED)
        await self.eraser.apply(topics.ERASURE_APPLIED, _delivered(request, topics.ERASURE_REQUESTED))
        await self.eraser.verify(topics.ERASURE_VERIFIED, _delivered(verifying, topics.ERASURE_VERIFYING))
        async with self.database.transaction() as connection:
            rows = await connection.fetch(
                "SELECT topic, value FROM outbox WHERE headers->>'ce_tenant' = $1 AND topic LIKE 'erasure.%'",
                self.tenant,
            )
        told = {row["topic"]: row["value"] for row in rows}
        assert not _counts(ErasureVerified.FromString(told["erasure.verified"]))
        return _counts(ErasureApplied.FromString(told["erasure.applied"]))

    async def tallied(self) -> dict[tuple[str, int], int]:
        async with self.database.transaction(tenant=self.tenant) as connection:
            rows = await connection.fetch(
                "SELECT source, tier, sum(chunks)::int AS n FROM tallies GROUP BY source, tier"
            )
        return {(row["source"], row["tier"]): row["n"] for row in rows if row["n"]}

    async def arrives(self, name: str, *, source: str = "docs", accepted_at: datetime | None = None) -> None:
        message = WireDocument(tenant=self.tenant, source=source, document_id=name)
        if accepted_at:
            message.accepted_at.FromDatetime(accepted_at)
        async with self.ledger.unit(tenant=self.tenant) as unit:
            await keep_out_document(unit, self.vault, message)


def _delivered(message: Any, topic: Any) -> Any:
    return delivered(message, topic, service="retriever", event_id=uuid4())


def _counts(message: ErasureApplied | ErasureVerified) -> dict[str, int]:
    return {store.store: store.records for store in message.stores if store.records}


@pytest.fixture
def house(store: Database) -> House:
    return House(store)


async def test_a_document_goes_and_the_tallies_stay_right(house: House) -> None:
    await house.put("a")
    await house.put("b", tier=Tier.PUBLIC)
    removed = await house.erase(document=ErasedDocument(source="docs", document_id="a"))
    assert removed == {DOCUMENTS: 1, CHUNKS: 2}
    assert await house.tallied() == {("docs", 1): 2}
    with pytest.raises(Erased):
        await house.arrives("a", accepted_at=REQUESTED + timedelta(days=1))
    await house.arrives("b", accepted_at=REQUESTED - timedelta(days=1))


async def test_a_source_goes_whole_with_what_is_still_on_its_way(house: House) -> None:
    for name in ("a", "b", "c"):
        await house.put(name)
    await house.put("a", source="wiki")
    assert await house.erase(source="docs") == {DOCUMENTS: 3, CHUNKS: 6}
    assert await house.tallied() == {("wiki", 3): 2}
    for late in (None, REQUESTED - timedelta(seconds=1)):
        with pytest.raises(Erased):
            await house.arrives("never-seen", accepted_at=late)
    await house.arrives("new", accepted_at=REQUESTED + timedelta(seconds=1))
    await house.arrives("a", source="wiki")


async def test_the_vectors_of_every_embedder_go(house: House) -> None:
    await house.put("a")
    await house.put("b")
    own = Home(house.database, house.tenant)
    for model in (FIRST, SECOND):
        await own.ready(model)
    await own.switch(FIRST)
    removed = await house.erase(document=ErasedDocument(source="docs", document_id="a"))
    assert removed == {DOCUMENTS: 1, CHUNKS: 2, OWN_VECTORS: 4}
    assert await own.states() == {FIRST: ("live", 2, 2), SECOND: ("ready", 2, 2)}


async def test_of_end_users_it_holds_nothing(house: House) -> None:
    await house.put("a")
    assert await house.erase(subject="anna") == {}
    assert await house.tallied() == {("docs", 3): 2}
