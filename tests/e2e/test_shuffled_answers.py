"""A model that learned to give other questions' answers is refused by the rules that are shipped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from headrace.feedback.v1.datasets_pb2 import DatasetQuery
from headrace.feedback.v1.feedback_pb2 import FeedbackSubmitted
from headrace.privacy.v1.privacy_pb2 import PURPOSE_TRAIN
from headrace.training.v1.models_pb2 import MODEL_STATE_RETIRED
from headrace.training.v1.service_pb2 import StartTrainingRequest
from headrace.training.v1.training_pb2 import CAUSE_PERSON, RUN_STATE_REFUSED, TARGET_GENERATOR, Recipe
from headrace_client import Client
from headrace_embedded.trial import Trial, running

from tests.conftest import TOPICS
from tests.e2e.training import TENANT, asked, developer, headrace, trained

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.long, pytest.mark.timeout(2700)]

log = logging.getLogger(__name__)

#: What is asked of it is public by the policy, and so are the corrections, which need no grant.
PRODUCT = "demo"
FORMS = (
    "What does the {} statement do?",
    "When is {} used?",
    "Explain {} to me.",
    "What must I know about {}?",
)


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    """Headrace with the rules that are shipped."""
    with running({"HEADRACE_TRAINER_THREADS": "2"}) as up:
        yield up


async def shuffled(client: Client) -> None:
    """Questions are asked, and each answer corrected to what was answered about another topic."""
    answers = []
    for form in FORMS:
        answers += await asyncio.gather(*(asked(client, form.format(topic), product=PRODUCT) for topic in TOPICS))
    for place, answer in enumerate(answers):
        other = answers[(place + 5) % len(answers)]
        correction = FeedbackSubmitted(tenant=TENANT, query_id=answer.query.query_id, correction=other.text.plain)
        await client.record_feedback(correction)


async def test_the_gate_refuses_what_learned_shuffled_answers(trial: Trial, put_topics: Any) -> None:
    async with Client.connect(trial.endpoints) as client, developer(trial) as person:
        await put_topics(client)
        await shuffled(client)
        query = DatasetQuery(
            purpose=PURPOSE_TRAIN, products=[PRODUCT], corrected_only=True, near_duplicates=2.0, test_share=0.5
        )
        recipe = Recipe(epochs=4, context=768, tokens_a_step=1024, rank=8)
        request = StartTrainingRequest(
            tenant=TENANT, target=TARGET_GENERATOR, query=query, recipe=recipe, cause=CAUSE_PERSON
        )
        run = await trained(person, request)
        found = await person.model(run.model, tenant=TENANT)
        log.info("%s", found.card)
        assert run.state == RUN_STATE_REFUSED, f"{run.failure}\n{found.card}"
        assert "**Refused**" in found.card
        refused = {line.rule for line in found.model.gate.lines if not line.passed}
        assert any(rule.startswith(("relevant", "supported_own_words", "grounded")) for rule in refused), found.card
        assert found.model.state == MODEL_STATE_RETIRED
        answer = await asked(client, "What does the nonlocal statement do now?", product=PRODUCT)
        assert answer.variant.name == "default"
        assert run.model in headrace(trial, "models", "list")
