"""What the log does, on memory and on Postgres alike."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from headrace.feedback.v1.feedback_pb2 import FeedbackSubmitted
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace_database import Database
from headrace_feedback.adapters.memory import MemoryLog
from headrace_feedback.adapters.postgres import TALLY_BATCH, PostgresLog, PostgresReader
from headrace_feedback.feedback import Feedback, Reference
from headrace_feedback.handlers import Recording, locate, log_interaction, record_feedback
from headrace_feedback.interaction import Interaction, Judgement, Logged, Outline
from headrace_feedback.ports import Reader
from headrace_feedback.uses import Span
from headrace_privacy import Tier
from headrace_runtime.errors import Conflict, NotFound

from services.feedback.tests.makers import NOW, TRACE, OpenKeeper, a_feedback, an_interaction

KEEPER = OpenKeeper()
ALWAYS = Span()
CHUNK = {"version": "1", "documentId": "d", "tier": "TIER_PUBLIC"}


async def log(reader: Reader, interaction: Interaction) -> list[Feedback]:
    async with reader.open(interaction.tenant) as opened:
        return await log_interaction(interaction, opened, keeper=KEEPER, now=NOW)


async def record(reader: Reader, feedback: Feedback) -> Recording:
    async with reader.open(feedback.about.tenant) as opened:
        return await record_feedback(feedback, opened, keeper=KEEPER)


async def read(reader: Reader, about: Reference, clearance: Tier = Tier.TIER_2) -> tuple[Logged, Sequence[Judgement]]:
    async with reader.open(about.tenant, clearance=clearance) as opened:
        found = await locate(about, opened)
        logged = await opened.read(about.tenant, found.query_id) if found else None
        if found is None or logged is None:
            raise NotFound("interaction", "")
        return logged, await opened.feedback_of(about.tenant, found.query_id)


async def judgements(reader: Reader, about: Reference) -> list[FeedbackSubmitted]:
    return [FeedbackSubmitted.FromString(one.record) for one in (await read(reader, about))[1]]


async def outlines(reader: Reader, tenant: str, span: Span = ALWAYS, *, most: int = 100) -> list[Outline]:
    """All of them, page by page."""
    found: list[Outline] = []
    while True:
        async with reader.open(tenant) as opened:
            page = await opened.outlines(tenant, span, after=found[-1] if found else None, most=most)
        found += page
        if len(page) < most:
            return found


async def tallied(reader: Reader, tenant: str) -> list[UUID]:
    return [one.query_id async for batch in reader.tally(tenant) for one in batch]


class CarelessLog(PostgresLog):
    """A log with a seeded bug: it holds nothing."""

    async def hold(self, about: Reference, *, feedback_id: UUID | None = None) -> None:
        pass


class LogSuite:
    """Every test here holds for every log."""

    async def test_an_interaction_is_stored_whole(self, reader: Reader, tenant: str) -> None:
        interaction = an_interaction(tenant)
        await log(reader, interaction)
        for about in (Reference(tenant, interaction.query_id, ""), Reference(tenant, None, TRACE)):
            logged, feedback = await read(reader, about)
            assert (logged.record, logged.stored_at) == (interaction.record, NOW)
            assert list(feedback) == []

    async def test_the_first_answer_of_a_query_stands(self, reader: Reader, tenant: str) -> None:
        first = an_interaction(tenant, model={"name": "first"})
        await log(reader, first)
        await log(reader, an_interaction(tenant, first.query_id, model={"name": "second"}))
        stored, _ = await read(reader, Reference(tenant, first.query_id, ""))
        assert AnswerCompleted.FromString(stored.record).model.name == "first"
        assert await tallied(reader, tenant) == [first.query_id]

    @pytest.mark.parametrize("by", ["query", "trace"])
    async def test_feedback_finds_its_interaction(self, reader: Reader, tenant: str, by: str) -> None:
        interaction = an_interaction(tenant)
        await log(reader, interaction)
        about: dict[str, Any] = {"queryId": str(interaction.query_id)} if by == "query" else {"traceId": TRACE}
        recording = await record(reader, a_feedback(tenant, comment="good", **about))
        assert recording.is_new
        assert recording.feedback.joined_at == NOW
        assert recording.feedback.tier == Tier.TIER_1
        assert recording.feedback.about == Reference(tenant, interaction.query_id, TRACE)
        _, (judged,) = await read(reader, Reference(tenant, interaction.query_id, ""))
        assert FeedbackSubmitted.FromString(judged.record).WhichOneof("judgement") == "comment"
        assert judged.words == b"user-7: good", "in the hands of whoever asked"

    @pytest.mark.parametrize("by", ["query", "trace"])
    async def test_feedback_before_the_answer_waits_for_it(self, reader: Reader, tenant: str, by: str) -> None:
        interaction = an_interaction(tenant)
        about: dict[str, Any] = {"queryId": str(interaction.query_id)} if by == "query" else {"traceId": TRACE}
        waiting = a_feedback(tenant, rating=4, **about)
        recording = await record(reader, waiting)
        assert (recording.feedback.joined_at, recording.feedback.tier) == (None, Tier.TIER_2)
        (joined,) = await log(reader, interaction)
        assert joined.feedback_id == waiting.feedback_id
        assert (joined.joined_at, joined.tier, joined.about.query_id) == (NOW, Tier.TIER_1, interaction.query_id)
        again = await record(reader, waiting)
        assert (again.is_new, again.feedback) == (False, joined)
        assert len(await judgements(reader, Reference(tenant, None, TRACE))) == 1

    async def test_waiting_feedback_joins_once(self, reader: Reader, tenant: str) -> None:
        interaction = an_interaction(tenant)
        await record(reader, a_feedback(tenant, queryId=str(interaction.query_id)))
        assert len(await log(reader, interaction)) == 1
        assert await log(reader, interaction) == []
        assert await log(reader, an_interaction(tenant)) == [], "another query of the same trace"

    async def test_the_same_feedback_counts_once(self, reader: Reader, tenant: str) -> None:
        one = a_feedback(tenant, queryId=str(uuid4()), rating=5)
        other = a_feedback(tenant, queryId=str(one.about.query_id), rating=1, feedbackId=str(one.feedback_id))
        assert (await record(reader, one)).is_new
        again = await record(reader, other)
        assert not again.is_new
        assert again.feedback.score == 5

    async def test_the_last_of_a_kind_takes_the_place_of_the_one_before(self, reader: Reader, tenant: str) -> None:
        interaction = an_interaction(tenant)
        await log(reader, interaction)

        async def replaces(**judgement: Any) -> bool:
            return (await record(reader, a_feedback(tenant, queryId=str(interaction.query_id), **judgement))).replaces

        assert not await replaces(thumb="THUMB_UP", subject="a")
        assert await replaces(thumb="THUMB_DOWN", subject="a")
        assert not await replaces(thumb="THUMB_UP", subject="b")
        assert not await replaces(rating=3, subject="a")
        assert not await replaces(citation={"number": 1, "thumb": "THUMB_UP"}, subject="a")
        assert not await replaces(citation={"number": 2, "thumb": "THUMB_UP"}, subject="a")
        assert await replaces(citation={"number": 1, "thumb": "THUMB_DOWN"}, subject="a")
        kept = await judgements(reader, Reference(tenant, interaction.query_id, ""))
        assert len(kept) == 7, "history is kept"

    async def test_feedback_is_shown_oldest_first(self, reader: Reader, tenant: str) -> None:
        interaction = an_interaction(tenant)
        await log(reader, interaction)
        for after in (3, 1, 2):
            await record(reader, a_feedback(tenant, after, rating=after, queryId=str(interaction.query_id)))
        found = await judgements(reader, Reference(tenant, interaction.query_id, ""))
        assert [one.rating for one in found] == [1, 2, 3]

    async def test_a_trace_of_two_queries_means_neither(self, reader: Reader, tenant: str) -> None:
        for _ in range(2):
            await log(reader, an_interaction(tenant))
        with pytest.raises(Conflict, match="followed 2 queries"):
            await record(reader, a_feedback(tenant, traceId=TRACE))
        async with reader.open(tenant) as opened:
            assert await opened.pending(Reference(tenant, None, TRACE)) == []

    async def test_feedback_that_was_recorded_stays_so_when_its_trace_gets_a_second_query(
        self, reader: Reader, tenant: str
    ) -> None:
        await log(reader, an_interaction(tenant))
        feedback = a_feedback(tenant, traceId=TRACE)
        first = await record(reader, feedback)
        await log(reader, an_interaction(tenant))
        assert (await record(reader, feedback)).feedback == first.feedback

    async def test_an_untraced_answer_takes_no_strangers_feedback(self, reader: Reader, tenant: str) -> None:
        await record(reader, a_feedback(tenant, queryId=str(uuid4())))
        assert await log(reader, an_interaction(tenant, traceId="")) == []

    async def test_words_that_waited_are_handed_over_to_whoever_asked(self, reader: Reader, tenant: str) -> None:
        interaction = an_interaction(tenant)
        about = str(interaction.query_id)
        waiting = a_feedback(tenant, comment="too long", queryId=about, subject="judge-1")
        stored = (await record(reader, waiting)).feedback
        assert stored.words == waiting.words
        (joined,) = await log(reader, interaction)
        assert joined.words is not None
        assert joined.words.sealed == b"user-7: too long"
        _, (judged,) = await read(reader, Reference(tenant, interaction.query_id, ""))
        assert judged.words == b"user-7: too long"

    async def test_the_stricter_of_answer_and_words_is_the_tier(self, reader: Reader, tenant: str) -> None:
        interaction = an_interaction(tenant)
        await log(reader, interaction)
        about = str(interaction.query_id)
        tiers = [
            (await record(reader, a_feedback(tenant, comment="x", queryId=about, words_tier=tier))).feedback.tier
            for tier in Tier
        ]
        assert tiers == [Tier.TIER_1, Tier.TIER_1, Tier.TIER_2]

    async def test_an_outline_is_as_strict_as_all_that_would_be_seen(self, reader: Reader, tenant: str) -> None:
        interaction = an_interaction(
            tenant,
            tier="TIER_PUBLIC",
            citations=[],
            retrieved=[{**CHUNK, "chunkId": "a", "source": "wiki"}, {**CHUNK, "chunkId": "b", "source": "handbook"}],
        )
        await log(reader, interaction)
        about = str(interaction.query_id)
        assert (await self._outlined(reader, interaction)).tier is Tier.PUBLIC
        assert (await self._outlined(reader, interaction)).sources == ("handbook", "wiki")
        await record(reader, a_feedback(tenant, comment="x", queryId=about, words_tier=Tier.TIER_1))
        assert (await self._outlined(reader, interaction)).tier is Tier.TIER_1
        (exported,) = await outlines(reader, tenant)
        assert exported.tier is Tier.PUBLIC, "no comment is exported"
        await record(reader, a_feedback(tenant, 1, correction="x", queryId=about, words_tier=Tier.TIER_2))
        (exported,) = await outlines(reader, tenant)
        assert exported.tier is Tier.TIER_2
        await record(reader, a_feedback(tenant, 2, correction="y", queryId=about))
        (exported,) = await outlines(reader, tenant)
        assert exported.tier is Tier.PUBLIC, "the latest correction alone counts"
        assert (await self._outlined(reader, interaction)).tier is Tier.TIER_2

    async def test_a_chunk_that_was_read_and_not_cited_counts(self, reader: Reader, tenant: str) -> None:
        chunk = {**CHUNK, "chunkId": "a", "source": "crm", "tier": "TIER_2"}
        interaction = an_interaction(tenant, tier="TIER_PUBLIC", citations=[], retrieved=[chunk])
        await log(reader, interaction)
        (exported,) = await outlines(reader, tenant)
        assert (exported.tier, exported.sources) == (Tier.TIER_2, ("crm",))

    async def test_an_interaction_of_no_chunks_has_no_sources(self, reader: Reader, tenant: str) -> None:
        await log(reader, an_interaction(tenant, citations=[], retrieved=[]))
        (exported,) = await outlines(reader, tenant)
        assert (exported.tier, exported.sources) == (Tier.TIER_1, ())

    async def test_outlines_come_oldest_first_and_page_by_page(self, reader: Reader, tenant: str) -> None:
        times = [f"2026-11-21T09:0{minute}:00Z" for minute in (3, 1, 2, 1, 0)]
        for time in times:
            await log(reader, an_interaction(tenant, completedAt=time))
        await log(reader, an_interaction(f"{tenant}-x"))
        found = await outlines(reader, tenant, most=2)
        assert [one.completed_at.minute for one in found] == [0, 1, 1, 2, 3]
        assert len({one.query_id for one in found}) == 5
        since, until = NOW.replace(minute=1, second=0), NOW.replace(minute=3, second=0)
        assert [o.completed_at.minute for o in await outlines(reader, tenant, Span(since, until))] == [1, 1, 2]

    async def test_a_clearance_shows_no_stricter_rows(self, reader: Reader, tenant: str) -> None:
        interaction = an_interaction(tenant)
        await log(reader, interaction)
        about = Reference(tenant, interaction.query_id, "")
        for tier in Tier:
            correction = {"correction": tier.label, "queryId": str(about.query_id)}
            await record(reader, a_feedback(tenant, tier.value, words_tier=tier, **correction))
        with pytest.raises(NotFound):
            await read(reader, about, Tier.PUBLIC)
        assert [len((await read(reader, about, tier))[1]) for tier in (Tier.TIER_1, Tier.TIER_2)] == [2, 3]
        for clearance, seen in ((Tier.PUBLIC, []), (Tier.TIER_1, ["tier_1"]), (Tier.TIER_2, ["tier_2"])):
            async with reader.open(tenant, clearance=clearance) as opened:
                exported = await opened.exported(tenant, [interaction.query_id])
            assert [(one.correction or b"").decode().removeprefix("user-7: ") for one in exported] == seen

    @staticmethod
    async def _outlined(reader: Reader, interaction: Interaction) -> Outline:
        async with reader.open(interaction.tenant) as opened:
            outline = await opened.outline(interaction.tenant, interaction.query_id)
        assert outline is not None
        return outline

    async def test_another_tenants_ids_find_nothing(self, reader: Reader, tenant: str) -> None:
        interaction = an_interaction(tenant)
        await log(reader, interaction)
        stranger = f"{tenant}-x"
        recording = await record(reader, a_feedback(stranger, queryId=str(interaction.query_id), traceId=TRACE))
        assert recording.feedback.joined_at is None
        assert await judgements(reader, Reference(tenant, interaction.query_id, "")) == []
        with pytest.raises(NotFound):
            await judgements(reader, Reference(stranger, interaction.query_id, ""))

    async def test_another_tenant_may_have_the_same_ids(self, reader: Reader, tenant: str) -> None:
        interaction = an_interaction(tenant)
        feedback = a_feedback(tenant, queryId=str(interaction.query_id))
        for name in (tenant, f"{tenant}-x"):
            await log(reader, an_interaction(name, interaction.query_id))
            twin = a_feedback(name, queryId=str(interaction.query_id), feedbackId=str(feedback.feedback_id))
            assert (await record(reader, twin)).is_new

    async def test_the_tally_has_every_interaction_once(self, reader: Reader, tenant: str) -> None:
        names = [tenant, f"{tenant}-x"]
        mine = {name: {(await self._logged(reader, name)) for _ in range(3)} for name in names}
        assert set(await tallied(reader, tenant)) == mine[tenant]
        everybodys = [(one.tenant, one.query_id) async for batch in reader.tally("") for one in batch]
        assert {(name, query_id) for name in names for query_id in mine[name]} <= set(everybodys)
        assert len(everybodys) == len(set(everybodys))

    @staticmethod
    async def _logged(reader: Reader, tenant: str) -> UUID:
        interaction = an_interaction(tenant)
        await log(reader, interaction)
        return UUID(str(interaction.query_id))


class TestMemory(LogSuite):
    @pytest.fixture
    def reader(self) -> Reader:
        return MemoryLog()


@pytest.mark.real
class TestPostgres(LogSuite):
    @pytest.fixture
    def reader(self, opened: Database) -> Reader:
        return PostgresReader(opened)

    async def test_an_answer_and_its_feedback_at_the_same_moment_find_each_other(
        self, reader: Reader, tenant: str
    ) -> None:
        interactions = [an_interaction(tenant, traceId=uuid4().hex) for _ in range(40)]
        feedback = [
            a_feedback(tenant, **({"traceId": i.trace_id} if n % 2 else {"queryId": str(i.query_id)}))
            for n, i in enumerate(interactions)
        ]
        await asyncio.gather(
            *(log(reader, i) for i in interactions),
            *(record(reader, f) for f in feedback),
        )
        for interaction in interactions:
            assert len(await judgements(reader, Reference(tenant, interaction.query_id, ""))) == 1

    async def test_the_same_feedback_at_the_same_moment_counts_once(self, reader: Reader, tenant: str) -> None:
        one = a_feedback(tenant, queryId=str(uuid4()))
        others = [a_feedback(tenant, queryId=str(uuid4()), feedbackId=str(one.feedback_id)) for _ in range(9)]
        recordings = await asyncio.gather(*(record(reader, feedback) for feedback in (one, *others)))
        assert [recording.is_new for recording in recordings].count(True) == 1
        assert len({recording.feedback.about for recording in recordings}) == 1

    async def test_feedback_waits_for_an_answer_that_is_being_stored(self, opened: Database, tenant: str) -> None:
        interaction = an_interaction(tenant)
        async with opened.transaction(tenant=tenant) as storing:
            await log_interaction(interaction, PostgresLog(storing), keeper=KEEPER, now=NOW)
            recording = asyncio.create_task(
                record(PostgresReader(opened), a_feedback(tenant, queryId=str(interaction.query_id)))
            )
            await asyncio.sleep(0.2)
            assert not recording.done()
        assert (await recording).feedback.joined_at is not None

    async def test_without_hold_the_two_miss_each_other(self, opened: Database, tenant: str) -> None:
        """What `hold` is for: should this ever pass with a joined feedback, the test above proves nothing."""
        interaction = an_interaction(tenant)
        feedback = a_feedback(tenant, queryId=str(interaction.query_id))
        async with opened.transaction(tenant=tenant) as storing:
            await log_interaction(interaction, CarelessLog(storing), keeper=KEEPER, now=NOW)
            async with opened.transaction(tenant=tenant) as recording:
                await record_feedback(feedback, CarelessLog(recording), keeper=KEEPER)
        async with opened.transaction(tenant=tenant) as after:
            stored = await PostgresLog(after).get_feedback(tenant, feedback.feedback_id)
        assert stored is not None
        assert stored.joined_at is None

    async def test_a_long_tally_comes_in_batches(self, reader: Reader, tenant: str) -> None:
        wanted = set()
        async with reader.open(tenant) as opened:
            for _ in range(TALLY_BATCH + 1):
                interaction = an_interaction(tenant, retrieved=[], citations=[])
                await opened.add_interaction(interaction, stored_at=NOW)
                wanted.add(interaction.query_id)
        batches: list[Sequence[object]] = [batch async for batch in reader.tally(tenant)]
        assert [len(batch) for batch in batches] == [TALLY_BATCH, 1]
        assert set(await tallied(reader, tenant)) == wanted

    async def test_the_columns_say_what_the_record_says(self, reader: Reader, opened: Database, tenant: str) -> None:
        interaction = an_interaction(tenant)
        await log(reader, interaction)
        async with opened.transaction(tenant=tenant) as connection:
            row = await connection.fetchrow("SELECT * FROM interactions WHERE tenant = $1", tenant)
            chunks = await connection.fetch("SELECT * FROM interaction_chunks WHERE tenant = $1 ORDER BY rank", tenant)
        assert row is not None
        assert (row["product"], row["prompt_name"], row["model_provider"], row["embedder_hash"]) == (
            "docs-search",
            "grounded-answer",
            "transformers",
            "abc",
        )
        assert (row["tier"], row["grounding"], row["input_tokens"], row["cost_micro_usd"]) == (2, "grounded", 412, 5)
        assert row["answer_event_id"] == interaction.answer_event_id
        assert [(c["chunk_id"], c["citation"], c["document_version"]) for c in chunks] == [
            ("chunk-a", 0, 3),
            ("chunk-b", 1, 3),
        ]

    async def test_a_transaction_sees_one_tenant_and_without_one_nothing(
        self, reader: Reader, opened: Database, tenant: str
    ) -> None:
        interaction = an_interaction(tenant)
        await log(reader, interaction)
        await record(reader, a_feedback(tenant, queryId=str(interaction.query_id)))
        for table in ("interactions", "interaction_chunks", "feedback"):
            for seen_as, expects_rows in ((tenant, True), (f"{tenant}-x", False), ("", False)):
                async with opened.transaction(tenant=seen_as) as connection:
                    count = await connection.fetchval(f"SELECT count(*) FROM {table} WHERE tenant = $1", tenant)
                assert bool(count) is expects_rows, (table, seen_as)
