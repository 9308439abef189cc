"""Rows of documents: whole sources as text to train on, under the same leave, seals and erasures as any other row."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from headrace.feedback.v1.datasets_pb2 import DATASET_STATE_ERASED, SPLIT_TEST, SPLIT_TRAIN, Dataset
from headrace.privacy.v1.erasure_pb2 import ErasedDocument
from headrace.privacy.v1.privacy_pb2 import PURPOSE_EVALUATE, TIER_1
from headrace_client.cli.datasets_export import written_whole
from headrace_database import Database
from headrace_feedback.running.snapshot_rows import SnapshotRows
from headrace_privacy import Owner, Tier
from headrace_privacy.policy import Purpose
from headrace_runtime.errors import Conflict, Denied, Rejected

from services.feedback.tests.datasets.house import TRAIN, DatasetHouse, excluded

pytestmark = pytest.mark.real


@pytest.fixture
def house(tenant: str, opened: Database, tmp_path: Path) -> DatasetHouse:
    return DatasetHouse(tenant, opened, tmp_path / "datasets")


async def corpus(house: DatasetHouse, **query: Any) -> Dataset:
    """A snapshot of documents alone."""
    wanted = {"name": "corpus", "purpose": TRAIN, "document_sources": ["guide"], "documents_only": True}
    return await house.build(**(wanted | query))


async def test_a_source_becomes_rows_of_text_a_passage_at_a_time(house: DatasetHouse) -> None:
    ids = await house.documents.put("guide", "weirs", "A weir raises the water.", "Its crest is level.", "It spills.")
    await house.answered()
    steps = await house.steps(purpose=TRAIN, document_sources=["guide", "guide"], documents_only=True)
    built = steps[-1].dataset
    assert [(step.done, step.total) for step in steps] == [(2, 2), (3, 3), (3, 3), (3, 3)]
    rows = await house.read(built.dataset_id)
    assert [row.row_id for row in rows] == ids
    assert [row.text for row in rows] == ["A weir raises the water.", "Its crest is level.", "It spills."]
    assert {(row.question, row.answer, row.kind, *row.documents) for row in rows} == {
        ("", "", "document", "guide/weirs")
    }
    assert (dict(built.kinds), built.card.documents, built.card.vocabulary > 5) == ({"document": 3}, 1, True)
    assert not built.card.HasField("earliest")
    assert built.query.documents_only


async def test_beside_questions_and_the_same_again_is_the_same_snapshot(house: DatasetHouse) -> None:
    await house.documents.put("guide", "weirs", "A weir raises the water.")
    await house.answered("What is a headrace for a mill?")
    one = await house.build(purpose=TRAIN, document_sources=["guide"])
    assert dict(one.kinds) == {"document": 1, "other": 1}
    assert one.card.question_characters == len("What is a headrace for a mill?")
    assert one.card.earliest.ToDatetime().year == 2026
    assert (await house.build(purpose=TRAIN, document_sources=["guide"])).dataset_id == one.dataset_id


async def test_each_tier_needs_leave_and_what_is_left_out_is_counted(house: DatasetHouse) -> None:
    await house.documents.put("guide", "open", "One.", "Two.", tier=Tier.PUBLIC)
    await house.documents.put("guide", "ours", "Three things.", tier=Tier.TIER_1)
    await house.documents.put("guide", "theirs", "Four words of theirs.", tier=Tier.TIER_2)
    built = await corpus(house)
    assert (built.rows, excluded(built), list(built.grants)) == (3, {"no_grant": 1}, [])
    assert {(use.sources, use.purpose) for use in house.authorizer.uses} == {(("guide",), Purpose.TRAIN)}
    house.authorizer.grants.add(Purpose.TRAIN)
    built = await corpus(house)
    assert (built.rows, excluded(built), list(built.grants)) == (4, {}, ["grant-1"])
    built = await corpus(house, max_tier=TIER_1, name="open")
    assert (built.rows, excluded(built), list(built.grants)) == (3, {"over_tier": 1}, [])


async def test_without_any_leave_there_is_nothing_but_what_is_allowed_stays(house: DatasetHouse) -> None:
    await house.documents.put("guide", "theirs", "Four words of theirs.", tier=Tier.TIER_2)
    with pytest.raises(Denied, match="headrace approvals request"):
        await corpus(house)
    await house.answered(tier="TIER_2")
    with pytest.raises(Denied, match="headrace approvals request"):
        await house.build(purpose=TRAIN, document_sources=["guide"])
    await house.answered("What may be read?")
    built = await house.build(purpose=TRAIN, document_sources=["guide"])
    assert (built.rows, excluded(built)) == (1, {"no_grant": 2})


async def test_a_grant_that_ends_while_documents_are_read_ends_the_build(house: DatasetHouse) -> None:
    house.authorizer.grants.add(Purpose.TRAIN)
    await house.documents.put("guide", "theirs", *"abcdef", tier=Tier.TIER_2)
    page = house.documents.page

    async def ending(*args: Any, token: str) -> Any:
        if token == "4":
            house.authorizer.grants.clear()
        return await page(*args, token=token)

    house.documents.page = ending  # type: ignore[method-assign]
    with pytest.raises(Denied, match="a grant ended"):
        await corpus(house)


async def test_passages_rest_sealed_under_their_documents_owner(house: DatasetHouse) -> None:
    await house.documents.put("guide", "open", "canary-kestrel is public.", tier=Tier.PUBLIC)
    await house.documents.put("guide", "ours", "canary-heron is ours.", tier=Tier.TIER_1)
    built = await corpus(house)
    assert b"canary" not in house.at_rest()
    async with house.database.transaction(tenant=house.tenant) as connection:
        rows = await connection.fetch("SELECT t::text AS row FROM snapshot_rows t")
    assert not [row for row in rows if "canary" in row["row"]]
    house.keyring.destroy(Owner.document(house.tenant, "guide", "ours"))
    house.vault.forget()
    with pytest.raises(Conflict, match="are not there"):
        await house.read(built.dataset_id)


async def test_a_document_is_on_one_side_together_with_the_answers_that_cite_it(house: DatasetHouse) -> None:
    for n in range(8):
        words = [f"Passage {part} of document {n} about {n * 7} gates and {part * 11} mills." for part in range(3)]
        await house.documents.put("handbook", f"d{n}", *words)
        chunk = {
            "version": "3",
            "source": "handbook",
            "tier": "TIER_1",
            "chunkId": f"c{n}",
            "documentId": f"d{n}",
        }
        await house.answered(
            f"What is part {n} of the {n * 7} mills?",
            citations=[{"number": 1, "chunk": chunk}],
            retrieved=[chunk],
        )
    built = await house.build(purpose=TRAIN, document_sources=["handbook"], test_share=0.5)
    rows = await house.read(built.dataset_id)
    sides: dict[str, set[int]] = {}
    for row in rows:
        for document in row.documents:
            sides.setdefault(document, set()).add(row.split)
    assert (len(rows), len(sides), set.union(*sides.values())) == (32, 8, {SPLIT_TRAIN, SPLIT_TEST})
    assert {len(found) for found in sides.values()} == {1}


async def test_passages_that_are_nearly_one_are_one_and_limits_hold(house: DatasetHouse) -> None:
    same = "The water is led to the wheel through a channel that is called a headrace."
    await house.documents.put("guide", "one", same, "Something else altogether is said here.")
    await house.documents.put("guide", "two", same)
    built = await corpus(house)
    assert (built.rows, excluded(built)) == (2, {"near_duplicate": 1})
    built = await corpus(house, near_duplicates=2, limit=1)
    assert (built.rows, excluded(built)) == (1, {"over_limit": 2})


@pytest.mark.parametrize(
    "what", [{"source": "guide"}, {"document": ErasedDocument(source="guide", document_id="weirs")}]
)
async def test_an_erasure_of_the_source_reaches_the_snapshot(house: DatasetHouse, what: dict[str, Any]) -> None:
    await house.documents.put("guide", "weirs", "A weir raises the water.")
    await house.documents.put("guide", "mills", "A mill grinds.")
    await house.documents.put("other", "mills", "A mill grinds here too.")
    built, untouched = await corpus(house), await corpus(house, document_sources=["other"])
    removed = await house.erase(**what)
    assert (removed["datasets"], removed["feedback.snapshot_rows"]) == (1, 2)
    assert (await house.get(built.dataset_id)).state == DATASET_STATE_ERASED
    assert not await house.shelf.has_rows(house.tenant, built.dataset_id)
    assert await house.verify() == {}
    assert len(await house.read(untouched.dataset_id)) == 1


async def test_what_is_erased_meanwhile_is_kept_out(house: DatasetHouse) -> None:
    await house.documents.put("guide", "weirs", "A weir raises the water.")
    await house.erase(document=ErasedDocument(source="guide", document_id="weirs"))
    with pytest.raises(Conflict, match="erased meanwhile"):
        await corpus(house)


async def test_nobody_asks_a_document(house: DatasetHouse) -> None:
    for n in range(6):
        await house.documents.put("guide", f"d{n}", f"Document {n} has {n * 3} words about {n * 5} gates.")
        await house.answered(f"What is part {n * 3} of the {n} mills?", citations=[], retrieved=[])
    built = await house.build(purpose=TRAIN, document_sources=["guide"], test_share=0.5)
    cases = SnapshotRows(house.room.usable, house.shelf)
    asked = [row async for batch in cases.held_out(house.tenant, built.dataset_id) for row in batch]
    held_out = await house.read(built.dataset_id, split=SPLIT_TEST)
    assert 0 < len(asked) < len(held_out)
    assert {row.row_id for row in asked} == {row.row_id for row in held_out if row.question}


async def test_every_wrong_wish_is_named(house: DatasetHouse) -> None:
    with pytest.raises(Rejected) as error:
        await house.build(purpose=PURPOSE_EVALUATE, document_sources=["No Source"])
    assert [(one.field, one.reason) for one in error.value.violations] == [
        ("query.document_sources", "unsupported"),
        ("query.document_sources", "malformed"),
    ]
    with pytest.raises(Rejected, match=r"query\.document_sources: missing"):
        await house.build(purpose=TRAIN, documents_only=True)


async def test_without_a_retriever_it_says_which_setting_is_missing(house: DatasetHouse) -> None:
    object.__setattr__(house.desk, "site", replace(house.desk.site, documents=None))
    with pytest.raises(Conflict, match="HEADRACE_FEEDBACK_RETRIEVER"):
        await corpus(house)


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
async def test_an_export_loads_with_hugging_face(
    house: DatasetHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for n in range(10):
        await house.documents.put("guide", f"d{n}", f"Document {n} has {n * 3} words about {n * 5} gates.")
    built = await corpus(house, near_duplicates=2)
    with written_whole(tmp_path / "out", form) as folder:
        folder.add(await house.read(built.dataset_id))
        folder.describe(built)
    assert await asyncio.to_thread(_loaded, tmp_path / "out", tmp_path / "cache") == {"train": 8, "test": 2}


def _loaded(folder: Path, cache: Path) -> dict[str, int]:
    import datasets

    loaded = datasets.load_dataset(str(folder), cache_dir=str(cache))
    assert loaded["train"][0]["text"].startswith("Document ")
    return {name: len(rows) for name, rows in loaded.items()}
