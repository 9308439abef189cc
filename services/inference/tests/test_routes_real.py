"""Routes on a real Kafka and a real Postgres: two instances, two model servers, and what happens when one falls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import numpy as np
import pytest
import yaml
from headrace import topics
from headrace.embedding.v1.service_pb2 import Embedding, EmbedRequest, EmbedResponse
from headrace.embedding.v1.service_pb2_grpc import EmbeddingServiceServicer, add_EmbeddingServiceServicer_to_server
from headrace.inference.v1 import routes_pb2, variants_pb2
from headrace.inference.v1.changes_pb2 import RoutingChanged
from headrace.privacy.v1.privacy_pb2 import TIER_1, TIER_PUBLIC, ProtectedVector
from headrace.query.v1.answer_pb2 import AnswerChunk, AnswerCompleted
from headrace.query.v1.events_pb2 import QueryRetrieved
from headrace.retrieval.v1.retrieval_pb2 import EmbedderIdentity
from headrace_database.migrations import migrate, migrations_of
from headrace_embedded import testing
from headrace_identity import Principal
from headrace_identity.principal import acting_as
from headrace_identity.testing import Issuer
from headrace_inference.adapters.memory_routes import MemoryEmbedder
from headrace_inference.app import open_app
from headrace_inference.settings import Settings
from headrace_privacy import Tier
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.errors import Conflict
from headrace_runtime.testing import serving_keys
from headrace_stream import Event, open_bus

from services.inference.tests.kinds_of_questions import EXAMPLES
from services.inference.tests.test_edges import GOOD, retrieved

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]
ROOT = Path(__file__).parents[3]
POUR = "What does the pour statement do?"
WORDS = MemoryEmbedder()
CONTEXT: Any = None


@dataclass
class ModelServer:
    """As much of OpenAI's protocol as is asked for. It writes the same, until it is down."""

    is_down: bool = False
    written: int = 0
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        sizes = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
        await reader.readexactly(sum(sizes))
        if self.is_down:
            status, kind, body = "503 Service Unavailable", "application/json", '{"error":{"message":"down"}}'
        elif head.startswith(b"GET"):
            listed = '{"object":"list","data":[{"id":"m","object":"model","created":17,"owned_by":"x"}]}'
            status, kind, body = "200 OK", "application/json", listed
        else:
            self.written += 1
            status, kind, body = "200 OK", "text/event-stream", _completion(GOOD)
        lines = (f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(body)}", "connection: close")
        writer.write("\r\n".join((*lines, "", body)).encode())
        await writer.drain()
        writer.close()


def _completion(text: str) -> str:
    usage = '"usage":{"prompt_tokens":100,"completion_tokens":20,"total_tokens":120}'
    common = '"id":"1","object":"chat.completion.chunk","created":1,"model":"m"'
    choice = f'{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":"stop"}}'
    return f'data: {{{common},"choices":[{choice}]}}\n\ndata: {{{common},"choices":[],{usage}}}\n\ndata: [DONE]\n\n'


@asynccontextmanager
async def serving_model() -> AsyncIterator[ModelServer]:
    model = ModelServer()
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0)
    async with server:
        model.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        yield model


class _Embedding(EmbeddingServiceServicer):
    async def Embed(self, request: EmbedRequest, context: Any) -> EmbedResponse:  # noqa: N802
        vectors, made_by = await WORDS.embed(request.texts)
        identity = EmbedderIdentity(name=made_by.name, dimensions=made_by.dimensions, hash=made_by.hash)
        return EmbedResponse(embeddings=[Embedding(values=v, tokens=1) for v in vectors], embedder=identity)


@asynccontextmanager
async def serving_embedder() -> AsyncIterator[str]:
    server = grpc.aio.server()
    add_EmbeddingServiceServicer_to_server(_Embedding(), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@dataclass
class Seen:
    """What a product, and whoever else reads the bus, sees."""

    answers: dict[str, AnswerCompleted] = field(default_factory=dict)
    trials: dict[str, AnswerCompleted] = field(default_factory=dict)
    chunks: list[AnswerChunk] = field(default_factory=list)
    changes: list[RoutingChanged] = field(default_factory=list)

    async def on_answer(self, message: AnswerCompleted) -> None:
        assert message.query.query_id not in self.answers, "an answer comes once"
        self.answers[message.query.query_id] = message

    async def on_trial(self, message: AnswerCompleted) -> None:
        self.trials[message.query.trial.case_id] = message

    async def on_chunk(self, message: AnswerChunk) -> None:
        self.chunks.append(message)

    async def on_change(self, message: RoutingChanged) -> None:
        self.changes.append(message)


class House:
    """Two instances of the service, with what they stand on."""

    def __init__(self, bus: Any, seen: Seen, services: list[Any], models: dict[str, ModelServer]) -> None:
        self.bus, self.seen, self.models = bus, seen, models
        self.services = services

    def of(self, instance: int, name: str) -> Any:
        """A gRPC service of an instance."""
        (found,) = [s.servicer for s in self.services[instance].servicers if s.name.endswith(f".{name}")]
        return found

    async def put(self, *arms: str, instance: int = 0, **more: Any) -> routes_pb2.Route:
        route = routes_pb2.Route(
            kind="*",
            arms=[routes_pb2.Arm(variant=routes_pb2.VariantReference(name=arm), weight=1) for arm in arms],
            **more,
        )
        request = routes_pb2.PutRouteRequest(tenant="demo", route=route)
        return (await self.of(instance, "RouteService").PutRoute(request, CONTEXT)).route

    async def explain(self, instance: int, **asked: Any) -> routes_pb2.ExplainRouteResponse:
        request = routes_pb2.ExplainRouteRequest(tenant="demo", tier=TIER_1, **asked)
        return await self.of(instance, "RouteService").ExplainRoute(request, CONTEXT)

    async def ask(self, count: int) -> list[AnswerCompleted]:
        messages = [_asking() for _ in range(count)]
        await self.bus.publish(*map(_event, messages))
        ids = [message.query.query_id for message in messages]
        await until(lambda: all(query_id in self.seen.answers for query_id in ids))
        return [self.seen.answers[query_id] for query_id in ids]


def _asking() -> QueryRetrieved:
    message = retrieved(POUR, query_id=str(uuid4()))
    numbers = WORDS.vector(POUR).astype(np.float32)
    message.vector.CopyFrom(ProtectedVector(float32=numbers.tobytes(), dimensions=len(numbers)))
    made_by = WORDS.identity
    message.embedder.CopyFrom(EmbedderIdentity(name=made_by.name, dimensions=made_by.dimensions, hash=made_by.hash))
    return message


def _event(message: QueryRetrieved) -> Event[Any]:
    query_id = message.query.query_id
    return Event(
        topic=topics.QUERY_RETRIEVED,
        message=message,
        key=query_id,
        event_id=uuid4(),
        source="retriever",
        correlation_id=query_id,
        causation_id="",
        tenant="demo",
        tier=Tier.PUBLIC,
    )


async def until(holds: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.05)


@pytest.fixture
async def house(fresh_kafka: str, database: testing.Database, tmp_path: Path) -> AsyncIterator[House]:
    connection = await asyncpg.connect(database.superuser)
    try:
        await migrate(connection, schema="inference", migrations=migrations_of("inference", root=ROOT))
    finally:
        await connection.close()
    seen = Seen()
    async with AsyncExitStack() as stack:
        models = {name: await stack.enter_async_context(serving_model()) for name in ("alpha", "beta")}
        common = {
            "kafka": fresh_kafka,
            "database": database.dsn("inference"),
            "backends": _backends(tmp_path / "backends.yaml", models),
            "embedder": await stack.enter_async_context(serving_embedder()),
            "classifier": await stack.enter_async_context(serving_keys(MemoryKeyring())),
            **Issuer().settings(tmp_path),
        }
        product = await stack.enter_async_context(open_bus(fresh_kafka, service="product"))
        product.watch(topics.ANSWER_COMPLETED, seen.on_answer)
        product.watch(topics.ANSWER_TRIALED, seen.on_trial)
        product.watch(topics.ANSWER_CHUNK, seen.on_chunk)
        product.watch(topics.ROUTING_CHANGED, seen.on_change)
        await product.start()
        services = [await stack.enter_async_context(open_app(Settings(**common))) for _ in range(2)]
        for service in services:
            await service.bus.start()
        stack.enter_context(acting_as(Principal("developer", "demo", "dana")))
        try:
            yield House(product, seen, services, models)
        finally:
            await asyncio.gather(*(service.bus.stop(5) for service in services), product.stop(5))


def _backends(file: Path, models: dict[str, ModelServer]) -> Path:
    prices = {"alpha": {}, "beta": {"input": 2, "output": 10}}
    entries = [
        {"name": name, "kind": "openai", "url": model.url, "attempts": 1, "rest_after": 2, "rest_seconds": 1,
         "context": 4096, "prices": prices[name]}
        for name, model in models.items()
    ]  # fmt: skip
    file.write_text(yaml.safe_dump({"backends": entries}))
    return file


async def _put_variants(house: House) -> None:
    for name in ("alpha", "beta"):
        variant = variants_pb2.Variant(name=f"on-{name}", prompt="grounded-answer", prompt_version=1, backend=name)
        variant.decoding.max_output_tokens = 64
        request = variants_pb2.PutVariantRequest(tenant="demo", variant=variant)
        await house.of(0, "VariantService").PutVariant(request, CONTEXT)


async def _followed(house: House, variant: str, version: int) -> None:
    """Waits until both instances would answer by a route's version, without a restart of either."""
    for instance in (0, 1):
        async with asyncio.timeout(20):
            while True:
                found = await house.explain(instance, kind="other")
                if (found.variant.name, found.routing.route_version) == (variant, version):
                    break
                await asyncio.sleep(0.05)


async def test_routes_from_the_first_version_to_a_model_that_falls(house: House) -> None:
    await _put_variants(house)
    assert (await house.explain(1, kind="other")).routing.reason == "default"

    # Every instance follows a change; a shadow answers a copy, unseen.
    shadow = routes_pb2.Shadow(variant=routes_pb2.VariantReference(name="on-beta"), share=1)
    fallback = routes_pb2.VariantReference(name="on-beta")
    route = await house.put("on-alpha", fallbacks=[fallback], shadows=[shadow], reason="try it")
    assert (route.version, route.created_by, route.arms[0].variant.version) == (1, "dana", 1)
    await _followed(house, "on-alpha", 1)
    answers = await house.ask(8)
    assert {(a.variant.name, a.routing.reason, a.routing.backend) for a in answers} == {("on-alpha", "share", "alpha")}
    await until(lambda: all(a.query.query_id in house.seen.trials for a in answers))
    trials = [house.seen.trials[a.query.query_id] for a in answers]
    assert {(t.variant.name, t.routing.reason, t.query.trial.run_id) for t in trials} == {
        ("on-beta", "trial", "shadow:*")
    }
    assert all(t.text.plain and t.usage.cost_micro_usd == 400 for t in trials)
    shown = {chunk.query_id for chunk in house.seen.chunks} | set(house.seen.answers)
    assert not shown & {t.query.query_id for t in trials}, "a shadow is seen by nobody"

    # A model falls: the next answers, and the answer says so.
    house.models["alpha"].is_down = True
    answers = await house.ask(6)
    assert {(a.variant.name, a.routing.reason, a.routing.backend) for a in answers} == {("on-beta", "fallback", "beta")}
    assert {(p.variant.name, p.reason) for a in answers for p in a.routing.passed_over} == {("on-alpha", "failed")}
    house.models["alpha"].is_down = False

    # A day's budget, of what all answers and shadows of the route cost: beta's are 400 each.
    limits = routes_pb2.Limits(daily_budget_micro_usd=1_000)
    await house.put("on-beta", instance=1, limits=limits)
    await _followed_over_budget(house)
    answers = await house.ask(4)
    told = Counter((a.variant.name, a.routing.reason) for a in answers)
    assert told == {("on-beta", "fallback"): 4}, "when all are too dear the cheapest answers all the same"
    await house.put("on-beta", limits=limits, fallbacks=[routes_pb2.VariantReference(name="on-alpha")])
    await _followed(house, "on-alpha", 3)
    # After its rest one call at a time tries alpha, on each instance.
    by_alpha = [a for _ in range(12) for a in await house.ask(1) if a.variant.name == "on-alpha"]
    assert len(by_alpha) >= 6
    assert {(p.variant.name, p.reason) for a in by_alpha for p in a.routing.passed_over} == {("on-beta", "budget")}

    changed = [(c.name, c.version, c.previous, c.changed_by) for c in house.seen.changes if c.name == "*"]
    assert changed == [("*", 1, 0, "dana"), ("*", 2, 1, "dana"), ("*", 3, 2, "dana")]


async def _followed_over_budget(house: House) -> None:
    async with asyncio.timeout(20):
        for instance in (0, 1):
            while (await house.explain(instance, kind="other")).routing.route_version != 2:
                await asyncio.sleep(0.05)


async def test_kinds_are_learned_once_and_told_by_every_instance(house: House) -> None:
    service = house.of(0, "RouteService")
    pouring = ["what does the pour statement do", "how does one pour", "what is a pour statement for"]
    kinds = [routes_pb2.Kind(name="pouring", examples=pouring)]
    kinds += [routes_pb2.Kind(name=name, examples=questions) for name, questions in EXAMPLES.items()]
    put = await service.PutKinds(routes_pb2.PutKindsRequest(tenant="demo", kinds=kinds), CONTEXT)
    assert (put.version, len(put.quality)) == (1, 5)
    await until(lambda: any(c.change == 5 for c in house.seen.changes))
    answers = await house.ask(8)
    assert {(a.routing.kind, a.routing.kinds_version) for a in answers} <= {("pouring", 1)}
    other = house.of(1, "RouteService")
    got = await other.GetKinds(routes_pb2.GetKindsRequest(tenant="demo"), CONTEXT)
    assert [k.name for k in got.kinds] == ["pouring", *EXAMPLES]
    assert got.embedder.version == WORDS.identity.hash
    explained = await other.ExplainRoute(
        routes_pb2.ExplainRouteRequest(tenant="demo", text=POUR, tier=TIER_PUBLIC), CONTEXT
    )
    assert explained.scores[0].kind == "pouring"
    embedded = WORDS.embedded
    assert embedded < 250, "no instance embeds again what is kept"


async def test_a_broken_variant_is_refused_with_the_reason(house: House) -> None:
    with pytest.raises(Conflict, match="there is no variant nobody"):
        await house.put("nobody")
