"""Snapshots on a real Postgres and a folder: what goes in, what is read, and how they end."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest
from headrace.feedback.v1.datasets_pb2 import DATASET_STATE_USABLE, DatasetBuilt, DatasetRow
from headrace.privacy.v1.privacy_pb2 import TIER_1, TIER_PUBLIC
from headrace_database import Database
from headrace_runtime.errors import Conflict, Denied, NotFound, Rejected

from services.feedback.tests.datasets.house import EVALUATE, TRAIN, DatasetHouse, excluded

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
    house.authorizer.grants.add(2)
    assert not (await house.bring(*rows)).created
