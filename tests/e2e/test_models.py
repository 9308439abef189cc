"""A model's whole way on the whole house: trained, judged, a canary, promoted by evidence, traced, and rolled back."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from headrace.feedback.v1.datasets_pb2 import DatasetQuery
from headrace.privacy.v1.privacy_pb2 import PURPOSE_TRAIN
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.training.v1.service_pb2 import LoopRules, StartTrainingRequest
from headrace.training.v1.training_pb2 import (
    CAUSE_PERSON,
    RUN_STATE_DONE,
    TARGET_GENERATOR,
    Recipe,
)
from headrace_client import Client
from headrace_embedded.trial import Trial, running

from tests.conftest import TOPICS
from tests.e2e import training
from tests.e2e.training import TENANT, developer, headrace, lenient, shown

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.long, pytest.mark.timeout(2400)]

PRODUCT = f"models-{uuid.uuid4().hex[:8]}"
CANARY_SECONDS = 600.0


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """Headrace with lenient rules."""
    with running({"HEADRACE_TRAINER_GATE": str(lenient(tmp_path_factory.mktemp("gate")))}) as up:
        yield up


async def asked(client: Client, topic: str, *, tail: str = "") -> AnswerCompleted:
    """Asks about a topic, and waits until the answer is logged."""
    return await training.asked(client, f"What does the {topic} statement do{tail}?", product=PRODUCT)


async def trained(person: Client) -> Any:
    """A run that has ended."""
    query = DatasetQuery(purpose=PURPOSE_TRAIN, products=[PRODUCT], near_duplicates=2.0, test_share=0.5)
    recipe = Recipe(epochs=1, context=256, tokens_a_step=512, rank=4)
    request = StartTrainingRequest(
        tenant=TENANT, target=TARGET_GENERATOR, query=query, recipe=recipe, cause=CAUSE_PERSON
    )
    return await training.trained(person, request)


async def until_live(trial: Trial, client: Client, model: str) -> dict[str, Any]:
    """Users go on asking until the canary has proven itself."""
    async with asyncio.timeout(CANARY_SECONDS):
        while True:
            told = await shown(trial, model)
            assert told["state"] != "MODEL_STATE_RETIRED", told["card"]
            if told["state"] == "MODEL_STATE_LIVE":
                return told
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
        live = await until_live(trial, client, run.model)
        answer = await asked(client, "nonlocal", tail=" now")
        assert (answer.variant.name, answer.model.version) == ("tuned", run.model.partition("@")[2])
        lineage = headrace(trial, "lineage", "model", "live")
        for node in ("dataset", "run", "model", "variant tuned 1", "answers"):
            assert node in lineage
        told = headrace(trial, "trace", live["trace_id"])
        for span in ("register", "canary", "promote", "first answer"):
            assert f"{span} {run.model}" in told, told
        assert "base does" in headrace(trial, "models", "rollback", "live", "--reason", "try")
        assert (await asked(client, "nonlocal", tail=" again")).variant.name == "default"
        assert "nothing" not in headrace(trial, "models", "list")
