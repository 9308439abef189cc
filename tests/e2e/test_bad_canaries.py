"""Canaries that are bad, on the whole house: one is slow, one writes worse. Each is taken out seconds after its answers
show that.

They come through a gate whose rules let anything pass. Nobody's question fails meanwhile.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC
from pathlib import Path

import pytest
from headrace.feedback.v1.datasets_pb2 import DatasetQuery
from headrace.inference.v1.routes_pb2 import Arm, Route
from headrace.privacy.v1.privacy_pb2 import PURPOSE_TRAIN
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.training.v1.models_pb2 import MODEL_STATE_CANARY, MODEL_STATE_CANDIDATE, Model
from headrace.training.v1.service_pb2 import LoopRules, StartTrainingRequest
from headrace.training.v1.training_pb2 import CAUSE_PERSON, RUN_STATE_DONE, TARGET_GENERATOR
from headrace_client import Client
from headrace_embedded.demo import contest, sql_guide, tour
from headrace_embedded.trial import Trial, running

from tests.e2e import spoiling
from tests.e2e.training import TENANT, asked, developer, lenient, trained

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.long, pytest.mark.timeout(2400)]

log = logging.getLogger(__name__)

PRODUCT = f"canaries-{uuid.uuid4().hex[:8]}"
CHAMPION = contest.A
QUESTIONS = [question.question for question in sql_guide.traffic()]
USERS = 4
CANARY_SECONDS = 900.0
#: From the answer that decides until the routes are as they were: a look a second, on cores that are busy.
AT_ONCE = 15.0
#: Answers of a canary that is this bad, at most, until that is known: on cores that are busy the champion is slow too,
#: now and then, and it took 142.
ENOUGH = 400


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """Headrace with lenient rules, and a worker that makes bad models."""
    launcher = f"{sys.executable} {Path(spoiling.__file__)}"
    gate = str(lenient(tmp_path_factory.mktemp("gate")))
    with running({"HEADRACE_TRAINER_GATE": gate, "HEADRACE_TRAINER_LAUNCHER": launcher}) as up:
        yield up


async def prepare(client: Client) -> None:
    """Sources of which the base says a fourth in words of its own that they bear out; and questions that a run has for
    rows. Where it says nothing so, a worse one is served as it is: by what the sources say, word for word."""
    await tour.put_documents(client, sql_guide.guide(), lambda: None, source=sql_guide.SOURCE)
    variant = await contest.put_variant(client, CHAMPION, passages=2)
    await client.put_route(Route(kind="*", arms=[Arm(variant=variant, weight=1)]), tenant=TENANT)
    await asyncio.gather(*(asked(client, question, product=PRODUCT) for question in QUESTIONS[:12]))


async def made(person: Client, seed: int) -> str:
    """A bad model that the gate let through."""
    query = DatasetQuery(purpose=PURPOSE_TRAIN, products=[PRODUCT], near_duplicates=2.0, test_share=0.5)
    request = StartTrainingRequest(tenant=TENANT, target=TARGET_GENERATOR, query=query, seed=seed, cause=CAUSE_PERSON)
    run = await trained(person, request)
    assert run.state == RUN_STATE_DONE, f"{run.failure}\n{(await person.model(run.model, tenant=TENANT)).card}"
    return str(run.model)


async def until_taken_out(client: Client, person: Client, name: str) -> tuple[Model, list[AnswerCompleted]]:
    """Users go on asking, a few at a time, while it is a canary. The model then, and all answers."""
    answers: list[AnswerCompleted] = []
    over = asyncio.Event()

    async def user(questions: Sequence[str]) -> None:
        for question in itertools.cycle(questions):
            if over.is_set():
                break
            answers.append(await asked(client, question, product=PRODUCT))

    async with asyncio.timeout(CANARY_SECONDS), asyncio.TaskGroup() as users:
        for place in range(USERS):
            users.create_task(user(QUESTIONS[place::USERS]))
        found = await person.model(name, tenant=TENANT)
        while found.model.state in (MODEL_STATE_CANDIDATE, MODEL_STATE_CANARY):
            await asyncio.sleep(0.5)
            found = await person.model(name, tenant=TENANT)
        over.set()
    return found.model, answers


async def rolled_back(trial: Trial, seed: int) -> Model:
    """How a bad canary ended: taken out seconds after what decided, by few answers, and nobody's question failed
    meanwhile or goes to it after."""
    async with Client.connect(trial.endpoints) as client, developer(trial) as person:
        await prepare(client)
        rules = LoopRules(canary_share=0.5, canary_least_answers=1000, canary_most_seconds=3600, gate_cases=3)
        await person.put_loop_rules(rules, tenant=TENANT)
        name = await made(person, seed)
        began = time.monotonic()
        model, answers = await until_taken_out(client, person, name)
        # What no model was asked for counts for nobody.
        its = [answer for answer in answers if answer.variant.name == "tuned" and answer.usage.input_tokens]
        times = sorted(answer.completed_at.ToDatetime(tzinfo=UTC) for answer in its)
        seen = model.rollout.answers
        took = (model.changed_at.ToDatetime(tzinfo=UTC) - times[min(seen, len(times)) - 1]).total_seconds()
        told = f"{model.rollout.because} {seen} of {model.rollout.answers + model.rollout.champion_answers} answers, "
        told += f"{time.monotonic() - began:.0f} s in all, {took:.1f} s after the last of them"
        log.info("%s", told)
        assert model.rollout.ended == "rolled_back", told
        assert seen <= ENOUGH, told
        assert took <= AT_ONCE, told
        assert all(answer.text.plain for answer in answers)
        again = [await asked(client, question, product=PRODUCT) for question in QUESTIONS[:3]]
        assert {answer.variant.name for answer in again} == {CHAMPION}
        return model


def worse(model: Model) -> set[str]:
    """By which measures it was worse."""
    return {one.measure for one in model.rollout.evidence if one.verdict == "worse"}


async def test_a_slow_canary_is_taken_out_within_seconds(trial: Trial) -> None:
    model = await rolled_back(trial, spoiling.SLOW)
    assert "slow" in model.rollout.because


async def test_a_worse_canary_is_rolled_back_for_what_it_says(trial: Trial) -> None:
    model = await rolled_back(trial, spoiling.WORSE)
    assert worse(model) & {"grounded", "refused"}, model.rollout.because
