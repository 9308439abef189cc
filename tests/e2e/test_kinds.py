"""What recognises kinds, on the whole house: reviewers state kinds, a run learns them, the gate asks both, and it tells
kinds from one word to another, but never others than it learned.

The trainer is killed while the run is under way, so that it is gone on with by another process.
"""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from headrace.feedback.v1.datasets_pb2 import DatasetQuery
from headrace.inference.v1.routes_pb2 import Kind
from headrace.privacy.v1.privacy_pb2 import PURPOSE_TRAIN, TIER_PUBLIC
from headrace.training.v1.models_pb2 import MODEL_STATE_RETIRED
from headrace.training.v1.service_pb2 import LoopRules, StartTrainingRequest
from headrace.training.v1.training_pb2 import CAUSE_PERSON, RUN_STATE_DONE, RUN_STATE_WAITING, TARGET_KINDS, TrainingRun
from headrace_client import Client
from headrace_client.credentials import find_credentials
from headrace_embedded.trial import Trial, running

from services.inference.tests.kinds_of_questions import EXAMPLES, OTHERS, UNSEEN
from tests.e2e.test_embedders import is_live, until, until_stands
from tests.e2e.training import ENDED, TENANT, developer, headrace, is_logged

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.long, pytest.mark.timeout(1200)]

PRODUCT = f"kinds-{uuid.uuid4().hex[:8]}"
#: Examples of each kind that the tenant gives; the other questions are asked, and reviewed.
GIVEN = 3
HEARD_SECONDS = 30.0
NEW = "Could you tell me how I might turn a list round?"


def rules(folder: Path) -> Path:
    """As they are shipped, but that of three dozen questions a few may go either way."""
    told = yaml.safe_load(files("headrace_trainer.registry").joinpath("gate.yaml").read_text("utf-8"))
    told["kinds"]["shares"]["right"].update(falls_by=0.15, proven_by=0.15)
    path = folder / "gate.yaml"
    path.write_text(yaml.safe_dump(told), "utf-8")
    return path


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    with running({"HEADRACE_TRAINER_GATE": str(rules(tmp_path_factory.mktemp("gate")))}) as up:
        yield up


@asynccontextmanager
async def reviewer(trial: Trial) -> AsyncIterator[Client]:
    credentials = find_credentials(os.environ, trial.endpoints, person="rita", role="reviewer")
    async with Client.connect(trial.endpoints, credentials=credentials) as client:
        yield client


def kinds(given: int) -> list[Kind]:
    return [Kind(name=name, examples=examples[:given]) for name, examples in EXAMPLES.items()]


def questions() -> list[tuple[str, str]]:
    """Each with what a reviewer says of it."""
    told = [(name, text) for name, texts in EXAMPLES.items() for text in (*texts[GIVEN:], *UNSEEN[name])]
    return [*told, *(("other", text) for text in OTHERS)]


async def asked(client: Client, text: str) -> str:
    query_id = str(uuid.uuid4())
    await client.answer(text, tenant=TENANT, product=PRODUCT, query_id=query_id, declared_tier=TIER_PUBLIC)
    async with asyncio.timeout(60):
        while not await is_logged(client, query_id):
            await asyncio.sleep(0.05)
    return query_id


async def reviewed(expert: Client, query_id: str, kind: str) -> None:
    item = (await expert.claim_review(tenant=TENANT, query_id=query_id)).item
    rubric = await expert.rubric(item.rubric.name, tenant=TENANT, version=int(item.rubric.version))
    labels = {criterion.name: criterion.labels[0] for criterion in rubric.criteria}
    assert await expert.label_review(item.item_id, labels, tenant=TENANT, kind=kind)


async def reviewed_by_hand(trial: Trial, query_id: str, kind: str) -> None:
    """As reviewed, by the commands that a reviewer types."""
    item = json.loads(await asyncio.to_thread(headrace, trial, "review", "next", query_id, "--json"))
    assert item["kinds"] == [*EXAMPLES, "other"]
    labels = [f"{criterion['name']}={criterion['labels'][0]}" for criterion in item["rubric"]["criteria"]]
    await asyncio.to_thread(headrace, trial, "review", "label", item["item_id"], *labels, "--kind", kind)


async def started(person: Client) -> TrainingRun:
    query = DatasetQuery(purpose=PURPOSE_TRAIN, products=[PRODUCT], near_duplicates=2.0, test_share=0.4)
    request = StartTrainingRequest(tenant=TENANT, target=TARGET_KINDS, query=query, cause=CAUSE_PERSON)
    return (await person.start_training(request)).run


async def recognised_by(person: Client, text: str = NEW) -> tuple[str, str]:
    """The kind, and the model that says so."""
    routing = (await person.explain_route(tenant=TENANT, text=text)).routing
    return routing.kind, routing.kinds_model


async def until_recognised_by(person: Client, model: str) -> None:
    async with asyncio.timeout(HEARD_SECONDS):
        while (await recognised_by(person))[1] != model:
            await asyncio.sleep(0.1)


async def test_kinds_are_learned_from_reviewers_and_recognised_until_they_are_others(trial: Trial) -> None:
    async with Client.connect(trial.endpoints) as client, developer(trial) as person, reviewer(trial) as expert:
        await person.put_kinds(kinds(GIVEN), tenant=TENANT)
        (kind, text), *rest = questions()
        await reviewed_by_hand(trial, await asked(client, text), kind)
        for kind, text in rest:
            await reviewed(expert, await asked(client, text), kind)
        await asked(client, "How do I leave this one to nobody?")  # whose kind only the machine says
        await person.put_loop_rules(LoopRules(promote_by_itself=True), tenant=TENANT)
        run = await until(person, await started(person), lambda one: one.state != RUN_STATE_WAITING)
        killed = await asyncio.to_thread(trial.kill, "trainer")
        await asyncio.to_thread(trial.wait_for_another, "trainer", killed)
        run = await until(person, run, lambda one: one.state in ENDED)
        assert run.model, run.failure
        found = await person.model(run.model, tenant=TENANT)
        assert run.state == RUN_STATE_DONE, f"{run.failure}\n{found.card}"
        assert "**Passed** against the tenant's examples" in found.card
        assert run.rows + run.held_out_rows == len(questions()), "what nobody reviewed is not among them"

        await until_stands(person, run.model, is_live)
        await until_recognised_by(person, run.model)
        answered = await asked(client, NEW)
        routing = (await client.interaction(tenant=TENANT, query_id=answered)).interaction.routing
        assert (routing.kind, routing.kinds_model) == ("how-to", run.model)
        by_examples = await person.explain_route(tenant=TENANT, text=NEW, kinds_model="examples")
        assert by_examples.routing.kinds_model == ""
        shown = await asyncio.to_thread(headrace, trial, "routes", "kinds", "show")
        assert f"They are recognised by {run.model}" in shown
        told = await asyncio.to_thread(headrace, trial, "trace", found.model.trace_id)
        for span in (f"register {run.model}", f"load {run.model}", f"promote {run.model}"):
            assert span in told, told

        await person.put_kinds(kinds(GIVEN + 1), tenant=TENANT)
        await until_recognised_by(person, "")
        assert (await person.kinds(tenant=TENANT)).passed_over_model == run.model
        back = await asyncio.to_thread(headrace, trial, "models", "rollback", "live-kinds", "--reason", "try")
        assert "base does" in back
        assert (await person.model(run.model, tenant=TENANT)).model.state == MODEL_STATE_RETIRED
