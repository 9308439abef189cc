"""What an erasure takes of the log, what it leaves, and what it keeps out, on a real Postgres."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from headrace_database import Connection, Database
from headrace_feedback.adapters.postgres import PostgresLog
from headrace_feedback.erasing import INTERACTIONS, JUDGEMENTS, LINEAGE, SUBMITTED, LogHoldings, Tombstones
from headrace_feedback.handlers import log_interaction, record_feedback
from headrace_privacy import Erased, Tier, Vault
from headrace_privacy.memory import MemoryKeyring
from headrace_stream.erasing import Document, Erasure, Expired, Kind, Source, Subject, What, bury, names_of

from services.feedback.tests.makers import NOW, OpenKeeper, a_feedback, an_interaction, answer

pytestmark = pytest.mark.real

LATER = NOW + timedelta(days=1)
VAULT = Vault(MemoryKeyring(), clock=lambda: 0.0)


class Topic:
    """A topic that forgets what it is told to, and counts."""

    def __init__(self) -> None:
        self.trimmed = 0

    async def trim(self, topic: Any, *groups: str) -> int:
        self.trimmed += 1
        return 7

    async def left(self, topic: Any, is_meant: Callable[[Any, int], bool]) -> int:
        return 0


@dataclass
class Books:
    """One tenant's log, and what erases it."""

    database: Database
    tenant: str

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Connection]:
        async with self.database.transaction(tenant=self.tenant) as connection:
            yield connection

    async def log(self, **changes: Any) -> UUID:
        """An answer is logged."""
        interaction = an_interaction(self.tenant, **changes)
        async with self.open() as connection:
            await log_interaction(interaction, PostgresLog(connection), keeper=OpenKeeper(), now=NOW)
        return UUID(str(interaction.query_id))

    async def judge(self, query_id: UUID, after: float = 0.0, **changes: Any) -> None:
        """Somebody judges it."""
        feedback = a_feedback(self.tenant, after, queryId=str(query_id), **changes)
        async with self.open() as connection:
            await record_feedback(feedback, PostgresLog(connection), keeper=OpenKeeper())

    async def erase(self, what: What) -> dict[str, int]:
        """One round, as the stream's own part of an erasure does it; what was removed."""
        erasure, holdings = self._erasure(what), LogHoldings(self.database, cast(Any, Topic()))
        names = await names_of(VAULT, self.tenant)
        async with self.open() as connection:
            removed = dict(await holdings.remove(connection, erasure, names))
        removed |= await holdings.clear(erasure)
        async with self.open() as connection:
            left = dict(await holdings.left(connection, erasure, names))
        left |= await holdings.left_elsewhere(erasure)
        assert not any(left.values())
        assert set(removed) | set(left) <= set(holdings.how)
        return removed

    async def left_before(self, what: What) -> dict[str, int]:
        """What reading back counts while nothing is erased."""
        holdings = LogHoldings(self.database, cast(Any, Topic()))
        async with self.open() as connection:
            return dict(await holdings.left(connection, self._erasure(what), await names_of(VAULT, self.tenant)))

    async def counted(self) -> tuple[int, int, int]:
        """How many interactions, uses of chunks and judgements there are."""
        async with self.open() as connection:
            counts = [
                await connection.fetchval(f"SELECT count(*) FROM {table} WHERE tenant = $1", self.tenant)
                for table in ("interactions", "interaction_chunks", "feedback")
            ]
        return counts[0], counts[1], counts[2]

    def _erasure(self, what: What) -> Erasure:
        return Erasure(uuid4(), self.tenant, what, 1, LATER, LATER)


@pytest.fixture
def books(opened: Database, tenant: str) -> Books:
    return Books(opened, tenant)


def asked_by(subject: str, tenant: str, accepted_at: str = "2026-11-21T09:00:00Z") -> dict[str, Any]:
    """The changes of an answer that somebody else asked for, or at another time."""
    return {"query": {"queryId": str(uuid4()), "tenant": tenant, "subject": subject, "acceptedAt": accepted_at}}


async def test_a_subjects_questions_go_with_everybodys_words_on_them(books: Books) -> None:
    mine, others = await books.log(), await books.log(**asked_by("user-8", books.tenant))
    await books.judge(mine, rating=1, subject="user-8")
    await books.judge(others, comment="x", subject="user-7")
    await books.judge(others, rating=2, subject="user-8")
    assert await books.left_before(Subject("user-7")) == {INTERACTIONS: 1, JUDGEMENTS: 1}
    assert await books.erase(Subject("user-7")) == {INTERACTIONS: 1, LINEAGE: 2, JUDGEMENTS: 2, SUBMITTED: 7}
    assert await books.counted() == (1, 2, 1)
    assert await books.erase(Subject("user-7")) == {INTERACTIONS: 0, LINEAGE: 0, JUDGEMENTS: 0, SUBMITTED: 7}


async def test_what_was_asked_after_the_request_stays(books: Books) -> None:
    await books.log(**asked_by("user-7", books.tenant, "2026-11-23T09:00:00Z"))
    assert (await books.erase(Subject("user-7")))[INTERACTIONS] == 0


async def test_another_tenants_log_is_not_touched(books: Books, opened: Database) -> None:
    other = Books(opened, f"{books.tenant}-x")
    await other.log()
    await books.erase(Subject("user-7"))
    await books.erase(Source("handbook"))
    assert await other.counted() == (1, 2, 0)


@pytest.mark.parametrize(
    ("what", "gone"),
    [
        (Source("handbook"), 2),
        (Source("wiki"), 0),
        (Document("handbook", "rivers"), 1),
        (Document("wiki", "rivers"), 0),
    ],
)
async def test_answers_that_had_a_document_before_the_model_go_with_it(books: Books, what: What, gone: int) -> None:
    await books.log()
    chunk = {"chunkId": "c", "version": "1", "source": "handbook", "documentId": "lakes", "tier": "TIER_1"}
    await books.log(citations=[], retrieved=[chunk])
    await books.log(citations=[], retrieved=[])
    assert (await books.erase(what))[INTERACTIONS] == gone
    assert (await books.counted())[0] == 3 - gone


async def test_what_has_expired_goes_by_its_own_tier(books: Books) -> None:
    public = await books.log(tier="TIER_PUBLIC")
    await books.log(tier="TIER_2")
    await books.judge(public, comment="strict", words_tier=Tier.TIER_2)
    await books.judge(public, comment="open")
    before = NOW + timedelta(seconds=1)
    removed = await books.erase(Expired(Tier.TIER_2, before))
    assert (removed[INTERACTIONS], removed[JUDGEMENTS]) == (1, 1)
    assert await books.counted() == (1, 2, 1)
    assert (await books.erase(Expired(Tier.PUBLIC, NOW - timedelta(days=1))))[INTERACTIONS] == 0


# What comes late


async def kept_out(books: Books, names: list[tuple[Kind, bytes]], until: datetime, step: Callable[..., Any]) -> bool:
    """Buries these, and says whether a late step then ends as erased."""
    async with books.open() as connection:
        await bury(connection, books.tenant, names, until=until)
        try:
            await step(SimpleNamespace(connection=connection))
        except Erased:
            return True
    return False


@pytest.mark.parametrize(("asked", "expected"), [("2026-11-21T09:00:00Z", True), ("2026-11-23T09:00:00Z", False)])
async def test_a_late_answer_to_somebody_who_was_erased_is_kept_out(books: Books, asked: str, expected: bool) -> None:
    names = await names_of(VAULT, books.tenant)
    message = answer(books.tenant, **asked_by("user-7", books.tenant, asked))
    buried = [(Kind.SUBJECT, names.subject("user-7"))]
    assert expected is await kept_out(
        books, buried, LATER, lambda unit: Tombstones(VAULT).keep_out_answer(unit, message)
    )


@pytest.mark.parametrize(("document", "expected"), [("rivers", True), ("lakes", False)])
async def test_a_late_answer_made_of_an_erased_document_is_kept_out(
    books: Books, document: str, expected: bool
) -> None:
    names = await names_of(VAULT, books.tenant)
    buried = [(Kind.DOCUMENT, names.document("handbook", document))]
    message = answer(books.tenant)
    assert expected is await kept_out(books, buried, NOW, lambda unit: Tombstones(VAULT).keep_out_answer(unit, message))


@pytest.mark.parametrize(("sent", "expected"), [(NOW, True), (LATER + timedelta(seconds=1), False)])
async def test_a_judgement_sent_before_its_judge_was_erased_is_kept_out(
    books: Books, sent: datetime, expected: bool
) -> None:
    names = await names_of(VAULT, books.tenant)
    feedback = a_feedback(books.tenant, queryId=str(uuid4()), subject="judge-1")
    buried = [(Kind.SUBJECT, names.subject("judge-1"))]
    assert expected is await kept_out(
        books, buried, LATER, lambda unit: Tombstones(VAULT).keep_out_feedback(unit, feedback, sent_at=sent)
    )


async def test_a_judgement_of_an_erased_answer_is_kept_out_whenever_it_comes(books: Books) -> None:
    query_id = await books.log()
    await books.erase(Subject("user-7"))
    feedback = a_feedback(books.tenant, queryId=str(query_id), subject="judge-1")
    with pytest.raises(Erased):
        async with books.open() as connection:
            unit = SimpleNamespace(connection=connection)
            await Tombstones(VAULT).keep_out_feedback(cast(Any, unit), feedback, sent_at=LATER + timedelta(days=9))
