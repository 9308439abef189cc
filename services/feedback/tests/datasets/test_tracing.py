"""Which rows of which snapshots are of what, both ways."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from headrace.feedback.v1.datasets_pb2 import DATASET_STATE_ERASED, DATASET_STATE_USABLE, DatasetRow
from headrace.privacy.v1.privacy_pb2 import TIER_1, TIER_PUBLIC
from headrace_database import Database
from headrace_runtime.errors import NotFound, Rejected

from services.feedback.tests.datasets.house import TRAIN, DatasetHouse

pytestmark = pytest.mark.real


@pytest.fixture
def house(tenant: str, opened: Database, tmp_path: Path) -> DatasetHouse:
    return DatasetHouse(tenant, opened, tmp_path / "datasets")


async def test_a_snapshot_tells_its_rows_and_the_documents_behind_it(house: DatasetHouse) -> None:
    query_id = await house.answered()
    (passage,) = await house.documents.put("guide", "weirs/one", "A weir raises the water.")
    built = await house.build(purpose=TRAIN, document_sources=["guide"])
    for reference in (built.dataset_id, built.dataset_id[:8], "support"):
        found = await house.trace(dataset=reference)
        (holder,) = found.datasets
        assert (holder.dataset_id, holder.name, holder.rows) == (built.dataset_id, "support", 2)
        assert set(holder.row_ids) == {str(query_id), passage}
        assert (holder.state, holder.tier) == (DATASET_STATE_USABLE, TIER_1)
        assert list(found.documents) == ["guide/weirs/one", "handbook/mills", "handbook/rivers"]


async def test_a_source_a_document_an_end_user_and_an_answer_tell_the_snapshots_that_hold_them(
    house: DatasetHouse,
) -> None:
    first = await house.answered("What is a headrace?")
    before = await house.build(name="before")
    second = await house.answered("And what is the tailrace for?", query={"subject": "bert"})
    await house.answered("Grounded in nothing?", query={"subject": "carl"}, citations=[], retrieved=[])
    both = await house.build(name="both")
    for what in ({"source": "handbook"}, {"document": "handbook/mills"}):
        found = await house.trace(**what)
        assert [(one.dataset_id, one.rows) for one in found.datasets] == [(both.dataset_id, 2), (before.dataset_id, 1)]
        assert (found.answers, set(found.query_ids)) == (2, {str(first), str(second)})
    found = await house.trace(subject="bert")
    assert [(one.dataset_id, list(one.row_ids)) for one in found.datasets] == [(both.dataset_id, [str(second)])]
    assert (found.answers, list(found.query_ids)) == (1, [str(second)])
    found = await house.trace(query_id=str(first))
    assert [one.name for one in found.datasets] == ["both", "before"]
    assert list(found.documents) == ["handbook/mills", "handbook/rivers"]
    assert (found.answers, list(found.query_ids)) == (1, [str(first)])
    for nothing in (
        {"subject": "nobody"},
        {"source": "nowhere"},
        {"document": "handbook/x"},
        {"query_id": str(uuid4())},
    ):
        found = await house.trace(**nothing)
        assert (list(found.datasets), found.answers, list(found.documents)) == ([], 0, [])


async def test_a_models_answers_are_told_by_its_version_and_by_its_whole_name(house: DatasetHouse) -> None:
    tuned = {"name": "demo-generator", "version": "0123456789abcdef", "provider": "local"}
    queries = [await house.answered(f"What is part {n} of the mill?", model=tuned) for n in range(3)]
    await house.answered("Who else answers?")
    for name in ("0123456789abcdef", "demo-generator@0123456789abcdef"):
        found = await house.trace(model_version=name)
        assert (found.answers, set(found.query_ids), list(found.datasets)) == (3, set(map(str, queries)), [])
    assert (await house.trace(model_version="0123456789abcdee")).answers == 0


async def test_rows_that_people_wrote_are_of_their_series(house: DatasetHouse) -> None:
    await house.bring(DatasetRow(question="What is a weir?", answer="A dam.", tier=TIER_PUBLIC))
    for what in ({"source": "dataset:known"}, {"document": "dataset:known/rows"}):
        (holder,) = (await house.trace(**what)).datasets
        assert (holder.name, holder.rows, holder.tier) == ("known", 1, TIER_PUBLIC)


async def test_what_is_erased_is_traced_no_more_but_the_snapshot_says_by_what_it_ended(house: DatasetHouse) -> None:
    await house.answered()
    built = await house.build()
    await house.erase(subject="user-7")
    found = await house.trace(subject="user-7")
    assert (list(found.datasets), found.answers) == ([], 0)
    (holder,) = (await house.trace(dataset=built.dataset_id)).datasets
    assert (holder.state, holder.rows, holder.ended_by) == (DATASET_STATE_ERASED, 0, f"erasure {house.erasure_id}")


async def test_another_tenant_has_nothing_of_it(house: DatasetHouse) -> None:
    query_id = await house.answered()
    built = await house.build()
    other = f"{house.tenant}-x"
    with pytest.raises(NotFound):
        await house.trace(tenant=other, dataset=built.dataset_id)
    for what in ({"subject": "user-7"}, {"source": "handbook"}, {"query_id": str(query_id)}, {"model_version": "1"}):
        found = await house.trace(tenant=other, **what)
        assert (list(found.datasets), found.answers, list(found.documents)) == ([], 0, [])


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({}, "what: missing"),
        ({"dataset": "No Name"}, "dataset: malformed"),
        ({"source": ""}, "source: malformed"),
        ({"document": "handbook"}, "document: malformed"),
        ({"subject": "\0"}, "subject: malformed"),
        ({"query_id": "hunter2"}, "query_id: not_a_uuid"),
        ({"model_version": "x" * 200}, "model_version: malformed"),
    ],
)
async def test_what_cannot_be_meant_is_refused_by_its_field(
    house: DatasetHouse, what: dict[str, str], said: str
) -> None:
    with pytest.raises(Rejected, match=said) as refused:
        await house.trace(**what)
    assert "hunter2" not in str(refused.value)
