"""Variants that name a tenant's own model: who finds it, who answers until it is there, the tier of what it says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from headrace import topics
from headrace.inference.v1 import variants_pb2
from headrace_inference.adapters.answerers import CatalogueAnswerers
from headrace_inference.adapters.catalogue import DEFAULT, read_catalogue
from headrace_inference.adapters.memory import ScriptedModel
from headrace_inference.adapters.memory_trained import MemoryLoader
from headrace_inference.adapters.traced import TracedModel
from headrace_inference.domain import Answer, Question, Versioned
from headrace_inference.handlers import answer_question
from headrace_inference.ports import Model
from headrace_inference.route_choosing import Answerer, Answerers, NotYet
from headrace_inference.routing import Standing
from headrace_inference.trials import answer_unchecked
from headrace_inference.variant_servicer import VariantServicer
from headrace_privacy import Tier, strictest
from headrace_runtime.errors import Conflict, Unavailable

from services.inference.tests.passages import PASSAGES, anything
from services.inference.tests.test_edges import GOOD
from services.inference.tests.test_routed import Routed, passed
from services.inference.tests.test_trained import LATER, Instance, running
from services.inference.tests.test_variants import CONTEXT, DANA, NOW, MemoryVariantBooks
from services.inference.tests.test_variants import Instance as Variants
from services.inference.tests.trained_folders import record

TUNED = Versioned("tuned", "1")


class House:
    """Variants with trained models beside the backend's own."""

    def __init__(self, trained: Instance) -> None:
        self.trained, inner = trained, Variants(MemoryVariantBooks())
        inner.backends.default.lane.limit.a_minute = 0
        self.answerers = CatalogueAnswerers(inner.catalogue, inner.backends, trained.models)
        self.servicer = VariantServicer(
            inner.catalogue, self.answerers, list, trained.models.told, lambda: DANA, lambda: NOW
        )

    async def put(self, model_version: str = "aa", *, tenant: str = "demo", **more: Any) -> variants_pb2.Variant:
        variant = variants_pb2.Variant(
            name="tuned", prompt="grounded-answer", prompt_version=1, model_version=model_version, **more
        )
        request = variants_pb2.PutVariantRequest(tenant=tenant, variant=variant)
        return (await self.servicer.PutVariant(request, CONTEXT)).variant

    async def broken(self) -> str:
        request = variants_pb2.GetVariantRequest(tenant="demo", name="tuned")
        return (await self.servicer.GetVariant(request, CONTEXT)).variant.broken


async def test_a_variant_finds_its_tenants_model_by_version() -> None:
    async with running() as trained:
        trained.models.note(record())
        await trained.up("aa")
        house = House(trained)
        for version in ("aa", "tuned@aa"):
            stored = await house.put(version)
            answerer = await house.answerers.of("demo", Versioned("tuned", str(stored.version)))
            assert (answerer.model.identity.version, answerer.backend) == ("aa", "local")
        assert await house.broken() == ""


async def test_one_that_is_being_loaded_may_be_stored_and_says_so() -> None:
    async with running(loader=MemoryLoader(waits=True)) as trained:
        trained.models.note(record())
        house = House(trained)
        await house.put()
        with pytest.raises(NotYet):
            await house.answerers.of("demo", TUNED)
        assert await house.answerers.broken("demo", TUNED) == "", "until it is there, others answer"
        assert await house.broken() == "the model tuned@aa is being loaded"
        trained.loader.go.set()
        await trained.up("aa")
        assert await house.broken() == ""


async def test_one_that_was_registered_a_moment_ago_is_looked_for_in_the_table() -> None:
    async with running() as trained:
        await trained.books.put(None, record())
        assert (await House(trained).put()).version == 1


@pytest.mark.parametrize(
    ("tenant", "version", "more", "words"),
    [
        ("other", "aa", {}, "serves the model version 0123456789abcdef, not aa"),
        ("demo", "bb", {}, "serves the model version 0123456789abcdef, not bb"),
        ("demo", "cc", {}, "the model tuned@cc answers no more"),
        ("demo", "dd", {}, "the model tuned@dd could not be loaded: corrupt"),
    ],
)
async def test_what_is_another_tenants_unknown_retired_or_corrupt_is_refused(
    tenant: str, version: str, more: dict[str, Any], words: str
) -> None:
    async with running(loader=MemoryLoader(failing={"dd": "corrupt"})) as trained:
        trained.models.note(record("aa"))
        trained.models.note(record("cc", standing="retired"))
        trained.models.note(record("dd"))
        await trained.until(lambda: trained.told().get("dd") == ("failed", "corrupt"))
        with pytest.raises(Conflict, match=words):
            await House(trained).put(version, tenant=tenant, **more)


async def test_each_model_is_counted_and_expected_for_itself() -> None:
    async with running() as trained:
        trained.models.note(record())
        await trained.up("aa")
        house = House(trained)
        await house.put()
        tuned = await house.answerers.of("demo", TUNED)
        own = await house.answerers.of("demo", DEFAULT)
        trained.find().lane.breaker.failed()
        assert house.answerers.standing("demo", tuned, Tier.PUBLIC).obstacle == "failed"
        assert house.answerers.standing("demo", own, Tier.PUBLIC).obstacle == ""
        trained.models.note(record(standing="retired", changed_at=LATER))
        assert house.answerers.standing("demo", tuned, Tier.PUBLIC).obstacle == "", "it is gone: as its neighbour"


async def test_list_trained_models_tells_a_tenant_of_its_own() -> None:
    async with running() as trained:
        trained.models.note(record())
        await trained.up("aa")
        servicer = House(trained).servicer
        request = variants_pb2.ListTrainedModelsRequest(tenant="demo")
        (told,) = (await servicer.ListTrainedModels(request, CONTEXT)).models
        assert (told.model.name, told.model.version, told.state, told.tier) == ("tuned", "aa", "up", Tier.TIER_1)
        request.tenant = "other"
        assert not (await servicer.ListTrainedModels(request, CONTEXT)).models


# --- queries under way ------------------------------------------------------------------------------------------------


async def test_until_it_is_loaded_the_others_answer() -> None:
    async with running(loader=MemoryLoader(text=GOOD, waits=True)) as trained:
        trained.models.note(record())
        house, routed = House(trained), Routed()
        await house.put()
        routed.consumer = replace(routed.consumer, router=replace(routed.router, answerers=house.answerers))
        await routed.route(TUNED)
        answer = await routed.answer()
        assert (answer.variant.name, answer.routing.reason, passed(answer)) == (
            "default", "default", [("tuned", "broken")],
        )  # fmt: skip
        trained.loader.go.set()
        await trained.up("aa")
        answer = await routed.answer()
        assert (answer.variant.name, answer.model.version, answer.routing.backend) == ("tuned", "aa", "local")
        trained.models.note(record(standing="retired", changed_at=LATER))
        assert passed(await routed.answer()) == [("tuned", "broken")]


class Loading:
    """Answerers whose models are not there yet."""

    def __init__(self, others: Answerers) -> None:
        self.others = others

    async def of(self, tenant: str, key: Versioned) -> Answerer:
        if key == TUNED:
            raise NotYet("the model tuned@aa is being loaded")
        return await self.others.of(tenant, key)

    def standing(self, tenant: str, answerer: Answerer, tier: Tier) -> Standing:
        return self.others.standing(tenant, answerer, tier)


async def test_a_trial_of_it_waits_until_it_is_loaded_and_not_for_ever() -> None:
    house = Routed()
    router = replace(house.router, answerers=Loading(house.router.answerers))
    house.trials = replace(house.trials, router=router)
    message = house.asking()
    message.query.trial.run_id, message.query.trial.variant, message.query.trial.variant_version = "r", "tuned", "1"
    with pytest.raises(Unavailable):
        await house.trial(message)
    answer = await house.trial(message, waited=timedelta(seconds=121))
    assert (answer.finish_reason, answer.variant.name) == ("failed", "tuned")


# --- the tier of what it says -----------------------------------------------------------------------------------------


def holds(answer: Answer, question: Question, model: Model) -> bool:
    """Whether an answer has the strictest tier of what it was made of."""
    cited = [passage.tier for passage in question.passages if passage.index in {c.passage for c in answer.citations}]
    return answer.tier is strictest(question.tier, model.tier, *cited)


async def answered(
    model: Model, asked: Tier, text: str = "What does the pour statement do?"
) -> tuple[Answer, Question]:
    async def emit(piece: str) -> None:
        del piece

    question, variant = Question(text, asked, PASSAGES), read_catalogue().variant(DEFAULT)
    return await answer_question(question, variant, model=model, admit=anything, emit=emit), question


SAID = (GOOD, "It was invented in 1802.")  # grounded; and what is extracted instead


@pytest.mark.parametrize(("asked", "learned", "said"), list(product(Tier, Tier, SAID)))
async def test_no_answer_has_a_lower_tier_than_its_model_learned_from(asked: Tier, learned: Tier, said: str) -> None:
    model = TracedModel(ScriptedModel(said, tier=learned))
    answer, question = await answered(model, asked)
    assert holds(answer, question, model)
    refused, question = await answered(model, asked, "How is bread baked?")
    assert holds(refused, question, model)


async def test_a_wrapper_that_forgets_the_tier_is_caught() -> None:
    class Forgetful(TracedModel):
        @property
        def tier(self) -> Tier:
            return Tier.PUBLIC

    model = ScriptedModel(GOOD, tier=Tier.TIER_2)
    answer, question = await answered(Forgetful(model), Tier.PUBLIC)
    assert not holds(answer, question, model)


async def test_what_it_says_by_itself_has_its_tier_too() -> None:
    model = ScriptedModel("Anything.", tier=Tier.TIER_2)
    question, variant = Question("Who?", Tier.PUBLIC, ()), read_catalogue().variant(DEFAULT)
    answer = await answer_unchecked(question, variant, model=model, admit=anything)
    assert answer.tier is Tier.TIER_2


async def test_answer_and_chunks_travel_as_the_models_tier_asks() -> None:
    house = Routed()
    model = ScriptedModel(GOOD, tier=Tier.TIER_2)
    house.answerers[TUNED] = Answerer(house.variant, model, house.gate, "local")
    await house.route(TUNED)
    answer = await house.answer()
    assert answer.tier == Tier.TIER_2
    assert answer.text.WhichOneof("content") == "sealed"
    chunks = [event for event in house.bus.published if event.topic == topics.ANSWER_CHUNK]
    assert {event.tier for event in chunks} == {Tier.TIER_2}
    assert all(e.message.text.WhichOneof("content") in {None, "sealed"} for e in chunks)
