"""What ingest does with queries and documents, on memory and on Postgres alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from headrace import topics
from headrace.document.v1.document_pb2 import DocumentAccepted, DocumentRefused, DocumentSubmitted
from headrace.query.v1.events_pb2 import QueryAccepted, QueryRefused
from headrace_database import Database
from headrace_ingest import handlers
from headrace_ingest.adapters.memory import MemoryStore
from headrace_ingest.adapters.parsing import open_parser
from headrace_ingest.adapters.postgres import ROWS_A_PAGE, PostgresStore
from headrace_ingest.domain import DocumentAddress, DocumentState, Outcome, QueryState, Submission
from headrace_ingest.translate import change_of
from headrace_privacy import Tier, is_sealed
from headrace_runtime.errors import Rejected, Violation
from headrace_stream import Ledger

from services.ingest.tests.makers import (
    CANARY,
    NOW,
    answer,
    arrived,
    clock,
    deletion,
    indexed,
    letter,
    open_door,
    open_vault,
    put,
    query,
    refused,
)


class Door:
    """The handlers over one store, and what they sent on."""

    def __init__(self, store: Any, parser: Any) -> None:
        self.store = store
        self.vault = open_vault()
        self.noted: list[tuple[str, str]] = []
        door = open_door(store, self.vault)
        self.accept = partial(handlers.accept_query, door=door, noted=lambda *of: self.noted.append(of))
        self.end = partial(handlers.end_query, store=store, vault=self.vault)
        self.bury = partial(handlers.bury, store=store, clock=clock)
        self.submit = partial(handlers.submit_document, door=door, parser=parser)
        self.refuse = partial(handlers.refuse_document, store=store, clock=clock)
        self.index = partial(handlers.note_indexed, store=store)

    async def sent(self, tenant: str) -> list[tuple[str, str, bytes]]:
        """Topic, key and value of what was sent on for a tenant."""
        raise NotImplementedError

    async def accepted(self, tenant: str) -> list[QueryAccepted]:
        sent = await self.sent(tenant)
        return [QueryAccepted.FromString(value) for topic, _, value in sent if topic == "query.accepted"]

    async def documents(self, tenant: str) -> list[DocumentAccepted]:
        sent = await self.sent(tenant)
        return [DocumentAccepted.FromString(value) for topic, _, value in sent if topic == "document.accepted"]

    async def submitted(self, message: DocumentSubmitted) -> Submission:
        await self.submit(arrived(message))
        found = await self.store.submission(message.tenant, UUID(message.submission_id))
        assert found is not None
        return found


class MemoryDoor(Door):
    async def sent(self, tenant: str) -> list[tuple[str, str, bytes]]:
        events = [event for event in self.store.ledger.published if event.tenant == tenant]
        return [(event.topic.name, event.key, event.message.SerializeToString()) for event in events]


class PostgresDoor(Door):
    def __init__(self, database: Database, parser: Any) -> None:
        super().__init__(PostgresStore(database, Ledger(database)), parser)
        self._database = database

    async def sent(self, tenant: str) -> list[tuple[str, str, bytes]]:
        async with self._database.transaction() as connection:
            rows = await connection.fetch(
                "SELECT topic, key, value FROM outbox WHERE headers->>'ce_tenant' = $1 ORDER BY id", tenant
            )
        return [(row["topic"], row["key"], row["value"]) for row in rows]


def address(tenant: str, document_id: str = "a.md") -> DocumentAddress:
    return DocumentAddress(tenant, "handbook", document_id)


class StoreSuite:
    """Every test here holds for every store."""

    async def raw(self, door: Door, event: QueryAccepted | DocumentAccepted) -> str:
        """What was submitted, which travels sealed alone."""
        assert (is_sealed(event.raw), event.raw.characters > 0) == (True, True)
        return (await door.vault.opener_for(event)).reveal(event.raw, Tier.TIER_2).reveal()

    async def test_a_query_is_accepted_and_sent_on(self, door: Door, tenant: str) -> None:
        asked = query(tenant, declared_tier=2, sources=["handbook"], subject="user-1")
        delivery = arrived(asked)
        assert await door.accept(delivery) == ()
        (event,) = await door.accepted(tenant)
        assert (await self.raw(door, event), event.declared_tier) == (asked.text, 2)
        assert event.query.max_document_tier == Tier.TIER_2
        assert (event.query.query_id, event.query.subject) == (asked.query_id, "user-1")
        assert list(event.query.sources) == ["handbook"]
        assert event.query.accepted_at.ToDatetime() == NOW.replace(tzinfo=None)
        assert [hop.service for hop in event.query.hops] == ["ingest"]
        assert [(topic, key) for topic, key, _ in await door.sent(tenant)] == [("query.accepted", asked.query_id)]
        record = await door.store.query(tenant, UUID(asked.query_id))
        assert (record.state, record.answer) == (QueryState.OPEN, None)
        assert door.noted == [(tenant, asked.query_id)]

    async def test_one_id_is_one_query(self, door: Door, tenant: str) -> None:
        """Whether the same event comes again, or the product sends the id in an event of its own, or in capitals."""
        asked = query(tenant)
        delivery = arrived(asked)
        for again in (delivery, delivery, arrived(asked), arrived(query(tenant, asked.query_id.upper(), text="Else"))):
            await door.accept(again)
        assert len(await door.accepted(tenant)) == 1
        assert len(door.noted) == 1

    async def test_another_tenants_query_of_the_same_id_is_its_own(self, door: Door, tenant: str) -> None:
        query_id, other = str(uuid4()), f"{tenant}-b"
        for owner in (tenant, other):
            await door.accept(arrived(query(owner, query_id)))
        assert [len(await door.accepted(owner)) for owner in (tenant, other)] == [1, 1]
        await door.end(arrived(answer(tenant, query_id)))
        states = [(await door.store.query(owner, UUID(query_id))).state for owner in (tenant, other)]
        assert states == [QueryState.ANSWERED, QueryState.OPEN]
        assert await door.store.query(f"{tenant}-c", UUID(query_id)) is None

    async def test_what_is_wrong_is_rejected_and_leaves_nothing(self, door: Door, tenant: str) -> None:
        asked = query(tenant, text="")
        with pytest.raises(Rejected):
            await door.accept(arrived(asked))
        assert await door.store.query(tenant, UUID(asked.query_id)) is None
        assert await door.sent(tenant) == []

    async def test_the_first_answer_stands(self, door: Door, tenant: str) -> None:
        asked, first, second = query(tenant), uuid4(), uuid4()
        await door.accept(arrived(asked))
        for event_id, text in ((first, "One."), (first, "One."), (second, "Two.")):
            await door.end(arrived(answer(tenant, asked.query_id, text), event_id=event_id))
        record = await door.store.query(tenant, UUID(asked.query_id))
        assert (record.state, record.answer_event_id) == (QueryState.ANSWERED, first)
        assert b"One." in record.answer

    async def test_a_query_that_was_given_up_on_may_still_be_answered(self, door: Door, tenant: str) -> None:
        asked = query(tenant)
        await door.accept(arrived(asked))
        await door.bury(arrived(letter("query.embedded", asked.query_id, tenant)))
        buried = await door.store.query(tenant, UUID(asked.query_id))
        assert (buried.state, buried.answer_event_id) == (QueryState.DEAD_LETTERED, None)
        await door.end(arrived(answer(tenant, asked.query_id)))
        await door.bury(arrived(letter("query.retrieved", asked.query_id, tenant)))
        assert (await door.store.query(tenant, UUID(asked.query_id))).state == QueryState.ANSWERED

    async def test_what_was_erased_on_its_way_ends_as_erased(self, door: Door, tenant: str) -> None:
        asked = query(tenant)
        await door.accept(arrived(asked))
        await door.submitted(put(tenant))
        await door.bury(arrived(letter("query.classified", asked.query_id, tenant, error="Erased")))
        await door.bury(arrived(letter("document.classified", address(tenant).key, tenant, error="Erased")))
        await door.end(arrived(answer(tenant, asked.query_id)))  # made of it a moment before
        record = await door.store.query(tenant, UUID(asked.query_id))
        assert (record.state, record.answer) == (QueryState.ERASED, None)
        assert (await door.store.document(address(tenant))).state == DocumentState.DELETED

    async def test_nothing_is_sent_on_or_kept_in_the_clear(self, door: Door, tenant: str) -> None:
        """The outbox too: what is written there lies in the database's files for as long as those do."""
        await door.accept(arrived(query(tenant, text=CANARY, declared_tier=1)))
        await door.submitted(put(tenant, data=CANARY.encode(), title=CANARY, uri=CANARY, declared_tier=1))
        for _, key, value in await door.sent(tenant):
            assert CANARY.encode() not in value
            assert CANARY not in key
        record = await door.store.document(address(tenant))
        assert CANARY not in repr(record)

    async def test_nobody_is_answered_from_more_than_products_may_see(self, door: Door, tenant: str) -> None:
        clearance = handlers.Door(door.store, door.vault, Tier.TIER_1, clock)
        for asked in (0, 1, 3):
            await handlers.accept_query(
                arrived(query(tenant, max_document_tier=asked)), door=clearance, noted=lambda *_: None
            )
        assert [event.query.max_document_tier for event in await door.accepted(tenant)] == [2, 1, 2]

    async def test_a_dead_letter_of_nobody_changes_nothing(self, door: Door, tenant: str) -> None:
        a_trial = str(uuid4())  # of a run, which ingest never took in
        for topic, key in (
            ("query.embedded", "no-uuid"),
            ("query.embedded", ""),
            ("document.embedded", "x"),
            ("query.retrieved", a_trial),
        ):
            await door.bury(arrived(letter(topic, key, tenant)))
        assert [batch async for batch in door.store.queries(tenant)] == []

    async def test_an_answer_without_an_id_is_rejected(self, door: Door, tenant: str) -> None:
        with pytest.raises(Rejected):
            await door.end(arrived(answer(tenant, "no-uuid")))

    async def test_every_query_is_tallied(self, door: Door, tenant: str) -> None:
        asked = [query(tenant) for _ in range(3)]
        for one in asked:
            await door.accept(arrived(one))
        event_id = uuid4()
        await door.end(arrived(answer(tenant, asked[0].query_id), event_id=event_id))
        tallied = [record async for batch in door.store.queries(tenant) for record in batch]
        assert {str(record.query_id) for record in tallied} == {one.query_id for one in asked}
        assert [record.answer_event_id for record in tallied if record.answer_event_id] == [event_id]

    async def test_a_document_is_read_and_sent_on(self, door: Door, tenant: str) -> None:
        message = put(tenant, data=b"\xef\xbb\xbf# The Heading\n\nText.", declared_tier=1, uri="https://x")
        submission = await door.submitted(message)
        assert (submission.version, submission.outcome, submission.tier) == (1, Outcome.SUBMITTED, None)
        (event,) = await door.documents(tenant)
        labels = (await door.vault.opener_for(event)).open_labels(event.document)
        assert (event.document.version, labels.title, labels.uri) == (1, "The Heading", "https://x")
        assert (await self.raw(door, event), event.declared_tier) == ("# The Heading\n\nText.", 1)
        assert event.submission_id == message.submission_id

    async def test_unchanged_content_does_nothing(self, door: Door, tenant: str) -> None:
        first, again = put(tenant), put(tenant)
        await door.submitted(first)
        await door.index(arrived(indexed(tenant, 1)))
        submission = await door.submitted(again)
        assert (submission.version, submission.outcome, submission.chunks) == (1, Outcome.UNCHANGED, 3)
        assert len(await door.documents(tenant)) == 1

    async def test_unchanged_content_that_is_not_indexed_yet_is_waited_for(self, door: Door, tenant: str) -> None:
        await door.submitted(put(tenant))
        again = put(tenant)
        assert (await door.submitted(again)).outcome == Outcome.SUBMITTED
        await door.index(arrived(indexed(tenant, 1)))
        settled = await door.store.submission(tenant, UUID(again.submission_id))
        assert (settled.version, settled.outcome) == (1, Outcome.INDEXED)
        assert len(await door.documents(tenant)) == 1

    @pytest.mark.parametrize(
        "change", [{"data": b"new"}, {"title": "T"}, {"uri": "u"}, {"declared_tier": 3}, {"media_type": "text/plain"}]
    )
    async def test_each_change_makes_the_next_version(self, door: Door, tenant: str, change: dict[str, Any]) -> None:
        await door.submitted(put(tenant))
        await door.index(arrived(indexed(tenant, 1)))
        assert (await door.submitted(put(tenant, **change))).version == 2
        assert [event.document.version for event in await door.documents(tenant)] == [1, 2]

    async def test_the_same_submission_twice_takes_effect_once(self, door: Door, tenant: str) -> None:
        delivery = arrived(put(tenant))
        for _ in range(2):
            await door.submit(delivery)
        assert len(await door.documents(tenant)) == 1

    async def test_a_document_goes_and_comes_back(self, door: Door, tenant: str) -> None:
        await door.submitted(put(tenant))
        await door.index(arrived(indexed(tenant, 1)))
        gone = deletion(tenant)
        assert (await door.submitted(gone)).version == 2
        assert (await door.store.document(address(tenant))).state == DocumentState.DELETING
        assert await door.store.documents(tenant, "handbook", after="", limit=9) == []
        await door.index(arrived(indexed(tenant, 2, chunks=0)))
        settled = await door.store.submission(tenant, UUID(gone.submission_id))
        assert (settled.outcome, settled.chunks) == (Outcome.DELETED, 0)
        assert (await door.submitted(deletion(tenant))).outcome == Outcome.UNCHANGED
        assert (await door.submitted(put(tenant))).version == 3
        changes = [event.WhichOneof("change") for event in await door.documents(tenant)]
        assert changes == [None, "deletion", None]
        assert [event.HasField("raw") for event in await door.documents(tenant)] == [True, False, True]

    async def test_deleting_what_never_was_does_nothing(self, door: Door, tenant: str) -> None:
        submission = await door.submitted(deletion(tenant))
        assert (submission.version, submission.outcome) == (0, Outcome.UNCHANGED)
        assert await door.documents(tenant) == []
        assert await door.store.sources(tenant) == []

    async def test_an_older_version_that_is_indexed_late_changes_nothing(self, door: Door, tenant: str) -> None:
        first = put(tenant)
        await door.submitted(first)
        await door.submitted(put(tenant, data=b"new"))
        await door.index(arrived(indexed(tenant, 1)))
        record = await door.store.document(address(tenant))
        assert (record.version, record.state, record.tier) == (2, DocumentState.ACCEPTED, None)
        superseded = await door.store.submission(tenant, UUID(first.submission_id))
        assert superseded.outcome == Outcome.INDEXED, "nobody waits for a change that a later one replaced"

    async def test_a_sources_tier_rises_and_never_falls(self, door: Door, tenant: str) -> None:
        told = []
        for number, tier in enumerate((1, 2, 0, 1)):
            await door.submitted(put(tenant, f"{number}.md", declared_tier=tier))
            (source,) = await door.store.sources(tenant)
            told.append(source.tier)
        assert told == [Tier.PUBLIC, Tier.TIER_1, Tier.TIER_1, Tier.TIER_1]
        assert [event.declared_tier for event in await door.documents(tenant)] == [1, 2, 2, 2]

    async def test_a_source_of_which_nobody_said_anything_is_tier_2(self, door: Door, tenant: str) -> None:
        await door.submitted(put(tenant))
        assert [event.declared_tier for event in await door.documents(tenant)] == [3]
        assert [source.tier for source in await door.store.sources(tenant)] == [Tier.TIER_2]

    async def test_sources_and_documents_are_listed(self, door: Door, tenant: str) -> None:
        for name in ("a", "b", "c"):
            await door.submitted(put(tenant, name))
            await door.index(arrived(indexed(tenant, 1, document_id=name, chunks=2)))
        await door.submitted(deletion(tenant, "b"))
        (source,) = await door.store.sources(tenant)
        assert (source.name, source.documents, source.chunks) == ("handbook", 2, 4)
        page = await door.store.documents(tenant, "handbook", after="", limit=1)
        assert [record.address.document_id for record in page] == ["a"]
        rest = await door.store.documents(tenant, "handbook", after="a", limit=5)
        assert [record.address.document_id for record in rest] == ["c"]
        assert await door.store.sources(f"{tenant}-b") == []

    async def test_a_document_that_was_given_up_on_can_be_put_again(self, door: Door, tenant: str) -> None:
        message = put(tenant)
        await door.submitted(message)
        await door.bury(arrived(letter("document.embedded", address(tenant).key, tenant)))
        assert (await door.store.document(address(tenant))).state == DocumentState.DEAD_LETTERED
        waiting = await door.store.submission(tenant, UUID(message.submission_id))
        assert waiting.outcome == Outcome.SUBMITTED
        assert (await door.submitted(put(tenant))).version == 2

    async def test_a_document_id_may_hold_slashes(self, door: Door, tenant: str) -> None:
        await door.submitted(put(tenant, "guide/part one/a.md"))
        key = address(tenant, "guide/part one/a.md").key
        await door.bury(arrived(letter("document.classified", key, tenant)))
        record = await door.store.document(address(tenant, "guide/part one/a.md"))
        assert record.state == DocumentState.DEAD_LETTERED

    async def test_a_refusal_is_remembered_for_the_client_that_waits(self, door: Door, tenant: str) -> None:
        message = put(tenant, media_type="image/png")
        violation = Violation("content.media_type", "unsupported", "This kind of file cannot be read.")
        (event,) = await door.refuse(refused(message, violation))
        assert (event.topic, event.message.document_id) == (topics.DOCUMENT_REFUSED, "a.md")
        kept = await door.store.submission(tenant, UUID(message.submission_id))
        assert kept.outcome == Outcome.REFUSED
        assert DocumentRefused.FromString(kept.violations).violations[0].reason == "unsupported"

    @pytest.mark.parametrize(
        "wrong",
        [
            {"document_id": "a\x00b"},
            {"tenant": CANARY + "\x00"},
            {"source": CANARY * 3},
            {"submission_id": CANARY},
            {"document_id": CANARY * 200},
            {"title": CANARY, "uri": CANARY},
        ],
    )
    async def test_a_refusal_holds_no_value_and_can_be_stored(
        self, door: Door, tenant: str, wrong: dict[str, str]
    ) -> None:
        message = put(tenant, data=CANARY.encode())
        for name, value in wrong.items():
            setattr(message, name, value)
        (event,) = await door.refuse(refused(message, Violation("title", "too_long", "Too long.")))
        assert CANARY.encode() not in event.message.SerializeToString()

    async def test_a_document_without_a_change_is_rejected(self, door: Door, tenant: str) -> None:
        message = put(tenant)
        message.ClearField("content")
        with pytest.raises(Rejected, match="content: missing"):
            await door.submit(arrived(message))


class TestMemory(StoreSuite):
    @pytest_asyncio.fixture
    async def door(self) -> AsyncIterator[Door]:
        async with open_parser(seconds=20) as parser:
            yield MemoryDoor(MemoryStore(), parser)

    async def test_a_refused_query_says_what_is_wrong_and_nothing_else(self, tenant: str) -> None:
        asked = query(tenant, "no-uuid " + CANARY, text=CANARY, product=CANARY + "?", subject=CANARY)
        violation = Violation("query_id", "not_a_uuid", "The id must be a UUID.")
        (event,) = await handlers.refuse_query(refused(asked, violation), clock=clock)
        message: QueryRefused = event.message
        assert (event.topic, event.key, event.tenant) == (topics.QUERY_REFUSED, "the-key", tenant)
        assert (message.query_id, message.tenant, message.product) == ("", tenant, "")
        assert [(v.field, v.reason) for v in message.violations] == [("query_id", "not_a_uuid")]
        assert CANARY.encode() not in message.SerializeToString()


@pytest.mark.real
class TestPostgres(StoreSuite):
    @pytest_asyncio.fixture
    async def door(self, opened: Database) -> AsyncIterator[Door]:
        async with open_parser(seconds=20) as parser:
            yield PostgresDoor(opened, parser)

    async def test_a_tally_reads_page_by_page(self, opened: Database, tenant: str) -> None:
        async with opened.transaction(tenant=tenant) as connection:
            await connection.execute("INSERT INTO tenants (tenant) VALUES ($1)", tenant)
            await connection.execute(
                "INSERT INTO queries (tenant, query_id, product, state, accepted_at, trace_id)"
                " SELECT $1, gen_random_uuid(), 'shop', 1, now(), '' FROM generate_series(1, $2::int)",
                tenant,
                ROWS_A_PAGE + 1,
            )
        store = PostgresStore(opened, Ledger(opened))
        assert [len(batch) async for batch in store.queries(tenant)] == [ROWS_A_PAGE, 1]
        assert len({record.query_id async for batch in store.queries("") for record in batch}) > ROWS_A_PAGE

    async def test_first_documents_that_come_at_once_agree_on_the_tier(self, door: Door, tenant: str) -> None:
        strict = put(tenant, "strict.md", declared_tier=3)
        async with door.store.unit(tenant=tenant) as first:
            assert (await first.apply(change_of(strict, labels=b"", key=b"k"), now=NOW)).tier == Tier.TIER_2
            second = asyncio.create_task(door.submit(arrived(put(tenant, "lax.md", declared_tier=1))))
            await asyncio.sleep(0.2)
        await second
        (event,) = await door.documents(tenant)
        assert (event.document.document_id, event.declared_tier) == ("lax.md", 3)

    async def test_a_version_that_no_column_can_hold_is_a_bug_and_not_a_server_that_is_down(
        self, door: Door, tenant: str
    ) -> None:
        with pytest.raises(Exception, match="int64") as caught:
            await door.index(arrived(indexed(tenant, 2**63)))
        assert type(caught.value).__name__ == "DataError"

    async def test_no_text_of_a_query_rests_once_it_is_sent_on(self, opened: Database, tenant: str) -> None:
        door = PostgresDoor(opened, None)
        await door.accept(arrived(query(tenant, text=CANARY)))
        await door.submit(arrived(deletion(tenant)))
        async with opened.transaction(tenant=tenant) as connection:
            for table in ("queries", "sources", "documents", "submissions", "inbox"):
                rows = await connection.fetch(f"SELECT t::text FROM {table} t")
                assert CANARY not in str(rows)
