"""A model's whole way on the whole house: trained, judged, a canary, promoted by evidence, traced, and rolled back."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from headrace.feedback.v1.datasets_pb2 import DatasetQuery
from headrace.privacy.v1.privacy_pb2 import PURPOSE_TRAIN
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.training.v1.service_pb2 import LoopRules, StartTrainingRequest
from headrace.training.v1.training_pb2 import (
    CAUSE_PERSON,
    RUN_STATE_CANCELLED,
    RUN_STATE_DONE,
    RUN_STATE_FAILED,
    RUN_STATE_REFUSED,
    TARGET_GENERATOR,
    Recipe,
)
from headrace_client import Client
from headrace_client.credentials import find_credentials
from headrace_client.errors import NotFound
from headrace_embedded.trial import Trial, running

from tests.conftest import TOPICS

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.long, pytest.mark.timeout(2400)]

TENANT = "demo"
PRODUCT = f"models-{uuid.uuid4().hex[:8]}"
RUN_SECONDS, CANARY_SECONDS = 1200.0, 600.0


def lenient(folder: Path) -> Path:
    """Rules that a model of a dozen rows can hold: each is asked, of few pairs, and allows for almost anything."""
    rules = yaml.safe_load(files("headrace_trainer.registry").joinpath("gate.yaml").read_text("utf-8"))
    for rule in rules["shares"].values():
        rule.update(falls_by=1.0, proven_by=1.0, least_pairs=1, needed="none", sure=0.99)
        rule.pop("by_kind", None)
    for rule in rules["ratios"].values():
        rule.update(times=100.0, least_pairs=1)
    rules["judges"].update(falls_by=1.0, least_pairs=1)
    rules["memorisation"].update(margin_bits=100.0, extracted=100)
    path = folder / "gate.yaml"
    path.write_text(yaml.safe_dump(rules), "utf-8")
    return path


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """Headrace with lenient rules."""
    with running({"HEADRACE_TRAINER_GATE": str(lenient(tmp_path_factory.mktemp("gate")))}) as up:
        yield up


@asynccontextmanager
async def developer(trial: Trial) -> AsyncIterator[Client]:
    credentials = find_credentials(os.environ, trial.endpoints, role="developer")
    async with Client.connect(trial.endpoints, credentials=credentials) as client:
        yield client


def headrace(trial: Trial, *words: str) -> str:
    done = subprocess.run(
        [Path(sys.executable).parent / "headrace", *words],
        env={**os.environ, "HEADRACE_ENDPOINTS": str(trial.home / "endpoints.json"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


async def asked(client: Client, topic: str, *, tail: str = "") -> AnswerCompleted:
    """Asks, and waits until the answer is logged."""
    query_id = str(uuid.uuid4())
    question = f"What does the {topic} statement do{tail}?"
    await client.answer(question, tenant=TENANT, product=PRODUCT, query_id=query_id, declared_tier=1)
    for _ in range(200):
        try:
            return (await client.interaction(tenant=TENANT, query_id=query_id)).interaction
        except NotFound:
            await asyncio.sleep(0.1)
    raise AssertionError("the interaction was not stored")


async def trained(person: Client) -> Any:
    """A run that has ended."""
    query = DatasetQuery(purpose=PURPOSE_TRAIN, products=[PRODUCT], near_duplicates=2.0, test_share=0.5)
    recipe = Recipe(epochs=1, context=256, tokens_a_step=512, rank=4)
    request = StartTrainingRequest(
        tenant=TENANT, target=TARGET_GENERATOR, query=query, recipe=recipe, cause=CAUSE_PERSON
    )
    run = (await person.start_training(request)).run
    async with asyncio.timeout(RUN_SECONDS):
        while run.state not in (RUN_STATE_DONE, RUN_STATE_REFUSED, RUN_STATE_FAILED, RUN_STATE_CANCELLED):
            await asyncio.sleep(1.0)
            run = await person.get_training(run.run_id, tenant=TENANT)
    return run


async def until_live(trial: Trial, client: Client, model: str) -> dict[str, Any]:
    """Users go on asking until the canary has proven itself."""
    async with asyncio.timeout(CANARY_SECONDS):
        while True:
            shown: dict[str, Any] = json.loads(
                await asyncio.to_thread(headrace, trial, "models", "show", model, "--json")
            )
            assert shown["state"] != "MODEL_STATE_RETIRED", shown["card"]
            if shown["state"] == "MODEL_STATE_LIVE":
                return shown
            await asyncio.gather(*(asked(client, topic, tail=f" {uuid.uuid4().hex[:4]}") for topic in TOPICS[:6]))


async def test_a_model_comes_into_service_and_goes_back(trial: Trial, put_topics: Any) -> None:
    async with Client.connect(trial.endpoints) as client, developer(trial) as person:
        await put_topics(client)
        for topic in TOPICS:
            await asked(client, topic)
        rules = LoopRules(
            canary_share=0.5, canary_margin=0.5, canary_least_answers=5, canary_most_seconds=900, promote_by_itself=True
        )
        await person.put_loop_rules(rules, tenant=TENANT)
        run = await trained(person)
        card = (await person.model(run.model, tenant=TENANT)).card
        assert run.state == RUN_STATE_DONE, f"{run.failure}\n{card}"
        assert "**Passed** against default 1" in card
        shown = await until_live(trial, client, run.model)
        answer = await asked(client, "nonlocal", tail=" now")
        assert (answer.variant.name, answer.model.version) == ("tuned", run.model.partition("@")[2])
        lineage = headrace(trial, "lineage", "model", "live")
        for node in ("dataset", "run", "model", "variant tuned 1", "answers"):
            assert node in lineage
        told = headrace(trial, "trace", shown["trace_id"])
        for span in ("register", "canary", "promote", "first answer"):
            assert f"{span} {run.model}" in told, told
        assert "base does" in headrace(trial, "models", "rollback", "live", "--reason", "try")
        assert (await asked(client, "nonlocal", tail=" again")).variant.name == "default"
        assert "nothing" not in headrace(trial, "models", "list")
