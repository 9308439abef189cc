"""The kind of a row: what more than half of the reviewers named, and never what was merely recognised."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from headrace.feedback.v1.datasets_pb2 import DatasetRow
from headrace_database import Database
from headrace_feedback.datasets.manifest import id_of, manifest_of
from headrace_feedback.datasets.snapshots import Row, Split
from headrace_feedback.interaction import Versioned
from headrace_feedback.reviewing.postgres import PostgresQueue
from headrace_feedback.reviewing.queue import Item, Labelling
from headrace_privacy import Tier
from headrace_privacy.policy import Purpose
from headrace_runtime.errors import Conflict

from services.feedback.tests.datasets.house import TRAIN, DatasetHouse, excluded
from services.feedback.tests.makers import NOW


@pytest.fixture
def house(tenant: str, opened: Database, tmp_path: Path) -> DatasetHouse:
    return DatasetHouse(tenant, opened, tmp_path / "datasets")


async def state(house: DatasetHouse, query_id: UUID, **kinds: str) -> None:
    """Reviewers label an answer, each a second after the one before; "" says nothing of its kind."""
    item = Item(query_id, house.tenant, query_id, (), Tier.TIER_1, "other", Versioned("r", "1"), 5, NOW)
    async with house.database.transaction(tenant=house.tenant) as connection:
        queue = PostgresQueue(connection)
        await queue.add(item)
        for reviewer, kind in kinds.items():
            moment = house.tick()
            await queue.label(Labelling(uuid4(), item, reviewer, {"correct": "fail"}, Tier.TIER_1, None, moment, kind))


async def kinds_of(house: DatasetHouse, **query: Any) -> dict[str, tuple[str, bool]]:
    built = await house.build(near_duplicates=2, **query)
    return {row.question: (row.kind, row.kind_stated) for row in await house.read(built.dataset_id)}


ROUTED = {"routing": {"kind": "why"}}


@pytest.mark.real
@pytest.mark.parametrize(
    ("said", "kind", "stated"),
    [
        ({}, "why", False),
        ({"rita": ""}, "why", False),
        ({"rita": "how-to"}, "how-to", True),
        ({"rita": "why"}, "why", True),
        ({"rita": "how-to", "ravi": ""}, "how-to", True),
        ({"rita": "how-to", "ravi": "error"}, "why", False),
        ({"rita": "how-to", "ravi": "error", "rosa": "error"}, "error", True),
        ({"a": "how-to", "b": "how-to", "c": "error", "d": "why", "e": "other"}, "why", False),
    ],
)
async def test_more_than_half_of_those_who_named_a_kind_decide(
    said: dict[str, str], kind: str, stated: bool, house: DatasetHouse
) -> None:
    query_id = await house.answered(**ROUTED)
    if said:
        await state(house, query_id, **said)
    assert await kinds_of(house) == {"What is a headrace?": (kind, stated)}


@pytest.mark.real
async def test_of_each_reviewer_the_last_word_counts(house: DatasetHouse) -> None:
    query_id = await house.answered(**ROUTED)
    await state(house, query_id, rita="how-to")
    await state(house, query_id, rita="error")
    assert await kinds_of(house) == {"What is a headrace?": ("error", True)}
    await state(house, query_id, rita="")
    assert await kinds_of(house) == {"What is a headrace?": ("why", False)}


@pytest.mark.real
async def test_to_learn_kinds_the_question_counts_however_it_was_answered(house: DatasetHouse) -> None:
    refused = await house.answered("What do the sources not say?", grounding="GROUNDING_NOT_IN_SOURCES")
    await house.answered("Which kind is this?")
    await state(house, refused, rita="how-to")
    built = await house.build(purpose=TRAIN, kind_stated_only=True)
    assert (built.rows, excluded(built), dict(built.kinds)) == (1, {"kind_not_stated": 1}, {"how-to": 1})
    assert built.card.kinds_stated == 1
    (row,) = await house.read(built.dataset_id)
    assert (row.question, row.kind, row.kind_stated) == ("What do the sources not say?", "how-to", True)


@pytest.mark.real
async def test_what_is_asked_for_by_kind_is_what_people_say_it_is(house: DatasetHouse) -> None:
    query_id = await house.answered(**ROUTED)
    await state(house, query_id, rita="how-to")
    assert await kinds_of(house, kinds=["how-to"]) == {"What is a headrace?": ("how-to", True)}
    with pytest.raises(Conflict, match="other_kind"):
        await house.build(kinds=["why"])


@pytest.mark.real
async def test_without_a_stated_kind_there_is_nothing_to_learn_kinds_from(house: DatasetHouse) -> None:
    await house.answered(**ROUTED)
    with pytest.raises(Conflict, match="kind_not_stated 1"):
        await house.build(purpose=TRAIN, kind_stated_only=True)


@pytest.mark.real
async def test_who_writes_rows_by_hand_may_state_their_kind(house: DatasetHouse) -> None:
    rows = [
        DatasetRow(row_id="a", question="How do I open it?", answer="So.", kind="how-to", kind_stated=True),
        DatasetRow(row_id="b", question="Why is it shut?", answer="So.", kind="why"),
        DatasetRow(row_id="c", question="Is it shut?", answer="So.", kind_stated=True),
    ]
    done = await house.bring(*rows)
    house.authorizer.grants.add(Purpose.EVALUATE)
    found = {row.row_id: (row.kind, row.kind_stated) for row in await house.read(done.dataset.dataset_id)}
    assert found == {"a": ("how-to", True), "b": ("why", False), "c": ("other", False)}


def test_a_row_of_a_stated_kind_is_another_row_and_the_others_keep_their_name() -> None:
    one = Row("r", "why", Tier.TIER_1, b"1" * 32, NOW, NOW - timedelta(seconds=1), split=Split.TRAIN)
    stated = Row("r", "why", Tier.TIER_1, b"1" * 32, NOW, NOW, split=Split.TRAIN, kind_stated=True)
    manifests = [manifest_of([row], tenant="t", name="n", purpose=Purpose.TRAIN) for row in (one, stated)]
    assert b"kind_stated" not in manifests[0]
    assert len({*map(id_of, manifests)}) == 2
