"""Trained models that recognise kinds: which is in service, and when the tenant's examples tell kinds instead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from headrace.inference.v1 import routes_pb2
from headrace.training.v1 import models_pb2, training_pb2
from headrace_inference.adapters.memory_trained import MemoryTrainedBooks
from headrace_inference.adapters.trained_heads import TrainedHeads, open_heads
from headrace_inference.kinds import Embedder, TrainedRecogniser
from headrace_inference.route_choosing import Broken
from headrace_inference.trained_records import Bounds, TrainedRecord
from headrace_inference.trained_translate import to_record
from headrace_models.kinds import OTHER, WEIGHTS, Head, write_head
from headrace_runtime.errors import Conflict, Rejected, Unavailable

from services.inference.tests.test_meters import Clock
from services.inference.tests.test_route_service import Office
from services.inference.tests.test_routed import KINDS
from services.inference.tests.trained_folders import NOW, hashes_of, record

#: What Office.learn stores.
VERSION = 3
NAMES = (*(kind.name for kind in KINDS), OTHER)


def head_for(embedder: Embedder, /, **changed: Any) -> Head:
    """Takes everything for history."""
    bias = np.array([0.0, 6.0, 0.0])
    made = Head(NAMES, VERSION, embedder, np.zeros((3, embedder.dimensions)), bias)
    return replace(made, **changed)


def put(head: Head, folder: Path, version: str = "aa", **more: Any) -> TrainedRecord:
    made = folder / version
    made.mkdir(parents=True)
    write_head(head, made)
    return record(
        version,
        name="kinds",
        target="kinds",
        address=str(made),
        files=hashes_of(made),
        **{"standing": "live", **more},
    )


@dataclass
class Served:
    """An office whose queries are recognised by trained heads, too."""

    office: Office
    heads: TrainedHeads
    clock: Clock

    async def settled(self) -> None:
        await self.heads.settle()
        while self.heads._tasks:
            await asyncio.sleep(0.01)

    async def note(self, *records: TrainedRecord) -> None:
        for one in records:
            self.heads.note(one)
        await self.settled()

    async def explained(self, **asked: Any) -> routes_pb2.ExplainRouteResponse:
        return await self.office.explain(text="What is a pour statement?", **asked)


@pytest.fixture
async def served(tmp_path: Path) -> Served:
    office, clock = Office(), Clock()
    await office.learn()
    bounds = Bounds(most=2, grace=timedelta(minutes=10))
    heads = TrainedHeads(MemoryTrainedBooks(), tmp_path / "cache", bounds, clock, lambda: NOW)
    office.service = replace(office.service, router=replace(office.router, heads=heads))
    return Served(office, heads, clock)


@pytest.fixture
def make(served: Served, tmp_path: Path) -> Callable[..., TrainedRecord]:
    """Puts a head into a folder, and tells of it."""

    def made(version: str = "aa", *, standing: str = "live", at: int = 0, **changed: Any) -> TrainedRecord:
        head = head_for(served.office.embedder.identity, **changed)
        changed_at = NOW + timedelta(seconds=at)
        return put(head, tmp_path / "trained", version, standing=standing, changed_at=changed_at)

    return made


Make = Callable[..., TrainedRecord]


# --- who is asked -----------------------------------------------------------------------------------------------------


async def test_the_one_in_service_recognises_and_the_answer_says_so(served: Served, make: Make) -> None:
    assert (await served.explained()).routing.kinds_model == ""
    await served.note(make())
    found = await served.explained()
    assert (found.routing.kind, found.routing.kinds_model) == ("history", "kinds@aa")
    assert found.routing.kinds_version == VERSION
    assert found.scores[0].kind == "history"
    assert sum(score.confidence for score in found.scores) == pytest.approx(1)
    served.office.router = served.office.service.router
    kinds = await served.office.service.GetKinds(routes_pb2.GetKindsRequest(tenant="demo"), None)  # type: ignore[arg-type]
    assert (kinds.kinds_model, kinds.passed_over_model) == ("kinds@aa", "")


@pytest.mark.parametrize("standing", ["candidate", "canary", "rolled_back"])
async def test_one_that_is_not_in_service_recognises_for_trials_alone(
    standing: str, served: Served, make: Make
) -> None:
    await served.note(make(standing=standing))
    assert (await served.explained()).routing.kinds_model == ""
    asked = await served.explained(kinds_model="kinds@aa")
    assert (asked.routing.kind, asked.routing.kinds_model) == ("history", "kinds@aa")


@pytest.mark.parametrize(
    "changed",
    [
        {"kinds_version": VERSION + 1},
        {"kinds": ("pouring", "sluices", OTHER)},
        {"embedder": Embedder("words", 256, "f" * 16)},
    ],
)
async def test_a_head_for_other_kinds_or_another_embedder_is_never_asked(
    changed: dict[str, Any], served: Served, make: Make
) -> None:
    assert served.office.embedder.identity.hash != "f" * 16
    await served.note(make(**changed))
    found = await served.explained()
    assert (found.routing.kind, found.routing.kinds_model) == ("pouring", "")
    with pytest.raises(Conflict, match="learned other kinds"):
        await served.explained(kinds_model="kinds@aa")


async def test_that_it_is_never_asked_would_be_seen(served: Served, make: Make, monkeypatch: Any) -> None:
    """The seeded bug: whatever is in service is asked, fits or not."""
    monkeypatch.setattr(TrainedRecogniser, "fits", lambda self, kinds, version, embedder: True)
    await served.note(make(kinds_version=VERSION + 1))
    assert (await served.explained()).routing.kinds_model == "kinds@aa"


async def test_the_examples_can_be_asked_beside_the_one_in_service(served: Served, make: Make) -> None:
    await served.note(make())
    found = await served.explained(kinds_model="examples")
    assert (found.routing.kind, found.routing.kinds_model) == ("pouring", "")


async def test_new_kinds_are_recognised_by_their_examples_at_once(served: Served, make: Make) -> None:
    await served.note(make())
    questions = {kind.name: [*kind.examples] for kind in KINDS}
    questions["pouring"].append("how do I pour")
    await served.office.put_kinds(**questions)
    assert (await served.explained()).routing.kinds_model == ""
    served.office.router = served.office.service.router
    request = routes_pb2.GetKindsRequest(tenant="demo")
    kinds = await served.office.service.GetKinds(request, None)  # type: ignore[arg-type]
    assert (kinds.kinds_model, kinds.passed_over_model) == ("", "kinds@aa")


async def test_a_query_is_recognised_by_it_and_takes_its_kinds_route(served: Served, make: Make) -> None:
    office = served.office
    office.consumer = replace(office.consumer, router=office.service.router)
    await served.note(make())
    answer = await office.answer()
    assert (answer.routing.kind, answer.routing.kinds_model) == ("history", "kinds@aa")


# --- which is in service ----------------------------------------------------------------------------------------------


async def test_the_one_promoted_last_is_in_service_and_after_it_was_rolled_back_the_one_before(
    served: Served, make: Make
) -> None:
    first, second = make("aa"), make("bb", at=1)
    await served.note(first, second)
    assert (await served.explained()).routing.kinds_model == "kinds@bb"
    back = timedelta(seconds=5)
    await served.note(
        replace(second, standing="rolled_back", changed_at=NOW + back), replace(first, changed_at=NOW + back)
    )
    assert (await served.explained()).routing.kinds_model == "kinds@aa"
    await served.note(replace(first, standing="rolled_back", changed_at=NOW + 2 * back))
    assert (await served.explained()).routing.kinds_model == ""


async def test_while_it_cannot_be_read_examples_tell_kinds_and_not_the_one_before(served: Served, make: Make) -> None:
    first, second = make("aa"), make("bb", at=1)
    (Path(second.address) / WEIGHTS).write_bytes(b"nothing")
    await served.note(first, second)
    assert (await served.explained()).routing.kinds_model == ""
    told = {one.model.version: (one.state, one.failure) for one in served.heads.told("demo")}
    assert told == {"aa": ("up", ""), "bb": ("failed", "corrupt")}
    with pytest.raises(Conflict, match="could not be loaded: corrupt"):
        await served.explained(kinds_model="kinds@bb")


async def test_one_that_is_being_read_may_be_asked_in_a_moment(served: Served, make: Make) -> None:
    served.heads.note(make())
    with pytest.raises(Unavailable):
        await served.explained(kinds_model="kinds@aa")
    await served.settled()
    assert (await served.explained(kinds_model="kinds@aa")).routing.kinds_model == "kinds@aa"


async def test_it_is_tried_again(served: Served, make: Make) -> None:
    one = make()
    weights = Path(one.address) / WEIGHTS
    whole = weights.read_bytes()
    weights.unlink()
    await served.note(one)
    weights.write_bytes(whole)
    await served.settled()
    assert (await served.explained()).routing.kinds_model == ""
    served.clock.now += 2
    await served.settled()
    assert (await served.explained()).routing.kinds_model == "kinds@aa"


async def test_what_is_deleted_leaves_memory_and_disk(served: Served, make: Make) -> None:
    one = make()
    await served.note(one)
    (kept,) = (served.heads.shelf / "demo").iterdir()
    await served.note(replace(one, standing="deleted", changed_at=NOW + timedelta(seconds=1)))
    assert not kept.exists()
    assert served.heads.told("demo") == []
    with pytest.raises(Broken):
        served.heads.named("demo", "kinds@aa")


async def test_tenants_have_their_own(served: Served, make: Make) -> None:
    await served.note(replace(make(), tenant="acme"))
    assert (await served.explained()).routing.kinds_model == ""
    with pytest.raises(Conflict, match="has no model"):
        await served.explained(kinds_model="kinds@aa")


async def test_what_writes_answers_is_not_read_as_a_head(served: Served) -> None:
    await served.note(record(standing="live"))
    assert served.heads.told("demo") == []


async def test_an_instance_that_starts_reads_them_from_the_table(served: Served, make: Make) -> None:
    books = MemoryTrainedBooks()
    one = make()
    books.records[one.tenant, one.name, one.version] = one
    served.heads.books = books
    async with open_heads(served.heads), asyncio.timeout(5):
        while served.heads.in_service("demo") is None:
            await asyncio.sleep(0.01)


async def test_a_folder_without_a_head_is_unsupported(served: Served, tmp_path: Path) -> None:
    folder = tmp_path / "wrong"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"1")
    one = record(name="kinds", target="kinds", address=str(folder), files=hashes_of(folder), standing="live")
    await served.note(one)
    assert [(told.state, told.failure) for told in served.heads.told("demo")] == [("failed", "unsupported")]


# --- words ------------------------------------------------------------------------------------------------------------


def changed(**model: Any) -> models_pb2.ModelChanged:
    made = models_pb2.Model(
        model="kinds@aa", tenant="demo", state=models_pb2.MODEL_STATE_LIVE, target=training_pb2.TARGET_KINDS, **model
    )
    message = models_pb2.ModelChanged(change=models_pb2.MODEL_CHANGE_CONDEMNED, model=made)
    message.changed_at.FromDatetime(NOW)
    return message


def test_what_is_condemned_while_it_stands_by_does_not_come_back() -> None:
    assert to_record(changed(), {}).standing == "live"
    assert to_record(changed(replaced_by="kinds@bb"), {}).standing == "rolled_back"
    generator = changed(replaced_by="tuned@bb")
    generator.model.target = training_pb2.TARGET_GENERATOR
    assert to_record(generator, {}).standing == "live"


async def test_a_model_recognises_the_kind_of_a_text_alone(served: Served) -> None:
    with pytest.raises(Rejected) as refused:
        await served.office.explain(kind="pouring", kinds_model="kinds@aa")
    assert [violation.field for violation in refused.value.violations] == ["kinds_model"]
