# ruff: noqa: N802  (gRPC names the methods)
"""`headrace routes`, against a RouteService of fakes over real gRPC."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from headrace.inference.v1 import routes_pb2
from headrace.inference.v1.routes_pb2_grpc import RouteServiceServicer, add_RouteServiceServicer_to_server
from headrace.query.v1.answer_pb2 import PassedOver, Routing, Versioned
from headrace_client.cli.routes import read_kinds
from headrace_client.cli.shares import affected

from libs.client.tests.test_cli import headrace_command

KINDS = """\
kinds:
  - name: how-to
    description: How something is done
    examples: ["How do I read a file?", "How do I sort a list?", "How can I copy a list?"]
  - name: error
    examples: ["Why do I get a KeyError?", "It crashes.", "What is a TypeError?"]
"""


def route(kind: str, *arms: tuple[str, int, float], **more: Any) -> routes_pb2.Route:
    made = [
        routes_pb2.Arm(variant=routes_pb2.VariantReference(name=name, version=version), weight=weight)
        for name, version, weight in arms
    ]
    return routes_pb2.Route(kind=kind, arms=made, **{"version": 1, "created_by": "dana", **more})


@dataclass
class FakeRoutes(RouteServiceServicer):
    """Keeps what it was asked, and answers what it was given."""

    held: list[routes_pb2.Route] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    quality: list[routes_pb2.KindQuality] = field(default_factory=list)
    refusal: tuple[grpc.StatusCode, str] | None = None
    passed_over: str = ""

    async def ListRoutes(self, request: routes_pb2.ListRoutesRequest, context: Any) -> routes_pb2.ListRoutesResponse:
        return routes_pb2.ListRoutesResponse(routes=self.held)

    async def PutRoute(self, request: routes_pb2.PutRouteRequest, context: Any) -> routes_pb2.PutRouteResponse:
        if self.refusal:
            await context.abort(*self.refusal)
        self.asked.append(request)
        stored = routes_pb2.Route()
        stored.CopyFrom(request.route)
        stored.version = 4
        for arm in stored.arms:
            arm.variant.version = arm.variant.version or 2
        return routes_pb2.PutRouteResponse(route=stored)

    async def DeleteRoute(self, request: routes_pb2.DeleteRouteRequest, context: Any) -> routes_pb2.DeleteRouteResponse:
        self.asked.append(request)
        return routes_pb2.DeleteRouteResponse()

    async def ExplainRoute(
        self, request: routes_pb2.ExplainRouteRequest, context: Any
    ) -> routes_pb2.ExplainRouteResponse:
        self.asked.append(request)
        passed = PassedOver(variant=Versioned(name="shorter", version="2"), reason="failed")
        routing = Routing(
            kind="how-to", confidence=0.93, route="how-to", route_version=3, reason="fallback", backend="local",
            passed_over=[passed], kinds_model=request.kinds_model,
        )  # fmt: skip
        scores = [
            routes_pb2.KindScore(kind="how-to", confidence=0.93),
            routes_pb2.KindScore(kind="other", confidence=0.07),
        ]
        return routes_pb2.ExplainRouteResponse(
            variant=Versioned(name="default", version="1"), routing=routing, scores=scores
        )

    async def PutKinds(self, request: routes_pb2.PutKindsRequest, context: Any) -> routes_pb2.PutKindsResponse:
        self.asked.append(request)
        return routes_pb2.PutKindsResponse(version=2, quality=self.quality)

    async def GetKinds(self, request: routes_pb2.GetKindsRequest, context: Any) -> routes_pb2.GetKindsResponse:
        kinds = [routes_pb2.Kind(name="how-to", description="Doing", examples=["How do I read?"])]
        embedder = Versioned(name="all-MiniLM-L6-v2", version="0123456789abcdef")
        return routes_pb2.GetKindsResponse(
            version=2, kinds=kinds, quality=self.quality, embedder=embedder, passed_over_model=self.passed_over
        )


@dataclass
class Served:
    """The fake, and where it is."""

    fake: FakeRoutes
    where: str


@pytest.fixture
async def inference() -> AsyncIterator[Served]:
    server, fake = grpc.aio.server(), FakeRoutes()
    add_RouteServiceServicer_to_server(fake, server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield Served(fake, f"inference={address}")
    finally:
        await server.stop(None)


async def test_a_route_is_put_and_whom_it_concerns_is_told(inference: Served) -> None:
    inference.fake.held = [route("how-to", ("default", 1, 1.0))]
    ran = await headrace_command(
        "routes", "put", "how-to", "--arm", "default@1=90", "--arm", "shorter=10", "--fallback", "default",
        "--shadow", "longer@3=0.25", "--max-cost", "0.002", "--daily-budget", "5", "--max-latency", "3000",
        "--max-tier", "tier-1", "--reason", "Try it", where=inference.where,
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == (
        "Route how-to is version 4: 90 % default 1, 10 % shorter 2.\n"
        "Of how-to queries, conversations under way among them, about 10 % move: 10 % to shorter 2."
        " Before: default 1 (100 %).\n"
    )
    (asked,) = inference.fake.asked
    assert (asked.tenant, asked.route.reason) == ("demo", "Try it")
    assert [(a.variant.name, a.variant.version, a.weight) for a in asked.route.arms] == [
        ("default", 1, 90),
        ("shorter", 0, 10),
    ]
    assert [(s.variant.name, s.variant.version, s.share) for s in asked.route.shadows] == [("longer", 3, 0.25)]
    limits = asked.route.limits
    assert (limits.cost_micro_usd, limits.daily_budget_micro_usd, limits.latency_ms) == (2_000, 5_000_000, 3_000)
    assert limits.max_tier == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("--arm", "default"),
        ("--arm", "default=much"),
        ("--arm", "De fault=1"),
        ("--arm", "default@0=1"),
        ("--arm", "default=1", "--max-cost", "0.0000001"),
        ("--arm", "default=1", "--daily-budget", "-1"),
        ("--arm", "default=1", "--max-cost", "NaN"),
        ("--arm", "default=1", "--max-tier", "secret"),
        (),
    ],
)
async def test_a_route_that_cannot_be_read_is_used_wrongly(arguments: tuple[str, ...]) -> None:
    assert (await headrace_command("routes", "put", "*", *arguments, where="inference=127.0.0.1:1")).code == 2


async def test_a_broken_variant_is_told_with_the_reason(inference: Served) -> None:
    inference.fake.refusal = (
        grpc.StatusCode.FAILED_PRECONDITION,
        "variant shorter 2 cannot answer: there is no prompt",
    )
    ran = await headrace_command("routes", "put", "*", "--arm", "shorter@2=1", where=inference.where)
    assert ran.code == 1
    assert "variant shorter 2 cannot answer: there is no prompt" in ran.err


async def test_routes_are_listed_as_a_table_and_as_json(inference: Served) -> None:
    limits = routes_pb2.Limits(cost_micro_usd=2_000, daily_budget_micro_usd=5_000_000, latency_ms=3_000, max_tier=2)  # type: ignore[arg-type]
    shadow = routes_pb2.Shadow(variant=routes_pb2.VariantReference(name="longer", version=3), share=0.25)
    inference.fake.held = [
        route("how-to", ("default", 1, 90), ("shorter", 2, 10), limits=limits, shadows=[shadow], reason="try"),
        route("*", ("default", 1, 1), deleted=True),
    ]
    ran = await headrace_command("routes", "list", where=inference.where)
    assert ran.code == 0
    for words in (
        "90 % default 1, 10 % shorter 2",
        "25 % longer 3",
        "$0.002 an answer, $5 a day, 3000 ms, up to tier-1",
    ):
        assert words in ran.out
    assert "1 (taken away)" in ran.out
    ran = await headrace_command("routes", "list", "--json", where=inference.where)
    first, second = ran.json
    assert first["arms"][1] == {"variant": {"name": "shorter", "version": 2}, "weight": 10}
    assert (first["limits"]["max_tier"], second["deleted"]) == ("tier_1", True)


async def test_no_routes_are_told_too(inference: Served) -> None:
    ran = await headrace_command("routes", "list", "--tenant", "acme", where=inference.where)
    assert ran.out == "acme has no routes: the default of the house answers.\n"


async def test_a_route_is_taken_away_and_what_holds_then_is_told(inference: Served) -> None:
    inference.fake.held = [route("how-to", ("shorter", 2, 1)), route("*", ("default", 1, 1), version=7)]
    ran = await headrace_command("routes", "delete", "how-to", "--reason", "worse", where=inference.where)
    assert ran.out == "Route how-to is taken away: route * (version 7) holds for it.\n"
    assert inference.fake.asked[0].reason == "worse"
    ran = await headrace_command("routes", "delete", "*", where=inference.where)
    assert ran.out == "Route * is taken away: the default of the house answers it.\n"


async def test_an_explanation_says_who_and_why_and_why_not(inference: Served) -> None:
    ran = await headrace_command("routes", "explain", "How do I?", "--tier", "public", where=inference.where)
    assert ran.out == (
        "default 1 would answer, on local, as a fallback.\n"
        "Kind: how-to (93 % sure); route how-to, version 3.\n"
        "  not shorter 2: it fails just now\n"
        "\n"
        "   93 %  how-to\n"
        "    7 %  other\n"
    )
    assert (inference.fake.asked[0].text, inference.fake.asked[0].tier) == ("How do I?", 1)
    ran = await headrace_command("routes", "explain", "--kind", "how-to", "--json", where=inference.where)
    assert ran.json[0]["passed_over"] == [{"variant": {"name": "shorter", "version": "2"}, "reason": "failed"}]


async def test_an_explanation_may_be_by_a_trained_model_and_says_so(inference: Served) -> None:
    words = ("routes", "explain", "How do I?", "--kinds-model", "acme-kinds@aa")
    ran = await headrace_command(*words, where=inference.where)
    assert inference.fake.asked[-1].kinds_model == "acme-kinds@aa"
    assert "(93 % sure, by acme-kinds@aa)" in ran.out


async def test_kinds_are_put_from_a_file_and_badly_told_ones_are_warned_of(inference: Served, tmp_path: Path) -> None:
    inference.fake.quality = [
        routes_pb2.KindQuality(kind="how-to", examples=3, recall=1.0, precision=0.75),
        routes_pb2.KindQuality(kind="error", examples=3, recall=1 / 3, precision=1.0, mistaken_for="how-to"),
    ]
    file = tmp_path / "kinds.yaml"
    file.write_text(KINDS)
    ran = await headrace_command("routes", "kinds", "put", str(file), where=inference.where)
    assert ran.code == 0
    assert "Version 2 of the kinds is in force." in ran.out
    assert "Only 33 % of the examples of error are recognised, the others mostly as how-to" in ran.err
    (asked,) = inference.fake.asked
    assert [(k.name, k.description, len(k.examples)) for k in asked.kinds] == [
        ("how-to", "How something is done", 3), ("error", "", 3),
    ]  # fmt: skip
    ran = await headrace_command("routes", "kinds", "show", "--examples", where=inference.where)
    assert "learned with all-MiniLM-L6-v2 0123456789abcdef" in ran.out
    assert "  How do I read?" in ran.out


async def test_whoever_changes_kinds_is_told_what_recognises_them_no_more(inference: Served, tmp_path: Path) -> None:
    inference.fake.passed_over = "acme-kinds@aa"
    file = tmp_path / "kinds.yaml"
    file.write_text(KINDS)
    for words in (("put", str(file)), ("show",)):
        ran = await headrace_command("routes", "kinds", *words, where=inference.where)
        assert "acme-kinds@aa is in service, and is not asked" in " ".join(ran.err.split())
    ran = await headrace_command("routes", "kinds", "show", "--json", where=inference.where)
    assert ran.json[0]["passed_over_model"] == "acme-kinds@aa"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("kinds: 3", "no list `kinds`"),
        ("[", "cannot be read as YAML"),
        ("kinds: [{name: a}]", "kinds[0]: a kind has"),
        ("kinds: [{name: a, examples: [x], secret: y}]", "nothing else"),
        ("kinds: [{name: a, examples: [{b: c}]}]", "kinds[0].examples: a list of questions"),
    ],
)
async def test_a_file_of_kinds_that_cannot_be_read_says_where(content: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "kinds.yaml"
    file.write_text(content)
    ran = await headrace_command("routes", "kinds", "put", str(file), where="inference=127.0.0.1:1")
    assert ran.code == 2
    assert words in " ".join(ran.err.replace("│", " ").split())


def test_the_file_in_the_how_to_can_be_read(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/how-to/routes.md").read_text()
    (block,) = re.findall(r"```yaml\n(# kinds.yaml\n.*?)```", page, re.DOTALL)
    file = tmp_path / "kinds.yaml"
    file.write_text(block)
    assert {kind.name: len(kind.examples) for kind in read_kinds(file)} == {"how-to": 3, "error": 3}


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (None, route("*", ("a", 1, 1)), "about 100 % move: 100 % to a 1. Before: the default of the house (100 %)."),
        (route("*", ("a", 1, 1)), route("*", ("a", 1, 5)), "Nobody's variant changes"),
        (route("*", ("a", 1, 1), ("b", 1, 1)), route("*", ("a", 1, 3), ("b", 1, 1)), "about 25 % move: 25 % to a 1."),
        (route("*", ("a", 1, 999)), route("*", ("a", 1, 999), ("b", 1, 1)), "about 0.1 % move"),
    ],
)
def test_a_change_says_how_much_of_the_traffic_moves(before: Any, after: routes_pb2.Route, told: str) -> None:
    assert told in affected(before, after)
