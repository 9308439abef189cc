"""Ingest's part in an erasure, on a real Postgres: answers and documents go, and neither comes again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
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
from headrace.retrieval.v1.retrieval_pb2 import ChunkReference
from headrace_database import Database
from headrace_ingest import handlers
from headrace_ingest.adapters.postgres import PostgresStore
from headrace_ingest.domain import DocumentAddress, QueryState
from headrace_ingest.erasing import DOCUMENTS, QUERIES, SUBMISSIONS, DoorHoldings
from headrace_runtime.errors import Rejected
from headrace_stream import Ledger
from headrace_stream.erasing import Eraser
from headrace_stream.memory import delivered

from services.ingest.tests.makers import NOW, answer, arrived, open_door, open_vault, put, query

pytestmark = pytest.mark.real

#: After everything that was sent before: makers' records are of the first of January.
REQUESTED = NOW + timedelta(hours=1)
SENT_LATER = datetime(2027, 1, 1, tzinfo=UTC)


class NoBus:
    """There is nothing on the topics."""

    async def trim(self, *_: Any) -> int:
        return 0

    async def left(self, *_: Any) -> int:
        return 0


class PlainParser:
    """Reads Markdown."""

    async def markdown(self, content: bytes, media_type: str) -> str:
        return content.decode()


class House:
    """The handlers over one store, and its part in erasures."""

    def __init__(self, database: Database, tenant: str) -> None:
        self.database, self.tenant = database, tenant
        ledger, vault = Ledger(database), open_vault()
        self.store = PostgresStore(database, ledger)
        door = open_door(self.store, vault)
        self.accept = partial(handlers.accept_query, door=door, noted=lambda *_: None)
        self.end = partial(handlers.end_query, store=self.store, vault=vault)
        self.submit = partial(handlers.submit_document, door=door, parser=PlainParser())
        self.eraser = Eraser("ingest", ledger, vault, DoorHoldings(database, NoBus()), lambda: REQUESTED)  # type: ignore[arg-type]

    async def asked(self, subject: str = "", documents: tuple[str, ...] = ()) -> UUID:
        message = query(self.tenant, subject=subject)
        await self.accept(arrived(message))
        said = answer(self.tenant, message.query_id)
        said.query.accepted_at.FromDatetime(NOW)
        said.retrieved.extend(ChunkReference(source="handbook", document_id=name) for name in documents)
        await self.end(arrived(said))
        return UUID(message.query_id)

    async def state(self, query_id: UUID) -> tuple[QueryState, bool]:
        record = await self.store.query(self.tenant, query_id)
        assert record is not None
        return record.state, record.answer is not None

    async def erase(self, **what: Any) -> dict[str, int]:
        scope = ErasureScope(tenant=self.tenant, **what)
        self.request = ErasureRequested(erasure_id=str(uuid4()), scope=scope, round=1)
        self.request.requested_at.FromDatetime(REQUESTED)
        await self.eraser.apply(topics.ERASURE_APPLIED, _delivered(self.request, topics.ERASURE_REQUESTED))
        return _counts(ErasureApplied.FromString(await self._told("erasure.applied")))

    async def verify(self) -> dict[str, int]:
        verifying = ErasureVerifying(erasure_id=self.request.erasure_id, scope=self.request.scope, round=1)
        verifying.requested_at.CopyFrom(self.request.requested_at)
        await self.eraser.verify(topics.ERASURE_VERIFIED, _delivered(verifying, topics.ERASURE_VERIFYING))
        return _counts(ErasureVerified.FromString(await self._told("erasure.verified")))

    async def _told(self, topic: str) -> bytes:
        async with self.database.transaction() as connection:
            rows = await connection.fetch(
                "DELETE FROM outbox WHERE topic = $1 AND headers->>'ce_tenant' = $2 RETURNING value", topic, self.tenant
            )
        value: bytes = rows[0]["value"]
        return value


def _delivered(message: Any, topic: Any) -> Any:
    return delivered(message, topic, service="ingest", event_id=uuid4())


def _counts(message: ErasureApplied | ErasureVerified) -> dict[str, int]:
    return {store.store: store.records for store in message.stores if store.records}


@pytest.fixture
def house(opened: Database, tenant: str) -> House:
    return House(opened, tenant)


def later(message: Any) -> Any:
    """Sent after the erasure."""
    return delivered(message, topics.QUERY_SUBMITTED, service="ingest", event_id=uuid4(), received_at=SENT_LATER)


async def test_an_end_users_answers_go_and_the_ids_stay_taken(house: House) -> None:
    mine, theirs = await house.asked("anna"), await house.asked("bert")
    assert await house.erase(subject="anna") == {QUERIES: 1}
    assert await house.verify() == {}
    assert await house.state(mine) == (QueryState.ERASED, False)
    assert await house.state(theirs) == (QueryState.ANSWERED, True)
    for again in (later(query(house.tenant, str(mine), subject="anna")), later(query(house.tenant, str(mine)))):
        with pytest.raises(Rejected, match="query_id: erased"):
            await house.accept(again)


async def test_what_was_sent_before_is_refused_and_what_comes_later_is_taken(house: House) -> None:
    await house.asked("anna")
    await house.erase(subject="anna")
    with pytest.raises(Rejected, match="subject: erased"):
        await house.accept(arrived(query(house.tenant, subject="anna")))
    message = query(house.tenant, subject="anna")
    await house.accept(later(message))
    assert await house.state(UUID(message.query_id)) == (QueryState.OPEN, False)


async def test_an_answer_that_comes_late_is_dropped(house: House) -> None:
    message = query(house.tenant, subject="anna")
    await house.accept(arrived(message))
    await house.erase(subject="anna")
    await house.end(arrived(answer(house.tenant, message.query_id)))
    assert await house.verify() == {}
    assert await house.state(UUID(message.query_id)) == (QueryState.ERASED, False)


async def test_a_document_goes_with_the_answers_made_of_it_and_stays_away(house: House) -> None:
    await house.submit(arrived(put(house.tenant, "a.md", data=b"# One")))
    await house.submit(arrived(put(house.tenant, "b.md", data=b"# Two")))
    grounded, other = await house.asked(documents=("a.md", "b.md")), await house.asked(documents=("b.md",))
    removed = await house.erase(document=ErasedDocument(source="handbook", document_id="a.md"))
    assert removed == {QUERIES: 1, DOCUMENTS: 1, SUBMISSIONS: 1}
    assert await house.verify() == {}
    assert await house.state(grounded) == (QueryState.ERASED, False)
    assert await house.state(other) == (QueryState.ANSWERED, True)
    for again in (put(house.tenant, "a.md", data=b"# Three"), put(house.tenant, "c.md", data=b"# One")):
        with pytest.raises(Rejected, match="document_id: erased"):
            await house.submit(later(again))
    assert await house.store.document(DocumentAddress(house.tenant, "handbook", "a.md")) is None
    late = await house.asked(documents=("a.md",))
    assert await house.state(late) == (QueryState.ERASED, False)


async def test_a_source_goes_whole_and_takes_new_documents(house: House) -> None:
    for name in ("a.md", "b.md"):
        await house.submit(arrived(put(house.tenant, name, data=f"# {name}".encode())))
    assert (await house.erase(source="handbook"))[DOCUMENTS] == 2
    assert await house.verify() == {}
    assert await house.store.sources(house.tenant) == []
    with pytest.raises(Rejected, match="erased"):
        await house.submit(arrived(put(house.tenant, "sent-before.md", data=b"# Before")))
    await house.submit(later(put(house.tenant, "new.md", data=b"# New")))
    assert await house.store.document(DocumentAddress(house.tenant, "handbook", "new.md")) is not None


async def test_what_expires_goes_whole(house: House) -> None:
    await house.asked("anna")
    expired = Expired(tier=1)
    expired.before.FromDatetime(REQUESTED)
    assert await house.erase(expired=expired) == {QUERIES: 1}
    assert await house.verify() == {}


async def test_the_table_of_queries_names_nobody(house: House) -> None:
    await house.asked("anna.smith@example.org")
    async with house.database.transaction(tenant=house.tenant) as connection:
        rows = await connection.fetch("SELECT product, subject, trace_id FROM queries")
    assert "anna" not in repr([dict(row) for row in rows])
