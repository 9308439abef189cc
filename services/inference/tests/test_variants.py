"""Prompts, labels and variants: one suite, on memory and on a real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from headrace.inference.v1 import changes_pb2, prompts_pb2, variants_pb2
from headrace.inference.v1.changes_pb2 import RoutingChanged
from headrace.query.v1 import answer_pb2
from headrace_database import Database, open_database
from headrace_database.migrations import migrate, migrations_of
from headrace_embedded import testing
from headrace_identity import Principal
from headrace_inference.adapters.answerers import CatalogueAnswerers
from headrace_inference.adapters.backends import Backend, Backends, told
from headrace_inference.adapters.catalogue import DEFAULT, read_catalogue
from headrace_inference.adapters.gate import PolicyGate
from headrace_inference.adapters.memory import ScriptedModel
from headrace_inference.adapters.memory_variants import MemoryVariantBooks
from headrace_inference.adapters.metered import Lane
from headrace_inference.adapters.postgres_variants import PostgresVariantBooks
from headrace_inference.domain import Versioned
from headrace_inference.meters import Breaker, CallLimit, Meter, Prices
from headrace_inference.prompt_servicer import PromptServicer
from headrace_inference.route_choosing import Broken
from headrace_inference.variant_catalogue import FRESH_SECONDS, Catalogue
from headrace_inference.variant_ports import VariantBooks
from headrace_inference.variant_servicer import VariantServicer
from headrace_privacy import Tier
from headrace_runtime.errors import Conflict, NotFound, Rejected, Unavailable
from headrace_runtime.policy import load_policy
from headrace_stream import Ledger

from services.inference.tests.test_meters import Clock

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
CONTEXT: Any = None
DANA = Principal("developer", "acme", "dana")
QUESTION = "{passages}\n\nQuestion: {question}"


def backend(name: str, *, host: str = "local", prices: Prices | None = None) -> Backend:
    """A backend over a model that is written down."""
    clock = Clock()
    lane = Lane(name, CallLimit(1, clock), Breaker(clock, after=1), in_flight=1, waiting=0)
    gate = PolicyGate(load_policy(None), host, cast(Any, None))
    model = ScriptedModel("Water falls. ")
    return Backend(name, "engine", model, gate, lane, prices or Prices(), (Unavailable,), clock, Meter(clock))


@dataclass
class Instance:
    """One instance of the service, as far as prompts and variants go."""

    books: VariantBooks
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.catalogue = Catalogue(read_catalogue().house(), self.books, self.clock)
        dear = Prices(Decimal(1), Decimal(2))
        self.backends = Backends(
            {"local": backend("local"), "far": backend("far", host="models.example.com", prices=dear)}
        )
        self.answerers = CatalogueAnswerers(self.catalogue, self.backends)
        self.prompts = PromptServicer(self.catalogue, lambda: DANA, lambda: NOW, uuid4)
        self.variants = VariantServicer(
            self.catalogue,
            self.answerers,
            lambda: told(self.backends),
            lambda tenant: [],
            lambda: DANA,
            lambda: NOW,
            uuid4,
        )

    async def put(self, system: str = "Be brief.", *, name: str = "brief", **rest: Any) -> prompts_pb2.Prompt:
        response = await self.put_response(system, name=name, **rest)
        return response.prompt

    async def put_response(
        self, system: str = "Be brief.", *, name: str = "brief", tenant: str = "acme", **rest: Any
    ) -> prompts_pb2.PutPromptResponse:
        prompt = prompts_pb2.Prompt(name=name, system=system, **{"question": QUESTION, **rest})
        return await self.prompts.PutPrompt(prompts_pb2.PutPromptRequest(tenant=tenant, prompt=prompt), CONTEXT)

    async def label(self, version: int, label: str = "production", *, tenant: str = "acme", name: str = "brief") -> int:
        request = prompts_pb2.LabelPromptRequest(
            tenant=tenant, name=name, label=label, version=version, reason="It answers better."
        )
        return (await self.prompts.LabelPrompt(request, CONTEXT)).previous

    async def get(self, name: str = "brief", *, tenant: str = "acme", **which: Any) -> prompts_pb2.Prompt:
        request = prompts_pb2.GetPromptRequest(tenant=tenant, name=name, **which)
        return (await self.prompts.GetPrompt(request, CONTEXT)).prompt

    async def listed(self, name: str = "", *, tenant: str = "acme") -> list[tuple[str, int]]:
        request = prompts_pb2.ListPromptsRequest(tenant=tenant, name=name)
        return [(p.name, p.version) for p in (await self.prompts.ListPrompts(request, CONTEXT)).prompts]

    async def put_variant(self, name: str = "short", *, tenant: str = "acme", **rest: Any) -> variants_pb2.Variant:
        return (await self.put_variant_response(name, tenant=tenant, **rest)).variant

    async def put_variant_response(
        self, name: str = "short", *, tenant: str = "acme", **rest: Any
    ) -> variants_pb2.PutVariantResponse:
        variant = variants_pb2.Variant(name=name, **{"prompt": "brief", **rest})
        return await self.variants.PutVariant(variants_pb2.PutVariantRequest(tenant=tenant, variant=variant), CONTEXT)

    async def get_variant(self, name: str, *, tenant: str = "acme", version: int = 0) -> variants_pb2.Variant:
        request = variants_pb2.GetVariantRequest(tenant=tenant, name=name, version=version)
        return (await self.variants.GetVariant(request, CONTEXT)).variant


class VariantSuite:
    """What holds wherever they are kept."""

    @pytest.fixture
    def books(self) -> VariantBooks:
        raise NotImplementedError

    @pytest.fixture
    def one(self, books: VariantBooks) -> Instance:
        return Instance(books)

    async def changes(self, books: Any, tenant: str) -> Sequence[RoutingChanged]:
        raise NotImplementedError

    # Prompts

    async def test_a_version_counts_from_one_and_what_is_the_same_keeps_its_own(self, one: Instance) -> None:
        first = await one.put_response("Be brief.", note="the first")
        second = await one.put_response("Be very brief.")
        again = await one.put_response("Be brief.", note="another note")
        assert [(r.prompt.version, r.created) for r in (first, second, again)] == [(1, True), (2, True), (1, False)]
        assert again.prompt.note == "the first"
        assert (first.prompt.created_by, first.prompt.created_at.ToDatetime(tzinfo=UTC)) == ("dana", NOW)
        assert len(first.prompt.sha256) == 64
        assert first.prompt.sha256 != second.prompt.sha256

    async def test_what_is_put_at_the_same_time_has_a_version_each(self, one: Instance, books: VariantBooks) -> None:
        other = Instance(books)
        put = await asyncio.gather(
            *(instance.put(f"Be {i} words long.") for i in range(6) for instance in (one, other))
        )
        assert sorted(prompt.version for prompt in put) == sorted([*range(1, 7)] * 2)
        assert sorted(v for _, v in await one.listed("brief")) == [*range(1, 7)]

    async def test_a_prompt_comes_back_as_it_was_put(self, one: Instance) -> None:
        examples = [prompts_pb2.PromptExample(asked="[1] Ähm { }\n\nQuestion: x", answered="y [1].")]
        put = await one.put("Antworte kurz. 短く。", examples=examples, note="with an example")
        assert await one.get() == put
        assert list(put.examples) == examples

    async def test_one_is_got_by_version_by_label_or_as_the_newest(self, one: Instance) -> None:
        for system in ("one", "two", "three"):
            await one.put(system)
        await one.label(2)
        assert (await one.get()).version == 3
        assert (await one.get(version=1)).system == "one"
        found = await one.get(label="production")
        assert (found.version, list(found.labels)) == (2, ["production"])
        for which in ({"version": 4}, {"label": "candidate"}, {"name": "nobody"}):
            with pytest.raises(NotFound):
                await one.get(**cast(Any, which))
        with pytest.raises(Rejected, match="label"):
            await one.get(version=1, label="production")

    async def test_the_list_has_the_newest_of_each_and_what_comes_with_headrace(self, one: Instance) -> None:
        await one.put("one")
        await one.put("two")
        await one.put("one", name="other")
        assert await one.listed() == [("brief", 2), ("grounded-answer", 1), ("other", 1)]
        assert await one.listed("brief") == [("brief", 2), ("brief", 1)]
        assert await one.listed("grounded-answer") == [("grounded-answer", 1)]
        assert await one.listed("nobody") == []

    async def test_what_comes_with_headrace_is_nobodys_to_change(self, one: Instance) -> None:
        with pytest.raises(Conflict, match="comes with Headrace"):
            await one.put(name="grounded-answer")
        with pytest.raises(Conflict, match="comes with Headrace"):
            await one.put_variant("default", prompt="grounded-answer", prompt_version=1)
        shipped = await one.get("grounded-answer")
        assert shipped.built_in
        assert not shipped.created_by

    @pytest.mark.parametrize(
        ("wrong", "fields"),
        [
            ({"name": "Brief"}, ["prompt.name"]),
            ({"name": ""}, ["prompt.name"]),
            ({"system": " "}, ["prompt.system"]),
            ({"system": "x" * 8_001}, ["prompt.system"]),
            ({"system": "Answer {question}."}, ["prompt.system"]),
            ({"question": "{passages}"}, ["prompt.question"]),
            ({"question": "{passages} {question} {question}"}, ["prompt.question"]),
            ({"question": "{passages} {question} {context}"}, ["prompt.question"]),
            ({"question": ""}, ["prompt.question"] * 3),
            ({"question": QUESTION + "x" * 4_000}, ["prompt.question"]),
            ({"examples": [prompts_pb2.PromptExample(asked="a", answered="b")] * 17}, ["prompt.examples"]),
            (
                {"examples": [prompts_pb2.PromptExample(asked="{passages}", answered="")]},
                ["prompt.examples[0].answered", "prompt.examples[0].asked"],
            ),
            ({"note": "x" * 501}, ["prompt.note"]),
        ],
    )
    async def test_a_prompt_that_cannot_be_shown_is_refused_by_its_fields(
        self, one: Instance, wrong: dict[str, Any], fields: list[str]
    ) -> None:
        with pytest.raises(Rejected) as refused:
            await one.put(**wrong)
        assert [v.field for v in refused.value.violations] == fields

    async def test_an_unknown_variable_is_named_and_a_brace_with_a_space_is_none(self, one: Instance) -> None:
        with pytest.raises(Rejected) as refused:
            await one.put(question="{passages} {question} {user_name}")
        assert "{user_name} is no variable" in refused.value.violations[0].description
        await one.put(question='{passages} {question} as { "json": 1 }')

    # Labels

    async def test_a_label_moves_and_says_what_it_named_before(self, one: Instance) -> None:
        await one.put("one")
        await one.put("two")
        assert [await one.label(1), await one.label(2), await one.label(2), await one.label(0)] == [0, 1, 2, 2]
        assert (await one.get()).labels == []
        with pytest.raises(NotFound):
            await one.label(0)
        with pytest.raises(NotFound):
            await one.label(3)
        await one.label(1, name="grounded-answer", label="candidate")
        assert list((await one.get("grounded-answer")).labels) == ["candidate"]

    async def test_a_label_that_could_be_none_is_refused(self, one: Instance) -> None:
        with pytest.raises(Rejected, match="label"):
            await one.label(1, label="Production!")

    # Variants

    async def test_a_variant_follows_its_label_from_one_answer_to_the_next(self, one: Instance) -> None:
        await one.put("one")
        await one.put("two")
        await one.label(1)
        put = await one.put_variant()
        assert (put.version, put.prompt_label, put.prompt_version) == (1, "production", 0)
        before = await one.answerers.of("acme", Versioned("short", "1"))
        await one.label(2)
        after = await one.answerers.of("acme", Versioned("short", "1"))
        assert [a.variant.prompt.system for a in (before, after)] == ["one", "two"]
        assert after.variant.prompt.key == Versioned("brief", "2")

    async def test_a_variant_of_a_version_does_not(self, one: Instance) -> None:
        await one.put("one")
        await one.put("two")
        await one.label(2)
        await one.put_variant(prompt_version=1)
        assert (await one.answerers.of("acme", Versioned("short", "1"))).variant.prompt.system == "one"

    async def test_what_a_variant_reads_and_how_it_writes_comes_back(self, one: Instance) -> None:
        await one.put()
        reading = variants_pb2.Reading(passages=5, minimum_similarity=0.2, text_weight=0.0)
        decoding = answer_pb2.Decoding(max_output_tokens=64, temperature=0.5, seed=7)
        put = await one.put_variant(prompt_version=1, reading=reading, decoding=decoding, backend="far")
        assert (put.reading.passages, put.reading.passage_tokens) == (5, 700)
        assert put.reading.HasField("text_weight")
        assert not put.reading.HasField("vector_weight")
        assert put.decoding.top_p == 1.0
        assert await one.get_variant("short") == put
        answerer = await one.answerers.of("acme", Versioned("short", "1"))
        variant = answerer.variant
        assert (variant.passages, variant.minimum_similarity, variant.text_weight) == (5, 0.2, 0.0)
        assert variant.vector_weight is None
        assert answerer.backend == "far"
        assert (await one.put_variant_response(prompt_version=1, reading=reading, decoding=decoding, backend="far")
                ).created is False  # fmt: skip
        assert (await one.put_variant(prompt_version=1)).version == 2

    @pytest.mark.parametrize(
        ("rest", "reason"),
        [
            ({"prompt": "nobody", "prompt_version": 1}, "there is no prompt nobody 1"),
            ({"prompt_version": 9}, "there is no prompt brief 9"),
            ({"prompt_label": "candidate"}, "no version of the prompt brief has the label candidate"),
            ({"prompt_version": 1, "backend": "nowhere"}, "there is no backend nowhere on this instance"),
            (
                {"prompt_version": 1, "model_version": "fedcba"},
                "the backend local serves the model version 0123456789abcdef, not fedcba",
            ),
            ({"prompt_version": 2}, "leave 0 of the 2048 tokens of local"),
            (
                {"prompt_version": 1, "decoding": answer_pb2.Decoding(max_output_tokens=2000)},
                "tokens of answer leave",
            ),
        ],
    )
    async def test_a_broken_variant_is_refused_with_its_reason(
        self, one: Instance, rest: dict[str, Any], reason: str
    ) -> None:
        await one.put("one")
        await one.put("water " * 1_250, examples=[prompts_pb2.PromptExample(asked="wheel " * 1_000, answered="yes")])
        with pytest.raises(Conflict, match=reason):
            await one.put_variant(**rest)
        with pytest.raises(NotFound):
            await one.get_variant("short")

    @pytest.mark.parametrize(
        ("rest", "fields"),
        [
            ({"decoding": answer_pb2.Decoding(temperature=2.5)}, ["variant.decoding.temperature"]),
            ({"decoding": answer_pb2.Decoding(top_p=float("nan"))}, ["variant.decoding.top_p"]),
            ({"decoding": answer_pb2.Decoding(max_output_tokens=5_000)}, ["variant.decoding.max_output_tokens"]),
            ({"reading": variants_pb2.Reading(passages=101)}, ["variant.reading.passages"]),
            ({"reading": variants_pb2.Reading(passage_tokens=100_001)}, ["variant.reading.passage_tokens"]),
            (
                {"reading": variants_pb2.Reading(minimum_similarity=float("nan"))},
                ["variant.reading.minimum_similarity"],
            ),
            ({"reading": variants_pb2.Reading(vector_weight=0, text_weight=0)}, ["variant.reading.text_weight"]),
            ({"prompt_version": 1, "prompt_label": "production"}, ["variant.prompt_label"]),
            ({"prompt": "No Name"}, ["variant.prompt"]),
            ({"backend": "No Name"}, ["variant.backend"]),
            ({"model_version": "a\nb"}, ["variant.model_version"]),
        ],
    )
    async def test_a_variant_out_of_range_is_refused_by_its_fields(
        self, one: Instance, rest: dict[str, Any], fields: list[str]
    ) -> None:
        with pytest.raises(Rejected) as refused:
            await one.put_variant(**rest)
        assert [v.field for v in refused.value.violations] == fields

    async def test_what_broke_since_says_so_and_answers_no_more(self, one: Instance) -> None:
        await one.put("one")
        await one.label(1)
        await one.put_variant()
        assert (await one.get_variant("short")).broken == ""
        await one.label(0)
        assert "has the label production" in (await one.get_variant("short")).broken
        with pytest.raises(Broken):
            await one.answerers.of("acme", Versioned("short", "1"))
        assert "label" in await one.answerers.broken("acme", Versioned("short", "1"))

    async def test_routes_find_the_newest(self, one: Instance) -> None:
        await one.put()
        await one.put_variant(prompt_version=1)
        await one.put_variant(prompt_version=1, backend="far")
        assert await one.answerers.newest("acme", "short") == Versioned("short", "2")
        assert await one.answerers.newest("acme", "nobody") is None
        assert await one.answerers.newest("acme", "default") == DEFAULT

    # Tenants

    async def test_a_tenant_knows_nothing_of_anothers(self, one: Instance) -> None:
        await one.put("Secret instructions.")
        await one.label(1)
        await one.put_variant()
        assert await one.listed(tenant="other") == [("grounded-answer", 1)]
        with pytest.raises(NotFound):
            await one.get(tenant="other")
        with pytest.raises(NotFound):
            await one.get_variant("short", tenant="other")
        with pytest.raises(NotFound):
            await one.label(1, tenant="other")
        with pytest.raises(Conflict):
            await one.put_variant(tenant="other", prompt_version=1)
        with pytest.raises(Broken):
            await one.answerers.of("other", Versioned("short", "1"))
        assert (await one.put("Theirs.", tenant="other")).version == 1
        assert (await one.get()).system == "Secret instructions."

    # Instances

    async def test_every_change_is_an_event_with_names_only(self, one: Instance, books: VariantBooks) -> None:
        await one.put("one")
        await one.put("two")
        await one.put("two")
        await one.label(2)
        await one.label(2)
        await one.put_variant()
        await one.label(0)
        told = [
            (c.change, c.name, c.version, c.previous, c.label, c.role, c.changed_by)
            for c in await self.changes(books, "acme")
        ]
        who = ("developer", "dana")
        assert told == [
            (changes_pb2.ROUTING_CHANGE_PROMPT, "brief", 1, 0, "", *who),
            (changes_pb2.ROUTING_CHANGE_PROMPT, "brief", 2, 1, "", *who),
            (changes_pb2.ROUTING_CHANGE_LABEL, "brief", 2, 0, "production", *who),
            (changes_pb2.ROUTING_CHANGE_VARIANT, "short", 1, 0, "", *who),
            (changes_pb2.ROUTING_CHANGE_LABEL, "brief", 0, 2, "production", *who),
        ]

    async def test_another_instance_follows_at_the_word_and_without_it_within_a_minute(
        self, one: Instance, books: VariantBooks
    ) -> None:
        other = Instance(books)
        await one.put("one")
        await one.put("two")
        await one.label(1)
        await one.put_variant()
        key = Versioned("short", "1")
        assert (await other.answerers.of("acme", key)).variant.prompt.system == "one"
        await one.label(2)
        assert (await other.answerers.of("acme", key)).variant.prompt.system == "one"  # no word has come
        await other.catalogue.follow("acme")
        assert (await other.answerers.of("acme", key)).variant.prompt.system == "two"
        await one.label(1)
        other.clock.now += FRESH_SECONDS
        await other.answerers.of("acme", key)
        for task in list(other.catalogue._under_way):
            await task
        assert (await other.answerers.of("acme", key)).variant.prompt.system == "one"


class TestInMemory(VariantSuite):
    """On memory, and what can only be counted there."""

    @pytest.fixture
    def books(self) -> MemoryVariantBooks:
        return MemoryVariantBooks()

    async def changes(self, books: Any, tenant: str) -> Sequence[RoutingChanged]:
        return [event.message for event in books.books[tenant].emitted]

    async def test_nothing_is_read_for_a_query_once_it_is_held(self, books: MemoryVariantBooks, one: Instance) -> None:
        await one.put("one")
        await one.label(1)
        await one.put_variant()
        await one.answerers.of("acme", Versioned("short", "1"))
        books.opened.clear()
        for _ in range(3):
            await one.answerers.of("acme", Versioned("short", "1"))
            await one.answerers.of("acme", DEFAULT)
        assert books.opened == []

    async def test_what_nobody_asked_for_here_is_not_read_at_a_word(
        self, books: MemoryVariantBooks, one: Instance
    ) -> None:
        await one.catalogue.follow("acme")
        assert books.opened == []

    async def test_a_stand_in_while_the_database_is_down(self, books: MemoryVariantBooks, one: Instance) -> None:
        await one.put("one")
        await one.label(1)
        await one.put_variant()
        await one.answerers.of("acme", Versioned("short", "1"))
        one.catalogue.books = Down()
        one.clock.now += FRESH_SECONDS
        assert (await one.answerers.of("acme", Versioned("short", "1"))).variant.prompt.system == "one"
        for task in list(one.catalogue._under_way):
            await task
        await one.catalogue.follow("acme")
        assert (await one.answerers.of("acme", DEFAULT)).variant.key == DEFAULT
        with pytest.raises(Unavailable):
            await one.answerers.of("acme", Versioned("short", "2"))

    async def test_what_stands_in_a_variants_way_is_known_before_it_is_asked(self, one: Instance) -> None:
        await one.put("one")
        await one.put_variant(prompt_version=1)
        await one.put_variant("outside", prompt_version=1, backend="far")
        near = await one.answerers.of("acme", Versioned("short", "1"))
        far = await one.answerers.of("acme", Versioned("outside", "1"))
        assert one.answerers.standing("acme", near, Tier.TIER_2).obstacle == ""
        assert one.answerers.standing("acme", near, Tier.TIER_2).cost_micro_usd == 0
        # 256 tokens of answer at 2, and the prompt, 700 of passages and a question at 1: never told too low.
        expected = one.answerers.standing("acme", far, Tier.PUBLIC)
        assert 700 + 512 < expected.cost_micro_usd < 700 + 512 + 200
        local = one.backends.by_name["local"]
        assert local.lane.limit.take()
        assert one.answerers.standing("acme", near, Tier.PUBLIC).obstacle == "rate"
        local.lane.breaker.failed()
        assert one.answerers.standing("acme", near, Tier.PUBLIC).obstacle == "failed"
        assert local.state == "resting"

    async def test_a_backend_that_may_never_see_a_tier_stands_in_its_own_way(self, one: Instance) -> None:
        await one.put("one")
        await one.put_variant("outside", prompt_version=1, backend="far")
        far = await one.answerers.of("acme", Versioned("outside", "1"))
        one.backends.by_name["far"].gate = PolicyGate(
            load_policy(None).__class__(version=1), "models.example.com", cast(Any, None)
        )
        assert one.answerers.standing("acme", far, Tier.PUBLIC).obstacle == "tier"

    async def test_expected_is_each_tenants_own(self, one: Instance) -> None:
        await one.put("one")
        await one.put_variant(prompt_version=1)
        key = Versioned("short", "1")
        answerer = await one.answerers.of("acme", key)
        clock = cast(Clock, one.backends.by_name["local"].clock)
        async with answerer.model.write([], answerer.variant.decoding) as writing:
            async for _ in writing.pieces():
                clock.now += 0.5
        assert one.answerers.standing("acme", answerer, Tier.PUBLIC).ms == 1500.0
        assert one.answerers.standing("other", answerer, Tier.PUBLIC).ms == 0.0

    async def test_backends_are_listed_with_how_they_do(self, one: Instance) -> None:
        listed = await one.variants.ListBackends(variants_pb2.ListBackendsRequest(), CONTEXT)
        local, far = listed.backends
        assert (local.name, local.kind, local.policy_name, local.state) == ("local", "engine", "local", "up")
        assert (local.model.name, local.model.version) == ("scripted", "0123456789abcdef")
        assert (far.policy_name, far.input_price, far.output_price) == ("models.example.com", 1_000_000, 2_000_000)
        assert local.calls_per_minute == 1


class Down:
    """Books that cannot be opened."""

    def open(self, tenant: str) -> Any:
        raise Unavailable("Postgres")


@pytest_asyncio.fixture(scope="module")
async def schema(database: testing.Database) -> AsyncIterator[testing.Database]:
    """The schema as it is after the migrations."""
    connection = await asyncpg.connect(database.superuser)
    try:
        await migrate(connection, schema="inference", migrations=migrations_of("inference", root=ROOT))
    finally:
        await connection.close()
    yield database


@pytest.mark.real
class TestInPostgres(VariantSuite):
    """On the real tables."""

    @pytest_asyncio.fixture
    async def opened(self, schema: testing.Database) -> AsyncIterator[Database]:
        connection = await asyncpg.connect(schema.superuser)
        await connection.execute(
            "TRUNCATE inference.tenant_prompts, inference.prompt_labels, inference.tenant_variants, inference.outbox"
        )
        await connection.close()
        async with open_database(schema.dsn("inference"), schema="inference") as store:
            yield store

    @pytest.fixture
    def books(self, opened: Database) -> PostgresVariantBooks:
        return PostgresVariantBooks(Ledger(opened))

    async def changes(self, books: Any, tenant: str) -> Sequence[RoutingChanged]:
        async with books.open(tenant) as book:
            rows = await book.unit.connection.fetch("SELECT value FROM outbox ORDER BY id")
        return [RoutingChanged.FromString(row["value"]) for row in rows]

    async def test_a_version_cannot_be_changed_nor_taken_away(self, opened: Database, one: Instance) -> None:
        await one.put("one")
        for statement in ("UPDATE tenant_prompts SET content = ''", "DELETE FROM prompt_labels"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with opened.transaction(tenant="acme") as connection:
                    await connection.execute(statement)

    async def test_rows_of_another_tenant_are_not_there(self, opened: Database, one: Instance) -> None:
        await one.put("one")
        async with opened.transaction(tenant="other") as connection:
            assert await connection.fetchval("SELECT count(*) FROM tenant_prompts") == 0
        async with opened.transaction(tenant="acme") as connection:
            assert await connection.fetchval("SELECT count(*) FROM tenant_prompts") == 1
