"""The log's part in an erasure, on a real Postgres; and a log that claims to delete and does not."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from headrace import topics
from headrace.privacy.v1.erasure_pb2 import (
    ErasedDocument,
    ErasureApplied,
    ErasureRequested,
    ErasureScope,
    ErasureVerified,
    ErasureVerifying,
    Expired,
)
from headrace_database import Database
from headrace_feedback.adapters.postgres import PostgresLog, PostgresReader
from headrace_feedback.consumers import Consumers
from headrace_feedback.erasing import INTERACTIONS, JUDGEMENTS, LINEAGE, LogHoldings, Tombstones
from headrace_feedback.handlers import Door
from headrace_privacy import Erased, Vault
from headrace_privacy.memory import MemoryKeyring
from headrace_stream import Ledger
from headrace_stream.erasing import Eraser
from headrace_stream.memory import delivered

from services.feedback.tests.makers import OpenKeeper, SomeClassifier, answer, delivery, feedback

pytestmark = pytest.mark.real

LATER = datetime(2026, 11, 22, tzinfo=UTC)


class NoBus:
    """There is nothing on the topics."""

    async def trim(self, *_: Any) -> int:
        return 0

    async def left(self, *_: Any) -> int:
        return 0


class Lying(LogHoldings):
    """Says that it deleted, and keeps what it has."""

    async def remove(self, *_: Any) -> Mapping[str, int]:
        return {INTERACTIONS: 1}


class House:
    """The log with its consumers, and its part in erasures."""

    def __init__(self, database: Database, tenant: str, holdings: type[LogHoldings] = LogHoldings) -> None:
        self.database, self.tenant, self.ledger = database, tenant, Ledger(database)
        vault = Vault(MemoryKeyring(), clock=time.monotonic)
        self.consumers = Consumers(
            self.ledger,
            lambda unit: PostgresLog(unit.connection),
            door=Door(PostgresReader(database), SomeClassifier(), OpenKeeper()),
            tombstones=Tombstones(vault),
        )
        self.eraser = Eraser("feedback", self.ledger, vault, holdings(database, NoBus()), lambda: LATER)  # type: ignore[arg-type]

    async def answered(self, query_id: UUID | None = None, **changes: Any) -> UUID:
        query_id = query_id or uuid4()
        await self.consumers.on_answer(delivery(answer(self.tenant, query_id, **changes), topics.ANSWER_COMPLETED))
        return query_id

    async def judged(self, **changes: Any) -> None:
        await self.consumers.on_feedback(delivery(feedback(self.tenant, **changes), topics.FEEDBACK_SUBMITTED))

    async def erase(self, **what: Any) -> dict[str, int]:
        self.request = ErasureRequested(
            erasure_id=str(uuid4()), scope=ErasureScope(tenant=self.tenant, **what), round=1
        )
        self.request.requested_at.FromDatetime(LATER - timedelta(hours=1))
        arrived = delivered(self.request, topics.ERASURE_REQUESTED, service="feedback", event_id=uuid4())
        for _ in range(2):  # as after a crash, too
            await self.eraser.apply(topics.ERASURE_APPLIED, arrived)
        return self._counts(ErasureApplied.FromString(await self._told("erasure.applied")))

    async def verify(self) -> dict[str, int]:
        verifying = ErasureVerifying(erasure_id=self.request.erasure_id, scope=self.request.scope, round=1)
        verifying.requested_at.CopyFrom(self.request.requested_at)
        arrived = delivered(verifying, topics.ERASURE_VERIFYING, service="feedback", event_id=uuid4())
        await self.eraser.verify(topics.ERASURE_VERIFIED, arrived)
        return self._counts(ErasureVerified.FromString(await self._told("erasure.verified")))

    async def _told(self, topic: str) -> bytes:
        async with self.database.transaction() as connection:
            rows = await connection.fetch(
                "DELETE FROM outbox WHERE topic = $1 AND headers->>'ce_tenant' = $2 RETURNING value", topic, self.tenant
            )
        assert len(rows) == 1, "it says so once"
        value: bytes = rows[0]["value"]
        return value

    @staticmethod
    def _counts(message: ErasureApplied | ErasureVerified) -> dict[str, int]:
        return {store.store: store.records for store in message.stores if store.records}

    async def queries(self) -> set[UUID]:
        async with self.database.transaction(tenant=self.tenant) as connection:
            rows = await connection.fetch("SELECT query_id FROM interactions")
        return {row["query_id"] for row in rows}


@pytest.fixture
def house(opened: Database, tenant: str) -> House:
    return House(opened, tenant)


def asked_by(subject: str, tenant: str, query_id: UUID) -> dict[str, Any]:
    query = {"queryId": str(query_id), "tenant": tenant, "product": "p", "subject": subject}
    return {"query": {**query, "acceptedAt": "2026-11-21T09:00:00Z"}}


async def test_an_end_user_goes_with_everybodys_judgements(house: House) -> None:
    mine, theirs = uuid4(), uuid4()
    await house.answered(mine, **asked_by("anna", house.tenant, mine))
    await house.answered(theirs, **asked_by("bert", house.tenant, theirs))
    await house.judged(queryId=str(mine), subject="reviewer")
    await house.judged(queryId=str(theirs), subject="anna", comment="Fine.")
    assert await house.erase(subject="anna") == {INTERACTIONS: 1, LINEAGE: 2, JUDGEMENTS: 2}
    assert await house.verify() == {}
    assert await house.queries() == {theirs}


async def test_what_was_on_its_way_does_not_come_back(house: House) -> None:
    early = await house.answered()
    await house.erase(subject="user-7")
    with pytest.raises(Erased):
        await house.answered()
    with pytest.raises(Erased):
        await house.judged(queryId=str(early))
    await house.answered(new := uuid4(), **asked_by("bert", house.tenant, new))
    assert await house.verify() == {}
    assert await house.queries() == {new}


async def test_who_comes_again_is_not_meant(house: House) -> None:
    await house.answered()
    await house.erase(subject="user-7")
    again = uuid4()
    query = {"queryId": str(again), "tenant": house.tenant, "subject": "user-7", "acceptedAt": "2026-11-22T09:00:00Z"}
    await house.answered(again, query=query)
    assert await house.verify() == {}
    assert await house.queries() == {again}


@pytest.mark.parametrize(
    "what", [{"source": "handbook"}, {"document": ErasedDocument(source="handbook", document_id="rivers")}]
)
async def test_what_the_model_had_before_it_takes_the_answer_along(house: House, what: dict[str, Any]) -> None:
    await house.answered()
    other = {"version": "1", "source": "wiki", "tier": "TIER_1", "chunkId": "w", "documentId": "rivers"}
    kept = await house.answered(retrieved=[other], citations=[])
    assert (await house.erase(**what))[INTERACTIONS] == 1
    with pytest.raises(Erased):
        await house.answered()
    assert await house.verify() == {}
    assert await house.queries() == {kept}


async def test_what_expires_goes_by_tier_and_age(house: House) -> None:
    await house.answered()
    strict = await house.answered(tier="TIER_2")
    young = await house.answered(completedAt="2026-11-21T23:00:00Z")
    expired = Expired(tier=2)
    expired.before.FromDatetime(datetime(2026, 11, 21, 12, tzinfo=UTC))
    assert (await house.erase(expired=expired))[INTERACTIONS] == 1
    assert await house.verify() == {}
    assert await house.queries() == {strict, young}


async def test_a_store_that_lies_is_found_out(opened: Database, tenant: str) -> None:
    house = House(opened, tenant, Lying)
    await house.answered()
    assert (await house.erase(subject="user-7"))[INTERACTIONS] >= 1
    assert await house.verify() == {INTERACTIONS: 1}
