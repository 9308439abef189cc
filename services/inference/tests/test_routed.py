"""Queries on their way to a variant: kinds, routes, fallbacks, shadows and trials, over memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import numpy as np
import pytest
from headrace import topics
from headrace.privacy.v1.privacy_pb2 import ProtectedVector
from headrace.query.v1 import answer_pb2, query_pb2
from headrace.query.v1.events_pb2 import QueryRetrieved
from headrace.query.v1.query_pb2 import Trial
from headrace_inference import trials
from headrace_inference.adapters.memory import MemoryGate, ScriptedModel
from headrace_inference.adapters.memory_routes import MemoryEmbedder
from headrace_inference.domain import Decoding, Versioned
from headrace_inference.kinds import Embedder, Kind
from headrace_inference.route_choosing import Answerer
from headrace_inference.route_records import KindSet, RouteRecord
from headrace_inference.routing import ANY, Arm, Limits, Route, Shadow, Standing
from headrace_inference.trial_consumers import TrialConsumer
from headrace_models.prompting import Turn
from headrace_privacy import Owner, Tier, is_sealed
from headrace_runtime.errors import Overloaded, Rejected, Unavailable
from headrace_stream.memory import delivered

from services.inference.tests.test_edges import DEFAULT, GOOD, NOW, House, retrieved, sealed

A, B = Versioned("short", "1"), Versioned("long", "2")
KINDS = (
    Kind("pouring", "", ("what does the pour statement do", "how is water poured", "what is a pour statement")),
    Kind("history", "", ("when was it invented", "who invented the sluice", "when was it made")),
)


class Failing(ScriptedModel):
    """A model that fails after some words."""

    def __init__(self, error: Exception) -> None:
        super().__init__("")
        self.error = error

    @asynccontextmanager
    async def write(self, turns: Sequence[Turn], decoding: Decoding) -> AsyncIterator[Any]:
        self.conversations.append(list(turns))
        raise self.error
        yield


class Routed(House):
    """A house with variants, kinds and routes."""

    def __init__(self, *, gate: MemoryGate | None = None, **models: Any) -> None:
        super().__init__(ScriptedModel(GOOD), gate=gate)
        self.models = {
            "default": self.answerers[DEFAULT].model,
            "short": ScriptedModel(GOOD),
            "long": ScriptedModel(GOOD),
            **models,
        }
        for key in (A, B):
            variant = replace(self.variant, name=key.name, version=key.version)
            self.answerers[key] = Answerer(variant, self.models[key.name], self.gate, f"of-{key.name}")
        self.evaluation = MemoryGate()
        self.trials = TrialConsumer(
            ledger=self.ledger,
            answers_on=lambda unit: self.answers,
            index=self.answers,
            router=self.router,
            evaluation=self.evaluation,
            vault=self.vault,
            now=lambda: NOW,
        )

    async def route(self, *arms: Versioned, kind: str = ANY, **more: Any) -> None:
        made = Route(kind, 1, tuple(Arm(arm, 1.0) for arm in arms), **more)
        async with self.books.open("demo") as book:
            await book.add_route(RouteRecord(made, "dana", NOW))
        await self.tables.refresh("demo")

    async def learn(self) -> None:
        kinds = KindSet(3, KINDS)
        async with self.books.open("demo") as book:
            await book.add_kinds(kinds, by="dana", at=NOW)
        await self.tables.learn("demo", kinds)

    def asking(self, text: str = "What does the pour statement do?", **query: Any) -> QueryRetrieved:
        message = retrieved(text, **{"query_id": str(uuid4()), **query})
        numbers = self.embedder.vector(text).astype("<f4")
        message.vector.CopyFrom(ProtectedVector(float32=numbers.tobytes(), dimensions=len(numbers)))
        made_by = self.embedder.identity
        message.embedder.name, message.embedder.dimensions, message.embedder.hash = (
            made_by.name, made_by.dimensions, made_by.hash,
        )  # fmt: skip
        return message

    async def answer(self, text: str = "What does the pour statement do?", **query: Any) -> answer_pb2.AnswerCompleted:
        self.ledger.published.clear()
        await self.take(self.asking(text, **query))
        return self.ledger.published[0].message

    @property
    def shadowed(self) -> list[QueryRetrieved]:
        return [e.message for e in self.ledger.published if e.topic == topics.QUERY_SHADOWED]

    async def trial(self, message: QueryRetrieved, *, waited: timedelta = timedelta()) -> answer_pb2.AnswerCompleted:
        self.ledger.published.clear()
        await self.trials.on_trial(
            delivered(message, topics.QUERY_SHADOWED, service="inference", event_id=uuid4(), received_at=NOW - waited)
        )
        (event,) = self.ledger.published
        assert event.topic == topics.ANSWER_TRIALED
        return cast(answer_pb2.AnswerCompleted, event.message)


def passed(answer: answer_pb2.AnswerCompleted) -> list[tuple[str, str]]:
    return [(one.variant.name, one.reason) for one in answer.routing.passed_over]


async def test_without_a_route_the_default_answers_and_says_so() -> None:
    answer = await Routed().answer()
    routing = answer.routing
    assert (answer.variant.name, routing.reason, routing.kind, routing.route) == ("default", "default", "other", "")
    assert (routing.route_version, routing.kinds_version, routing.backend) == (0, 0, "local")


async def test_a_query_is_recognised_and_takes_its_kinds_route() -> None:
    house = Routed()
    await house.learn()
    await house.route(A, kind="pouring")
    await house.route(B)
    answer = await house.answer()
    assert (answer.variant.name, answer.variant.version) == ("short", "1")
    routing = answer.routing
    assert (routing.kind, routing.route, routing.route_version, routing.reason) == ("pouring", "pouring", 1, "share")
    assert (routing.kinds_version, routing.backend) == (3, "of-short")
    assert 0.5 < routing.confidence <= 1
    other = await house.answer("Which trains go to Lyon on Sunday?")
    assert (other.variant.name, other.routing.kind, other.routing.route) == ("long", "other", "*")
    chosen = house.answers.chosen["demo", UUID(answer.query.query_id)]
    assert (chosen.kind, chosen.route, chosen.backend) == ("pouring", "pouring", "of-short")


async def test_a_sealed_vector_is_opened_as_the_text_is() -> None:
    house = Routed()
    await house.learn()
    message, mine = await sealed(house, house.asking())
    message.vector.CopyFrom(mine.protect_vector(message.vector.float32, Tier.TIER_2))
    assert message.vector.WhichOneof("content") == "sealed"
    await house.take(message)
    assert house.ledger.published[0].message.routing.kind == "pouring"


async def test_a_warm_query_reads_no_database_for_its_way() -> None:
    house = Routed()
    await house.route(A)
    before = house.books.opened
    house.books.is_down = True
    for _ in range(5):
        assert (await house.answer()).variant.name == "short"
    assert house.books.opened == before


async def test_vectors_of_another_embedder_are_never_compared() -> None:
    house = Routed()
    await house.learn()
    house.embedder.identity = replace(house.embedder.identity, hash="fedcba9876543210")  # the house has changed it
    first = await house.answer()
    assert (first.routing.kind, first.routing.kinds_version) == ("other", 0)
    await settle(house)
    assert (await house.answer()).routing.kind == "pouring"
    assert len((await house.tables.of("demo")).learned) == 2


async def test_an_embedder_that_is_down_costs_no_answer() -> None:
    house = Routed()
    await house.learn()
    house.embedder.identity = Embedder("words", 256, "fedcba9876543210")
    house.embedder.is_down = True
    for _ in range(3):
        assert (await house.answer()).routing.kind == "other"
        await settle(house)


@pytest.mark.parametrize("numbers", [[], [1.0, 2.0], [float("nan")] * 256])
async def test_a_torn_vector_costs_no_answer(numbers: list[float]) -> None:
    house = Routed()
    await house.learn()
    message = house.asking()
    message.vector.CopyFrom(ProtectedVector(float32=np.array(numbers, "<f4").tobytes(), dimensions=256))
    await house.take(message)
    assert house.ledger.published[0].message.routing.kind == "other"


async def settle(house: Routed) -> None:
    """Waits for what is under way beside the queries."""
    while house.tables._under_way:
        await next(iter(house.tables._under_way))


@pytest.mark.parametrize(
    ("error", "reason"), [(Unavailable("it"), "failed"), (Overloaded("it"), "rate"), (Rejected(), "failed")]
)
async def test_when_a_model_fails_the_next_answers_and_the_answer_says_so(error: Exception, reason: str) -> None:
    house = Routed(short=Failing(error))
    await house.route(A, fallbacks=(B,))
    answer = await house.answer()
    assert (answer.variant.name, answer.routing.reason, answer.routing.backend) == ("long", "fallback", "of-long")
    assert passed(answer) == [("short", reason)]
    generations = {e.message.generation_id for e in house.bus.published}
    assert len(generations) == 2, "a client sees that the text so far is void"


async def test_when_all_of_a_route_are_down_the_house_answers() -> None:
    """And so the models of one tenant hold up no other's queries."""
    house = Routed(short=Failing(Unavailable("it")), long=Failing(Unavailable("it")))
    await house.route(A, fallbacks=(B,))
    answer = await house.answer()
    assert (answer.variant.name, answer.routing.reason) == ("default", "default")
    assert passed(answer) == [("short", "failed"), ("long", "failed")]


async def test_when_everything_is_down_the_query_waits() -> None:
    house = Routed()
    failing = Failing(Unavailable("it"))
    for key, answerer in list(house.answerers.items()):
        house.answerers[key] = replace(answerer, model=failing)
    await house.route(A)
    with pytest.raises(Unavailable):
        await house.answer()
    assert house.ledger.published == []


async def test_a_resting_backend_is_not_even_tried() -> None:
    house = Routed()
    house.standings[A] = Standing(obstacle="failed")
    await house.route(A, fallbacks=(B,))
    answer = await house.answer()
    assert (answer.variant.name, passed(answer)) == ("long", [("short", "failed")])
    assert house.models["short"].conversations == []


async def test_a_broken_variant_is_passed_over() -> None:
    house = Routed()
    await house.route(Versioned("gone", "7"), fallbacks=(B,))
    assert passed(await house.answer()) == [("gone", "broken")]


async def test_what_one_model_may_not_see_another_may() -> None:
    house = Routed()
    outside = MemoryGate(Tier.PUBLIC)
    house.answerers[A] = replace(house.answerers[A], gate=outside)
    await house.route(A, fallbacks=(B,))
    answer = await house.answer()  # its passages are TIER_1
    assert (len(outside.asked), len(house.gate.asked)) == (1, 1), "each is a row of the audit log"
    assert (answer.variant.name, passed(answer), answer.finish_reason) == ("long", [("short", "tier")], "stop")
    assert house.models["short"].conversations == []


async def test_a_limit_of_tier_sends_tier_2_elsewhere() -> None:
    house = Routed()
    await house.route(A, fallbacks=(B,), limits=Limits(max_tier=Tier.TIER_1))
    assert (await house.answer()).variant.name == "short"
    message, _ = await sealed(house, house.asking())
    house.ledger.published.clear()
    await house.take(message)
    answer = house.ledger.published[0].message
    assert (answer.variant.name, passed(answer)) == ("long", [("short", "tier")])


async def test_a_days_budget_is_kept_by_what_answers_cost() -> None:
    house = Routed()
    house.standings[A] = Standing(cost_micro_usd=40)
    house.spending.note("demo", ANY, 70)
    await house.route(A, fallbacks=(B,), limits=Limits(daily_budget_micro_usd=100))
    answer = await house.answer()
    assert (answer.variant.name, passed(answer)) == ("long", [("short", "budget")])


async def test_time_that_is_gone_counts() -> None:
    house = Routed()
    house.standings[A] = Standing(ms=800)
    await house.route(A, fallbacks=(B,), limits=Limits(latency_ms=1_000))
    message = house.asking()
    message.query.accepted_at.FromDatetime(NOW - timedelta(milliseconds=300))
    await house.take(message)
    assert passed(house.ledger.published[0].message) == [("short", "latency")]
    house.ledger.published.clear()
    message = house.asking()
    message.query.accepted_at.FromDatetime(NOW - timedelta(milliseconds=100))
    await house.take(message)
    assert passed(house.ledger.published[0].message) == []


async def test_a_conversation_keeps_its_variant_and_the_answer_says_so() -> None:
    house = Routed()
    await house.route(A, B)
    answers = [await house.answer(conversation_id=f"talk-{i % 4}") for i in range(16)]
    assert {a.routing.reason for a in answers} == {"conversation"}
    by_talk = {(i % 4, a.variant.name) for i, a in enumerate(answers)}
    assert len(by_talk) == 4
    single = Counter([(await house.answer()).variant.name for _ in range(40)])
    assert min(single["short"], single["long"]) > 5


# --- shadows and trials -----------------------------------------------------------------------------------------------


async def test_a_shadow_is_asked_in_the_answers_own_transaction_and_answers_unseen() -> None:
    house = Routed()
    await house.route(A, shadows=(Shadow(B, 1.0),))
    answer = await house.answer(conversation_id="talk")
    (copy,) = house.shadowed
    assert copy.query.query_id != answer.query.query_id
    trial = copy.query.trial
    assert (trial.case_id, trial.run_id, trial.variant, trial.variant_version) == (
        answer.query.query_id,
        "shadow:*",
        "long",
        "2",
    )
    chunks = len(house.bus.published)
    shadow = await house.trial(copy)
    assert len(house.bus.published) == chunks, "nobody sees it being written"
    assert (shadow.variant.name, shadow.routing.reason, shadow.routing.route) == ("long", "trial", "*")
    assert shadow.query.trial == trial
    assert shadow.text.plain == answer.text.plain
    assert house.models["long"].conversations


async def test_the_same_copy_is_made_again_by_a_replay() -> None:
    house = Routed()
    message = house.asking()
    one, again = (trials.shadow_of(message, B, route="*") for _ in range(2))
    other = trials.shadow_of(message, A, route="*")
    assert one.query.query_id == again.query.query_id != other.query.query_id


async def test_who_answered_is_no_shadow_of_himself() -> None:
    house = Routed(short=Failing(Unavailable("it")))
    await house.route(A, fallbacks=(B,), shadows=(Shadow(B, 1.0), Shadow(A, 1.0)))
    assert (await house.answer()).variant.name == "long"
    assert house.shadowed == []


async def test_a_sealed_query_stays_sealed_in_its_shadow() -> None:
    house = Routed()
    await house.route(A, shadows=(Shadow(B, 1.0),))
    message, mine = await sealed(house, house.asking())
    await house.take(message)
    (copy,) = house.shadowed
    assert copy.text == message.text
    shadow = await house.trial(copy)
    assert is_sealed(shadow.text)
    assert shadow.text.sealed.key_id == mine.key.key_id
    (asked,) = house.evaluation.asked
    assert (asked.role, asked.tier, asked.tenant) == ("service:feedback", Tier.TIER_2, "demo")
    assert list(asked.records) == [message.query.query_id]


async def test_what_may_not_be_evaluated_has_no_shadow_answer() -> None:
    house = Routed()
    house.evaluation.most = Tier.PUBLIC
    shadow = await house.trial(trials.shadow_of(house.asking(), B, route="*"))
    assert (shadow.finish_reason, shadow.text.plain, shadow.grounding) == ("withheld", "", 0)
    assert house.models["long"].conversations == []


def as_trial(message: QueryRetrieved, **trial: Any) -> QueryRetrieved:
    fields = {
        "run_id": "run",
        "case_id": QUESTION,
        "kind": query_pb2.TRIAL_KIND_REPLAY,
        "variant": "long",
        "variant_version": "2",
    }
    message.query.trial.CopyFrom(Trial(**{**fields, **trial}))
    return message


QUESTION = "0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"


async def test_a_replayed_query_is_set_apart_from_those_who_wait() -> None:
    house = Routed()
    message = as_trial(house.asking())
    event = delivered(
        message, topics.QUERY_RETRIEVED, service="inference", event_id=uuid4(), key=message.query.query_id
    )
    (moved,) = await house.consumer.on_query(event)
    assert (moved.topic, moved.message) == (topics.QUERY_SHADOWED, message)
    assert (house.ledger.published, house.bus.published) == ([], [])
    answer = await house.trial(moved.message)
    assert (answer.variant.name, answer.routing.reason) == ("long", "trial")
    assert house.evaluation.asked == [], "whoever started the run was asked for it"


async def test_a_trial_is_answered_once() -> None:
    house = Routed()
    message = as_trial(house.asking())
    await house.trial(message)
    house.ledger.published.clear()
    await house.trials.on_trial(delivered(message, topics.QUERY_SHADOWED, service="inference", event_id=uuid4()))
    assert house.ledger.published == []


async def test_zero_shot_leaves_the_prompts_examples_out() -> None:
    house = Routed()
    await house.trial(as_trial(house.asking(), setting=query_pb2.TRIAL_SETTING_ZERO_SHOT))
    await house.trial(as_trial(house.asking()))
    bare, whole = house.models["long"].conversations
    assert len(bare) < len(whole)
    assert [turn.role for turn in bare] == ["system", "user"]


async def test_a_closed_book_gives_the_models_own_words() -> None:
    house = Routed(long=ScriptedModel("Bread is baked in an oven."))
    answer = await house.trial(as_trial(house.asking(), setting=query_pb2.TRIAL_SETTING_CLOSED_BOOK))
    assert (answer.text.plain, answer.grounding) == ("Bread is baked in an oven.", answer_pb2.GROUNDING_UNSPECIFIED)
    assert len(answer.citations) == 0
    assert "hands a value" not in house.models["long"].conversations[0][-1].text


async def test_unchecked_gives_the_models_own_words_on_the_passages_with_what_they_cite() -> None:
    house = Routed(long=ScriptedModel("Bread is baked [1] and eaten [7]."))
    answer = await house.trial(as_trial(house.asking(), setting=query_pb2.TRIAL_SETTING_UNCHECKED))
    assert (answer.text.plain, answer.grounding) == (
        "Bread is baked [1] and eaten [7].",
        answer_pb2.GROUNDING_UNSPECIFIED,
    )
    assert [citation.number for citation in answer.citations] == [1], "no passage has the number 7"
    assert "hands a value" in house.models["long"].conversations[0][-1].text


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({"variant": "gone"}, "failed"),
        ({"setting": query_pb2.TRIAL_SETTING_CLOSED_BOOK, "_gate": Tier.PUBLIC, "_tier": 3}, "withheld"),
    ],
)
async def test_a_trial_that_cannot_be_had_ends_all_the_same(change: dict[str, Any], outcome: str) -> None:
    gate, tier = change.pop("_gate", Tier.TIER_2), change.pop("_tier", 0)
    house = Routed(gate=MemoryGate(gate))
    message = as_trial(house.asking(), **change)
    message.tier = tier or message.tier
    answer = await house.trial(message)
    assert (answer.finish_reason, answer.text.plain) == (outcome, "")
    assert (answer.variant.name, answer.query.trial) == (message.query.trial.variant, message.query.trial)


async def test_a_trial_waits_for_its_model_and_not_for_ever() -> None:
    house = Routed(long=Failing(Unavailable("it")))
    with pytest.raises(Unavailable):
        await house.trial(as_trial(house.asking()))
    answer = await house.trial(as_trial(house.asking()), waited=timedelta(minutes=3))
    assert answer.finish_reason == "failed"


async def test_a_shadow_of_an_erased_question_is_not_answered() -> None:
    house = Routed()
    message, _ = await sealed(house, house.asking())
    copy = trials.shadow_of(message, B, route="*")
    house.keyring.destroy(Owner.subject("demo", "user-17"))
    with pytest.raises(Exception, match="destroyed"):
        await house.trial(copy)
    assert house.models["long"].conversations == []


def test_the_memory_embedder_knows_kin_by_words() -> None:
    embedder = MemoryEmbedder()
    near = embedder.vector("what is a pour") @ embedder.vector("what is a spill")
    far = embedder.vector("what is a pour") @ embedder.vector("trains to lyon")
    assert near > 0.4 > abs(far)
