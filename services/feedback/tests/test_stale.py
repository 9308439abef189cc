"""Which answers are stale, on stores in memory and in Postgres."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from headrace import topics
from headrace.document.v1.document_pb2 import Document, DocumentIndexed
from headrace.privacy.v1 import privacy_pb2
from headrace_database import Database
from headrace_feedback.running.runs import StaleDocument
from headrace_runtime.errors import Rejected

from services.feedback.tests.makers import delivery
from services.feedback.tests.running_house import SHORTER, MemoryHouse, PostgresHouse, RunHouse


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.real)])
def house(request: pytest.FixtureRequest, tenant: str) -> RunHouse:
    if request.param == "memory":
        return MemoryHouse(tenant)
    database: Database = request.getfixturevalue("opened")
    return PostgresHouse(tenant, database)


async def indexed(
    house: RunHouse, document_id: str, version: int, *, chunks: int = 1, source: str = "handbook"
) -> None:
    """The index holds this version now; answers are made of version 3 of "rivers", and of "mills", which they cite."""
    document = Document(tenant=house.tenant, source=source, document_id=document_id, version=version)
    message = DocumentIndexed(document=document, tier=privacy_pb2.TIER_1, chunks=chunks)
    message.document.accepted_at.FromDatetime(datetime(2026, 11, 21, tzinfo=UTC))
    await house.consumers.on_document(delivery(message, topics.DOCUMENT_INDEXED))


async def stale(house: RunHouse, **which: Any) -> tuple[list[tuple[str, tuple[StaleDocument, ...]]], int]:
    wanted = {"source": "", "document_id": "", "limit": 100} | which
    async with house.ledger.unit(tenant=house.tenant) as unit:
        answers, total = await house.shelf_on(unit).stale(house.tenant, **wanted)
    return [(str(one.query_id), one.documents) for one in answers], total


async def test_an_answer_is_stale_once_what_it_was_made_of_is_replaced(house: RunHouse) -> None:
    (query_id,) = await house.logged({})
    await indexed(house, "mills", 3)
    assert await stale(house) == ([], 0)
    await indexed(house, "mills", 4)
    cited = StaleDocument("handbook", "mills", version=3, current_version=4, deleted=False, cited=True)
    assert await stale(house) == ([(query_id, (cited,))], 1)


async def test_a_deleted_document_and_one_that_came_back(house: RunHouse) -> None:
    (query_id,) = await house.logged({})
    await indexed(house, "rivers", 4, chunks=0)
    gone = StaleDocument("handbook", "rivers", version=3, current_version=4, deleted=True, cited=False)
    assert await stale(house) == ([(query_id, (gone,))], 1)
    await indexed(house, "rivers", 5)
    ((_, (back,)),), _ = await stale(house)
    assert (back.current_version, back.deleted) == (5, False)
    chunk = {"chunkId": "c", "version": "5", "source": "handbook", "documentId": "rivers", "tier": "TIER_1"}
    (fresh,) = await house.logged({"retrieved": [chunk], "citations": []})
    found, _ = await stale(house)
    assert fresh not in [query_id for query_id, _ in found]


async def test_what_is_told_late_does_not_turn_the_clock_back(house: RunHouse) -> None:
    await house.logged({})
    await indexed(house, "mills", 5)
    await indexed(house, "mills", 4, chunks=0)
    ((_, (document,)),), _ = await stale(house)
    assert (document.current_version, document.deleted) == (5, False)


async def test_newest_first_by_source_and_document_and_a_few_of_all(house: RunHouse) -> None:
    moments = [f"2026-11-21T09:0{minute}:00Z" for minute in range(4)]
    ids = await house.logged(*[{"completedAt": moment} for moment in moments])
    await indexed(house, "mills", 4)
    found, total = await stale(house, limit=2)
    assert ([query_id for query_id, _ in found], total) == (list(reversed(ids))[:2], 4)
    assert await stale(house, source="another") == ([], 0)
    assert await stale(house, source="handbook", document_id="rivers") == ([], 0)
    assert (await stale(house, source="handbook", document_id="mills"))[1] == 4


async def test_another_tenants_documents_change_nothing(house: RunHouse) -> None:
    await house.logged({})
    tenant, house.tenant = house.tenant, f"other-{uuid4().hex[:8]}"
    await indexed(house, "mills", 9)
    house.tenant = tenant
    assert await stale(house) == ([], 0)


async def test_only_the_stale_are_asked_again(house: RunHouse) -> None:
    chunk = {"chunkId": "w", "version": "1", "source": "handbook", "documentId": "weirs", "tier": "TIER_1"}
    of_weirs, _ = await house.logged({"retrieved": [chunk], "citations": []}, {})
    await indexed(house, "weirs", 2)
    run = await house.plan(SHORTER, stale_only=True)
    async with house.ledger.unit(tenant=house.tenant) as unit:
        cases = await house.runs_on(unit).cases(run, first=0, most=10)
    assert [case.case_id for case in cases] == [of_weirs]


async def test_an_event_of_no_document_is_refused(house: RunHouse) -> None:
    with pytest.raises(Rejected, match="tenant: missing; document: missing"):
        await house.consumers.on_document(delivery(DocumentIndexed(), topics.DOCUMENT_INDEXED))
