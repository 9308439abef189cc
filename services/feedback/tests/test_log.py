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
from headrace_feedback.handlers import Recording, explain, log_interaction, record_feedback
from headrace_feedback.interaction import Interaction
from headrace_feedback.ports import Reader
from headrace_privacy import Tier
from headrace_runtime.errors import Conflict, NotFound

from services.feedback.tests.makers import NOW, TRACE, a_feedback, an_interaction


async def log(reader: Reader, interaction: Interaction) -> list[Feedback]:
    async with reader.open(interaction.tenant) as opened:
        return await log_interaction(interaction, opened, now=NOW)


async def record(reader: Reader, feedback: Feedback) -> Recording:
    async with reader.open(feedback.about.tenant) as opened:
        return await record_feedback(feedback, opened)


async def judgements(reader: Reader, about: Reference) -> list[FeedbackSubmitted]:
    async with reader.open(about.tenant) as opened:
        return [FeedbackSubmitted.FromString(one) for one in (await explain(about, opened)).feedback]


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
            async with reader.open(tenant) as opened:
                explained = await explain(about, opened)
            assert explained.interaction.record == interaction.record
            assert explained.interaction.stored_at == NOW
            assert explained.feedback == ()

    async def test_the_first_answer_of_a_query_stands(self, reader: Reader, tenant: str) -> None:
        first = an_interaction(tenant, model={"name": "first"})
        await log(reader, first)
        await log(reader, an_interaction(tenant, first.query_id, model={"name": "second"}))
        async with reader.open(tenant) as opened:
            stored = await explain(Reference(tenant, first.query_id, ""), opened)
        assert AnswerCompleted.FromString(stored.interaction.record).model.name == "first"
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
        (judged,) = await judgements(reader, Reference(tenant, interaction.query_id, ""))
        assert judged.comment == "good"

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
            await log_interaction(interaction, PostgresLog(storing), now=NOW)
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
            await log_interaction(interaction, CarelessLog(storing), now=NOW)
            async with opened.transaction(tenant=tenant) as recording:
                await record_feedback(feedback, CarelessLog(recording))
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
