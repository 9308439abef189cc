"""Snapshots on a real Postgres and a folder: what goes in, what is read, and how they end."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from headrace.feedback.v1 import datasets_pb2
from headrace.feedback.v1.datasets_pb2 import (
    DATASET_STATE_ERASED,
    DATASET_STATE_GRANT_ENDED,
    DATASET_STATE_USABLE,
    DatasetBuilt,
    DatasetEnded,
    DatasetRow,
    ScoreBound,
)
from headrace.privacy.v1.erasure_pb2 import ErasedDocument
from headrace.privacy.v1.privacy_pb2 import TIER_1, TIER_PUBLIC
from headrace_client.cli.datasets_export import written_whole
from headrace_database import Database
from headrace_feedback.datasets.erasing import DatasetTombstones
from headrace_privacy.policy import Purpose
from headrace_runtime.errors import Conflict, Denied, NotFound, Rejected

from services.feedback.tests.datasets.house import CONTEXT, TRAIN, DatasetHouse, excluded

pytestmark = pytest.mark.real


@pytest.fixture
def house(tenant: str, opened: Database, tmp_path: Path) -> DatasetHouse:
    return DatasetHouse(tenant, opened, tmp_path / "datasets")


async def test_a_snapshot_holds_what_was_asked_and_answered(house: DatasetHouse) -> None:
    query_id = await house.answered()
    steps = await house.steps()
    built = steps[-1].dataset
    assert (steps[0].done, steps[-1].total) == (1, 1)
    assert (built.rows, built.state, dict(built.kinds), dict(built.tiers)) == (
        1,
        DATASET_STATE_USABLE,
        {"other": 1},
        {"tier_1": 1},
    )
    (row,) = await house.read(built.dataset_id)
    assert (row.row_id, row.question, row.answer) == (
        str(query_id),
        "What is a headrace?",
        "A channel to the mill wheel [1].",
    )
    assert (list(row.passages), list(row.documents)) == (["A headrace is a channel."], ["handbook/mills"])
    assert len(row.passage_ids) == len(row.passages)
    assert list(row.passage_headings) == ["Mills\nWater"] * len(row.passages)
    assert [DatasetBuilt.FromString(one).dataset_id for one in await house.told("dataset.built")] == [built.dataset_id]


async def test_rows_that_were_written_by_hand(house: DatasetHouse) -> None:
    rows = [
        DatasetRow(row_id=f"r{n}", question=f"Which weir is {n}?", answer="That hunter2.", tier=TIER_PUBLIC)
        for n in range(10)
    ]
    done = await house.bring(*rows)
    assert (done.created, done.dataset.rows, done.dataset.test_rows, dict(done.dataset.tiers)) == (
        True,
        10,
        2,
        {"tier_2": 10},
    )
    assert not (await house.bring(*rows)).created


STRICT = {"tier": "TIER_2"}


async def test_each_row_needs_leave_and_what_is_left_out_is_counted(house: DatasetHouse) -> None:
    await house.answered()
    await house.answered("How does the weir hold?", **STRICT)
    built = await house.build(purpose=TRAIN)
    assert (built.rows, excluded(built), list(built.grants)) == (1, {"no_grant": 1}, [])
    house.authorizer.grants.add(Purpose.TRAIN)
    built = await house.build(purpose=TRAIN)
    assert (built.rows, excluded(built), list(built.grants)) == (2, {}, ["grant-1"])


async def test_without_any_leave_there_is_nothing(house: DatasetHouse) -> None:
    await house.answered(**STRICT)
    with pytest.raises(Denied, match="headrace approvals request"):
        await house.build(purpose=TRAIN)
    assert not [path for path in house.folder.rglob("*") if path.is_file()]


async def test_the_same_rows_are_the_same_snapshot(house: DatasetHouse) -> None:
    await house.answered()
    one, same = await house.build(), await house.build()
    other_name, other_purpose = await house.build(name="other"), await house.build(purpose=TRAIN)
    assert one == same
    assert len({one.dataset_id, other_name.dataset_id, other_purpose.dataset_id}) == 3
    assert len(await house.told("dataset.built")) == 3
    await house.answered("And the tailrace?")
    grown = await house.build()
    assert (grown.dataset_id != one.dataset_id, grown.rows) == (True, 2)
    assert (await house.get("support")).dataset_id == grown.dataset_id
    assert (await house.get(one.dataset_id[:10])).dataset_id == one.dataset_id


async def test_rows_rest_sealed_whatever_their_tier(house: DatasetHouse) -> None:
    await house.answered("What is a headrace for canary-kestrel?", tier="TIER_PUBLIC", query={"subject": "canary-anna"})
    await house.bring(DatasetRow(question="Is canary-heron here?", answer="canary-wren", tier=TIER_PUBLIC))
    await house.build(without_subjects=["canary-bert"])
    rests = house.at_rest()
    assert b"PAR1" in rests
    assert b"canary" not in rests
    async with house.database.transaction(tenant=house.tenant) as connection:
        for table in ("snapshots", "snapshot_rows", "exports"):
            rows = await connection.fetch(f"SELECT t::text AS row FROM {table} t")
            assert not [row for row in rows if "canary" in row["row"] or b"canary".hex() in row["row"]]


async def test_a_corrected_answer_is_preferred_and_a_reviewers_wins(house: DatasetHouse) -> None:
    mine, reviewed = await house.answered(), await house.answered("And the tailrace?")
    await house.judged(mine, subject="user-7", correction="An old correction.")
    await house.judged(mine, subject="user-7", correction="A channel, says the user.")
    await house.judged(reviewed, subject="rita", correction="Says the reviewer.")
    await house.judged(reviewed, subject="user-7", correction="Says the user, later.")
    async with house.database.transaction(tenant=house.tenant) as connection:
        item = uuid4()
        await connection.execute(
            "INSERT INTO review_items (tenant, item_id, query_id, reasons, tier, kind, rubric, rubric_version,"
            " reviewers, created_at) VALUES ($1, $2, $3, '{}', 2, 'other', 'r', 1, 1, now())",
            *(house.tenant, item, reviewed),
        )
        await connection.execute(
            "INSERT INTO review_labels (tenant, label_id, item_id, query_id, reviewer, rubric, rubric_version, labels,"
            " tier, labelled_at) VALUES ($1, $2, $3, $4, 'rita', 'r', 1, '{\"correct\": \"fail\"}', 2, now())",
            *(house.tenant, uuid4(), item, reviewed),
        )
    await house.answered("Nobody corrected this one?")
    built = await house.build(corrected_only=True)
    rows = {row.row_id: row for row in await house.read(built.dataset_id)}
    assert {rows[str(mine)].answer, rows[str(reviewed)].answer} == {"A channel, says the user.", "Says the reviewer."}
    assert (all(row.corrected for row in rows.values()), excluded(built)) == (True, {"not_approved": 1})
    assert (built.card.corrected, built.kinds["other"]) == (2, 2)


async def test_every_reason_is_counted(house: DatasetHouse) -> None:
    await house.answered("Which one stays of all these questions?")
    await house.answered("Which one stays of all these questions?")
    await house.answered("A question of somebody else?", query={"subject": "anna"})
    await house.answered("A question of another product?", query={"product": "wiki"})
    await house.answered("What do the sources not say?", grounding="GROUNDING_NOT_IN_SOURCES")
    await house.answered("What is too strict?", **STRICT)
    stale = {"version": "1", "source": "handbook", "tier": "TIER_1", "chunkId": "chunk-s", "documentId": "old"}
    await house.answered("What is stale?", citations=[{"number": 1, "chunk": stale}], retrieved=[stale])
    async with house.database.transaction(tenant=house.tenant) as connection:
        await connection.execute(
            "INSERT INTO documents (tenant, source, document_id, version, deleted, tier, indexed_at)"
            " VALUES ($1, 'handbook', 'old', 2, false, 2, now())",
            house.tenant,
        )
    built = await house.build(
        purpose=TRAIN, products=["docs-search"], without_subjects=["anna"], max_tier=TIER_1, kinds=["other"]
    )
    assert (built.rows, excluded(built)) == (
        1,
        {"near_duplicate": 1, "named": 1, "other_product": 1, "refusal": 1, "over_tier": 1, "stale": 1},
    )


async def test_scores_and_approval_decide(house: DatasetHouse) -> None:
    good, liked, poor = [await house.answered(f"Question number {n} of three, is it?") for n in range(3)]
    await house.judged(liked, thumb="THUMB_UP", subject="anna")
    await house.judged(poor, thumb="THUMB_UP", subject="anna")
    await house.judged(poor, thumb="THUMB_DOWN", subject="anna")
    async with house.database.transaction(tenant=house.tenant) as connection:
        for query_id, value in ((good, 0.9), (liked, 0.9), (poor, 0.1)):
            await connection.execute(
                "INSERT INTO scores (tenant, query_id, run_id, evaluator, version, rubric, rubric_version, criterion,"
                " value, label, tier, decides, scored_at)"
                " VALUES ($1, $2, '', 'groundedness', '1', '', 0, '', $3, 'x', 2, true, now())",
                house.tenant,
                query_id,
                value,
            )
    scored = await house.build(scores=[ScoreBound(evaluator="groundedness", least=0.5)])
    assert (scored.rows, excluded(scored)) == (2, {"score": 1})
    approved = await house.build(approved_only=True)
    assert [row.row_id for row in await house.read(approved.dataset_id)] == [str(liked)]


async def test_no_conversation_and_no_document_is_on_both_sides(house: DatasetHouse) -> None:
    for n in range(40):
        chunk = {
            "version": "3",
            "source": "handbook",
            "tier": "TIER_1",
            "chunkId": f"c{n % 8}",
            "documentId": f"d{n % 8}",
        }
        await house.answered(
            f"What is part {n} of the {n * 7} mills?",
            query={"conversationId": f"talk-{n % 10}"},
            citations=[{"number": 1, "chunk": chunk}],
            retrieved=[chunk],
        )
    built = await house.build(test_share=0.5)
    rows = await house.read(built.dataset_id)
    sides: dict[str, set[int]] = {}
    for row in rows:
        for tie in (row.group, *row.documents):
            sides.setdefault(tie, set()).add(row.split)
    assert (len(rows), built.test_rows, {len(found) for found in sides.values()}) == (40, 20, {1})


async def test_another_tenants_snapshot_is_not_there(house: DatasetHouse) -> None:
    await house.answered()
    built = await house.build()
    for reference in (built.dataset_id, built.dataset_id[:8], "support"):
        for call in (house.get, house.read):
            with pytest.raises(NotFound):
                await call(reference, tenant=f"{house.tenant}-x")


async def test_a_grant_that_is_revoked_stops_a_reader_at_the_next_batch(house: DatasetHouse) -> None:
    house.authorizer.grants.add(Purpose.EVALUATE)
    for n in range(6):
        await house.answered(f"What is gate number {n}?", **STRICT)
    built = await house.build(near_duplicates=2)
    reading = house.servicer.ReadDataset(
        datasets_pb2.ReadDatasetRequest(tenant=house.tenant, dataset=built.dataset_id), CONTEXT
    )
    first = await anext(reading)
    assert len(first.rows) == 2
    house.authorizer.grants.clear()
    with pytest.raises(Denied):
        await anext(reading)


async def test_the_end_of_a_grant_ends_what_stands_on_it(house: DatasetHouse) -> None:
    house.authorizer.grants.add(Purpose.TRAIN)
    await house.answered(**STRICT)
    built = await house.build(purpose=TRAIN)
    free = await house.build(purpose=TRAIN, max_tier=TIER_1, name="free") if await house.answered("Free?") else built
    await house.end_grant("grant-1")
    ended = await house.get(built.dataset_id)
    assert (ended.state, ended.ended_by) == (DATASET_STATE_GRANT_ENDED, "grant grant-1")
    assert (await house.get(free.dataset_id)).state == DATASET_STATE_USABLE
    with pytest.raises(Conflict, match="build it anew"):
        await house.read(built.dataset_id)
    assert [DatasetEnded.FromString(one).dataset_id for one in await house.told("dataset.ended")] == [built.dataset_id]


async def test_nothing_is_kept_that_stands_on_a_grant_that_ended_meanwhile(house: DatasetHouse) -> None:
    house.authorizer.grants.add(Purpose.TRAIN)
    await house.answered(**STRICT)
    await house.end_grant("grant-1")
    with pytest.raises(Denied, match="ended while"):
        await house.build(purpose=TRAIN)
    assert not list(house.folder.rglob("data.parquet"))


@pytest.mark.parametrize(
    "what",
    [
        {"subject": "user-7"},
        {"source": "handbook"},
        {"document": ErasedDocument(source="handbook", document_id="rivers")},
    ],
)
async def test_an_erasure_ends_a_snapshot_and_its_files_are_gone(house: DatasetHouse, what: dict[str, Any]) -> None:
    await house.answered()
    await house.answered("Somebody else's?", query={"subject": "bert"}, citations=[], retrieved=[])
    built, untouched = await house.build(), await house.build(name="other", without_subjects=["user-7"])
    assert untouched.rows == 1
    assert len(await house.read(built.dataset_id)) == 2
    removed = await house.erase(**what)
    assert (removed["datasets"], removed["feedback.snapshot_rows"], removed["exports of datasets"]) == (1, 2, 1)
    ended = await house.get(built.dataset_id)
    assert (ended.state, ended.ended_by, ended.data_sha256) == (DATASET_STATE_ERASED, f"erasure {house.erasure_id}", "")
    assert (await house.get(untouched.dataset_id)).state == DATASET_STATE_USABLE
    assert not await house.shelf.has_rows(house.tenant, built.dataset_id)
    assert await house.verify() == {}
    with pytest.raises(Conflict, match="erased"):
        await house.read(built.dataset_id)
    assert [DatasetEnded.FromString(one).dataset_id for one in await house.told("dataset.ended")] == [built.dataset_id]


async def test_a_file_that_stays_is_found_by_reading_back(house: DatasetHouse) -> None:
    await house.answered()
    built = await house.build()
    data = next(house.folder.rglob("data.parquet"))
    kept = data.read_bytes()
    await house.erase(subject="user-7")
    data.write_bytes(kept)
    assert (await house.verify())["datasets"] == 1
    assert (await house.get(built.dataset_id)).state == DATASET_STATE_ERASED


async def test_imported_rows_go_as_a_source_of_their_own_and_with_the_documents_that_answer_them(
    house: DatasetHouse,
) -> None:
    row = DatasetRow(question="What is a weir?", answer="A dam.", tier=TIER_PUBLIC, documents=["handbook/weirs"])
    await house.bring(row)
    await house.erase(document=ErasedDocument(source="handbook", document_id="weirs"))
    assert (await house.get("known")).state == DATASET_STATE_ERASED
    with pytest.raises(Conflict, match="erased meanwhile"):
        await house.bring(row)
    await house.bring(DatasetRow(question="What is a sluice?", answer="A gate.", tier=TIER_PUBLIC), name="mine")
    await house.erase(source="dataset:mine")
    assert (await house.get("mine")).state == DATASET_STATE_ERASED


async def test_who_dies_before_the_commit_leaves_nothing_that_anybody_reads(house: DatasetHouse) -> None:
    class Dying(DatasetTombstones):
        async def keep_out_rows(self, *_: Any) -> None:
            raise RuntimeError("killed")

    await house.answered()
    library = house.library
    object.__setattr__(house.desk, "library", replace(library, tombstones=Dying(house.vault)))
    with pytest.raises(RuntimeError, match="killed"):
        await house.build()
    object.__setattr__(house.desk, "library", library)
    with pytest.raises(NotFound):
        await house.get("support")
    assert not [path for path in house.folder.rglob("*") if path.is_file()]
    orphan = house.folder / house.tenant / ("0" * 64)
    orphan.mkdir(parents=True)
    (orphan / "data.parquet").write_bytes(b"left by somebody who died after the rename")
    built = await house.build()
    await house.files.tidy(house.tenant)
    assert not (orphan / "data.parquet").exists()
    assert len(await house.read(built.dataset_id)) == 1


async def test_what_two_snapshots_have_in_common(house: DatasetHouse) -> None:
    stays, changes = await house.answered(), await house.answered("And the tailrace?")
    before = await house.build()
    await house.judged(changes, subject="user-7", correction="It takes the water away.")
    added = await house.answered("What of the weir?")
    after = await house.build()
    request = datasets_pb2.DiffDatasetsRequest(
        tenant=house.tenant, before=before.dataset_id[:8], after=after.dataset_id
    )
    diff = await house.servicer.DiffDatasets(request, CONTEXT)
    assert (diff.kept, list(diff.added), list(diff.changed), list(diff.removed)) == (
        2,
        [str(added)],
        [str(changes)],
        [],
    )
    assert str(stays) not in {*diff.added, *diff.changed}


async def test_what_was_read_is_written_down(house: DatasetHouse) -> None:
    house.authorizer.grants.add(Purpose.EVALUATE)
    await house.answered(**STRICT)
    built = await house.build()
    await house.read(built.dataset_id)
    async with house.database.transaction(tenant=house.tenant) as connection:
        (row,) = await connection.fetch("SELECT * FROM exports")
    assert (row["read_by"], row["role"], row["rows"], row["grants"], row["ended_at"] is not None) == (
        "dora",
        "developer",
        1,
        ["grant-1"],
        True,
    )


async def test_every_wrong_field_is_named(house: DatasetHouse) -> None:
    with pytest.raises(Rejected) as error:
        await house.build(name="No Name", purpose=1, near_duplicates=-1, limit=2_000_000, test_share=1.0)
    assert "name: malformed" in str(error.value)
    with pytest.raises(Rejected) as error:
        await house.bring(
            DatasetRow(question="", answer="x"),
            DatasetRow(question="Fine?", key_facts=["("]),
            DatasetRow(question="Fine?", answer="y", documents=["nowhere"], split=7),  # type: ignore[arg-type]
        )
    fields = {violation.field for violation in error.value.violations}
    assert {"rows[0].question", "rows[1].key_facts[0]", "rows[2].documents[0]", "rows[2].split"} <= fields


async def test_rows_of_one_document_cannot_be_put_on_two_sides(house: DatasetHouse) -> None:
    rows = [
        DatasetRow(question=f"Is it {n}?", answer="Yes.", tier=TIER_PUBLIC, documents=["handbook/weirs"], split=n)  # type: ignore[arg-type]
        for n in (1, 2)
    ]
    with pytest.raises(Rejected, match=r"rows\[1\].split"):
        await house.bring(*rows)


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
async def test_an_export_loads_with_hugging_face(
    house: DatasetHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for n in range(10):
        await house.answered(f"What is part {n * 3} of the {n} mills?", citations=[], retrieved=[])
    built = await house.build(near_duplicates=2)
    with written_whole(tmp_path / "out", form) as folder:
        folder.add(await house.read(built.dataset_id))
        folder.describe(built)
    loaded = await asyncio.to_thread(_loaded, tmp_path / "out", tmp_path / "cache")
    assert loaded == {"train": 8, "test": 2}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out").iterdir()} == {0o600}


def _loaded(folder: Path, cache: Path) -> dict[str, int]:
    import datasets

    loaded = datasets.load_dataset(str(folder), cache_dir=str(cache))
    assert loaded["train"][0]["question"].startswith("What is part")
    return {name: len(rows) for name, rows in loaded.items()}
