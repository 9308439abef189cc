"""What an erasure does to runs, on a real Postgres; and a part that claims to delete and does not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from headrace import topics
from headrace.document.v1.document_pb2 import Document, DocumentIndexed
from headrace.privacy.v1.erasure_pb2 import (
    ErasedDocument,
    ErasureApplied,
    ErasureRequested,
    ErasureScope,
    ErasureVerified,
    ErasureVerifying,
    Expired,
)
from headrace.query.v1.query_pb2 import Trial, TrialKind
from headrace_database import Database
from headrace_feedback.erasing import LogHoldings
from headrace_feedback.running.conducting import Window
from headrace_feedback.running.erasing import ANSWERS, ASKS, CASES, DOCUMENTS, RunHoldings
from headrace_feedback.running.runs import State
from headrace_privacy import Erased
from headrace_stream.erasing import Eraser
from headrace_stream.memory import delivered

from services.feedback.tests.makers import answer, delivery
from services.feedback.tests.running_house import LONGER, SHORTER, PostgresHouse

pytestmark = pytest.mark.real

LATER = datetime(2026, 11, 22, tzinfo=UTC)


class NoBus:
    """There is nothing on the topics."""

    async def trim(self, *_: Any) -> int:
        return 0

    async def left(self, *_: Any) -> int:
        return 0


class Lying(RunHoldings):
    """Says that it deleted, and keeps what it has."""

    async def remove(self, *_: Any, **__: Any) -> Mapping[str, int]:
        return {ANSWERS: 1}


class House(PostgresHouse):
    """With its part in erasures."""

    part = RunHoldings

    def eraser(self) -> Eraser:
        holdings = LogHoldings(self.database, NoBus(), (self.part(),))  # type: ignore[arg-type]
        return Eraser("feedback", self.ledger, self.vault, holdings, lambda: LATER)

    async def erase(self, **what: Any) -> dict[str, int]:
        scope = ErasureScope(tenant=self.tenant, **what)
        request = ErasureRequested(erasure_id=str(uuid4()), scope=scope, round=1)
        request.requested_at.FromDatetime(LATER - timedelta(hours=1))
        self.request = request
        arrived = delivered(request, topics.ERASURE_REQUESTED, service="feedback", event_id=uuid4())
        await self.eraser().apply(topics.ERASURE_APPLIED, arrived)
        return self._ours(ErasureApplied.FromString(await self._told("erasure.applied")))

    async def verify(self) -> dict[str, int]:
        verifying = ErasureVerifying(erasure_id=self.request.erasure_id, scope=self.request.scope, round=1)
        verifying.requested_at.CopyFrom(self.request.requested_at)
        arrived = delivered(verifying, topics.ERASURE_VERIFYING, service="feedback", event_id=uuid4())
        await self.eraser().verify(topics.ERASURE_VERIFIED, arrived)
        return self._ours(ErasureVerified.FromString(await self._told("erasure.verified")))

    async def _told(self, topic: str) -> bytes:
        async with self.database.transaction() as connection:
            value: bytes = await connection.fetchval(
                "DELETE FROM outbox WHERE topic = $1 AND headers->>'ce_tenant' = $2 RETURNING value", topic, self.tenant
            )
        return value

    @staticmethod
    def _ours(message: ErasureApplied | ErasureVerified) -> dict[str, int]:
        ours = {CASES, ASKS, ANSWERS, DOCUMENTS}
        return {store.store: store.records for store in message.stores if store.store in ours and store.records}


@pytest.fixture
def house(opened: Database, tenant: str) -> House:
    return House(tenant, opened)


ASKED_AT = "2026-11-21T09:00:00Z"


def by(subject: str) -> dict[str, Any]:
    return {"query": {"subject": subject, "acceptedAt": ASKED_AT}}


async def test_a_subject_goes_from_cases_and_answers_and_what_is_under_way_is_not_stored(house: House) -> None:
    await house.logged(by("ann"), by("ann"), by("bob"))
    run = await house.plan(SHORTER, LONGER)
    conductor = house.conductor()
    turn = await conductor.take()
    assert turn
    await conductor.step(turn, Window())
    events = await house.new_events()
    of_ann = [event for event in events if event.message.query.subject == "ann"]
    await house.answered(of_ann[0])
    assert await house.erase(subject="ann") == {CASES: 2, ASKS: 4, ANSWERS: 1}
    assert await house.verify() == {}
    with pytest.raises(Erased):
        await house.answered(of_ann[1])
    for event in events:
        if event not in of_ann:
            await house.answered(event)
    assert not await conductor.step(turn, Window())
    ended = await house.run(run)
    assert (ended.state, ended.progress.answered, ended.progress.failed) == (State.DONE, 2, 4)
    assert {row["subject"] for row in await house.rows("trial_answers")} == {"bob"}
    assert {row["subject"] for row in await house.rows("run_cases")} == {"bob"}


async def test_of_a_document_go_the_answers_made_of_it_and_what_is_known_of_it(house: House) -> None:
    other = {"chunkId": "w", "version": "1", "source": "handbook", "documentId": "weirs", "tier": "TIER_1"}
    await house.logged(by("ann"), {**by("bob"), "retrieved": [other], "citations": []})
    run = await house.plan(SHORTER)
    conductor = house.conductor()
    turn = await conductor.take()
    assert turn
    await conductor.step(turn, Window())
    for event in await house.new_events():
        changes: dict[str, Any] = (
            {} if event.message.query.subject == "ann" else {"retrieved": [other], "citations": []}
        )
        await house.answered(event, **changes)
    await noted(house, "mills")
    await noted(house, "weirs")
    assert await house.erase(document=ErasedDocument(source="handbook", document_id="mills")) == {
        CASES: 1, ASKS: 1, ANSWERS: 1, DOCUMENTS: 1,
    }  # fmt: skip
    assert await house.verify() == {}
    assert [row["subject"] for row in await house.rows("trial_answers")] == ["bob"]
    assert [row["document_id"] for row in await house.rows("documents")] == ["weirs"]
    with pytest.raises(Erased):
        await noted(house, "mills")
    assert (await house.run(run)).progress.answered == 1


async def noted(house: House, document_id: str) -> None:
    document = Document(tenant=house.tenant, source="handbook", document_id=document_id, version=3)
    document.accepted_at.FromDatetime(LATER - timedelta(days=1))
    message = DocumentIndexed(document=document, tier=2, chunks=1)
    await house.consumers.on_document(delivery(message, topics.DOCUMENT_INDEXED))


async def test_an_answer_that_read_an_erased_document_only_now_goes_too(house: House) -> None:
    """The trial read another document than the original: what was answered of it goes, the case stays."""
    await house.logged(by("ann"))
    run = await house.plan(SHORTER)
    conductor = house.conductor()
    turn = await conductor.take()
    assert turn
    await conductor.step(turn, Window())
    (event,) = await house.new_events()
    new = {"chunkId": "n", "version": "1", "source": "letters", "documentId": "n", "tier": "TIER_1"}
    await house.answered(event, retrieved=[new])
    assert await house.erase(source="letters") == {ASKS: 1, ANSWERS: 1}
    assert await house.verify() == {}
    assert len(await house.rows("run_cases")) == 1
    assert (await house.run(run)).progress.failed == 1


async def test_retention_counts_from_when_the_original_was_asked(house: House) -> None:
    await house.logged(by("ann"))
    await house.finish(await house.plan(SHORTER))
    before = Expired(tier=2)  # type: ignore[arg-type]
    before.before.FromDatetime(datetime(2026, 11, 21, 10, tzinfo=UTC))
    assert await house.erase(expired=before) == {CASES: 1, ASKS: 1, ANSWERS: 1}
    assert await house.verify() == {}


async def test_shadows_go_with_their_query(house: House) -> None:
    (query_id,) = await house.logged(by("ann"))
    shadow = answer(house.tenant, uuid4())
    shadow.query.subject = ""
    shadow.query.trial.CopyFrom(
        Trial(run_id="shadow:*", case_id=query_id, kind=TrialKind.TRIAL_KIND_SHADOW, variant="v", variant_version="1")
    )
    await house.consumers.on_trial(delivery(shadow, topics.ANSWER_TRIALED))
    assert len(await house.rows("trial_answers")) == 1
    assert await house.erase(subject="ann") == {ANSWERS: 1}
    with pytest.raises(Erased):
        await house.consumers.on_trial(delivery(shadow, topics.ANSWER_TRIALED))


async def test_a_run_that_is_planned_after_an_erasure_does_not_find_them(house: House) -> None:
    await house.logged(by("ann"), by("bob"))
    await house.erase(subject="ann")
    assert (await house.plan(SHORTER)).cases == 1


async def test_a_part_that_keeps_what_it_claims_to_delete_is_found_out(house: House) -> None:
    house.part = Lying
    await house.logged(by("ann"))
    await house.finish(await house.plan(SHORTER))
    assert await house.erase(subject="ann") == {ANSWERS: 1}
    assert await house.verify() == {CASES: 1, ANSWERS: 1}


async def test_no_word_of_a_strict_question_rests_in_the_clear(house: House) -> None:
    ids = await house.logged(by("ann"), sealed=True)
    await house.finish(await house.plan(SHORTER))
    rows = [str(dict(row)) for table in ("run_cases", "run_asks", "runs") for row in await house.rows(table)]
    assert ids[0] in "".join(rows)
    assert not any("headrace?" in row or b"headrace?".hex() in row for row in rows)
