"""What a watcher sees: numbers that only rise, the same at every instance, and a place to go on from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from headrace.query.v1 import service_pb2
from headrace.query.v1.answer_pb2 import AnswerChunk, Citation
from headrace.retrieval.v1.retrieval_pb2 import ChunkReference
from headrace_ingest.live import ANSWER, FIRST_CHUNK, GENERATION, REMEMBERED, Live
from headrace_ingest.reading import Reader
from headrace_privacy import Erased, Owner, Text, Tier
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.errors import Denied
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ingest.tests.makers import answer, chunk, open_vault

TENANT, QUERY = "demo", "0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"
PRODUCT = Reader("product", "", Tier.TIER_2)


def piece(index: int, text: str | None = None, generation: str = "one") -> AnswerChunk:
    return chunk(TENANT, QUERY, generation, index, text)


async def seen(
    live: Live, after: int = 0, query_id: str = QUERY, *, reader: Reader = PRODUCT
) -> list[service_pb2.Update]:
    """What there is to see now."""
    updates = []
    async for update in live.updates(TENANT, query_id, reader=reader, after=after, patience=0.01):
        if update is None:
            return updates
        updates.append(update)
    raise AssertionError("a watch never ends by itself")


async def numbers(live: Live, after: int = 0) -> list[int]:
    return [update.sequence for update in await seen(live, after)]


async def next_one(updates: AsyncIterator[service_pb2.Update | None]) -> service_pb2.Update:
    async with asyncio.timeout(2):
        while True:
            if (update := await anext(updates)) is not None:
                return update


async def written(live: Live) -> None:
    """One answer, from the door to the end."""
    live.note(TENANT, QUERY, service_pb2.STAGE_SUBMITTED)
    live.note(TENANT, QUERY, service_pb2.STAGE_ACCEPTED)
    for part in (piece(0), piece(1, "It "), piece(2, "binds.")):
        await live.show_chunk(part)
    await live.show_answer(answer(TENANT, QUERY))


async def test_an_answer_is_seen_in_order() -> None:
    live = Live(open_vault())
    await written(live)
    updates = await seen(live)
    kinds = [update.WhichOneof("update") for update in updates]
    assert kinds == ["progress", "progress", "progress", "text", "text", "answer"]
    assert [update.sequence for update in updates] == [1, 2, FIRST_CHUNK, FIRST_CHUNK + 1, FIRST_CHUNK + 2, ANSWER]
    assert updates[2].progress.passages == 4
    assert updates[3].text + updates[4].text == "It binds."
    assert updates[5].answer.text.startswith("It binds to")


@pytest.mark.parametrize("after", [0, 1, 2, FIRST_CHUNK, FIRST_CHUNK + 2, ANSWER])
async def test_a_watch_goes_on_after_the_number_it_names(after: int) -> None:
    live = Live(open_vault())
    await written(live)
    assert await numbers(live, after) == [number for number in await numbers(live) if number > after]


async def test_a_watch_sees_what_comes_while_it_waits() -> None:
    live = Live(open_vault())
    updates = live.updates(TENANT, QUERY, reader=PRODUCT, after=0, patience=5)
    waiting = asyncio.create_task(next_one(updates))
    await asyncio.sleep(0.01)
    await live.show_chunk(piece(0, "Now."))
    assert (await waiting).text == "Now."


async def test_a_new_writing_voids_the_old() -> None:
    live = Live(open_vault())
    for part in (piece(0), piece(1, "Old"), piece(0, None, "two"), piece(1, "New", "two")):
        await live.show_chunk(part)
    updates = await seen(live)
    assert [update.WhichOneof("update") for update in updates] == ["progress", "text", "restart", "progress", "text"]
    assert [u.sequence for u in updates][2:] == [GENERATION, GENERATION + FIRST_CHUNK, GENERATION + FIRST_CHUNK + 1]


async def test_what_comes_twice_or_late_is_not_seen_again() -> None:
    live = Live(open_vault())
    for part in (piece(0), piece(1, "a"), piece(1, "a"), piece(0), piece(0, None, "two"), piece(2, "late")):
        await live.show_chunk(part)
    live.note(TENANT, QUERY, service_pb2.STAGE_SUBMITTED)
    assert await numbers(live) == [FIRST_CHUNK, FIRST_CHUNK + 1, GENERATION, GENERATION + FIRST_CHUNK]


async def test_a_stage_that_is_told_after_the_next_is_left_out() -> None:
    """Ask notes what it submitted after the bus has it: by then the query may have been accepted."""
    live = Live(open_vault())
    live.note(TENANT, QUERY, service_pb2.STAGE_ACCEPTED)
    live.note(TENANT, QUERY, service_pb2.STAGE_SUBMITTED)
    assert await numbers(live) == [2]


async def test_a_lost_chunk_leaves_the_others_their_numbers() -> None:
    live = Live(open_vault())
    await live.show_chunk(piece(0))
    await live.show_chunk(piece(5, "later"))
    assert await numbers(live) == [FIRST_CHUNK, FIRST_CHUNK + 5]


chunks = st.lists(st.tuples(st.sampled_from(["one", "two", "three"]), st.integers(0, 6)), max_size=30)


@settings(max_examples=40)
@given(chunks, st.integers(0, 30))
async def test_two_instances_that_saw_the_same_number_alike(parts: list[tuple[str, int]], cut: int) -> None:
    """So a client that loses one goes on at the other: it gets what it lacks, once, in rising order."""
    here, there = Live(open_vault()), Live(open_vault())
    for generation, index in parts:
        for live in (here, there):
            await live.show_chunk(piece(index, f"{generation}{index}", generation))
    first = (await seen(here))[:cut]
    last = first[-1].sequence if first else 0
    both = [*first, *await seen(there, last)]
    assert both == await seen(here)
    rising = [update.sequence for update in both]
    assert rising == sorted(set(rising))


async def test_the_oldest_query_is_forgotten() -> None:
    live = Live(open_vault())
    for number in range(REMEMBERED + 1):
        live.note(TENANT, str(number), service_pb2.STAGE_ACCEPTED)
    assert await seen(live, query_id="0") == []
    assert len(await seen(live, query_id=str(REMEMBERED))) == 1


async def test_a_watcher_outlives_that_its_query_is_forgotten() -> None:
    live = Live(open_vault())
    await live.show_chunk(piece(0))
    updates = live.updates(TENANT, QUERY, reader=PRODUCT, after=0, patience=0.01)
    assert (await next_one(updates)).sequence == FIRST_CHUNK
    for number in range(REMEMBERED):
        live.note(TENANT, str(number), service_pb2.STAGE_ACCEPTED)
    await live.show_chunk(piece(1, "again"))
    assert (await next_one(updates)).text == "again"


async def test_another_tenants_query_of_the_same_id_is_not_seen() -> None:
    live = Live(open_vault())
    await live.show_chunk(chunk("other", QUERY, "one", 0))
    assert await seen(live) == []


async def test_what_is_sealed_is_opened_for_the_watcher_and_held_sealed() -> None:
    vault = open_vault()
    live, seal = Live(vault), await vault.seal_for(Owner.subject(TENANT, "user-1"))
    part, said = piece(1), answer(TENANT, QUERY)
    part.text.CopyFrom(seal.protect(Text("It binds.", Tier.TIER_2)))
    said.text.CopyFrom(seal.protect(Text("It binds [1].", Tier.TIER_2)))
    citation = seal.seal_labels(ChunkReference(title="The title", headings=["One"]), Tier.TIER_2)
    said.citations.append(Citation(number=1, chunk=citation))
    await live.show_chunk(part)
    await live.show_answer(said)
    assert "binds" not in repr([stream.updates for stream in live._streams.values()])
    text, whole = await seen(live)
    assert text.text == "It binds."
    assert (whole.answer.text, whole.answer.citations[0].chunk.title) == ("It binds [1].", "The title")


async def test_what_was_erased_is_seen_by_nobody_any_more() -> None:
    keyring, owner = MemoryKeyring(), Owner.subject(TENANT, "user-1")
    vault = open_vault(keyring)
    live, part = Live(vault), piece(1)
    part.text.CopyFrom((await vault.seal_for(owner)).protect(Text("It binds.", Tier.TIER_2)))
    await live.show_chunk(part)
    assert len(await seen(live)) == 1
    keyring.destroy(owner)
    vault.forget()
    with pytest.raises(Erased):
        await seen(live)


async def test_an_erased_document_leaves_its_citation_without_a_title() -> None:
    keyring, document = MemoryKeyring(), Owner.document(TENANT, "contracts", "a.md")
    vault = open_vault(keyring)
    said = answer(TENANT, QUERY)
    labels = (await vault.seal_for(document)).seal_labels(ChunkReference(title="The title", ordinal=3), Tier.TIER_2)
    said.citations.append(Citation(number=1, chunk=labels))
    keyring.destroy(document)
    live = Live(open_vault(keyring))
    await live.show_answer(said)
    (whole,) = await seen(live)
    (citation,) = whole.answer.citations
    assert (citation.chunk.ordinal, citation.chunk.title, citation.chunk.HasField("sealed_labels")) == (3, "", False)


async def test_a_numbering_that_forgets_the_generation_is_caught() -> None:
    """A seeded bug: the second writing counts from the start again, and a client that goes on misses it."""

    class Flat(Live):
        async def show_chunk(self, chunk: AnswerChunk) -> None:
            self._stream(chunk.tenant, chunk.query_id).add(FIRST_CHUNK + chunk.index, chunk)

    kinds = []
    for live in (Live(open_vault()), Flat(open_vault())):
        for part in (piece(0), piece(1, "Old"), piece(0, None, "two"), piece(1, "New", "two")):
            await live.show_chunk(part)
        kinds.append([update.text for update in await seen(live) if update.text])
    assert kinds == [["Old", "New"], ["Old"]]


@pytest.mark.parametrize(
    ("tier", "reader", "kinds"),
    [
        (Tier.TIER_2, PRODUCT, ["text", "answer"]),
        (Tier.TIER_1, Reader("developer", "dana", Tier.TIER_1), ["answer"]),
        (Tier.TIER_2, Reader("developer", "user-1", Tier.TIER_1), ["answer"]),
        (Tier.TIER_2, Reader("developer", "dana", Tier.TIER_1), "the role developer"),
        (Tier.TIER_2, Reader("developer", "", Tier.TIER_1), "the role developer"),
    ],
)
async def test_only_the_asker_sees_an_answer_above_what_the_policy_opens(
    tier: Tier, reader: Reader, kinds: list[str] | str
) -> None:
    """A sealed piece may be of any tier, so who may not see all of them waits for the whole answer."""
    vault = open_vault()
    live, seal = Live(vault), await vault.seal_for(Owner.subject(TENANT, "user-1"))
    part, said = piece(1), answer(TENANT, QUERY)
    part.text.CopyFrom(seal.protect(Text("It binds.", Tier.TIER_2)))
    said.tier, said.query.subject = int(tier), "user-1"  # type: ignore[assignment]
    await live.show_chunk(part)
    await live.show_answer(said)
    if isinstance(kinds, str):
        with pytest.raises(Denied, match=kinds):
            await seen(live, reader=reader)
    else:
        assert [update.WhichOneof("update") for update in await seen(live, reader=reader)] == kinds
