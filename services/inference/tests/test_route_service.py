"""Kinds and routes over gRPC's edge, on memory: what is stored, what is refused, what is explained."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from headrace import topics
from headrace.inference.v1 import changes_pb2, routes_pb2
from headrace.inference.v1.changes_pb2 import RoutingChanged
from headrace_identity import Principal
from headrace_inference.adapters.memory_routes import MemoryEmbedder, MemoryRouteBooks
from headrace_inference.change_watch import Changes
from headrace_inference.kinds import Kind
from headrace_inference.route_records import KindSet, Table
from headrace_inference.route_servicer import RouteServicer
from headrace_inference.route_tables import FRESH_SECONDS, RouteTables
from headrace_inference.routing import Standing
from headrace_models.kinds import BACKGROUND
from headrace_runtime.errors import Conflict, NotFound, Rejected, Unavailable
from structlog.testing import capture_logs

from services.inference.tests.kinds_of_questions import EXAMPLES
from services.inference.tests.test_routed import KINDS, NOW, A, Routed

CONTEXT: Any = None
DANA = Principal("developer", "demo", "dana")


class Office(Routed):
    """The gRPC edge over the same memory."""

    def __init__(self) -> None:
        super().__init__()
        variants: Any = self.router.answerers
        self.service = RouteServicer(self.books, self.router, variants, lambda: DANA, lambda: NOW)

    async def put(self, kind: str = "*", arms: Any = (("short", 1, 1.0),), **more: Any) -> routes_pb2.Route:
        route = routes_pb2.Route(kind=kind, arms=[arm(*one) for one in arms], **more)
        return (await self.service.PutRoute(routes_pb2.PutRouteRequest(tenant="demo", route=route), CONTEXT)).route

    async def put_kinds(self, **kinds: Any) -> routes_pb2.PutKindsResponse:
        made = [routes_pb2.Kind(name=name, examples=examples) for name, examples in kinds.items()]
        return await self.service.PutKinds(routes_pb2.PutKindsRequest(tenant="demo", kinds=made), CONTEXT)

    async def explain(self, **asked: Any) -> routes_pb2.ExplainRouteResponse:
        return await self.service.ExplainRoute(routes_pb2.ExplainRouteRequest(tenant="demo", **asked), CONTEXT)

    async def routes(self, kind: str = "") -> list[routes_pb2.Route]:
        request = routes_pb2.ListRoutesRequest(tenant="demo", kind=kind)
        return list((await self.service.ListRoutes(request, CONTEXT)).routes)

    @property
    def changes(self) -> list[RoutingChanged]:
        assert all(event.topic == topics.ROUTING_CHANGED for event in self.books.books["demo"].emitted)
        return [event.message for event in self.books.books["demo"].emitted]


def arm(name: str, version: int, weight: float) -> routes_pb2.Arm:
    return routes_pb2.Arm(variant=routes_pb2.VariantReference(name=name, version=version), weight=weight)


QUESTIONS = {kind.name: kind.examples for kind in KINDS}


async def test_a_route_is_stored_as_a_version_with_the_newest_variants_written_down() -> None:
    office = Office()
    first = await office.put(arms=(("long", 0, 3.0), ("short", 1, 1.0)), reason="try it")
    assert (first.version, first.created_by, first.reason) == (1, "dana", "try it")
    assert [(a.variant.name, a.variant.version) for a in first.arms] == [("long", 2), ("short", 1)]
    second = await office.put()
    assert second.version == 2
    assert [r.version for r in await office.routes()] == [2]
    assert [r.version for r in await office.routes("*")] == [2, 1]
    assert (await office.explain(kind="other")).variant.name == "short"


async def test_a_change_tells_names_and_versions_and_who() -> None:
    office = Office()
    await office.put()
    await office.put()
    await office.service.DeleteRoute(routes_pb2.DeleteRouteRequest(tenant="demo", kind="*", reason="done"), CONTEXT)
    await office.put()
    await office.put_kinds(**QUESTIONS)
    told = [(c.change, c.name, c.version, c.previous) for c in office.changes]
    route, kinds = changes_pb2.ROUTING_CHANGE_ROUTE, changes_pb2.ROUTING_CHANGE_KINDS
    assert told == [(route, "*", 1, 0), (route, "*", 2, 1), (route, "*", 0, 2), (route, "*", 4, 0), (kinds, "", 1, 0)]
    assert {(c.tenant, c.role, c.changed_by) for c in office.changes} == {("demo", "developer", "dana")}
    assert len({c.change_id for c in office.changes}) == 5
    assert not any(word in repr(office.changes) for word in ("pour", "done"))


async def test_a_route_that_is_taken_away_is_gone_and_stays_in_the_history() -> None:
    office = Office()
    await office.put()
    await office.service.DeleteRoute(routes_pb2.DeleteRouteRequest(tenant="demo", kind="*"), CONTEXT)
    assert await office.routes() == []
    assert [(r.version, r.deleted) for r in await office.routes("*")] == [(2, True), (1, False)]
    assert (await office.explain(kind="other")).routing.reason == "default"
    with pytest.raises(NotFound):
        await office.service.DeleteRoute(routes_pb2.DeleteRouteRequest(tenant="demo", kind="*"), CONTEXT)


@pytest.mark.parametrize(
    ("kind", "more", "fields"),
    [
        ("", {}, ["route.kind"]),
        ("nonsense", {}, ["route.kind"]),
        ("*", {"arms": ()}, ["route.arms"]),
        ("*", {"arms": (("short", 1, 0.0),)}, ["route.arms[0].weight"]),
        ("*", {"arms": (("short", 1, float("nan")),)}, ["route.arms[0].weight"]),
        ("*", {"arms": (("Short!", 1, 1.0),)}, ["route.arms[0].variant.name"]),
        ("*", {"arms": (("short", 1, 1.0), ("short", 1, 2.0))}, ["route.arms[1].variant"]),
        ("*", {"fallbacks": [routes_pb2.VariantReference()]}, ["route.fallbacks[0].name"]),
        (
            "*",
            {"shadows": [routes_pb2.Shadow(variant=arm("short", 1, 1).variant, share=1.5)]},
            ["route.shadows[0].share"],
        ),
        ("*", {"reason": "x" * 501}, ["route.reason"]),
        ("*", {"limits": routes_pb2.Limits(max_tier=9)}, ["route.limits.max_tier"]),  # type: ignore[arg-type]
        ("*", {"limits": routes_pb2.Limits(cost_micro_usd=2**63)}, ["route.limits.cost_micro_usd"]),
    ],
)
async def test_a_route_that_makes_no_sense_names_each_field(kind: str, more: dict[str, Any], fields: list[str]) -> None:
    with pytest.raises(Rejected) as refused:
        await Office().put(kind, **more)
    assert [v.field for v in refused.value.violations] == fields


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"arms": (("nobody", 0, 1.0),)}, "there is no variant nobody"),
        ({"arms": (("short", 9, 1.0),)}, "variant short 9 cannot answer"),
        ({"fallbacks": [routes_pb2.VariantReference(name="short", version=9)]}, "short 9"),
        ({"shadows": [routes_pb2.Shadow(variant=routes_pb2.VariantReference(name="x"), share=1)]}, "no variant x"),
    ],
)
async def test_a_variant_that_cannot_answer_is_refused_with_the_reason(more: dict[str, Any], why: str) -> None:
    office = Office()
    with pytest.raises(Conflict, match=why):
        await office.put(**more)
    assert await office.routes() == []


async def test_kinds_are_told_apart_from_the_next_query_on() -> None:
    office = Office()
    await office.put()
    found = await office.put_kinds(**QUESTIONS)
    assert (found.version, [q.kind for q in found.quality]) == (1, ["pouring", "history"])
    await office.put("pouring", arms=(("long", 2, 1.0),))
    assert (await office.answer()).variant.name == "long"
    again = await office.put_kinds(**{**QUESTIONS, "rest": ("shut the gate", "open the gate", "paint the gate")})
    assert again.version == 2
    got = await office.service.GetKinds(routes_pb2.GetKindsRequest(tenant="demo"), CONTEXT)
    assert (got.version, [k.name for k in got.kinds]) == (2, ["pouring", "history", "rest"])
    assert list(got.kinds[0].examples) == list(KINDS[0].examples)
    assert (got.embedder.name, got.embedder.version) == ("words", "0123456789abcdef")


async def test_a_tenant_without_kinds_has_none() -> None:
    with pytest.raises(NotFound):
        await Office().service.GetKinds(routes_pb2.GetKindsRequest(tenant="demo"), CONTEXT)


async def test_without_an_embedder_nothing_changes() -> None:
    office = Office()
    office.embedder.is_down = True
    with pytest.raises(Unavailable):
        await office.put_kinds(**QUESTIONS)
    assert "demo" not in office.books.books


@pytest.mark.parametrize(
    ("kinds", "fields"),
    [
        ({}, ["kinds"]),
        ({"other": ("a", "b", "c")}, ["kinds[0].name"]),
        ({"*": ("a", "b", "c")}, ["kinds[0].name"]),
        ({"Howto": ("a", "b", "c")}, ["kinds[0].name"]),
        ({"few": ("a", "b")}, ["kinds[0].examples"]),
        ({"many": ("a",) * 201}, ["kinds[0].examples"]),
        ({"empty": ("a", " ", "c")}, ["kinds[0].examples[1]"]),
        ({"long": ("a", "b", "c" * 2_001)}, ["kinds[0].examples[2]"]),
        ({f"k{i}": ("a", "b", "c") for i in range(65)}, ["kinds"]),
    ],
)
async def test_kinds_that_make_no_sense_name_each_field(kinds: dict[str, Any], fields: list[str]) -> None:
    with pytest.raises(Rejected) as refused:
        await Office().put_kinds(**kinds)
    assert [v.field for v in refused.value.violations] == fields


async def test_an_explanation_tells_what_an_answer_would() -> None:
    office = Office()
    await office.put_kinds(**QUESTIONS)
    office.standings[A] = Standing(obstacle="failed")
    await office.put("pouring", fallbacks=[routes_pb2.VariantReference(name="long")])
    found = await office.explain(text="What does the pour statement do?")
    answer = await office.answer()
    assert (found.variant.name, found.variant.version) == (answer.variant.name, answer.variant.version) == ("long", "2")
    assert found.routing == answer.routing
    assert found.scores[0].kind == "pouring"
    assert sum(s.confidence for s in found.scores) == pytest.approx(1)
    assert (await office.explain(kind="pouring")).routing.passed_over[0].reason == "failed"


async def test_an_explanation_is_of_a_conversation() -> None:
    office = Office()
    await office.put(arms=(("short", 1, 1.0), ("long", 2, 1.0)))
    for talk in ("a", "b", "c", "d"):
        explained = await office.explain(kind="other", conversation_id=talk)
        assert explained.variant.name == (await office.answer(conversation_id=talk)).variant.name


@pytest.mark.parametrize("asked", [{}, {"text": "What?", "kind": "other"}, {"text": "x" * 8_001}, {"kind": "nonsense"}])
async def test_an_explanation_is_of_a_question_or_of_a_kind(asked: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        await Office().explain(**asked)


# --- what is held in memory -------------------------------------------------------------------------------------------


class Clock:
    """Seconds that a test moves."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


async def other_instance(office: Office, clock: Clock) -> RouteTables:
    """Another instance over the same database."""
    tables = RouteTables(office.books, office.embedder, clock, lambda: NOW)
    await tables.of("demo")
    return tables


async def test_another_instance_follows_at_the_word_of_a_change() -> None:
    office = Office()
    tables = await other_instance(office, Clock())
    await office.put()
    assert (await tables.of("demo")).routes == {}
    await Changes([tables.follow]).on_change(RoutingChanged(tenant="demo"))
    assert (await tables.of("demo")).routes["*"].version == 1


async def test_a_word_that_was_lost_is_made_up_for() -> None:
    office, clock = Office(), Clock()
    tables = await other_instance(office, clock)
    await office.put()
    clock.seconds += FRESH_SECONDS
    assert (await tables.of("demo")).routes == {}, "the query that finds out does not wait"
    await asyncio.gather(*tables._under_way)
    assert (await tables.of("demo")).routes["*"].version == 1


async def test_a_database_that_is_down_leaves_what_is_held() -> None:
    office, clock = Office(), Clock()
    await office.put()
    tables = await other_instance(office, clock)
    office.books.is_down = True
    clock.seconds += 10 * FRESH_SECONDS
    for _ in range(3):
        assert (await tables.of("demo")).routes["*"].version == 1
        await asyncio.gather(*tables._under_way)
    with pytest.raises(Unavailable):
        await tables.of("stranger")


async def test_what_nobody_asked_for_is_not_read_at_a_change() -> None:
    office = Office()
    tables = RouteTables(office.books, office.embedder, time.monotonic, lambda: NOW)
    await tables.follow("demo")
    assert office.books.opened == 0


async def test_examples_are_embedded_once_and_again_only_beside_another_background() -> None:
    office = Office()
    await office.put_kinds(**QUESTIONS)
    embedded = office.embedder.embedded
    assert embedded == sum(map(len, QUESTIONS.values())) + len(BACKGROUND)
    tables = await other_instance(office, Clock())
    assert office.embedder.embedded == embedded
    assert (await tables.of("demo")).learned
    book = office.books.books["demo"]
    ((key, vectors),) = book.vectors.items()
    book.vectors[key] = replace(vectors, texts_hash=bytes(32))  # as an older release embedded them
    table = await tables.refresh("demo")
    assert not table.learned
    tables.teach("demo", table, office.embedder.identity)
    tables.teach("demo", table, office.embedder.identity)
    await asyncio.gather(*tables._under_way)
    assert (await tables.of("demo")).learned
    assert office.embedder.embedded == 2 * embedded


async def test_many_kinds_are_learned_beside_the_loop() -> None:
    office = Office()
    async with office.books.open("demo") as book:
        kinds = tuple(Kind(name, "", questions) for name, questions in EXAMPLES.items())
        await book.add_kinds(KindSet(1, kinds), by="dana", at=NOW)
    learned = await office.tables.learn("demo", KindSet(1, kinds))
    assert {q.kind for q in learned.quality} == set(EXAMPLES)


class Speaking(MemoryEmbedder):
    """An embedder with a bug that repeats what it was given."""

    async def embed(self, texts: Sequence[str]) -> Any:
        raise RuntimeError(texts[0])


async def test_a_bug_beside_the_queries_is_logged_without_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    tables = RouteTables(MemoryRouteBooks(), Speaking(), time.monotonic, lambda: NOW)
    kinds = KindSet(1, KINDS)
    with capture_logs() as logs:
        tables.teach("demo", Table(kinds=kinds), MemoryEmbedder().identity)
        while tables._under_way:
            await asyncio.sleep(0)
    assert [(line["event"], line["error"]) for line in logs] == [("routing work failed", "RuntimeError")]
    assert KINDS[0].examples[0] not in f"{logs}{capsys.readouterr()}"
