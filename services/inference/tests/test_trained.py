"""Trained models that come, answer and go, over a loader that only pretends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from headrace.training.v1 import models_pb2, training_pb2
from headrace_inference.adapters.backends import Backend
from headrace_inference.adapters.memory_trained import MemoryLoader, MemoryTrainedBooks
from headrace_inference.adapters.trained import TrainedModels, open_trained
from headrace_inference.domain import Decoding, Versioned
from headrace_inference.ports import Model
from headrace_inference.route_choosing import Broken, NotYet
from headrace_inference.trained_consumers import TrainedConsumer, TrainedWatch
from headrace_inference.trained_records import LONGEST_WAIT, Bounds, TrainedRecord, is_wanted, ranked, wait_after
from headrace_inference.trained_translate import to_record
from headrace_models.prompting import Turn
from headrace_privacy import Tier
from headrace_runtime.errors import Rejected, Unavailable
from headrace_stream.memory import MemoryLedger, delivered

from services.inference.tests.test_meters import Clock
from services.inference.tests.test_variants import backend
from services.inference.tests.trained_folders import NOW, record

GRACE = timedelta(minutes=10)
BOUNDS = Bounds(most=2, grace=GRACE)
LATER = NOW + timedelta(seconds=1)
TURNS = [Turn("user", "Say it")]


# --- what follows from how they stand ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("standing", "after", "wanted"),
    [
        ("candidate", timedelta(days=9), True),
        ("canary", timedelta(days=9), True),
        ("live", timedelta(days=9), True),
        ("rolled_back", GRACE - timedelta(seconds=1), True),
        ("rolled_back", GRACE, False),
        ("retired", timedelta(), False),
        ("deleted", timedelta(), False),
    ],
)
def test_who_answers_or_may_again_is_wanted(standing: Any, after: timedelta, wanted: bool) -> None:
    assert is_wanted(record(standing=standing), BOUNDS, now=NOW + after) is wanted


def test_the_base_has_no_weights_to_load() -> None:
    assert not is_wanted(record(standing="live", address=""), BOUNDS, now=NOW)


def test_what_answers_comes_before_what_might_and_the_newer_before_the_older() -> None:
    stood = [
        ("aa", "candidate", 9),
        ("bb", "live", 0),
        ("cc", "live", 5),
        ("dd", "rolled_back", 9),
        ("ee", "canary", 0),
    ]
    records = [record(v, standing=cast(Any, s), changed_at=NOW + timedelta(seconds=at)) for v, s, at in stood]
    assert [r.version for r in ranked(records, BOUNDS, now=NOW)] == ["cc", "bb", "ee", "aa", "dd"]


def test_waits_grow_and_end_somewhere() -> None:
    waits = [wait_after(failures) for failures in range(1, 200)]
    assert waits[:3] == [1.0, 2.0, 4.0]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT


def changed(change: int, *, state: int = 0, **more: Any) -> models_pb2.ModelChanged:
    model = {"model": "tuned@0123456789abcdef", "tenant": "demo", "target": training_pb2.TARGET_GENERATOR, **more}
    made = models_pb2.ModelChanged(change=cast(Any, change), model=models_pb2.Model(state=cast(Any, state), **model))
    made.changed_at.FromDatetime(NOW)
    return made


def test_every_change_of_the_contract_says_how_a_model_stands() -> None:
    told = {
        name: to_record(changed(number, state=models_pb2.MODEL_STATE_LIVE), {}).standing
        for name, number in models_pb2.ModelChange.items()
        if number
    }
    assert told == {
        "MODEL_CHANGE_REGISTERED": "candidate",
        "MODEL_CHANGE_CANARY": "canary",
        "MODEL_CHANGE_PROMOTED": "live",
        "MODEL_CHANGE_ROLLED_BACK": "rolled_back",
        "MODEL_CHANGE_RETIRED": "retired",
        "MODEL_CHANGE_DELETED": "deleted",
        "MODEL_CHANGE_CONDEMNED": "live",  # it goes on until another takes its place
    }


def test_a_model_whose_tier_nobody_said_is_of_the_strictest() -> None:
    assert to_record(changed(1), {}).tier is Tier.TIER_2


@pytest.mark.parametrize(
    "wrong",
    [
        {"model": "tuned"},
        {"model": "../../etc@aa"},
        {"model": ".hidden@aa"},
        {"model": "tuned@.."},
        {"model": "a/b@aa"},
        {"tenant": "../demo"},
        {"tenant": ""},
        {"target": 0},
    ],
)
def test_a_name_that_is_no_folder_is_rejected(wrong: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        to_record(changed(1, **wrong), {})


# --- what comes and goes ----------------------------------------------------------------------------------------------


@dataclass
class Instance:
    """One instance of the service, as far as trained models go."""

    loader: MemoryLoader = field(default_factory=MemoryLoader)
    books: MemoryTrainedBooks = field(default_factory=MemoryTrainedBooks)
    clock: Clock = field(default_factory=Clock)
    bounds: Bounds = BOUNDS
    at: datetime = NOW
    models: TrainedModels = field(init=False)

    def __post_init__(self) -> None:
        self.models = TrainedModels(self.books, self.loader, beside, self.bounds, self.clock, lambda: self.at)

    def told(self, tenant: str = "demo") -> dict[str, tuple[str, str]]:
        return {told.model.version: (told.state, told.failure) for told in self.models.told(tenant)}

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                self.models._changed.set()
                await asyncio.sleep(0.001)

    async def up(self, *versions: str) -> None:
        await self.until(lambda: all(self.told().get(version) == ("up", "") for version in versions))

    def find(self, version: str = "aa", *, tenant: str = "demo") -> Backend:
        found = self.models.find(tenant, version)
        assert found is not None
        return found


def beside(model: Model) -> Backend:
    made = backend("local")
    made.own = model
    made.lane.in_flight, made.lane.limit.a_minute = 4, 0
    return made


@asynccontextmanager
async def running(**parts: Any) -> AsyncIterator[Instance]:
    instance = Instance(**parts)
    async with open_trained(instance.models):
        yield instance


async def written(found: Backend) -> str:
    async with found.model_for("demo", Versioned("tuned", "1"), prompt=Versioned("p", "1")).write(
        TURNS, Decoding(8)
    ) as writing:
        return "".join([piece async for piece in writing.pieces()])


async def test_a_model_that_is_registered_is_loaded_and_writes() -> None:
    async with running() as instance:
        assert instance.models.find("demo", "aa") is None
        instance.models.note(record())
        with pytest.raises(NotYet, match="tuned@aa is being loaded"):
            instance.find()
        await instance.up("aa")
        assert await written(instance.find()) == "Water falls. "
        assert instance.find().own.tier is Tier.TIER_1
        (told,) = instance.models.told("demo")
        assert told.model.name == "tuned"
    assert instance.loader.open_models == {}, "nothing stays in memory when the service ends"


async def test_no_tenant_ever_finds_anothers() -> None:
    async with running() as instance:
        instance.models.note(record())
        await instance.up("aa")
        assert instance.models.find("other", "aa") is None
        assert instance.told("other") == {}


async def test_what_is_retired_answers_no_more_at_once_and_goes_when_nobody_writes_with_it() -> None:
    async with running() as instance:
        instance.models.note(record(standing="live"))
        await instance.up("aa")
        found = instance.find()
        async with found.model.write(TURNS, Decoding(8)) as writing:
            instance.models.note(record(standing="retired", changed_at=LATER))
            with pytest.raises(Broken, match="answers no more"):
                instance.find()
            await instance.until(lambda: instance.told() == {"aa": ("unloading", "")})
            await asyncio.sleep(0.15)
            assert instance.loader.closed == [], "somebody is writing with it"
            assert [t.in_flight for t in instance.models.told("demo")] == [1]
            assert "".join([piece async for piece in writing.pieces()]) == "Water falls. "
        await instance.until(lambda: instance.loader.forgotten == ["aa"])
        assert instance.loader.closed == ["aa"]
        assert instance.told() == {}


async def test_what_was_rolled_back_stays_for_a_while_and_its_files_longer() -> None:
    async with running() as instance:
        instance.models.note(record())
        await instance.up("aa")
        instance.models.note(record(standing="rolled_back", changed_at=LATER))
        await asyncio.sleep(0.02)
        assert await written(instance.find())
        instance.at = LATER + GRACE
        await instance.until(lambda: instance.loader.closed == ["aa"])
        assert instance.loader.forgotten == []
        instance.models.note(record(standing="live", changed_at=instance.at))
        await instance.up("aa")


async def test_what_cannot_be_loaded_says_why_and_is_tried_again_after_growing_waits() -> None:
    async with running(loader=MemoryLoader(failing={"aa": "corrupt"})) as instance:
        instance.models.note(record())
        await instance.until(lambda: instance.told() == {"aa": ("failed", "corrupt")})
        with pytest.raises(Broken, match="could not be loaded: corrupt") as broken:
            instance.find()
        assert not isinstance(broken.value, NotYet)
        for tries in (2, 3, 4):
            instance.clock.now += wait_after(tries - 1) - 0.01
            await asyncio.sleep(0.01)
            instance.models._changed.set()
            await asyncio.sleep(0.01)
            assert len(instance.loader.tried) == tries - 1, "too soon"
            instance.clock.now += 0.02
            await instance.until(lambda tries=tries: len(instance.loader.tried) == tries)  # type: ignore[misc]
            await instance.until(lambda: instance.told() == {"aa": ("failed", "corrupt")})
        instance.loader.failing.clear()
        instance.models.note(record(standing="canary", changed_at=LATER))  # a new word is reason to try at once
        await instance.up("aa")


async def test_one_that_cannot_be_loaded_holds_up_no_other() -> None:
    async with running(loader=MemoryLoader(failing={"aa": "missing"})) as instance:
        instance.models.note(record("aa"))
        instance.models.note(record("bb"))
        await instance.up("bb")
        assert instance.told()["aa"] == ("failed", "missing")


async def test_no_more_are_in_memory_than_may_be_and_the_least_needed_makes_room() -> None:
    async with running() as instance:
        instance.models.note(record("aa", standing="live"))
        instance.models.note(record("bb"))
        await instance.up("aa", "bb")
        instance.models.note(record("cc"))
        instance.models.note(record("dd", standing="canary", changed_at=LATER))
        await instance.up("aa", "dd")
        await instance.until(lambda: instance.told()["bb"] == instance.told()["cc"] == ("failed", "no_memory"))
        assert sorted(instance.loader.open_models) == ["aa", "dd"]
        instance.models.note(record("dd", standing="retired", changed_at=LATER + GRACE))
        await instance.until(lambda: "dd" in instance.loader.closed and len(instance.loader.open_models) == 2)
        assert set(instance.loader.open_models) < {"aa", "bb", "cc"}


async def test_a_model_whose_engine_died_is_loaded_anew() -> None:
    async with running() as instance:
        instance.models.note(record())
        await instance.up("aa")
        instance.loader.open_models["aa"].is_alive = False
        await instance.until(lambda: instance.loader.closed == ["aa"])
        instance.clock.now += 1.0
        await instance.up("aa")
        assert instance.loader.open_models["aa"].is_alive


async def test_one_that_fails_rests_and_the_other_goes_on() -> None:
    async with running() as instance:
        instance.models.note(record("aa"))
        instance.models.note(record("bb"))
        await instance.up("aa", "bb")
        failing, sound = instance.find("aa"), instance.find("bb")
        failing.own = cast(Any, Failing(failing.own))
        with pytest.raises(Unavailable):
            await written(failing)
        assert (failing.state, sound.state) == ("resting", "up")
        assert await written(sound)
        assert (failing.meter.failures, sound.meter.failures) == (1, 0)


@dataclass
class Failing:
    """A model whose thread is gone."""

    model: Model
    tier: Tier = Tier.PUBLIC

    @property
    def identity(self) -> Any:
        return self.model.identity

    @asynccontextmanager
    async def write(self, *asked: Any) -> AsyncIterator[Any]:
        raise Unavailable("the model")
        yield


async def test_an_instance_that_starts_reads_what_the_others_wrote_down() -> None:
    books = MemoryTrainedBooks()
    for each in (record("aa", standing="live"), record("bb", standing="deleted"), record("cc", tenant="other")):
        await books.put(None, each)
    async with running(books=books) as instance:
        await instance.up("aa")
        await instance.until(lambda: instance.told("other") == {"cc": ("up", "")})
        assert instance.loader.kept == ["aa", "cc"], "files of what is deleted go"
        assert instance.loader.forgotten == ["bb"]


async def test_an_older_word_changes_nothing() -> None:
    async with running() as instance:
        instance.models.note(record(standing="retired", changed_at=LATER))
        instance.models.note(record(standing="live"))
        await instance.books.put(None, record(standing="canary"))
        await instance.models.read()
        with pytest.raises(Broken, match="answers no more"):
            instance.find()


async def test_a_row_that_lags_behind_the_word_changes_nothing() -> None:
    async with running() as instance:
        await instance.books.put(None, record(standing="candidate"))
        instance.models.note(record(standing="canary"))  # the same moment, the later word
        await instance.models.read()
        assert instance.models._kept["demo", "aa"].record.standing == "canary"


async def test_a_stuck_load_delays_neither_the_service_nor_what_is_let_go() -> None:
    async with running() as instance:
        instance.models.note(record("aa"))
        await instance.up("aa")
        instance.loader.waits = True
        instance.models.note(record("bb"))
        await instance.until(lambda: instance.told().get("bb") == ("loading", ""))
        instance.models.note(record("aa", standing="retired", changed_at=LATER))
        await instance.until(lambda: instance.loader.closed == ["aa"])
        assert instance.told() == {"bb": ("loading", "")}


async def test_other_targets_are_not_loaded() -> None:
    async with running() as instance:
        instance.models.note(record(target="embedder"))
        assert instance.models.find("demo", "aa") is None


async def test_a_change_is_written_down_once_and_told_to_the_instance() -> None:
    books, ledger, noted = MemoryTrainedBooks(), cast(Any, MemoryLedger()), list[TrainedRecord]()
    message = changed(models_pb2.MODEL_CHANGE_CANARY, tier=2, address="memory://m", files={"a": "b"})
    delivery = delivered(message, cast(Any, _Topic()), service="inference", event_id=cast(Any, "1"))
    for _ in range(2):
        await TrainedConsumer(ledger, books).on_change(delivery)
    (kept,) = books.records.values()
    assert (kept.model, kept.standing, kept.tier, kept.files) == (
        "tuned@0123456789abcdef", "canary", Tier.TIER_1, {"a": "b"},
    )  # fmt: skip
    await TrainedWatch([noted.append]).on_change(message)
    assert noted == [replace(kept)]


class _Topic:
    name = "model.changed"
