"""A model comes into service, and the traffic that it was trained on becomes what windows are measured against."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf import json_format
from headrace import topics
from headrace.drift.v1 import drift_pb2
from headrace.training.v1.models_pb2 import ModelChanged
from headrace_drift.following import ModelFollower
from headrace_drift.handlers import get_baseline
from headrace_runtime.errors import NotFound
from headrace_stream.memory import delivered

from services.drift.tests.house import MemoryHouse
from services.drift.tests.makers import PYTHON, SQL


async def change(house: MemoryHouse, event_id: UUID | None = None, **model: Any) -> None:
    """A model comes to another state."""
    whole = {
        "change": model.pop("change", "MODEL_CHANGE_PROMOTED"),
        "model": {"model": "tuned@1", "tenant": house.tenant, "target": "TARGET_GENERATOR", "datasetId": "support"}
        | model,
    }
    message = json_format.ParseDict(whole, ModelChanged())
    arrived = delivered(message, topics.MODEL_CHANGED, service="drift", event_id=event_id or uuid4())
    await ModelFollower(house.office).on_model(arrived)


@pytest.fixture
def house(tenant: str) -> MemoryHouse:
    return MemoryHouse(tenant)


async def test_its_dataset_becomes_the_baseline_and_closes_what_stood(house: MemoryHouse) -> None:
    await house.settle_in()
    await house.ask(SQL, 240, minute=6, minutes=4)
    await house.look(12)
    await change(house)
    baseline = await get_baseline(house.tenant, house.office)
    assert (baseline.dataset_id, baseline.set_by, baseline.samples) == ("4f2a" * 16, "model tuned@1", 300)
    assert [alert.state for alert in await house.alerts()] == [drift_pb2.ALERT_STATE_CLOSED]


async def test_a_change_that_comes_twice_is_followed_once(house: MemoryHouse) -> None:
    await house.ask(PYTHON, 100, minute=0, minutes=2)
    event_id = uuid4()
    await change(house, event_id)
    first = await get_baseline(house.tenant, house.office)
    await change(house, event_id)
    assert await get_baseline(house.tenant, house.office) == first


@pytest.mark.parametrize(
    "model",
    [
        {"change": "MODEL_CHANGE_CANARY"},
        {"target": "TARGET_EMBEDDER"},
        {"datasetId": ""},
        {"datasetId": "gone"},
    ],
    ids=["a share only", "no generator", "no dataset", "no such dataset"],
)
async def test_others_change_nothing(house: MemoryHouse, model: dict[str, Any]) -> None:
    await house.ask(PYTHON, 100, minute=0, minutes=2)
    await change(house, **model)
    with pytest.raises(NotFound):
        await get_baseline(house.tenant, house.office)


async def test_too_few_sketches_of_its_time_leave_the_baseline_as_it_is(house: MemoryHouse) -> None:
    await house.ask(PYTHON, 20, minute=0, minutes=2)
    await change(house)
    with pytest.raises(NotFound):
        await get_baseline(house.tenant, house.office)
