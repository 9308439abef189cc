"""A tenant's own embedder on the whole house: trained, indexed, judged, switched to, searched by, and rolled back.

The trainer is killed while the gate is at work, so that all of it is gone on with by another process.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from headrace.feedback.v1.datasets_pb2 import DatasetQuery
from headrace.privacy.v1.erasure_pb2 import ErasureScope
from headrace.privacy.v1.privacy_pb2 import PURPOSE_TRAIN
from headrace.training.v1.models_pb2 import MODEL_STATE_LIVE, MODEL_STATE_RETIRED, Model
from headrace.training.v1.service_pb2 import LoopRules, StartTrainingRequest
from headrace.training.v1.training_pb2 import (
    CAUSE_ERASURE,
    CAUSE_PERSON,
    METHOD_FULL,
    RUN_STATE_DONE,
    RUN_STATE_GATING,
    TARGET_EMBEDDER,
    Recipe,
    TrainingRun,
)
from headrace_client import Client
from headrace_client.errors import HeadraceError
from headrace_embedded.trial import Trial, running

from tests.conftest import TOPICS
from tests.e2e.training import ENDED, TENANT, developer, headrace, is_logged

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.long, pytest.mark.timeout(2400)]

PRODUCT = f"embedders-{uuid.uuid4().hex[:8]}"
SUBJECT = f"user-{uuid.uuid4().hex[:8]}"
RUN_SECONDS, SWITCH_SECONDS = 1200.0, 120.0


def lenient(folder: Path) -> Path:
    """Rules that an embedder of a dozen pairs can hold: each is asked, of few questions, and allows for anything."""
    rules = yaml.safe_load(files("headrace_trainer.registry").joinpath("gate.yaml").read_text("utf-8"))
    own = rules["embedder"]
    own["gain"].update(sure=0.0, least_pairs=1)
    for rule in own["shares"].values():
        rule.update(falls_by=1.0, proven_by=1.0, least_pairs=1, sure=0.99)
        rule.pop("by_kind", None)
    own["held_out_loss"].update(times=100.0)
    path = folder / "gate.yaml"
    path.write_text(yaml.safe_dump(rules), "utf-8")
    return path


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """Headrace with lenient rules."""
    with running({"HEADRACE_TRAINER_GATE": str(lenient(tmp_path_factory.mktemp("gate")))}) as up:
        yield up


async def asked(client: Client, topic: str, *, subject: str = "") -> None:
    """Asks, and waits until the answer is logged."""
    query_id = str(uuid.uuid4())
    question = f"What does the {topic} statement do?"
    await client.answer(question, tenant=TENANT, product=PRODUCT, query_id=query_id, subject=subject, declared_tier=1)
    async with asyncio.timeout(60):
        while not await is_logged(client, query_id):
            await asyncio.sleep(0.1)


async def until(person: Client, run: TrainingRun, fits: Callable[[TrainingRun], bool]) -> TrainingRun:
    """The run, once it fits; whoever serves it may be dead meanwhile."""
    async with asyncio.timeout(RUN_SECONDS):
        while not fits(run):
            await asyncio.sleep(0.2)
            try:
                run = await person.get_training(run.run_id, tenant=TENANT)
            except HeadraceError:
                continue
    return run


async def started(person: Client, *, seed: int) -> TrainingRun:
    query = DatasetQuery(purpose=PURPOSE_TRAIN, products=[PRODUCT], near_duplicates=2.0, test_share=0.4)
    request = StartTrainingRequest(
        tenant=TENANT,
        target=TARGET_EMBEDDER,
        query=query,
        recipe=Recipe(method=METHOD_FULL, epochs=2, tokens_a_step=1024),
        cause=CAUSE_PERSON,
        seed=seed,
    )
    return (await person.start_training(request)).run


async def searched_by(client: Client, **more: Any) -> str:
    """Whose vectors found something."""
    response = await client.search("What does the nonlocal statement do?", tenant=TENANT, **more)
    assert response.chunks
    assert any(chunk.reference.document_id == "nonlocal" for chunk in response.chunks)
    return str(response.settings.embedder.name)


async def until_stands(person: Client, model: str, fits: Callable[[Model], bool]) -> None:
    async with asyncio.timeout(SWITCH_SECONDS):
        while not fits((await person.model(model, tenant=TENANT)).model):
            await asyncio.sleep(0.5)


def is_live(model: Model) -> bool:
    return model.state == MODEL_STATE_LIVE


async def test_an_embedder_comes_into_service_by_one_switch_and_goes_back_by_another(
    trial: Trial, put_topics: Any
) -> None:
    async with Client.connect(trial.endpoints) as client, developer(trial) as person:
        await put_topics(client)
        for topic in TOPICS:
            await asked(client, topic, subject=SUBJECT if topic == TOPICS[0] else "")
        house = await searched_by(person)
        await person.put_loop_rules(LoopRules(promote_by_itself=True), tenant=TENANT)
        run = await until(person, await started(person, seed=1), lambda one: one.state in (RUN_STATE_GATING, *ENDED))
        killed = await asyncio.to_thread(trial.kill, "trainer")
        await asyncio.to_thread(trial.wait_for_another, "trainer", killed)
        run = await until(person, run, lambda one: one.state in ENDED)
        assert run.model, run.failure
        found = await person.model(run.model, tenant=TENANT)
        assert run.state == RUN_STATE_DONE, f"{run.failure}\n{found.card}"
        assert "**Passed** against the house's embedder" in found.card
        await until_stands(person, run.model, is_live)

        found = await person.model("live-embedder", tenant=TENANT)
        assert (found.model.model, found.serving.state) == (run.model, "up")
        assert found.serving.done == found.serving.of > 0
        assert await searched_by(person) == run.model
        assert await searched_by(person, embedder="house") == house
        await asked(client, "nonlocal")
        shown = await asyncio.to_thread(headrace, trial, "models", "show", "live-embedder")
        assert "passages have their vector by it" in shown

        told = await asyncio.to_thread(headrace, trial, "trace", found.model.trace_id)
        # What the killed process had not sent yet is in no trace.
        for span in (f"switch to {run.model}", f"promote {run.model}"):
            assert span in told, told
        lineage = await asyncio.to_thread(headrace, trial, "lineage", "model", "live-embedder")
        for node in ("dataset", "run", "model"):
            assert node in lineage

        back = await asyncio.to_thread(headrace, trial, "models", "rollback", "live-embedder", "--reason", "try")
        assert "base does" in back
        assert await searched_by(person) == house
        assert (await person.model(run.model, tenant=TENANT)).model.state == MODEL_STATE_RETIRED


async def test_one_that_learned_from_the_erased_goes_by_its_deadline_and_is_asked_for_anew(trial: Trial) -> None:
    """What the test before asked is there still."""
    async with Client.connect(trial.endpoints) as client, developer(trial) as person:
        rules = LoopRules(promote_by_itself=True, automatic=True, debounce_seconds=3600, erasure_seconds=15)
        await person.put_loop_rules(rules, tenant=TENANT)
        run = await until(person, await started(person, seed=2), lambda one: one.state in ENDED)
        await until_stands(person, run.model, is_live)
        assert await searched_by(person) == run.model
        begun = await client.erase(ErasureScope(tenant=TENANT, subject=SUBJECT), reason="a test")
        await until_stands(person, run.model, lambda one: bool(one.erasures) and not one.address)
        gone = (await person.model(run.model, tenant=TENANT)).model
        assert (gone.state, gone.ended_by, gone.replaced_by) == (MODEL_STATE_RETIRED, "erasure", "base")
        assert gone.erasures == [f"erasure {begun.erasure_id}"]
        assert not (trial.home / "trained" / run.model).exists()
        assert await searched_by(person) != run.model
        with pytest.raises(HeadraceError):
            await searched_by(person, embedder=run.model)
        waiting = (await person.trainings(tenant=TENANT))[0]
        assert (waiting.target, list(waiting.causes)) == (TARGET_EMBEDDER, [CAUSE_ERASURE])
