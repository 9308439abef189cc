"""Two instances on a real Kafka and a real Postgres: what is changed at one, the other does; and who answers when a
backend is down."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from headrace import topics
from headrace.inference.v1 import prompts_pb2, routes_pb2, variants_pb2
from headrace.query.v1 import answer_pb2
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace_database.migrations import migrate, migrations_of
from headrace_embedded import testing
from headrace_identity import Principal
from headrace_identity.principal import acting_as
from headrace_identity.testing import Issuer
from headrace_inference.app import open_app
from headrace_inference.domain import Versioned
from headrace_inference.settings import Settings
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.errors import Conflict
from headrace_runtime.service import Service
from headrace_runtime.testing import serving_keys
from headrace_stream import open_bus

from services.inference.tests.servers import Speaking, free_port, speaking
from services.inference.tests.test_app import asking

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
ROOT = Path(__file__).parents[3]
CONTEXT: Any = None
SHORT = Versioned("short", "1")
#: Well below the minute after which an instance would look by itself.
SOON = 15.0

BACKENDS = """
backends:
  - {{name: up, kind: openai, url: "{up}", prices: {{input: 1, output: 10}}}}
  - {{name: gone, kind: openai, url: "http://127.0.0.1:{nobody}/v1", model: m, attempts: 1, rest_after: 2}}
"""


@pytest.fixture(autouse=True)
def developer() -> Iterator[None]:
    """Who calls."""
    with acting_as(Principal("developer", "demo", "dana")):
        yield


@pytest.fixture
async def server() -> AsyncIterator[Speaking]:
    """What answers."""
    async with speaking() as opened:
        yield opened


@pytest.fixture
async def settings(
    fresh_kafka: str, database: testing.Database, server: Speaking, tmp_path: Path
) -> AsyncIterator[Settings]:
    """Those of both instances."""
    connection = await asyncpg.connect(database.superuser)
    try:
        await migrate(connection, schema="inference", migrations=migrations_of("inference", root=ROOT))
    finally:
        await connection.close()
    file = tmp_path / "backends.yaml"
    file.write_text(BACKENDS.format(up=server.url, nobody=free_port()))
    async with serving_keys(MemoryKeyring()) as address:
        yield Settings(
            kafka=fresh_kafka,
            database=database.dsn("inference"),
            backends=file,
            classifier=address,
            **Issuer().settings(tmp_path),
        )


@pytest.fixture
async def instances(settings: Settings) -> AsyncIterator[list[Service]]:
    """Two of them, running."""
    async with AsyncExitStack() as stack:
        services = [await stack.enter_async_context(open_app(settings)) for _ in range(2)]
        await asyncio.gather(*(service.bus.start() for service in services))
        yield services
        await asyncio.gather(*(service.bus.stop(5) for service in services))


def part(service: Service, name: str) -> Any:
    """One of the services that an instance serves."""
    return next(s.servicer for s in service.servicers if s.name.endswith(f".{name}"))


async def put_prompts(service: Service) -> None:
    for system in ("Be brief.", "Be very brief."):
        prompt = prompts_pb2.Prompt(name="brief", system=system, question="{passages} {question}")
        await part(service, "PromptService").PutPrompt(
            prompts_pb2.PutPromptRequest(tenant="demo", prompt=prompt), CONTEXT
        )


async def label(service: Service, version: int) -> None:
    request = prompts_pb2.LabelPromptRequest(tenant="demo", name="brief", label="production", version=version)
    await part(service, "PromptService").LabelPrompt(request, CONTEXT)


async def put_variant(service: Service, name: str, backend: str) -> None:
    variant = variants_pb2.Variant(name=name, prompt="brief", backend=backend)
    await part(service, "VariantService").PutVariant(
        variants_pb2.PutVariantRequest(tenant="demo", variant=variant), CONTEXT
    )


async def prompt_at(service: Service) -> str:
    """The version of the prompt that an instance would answer with."""
    answerer = await part(service, "VariantService").checks.of("demo", SHORT)
    return str(answerer.variant.prompt.version)


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(SOON):
        while not await holds():
            await asyncio.sleep(0.05)


async def test_a_label_moved_at_one_instance_is_followed_by_the_other(instances: list[Service]) -> None:
    one, other = instances
    await put_prompts(one)
    await label(one, 1)
    await put_variant(one, "short", "up")
    assert [await prompt_at(one), await prompt_at(other)] == ["1", "1"]
    for version in ("2", "1"):
        await label(one, int(version))
        assert await prompt_at(one) == version

        async def follows(expected: str = version) -> bool:
            return await prompt_at(other) == expected

        await until(follows)


async def test_who_answers_when_a_backend_is_down_and_what_it_costs(
    instances: list[Service], settings: Settings, server: Speaking
) -> None:
    one, other = instances
    await put_prompts(one)
    await label(one, 2)
    await put_variant(one, "short", "up")
    await put_variant(one, "lost", "gone")
    reference = routes_pb2.VariantReference
    route = routes_pb2.Route(
        kind="*",
        arms=[routes_pb2.Arm(variant=reference(name="lost"), weight=1)],
        fallbacks=[reference(name="short")],
    )
    await part(one, "RouteService").PutRoute(routes_pb2.PutRouteRequest(tenant="demo", route=route), CONTEXT)
    answers: list[AnswerCompleted] = []

    async def on_answer(message: AnswerCompleted) -> None:
        answers.append(message)

    async with open_bus(settings.kafka, service="product") as product:
        product.watch(topics.ANSWER_COMPLETED, on_answer)
        await product.start()

        async def explains() -> bool:
            explained = await part(other, "RouteService").ExplainRoute(
                routes_pb2.ExplainRouteRequest(tenant="demo", kind="other"), CONTEXT
            )
            return bool(explained.routing.route == "*")

        await until(explains)
        await product.publish(*(asking(str(uuid4()), "What does the pour statement do?") for _ in range(12)))

        async def answered() -> bool:
            return len(answers) == 12

        await until(answered)
        await product.stop(5)
    assert Counter((a.variant.name, a.routing.backend, a.routing.reason) for a in answers) == {
        ("short", "up", "fallback"): 12
    }
    assert {(p.variant.name, p.reason) for a in answers for p in a.routing.passed_over} == {("lost", "failed")}
    assert {(a.prompt.name, a.prompt.version) for a in answers} == {("brief", "2")}
    assert {a.grounding for a in answers} == {answer_pb2.GROUNDING_GROUNDED}
    assert all(a.usage.cost_micro_usd == a.usage.input_tokens + 10 * a.usage.output_tokens > 0 for a in answers)
    assert {turns[0]["content"] for turns in server.prompts} == {"Be very brief."}
    listed = [await part(s, "VariantService").ListBackends(None, CONTEXT) for s in instances]
    by_name = [{b.name: b for b in response.backends} for response in listed]
    assert sum(backends["up"].completions for backends in by_name) == 12
    gone = [backends["gone"] for backends in by_name if backends["gone"].failures >= 2]
    assert gone
    assert {backend.state for backend in gone} == {"resting"}


async def test_a_route_to_a_variant_that_cannot_answer_is_refused(instances: list[Service]) -> None:
    one, _ = instances
    await put_prompts(one)
    await label(one, 1)
    await put_variant(one, "short", "up")
    await label(one, 0)
    arm = routes_pb2.Arm(variant=routes_pb2.VariantReference(name="short"), weight=1)
    with pytest.raises(Conflict, match="no version of the prompt brief has the label production"):
        await part(one, "RouteService").PutRoute(
            routes_pb2.PutRouteRequest(tenant="demo", route=routes_pb2.Route(kind="*", arms=[arm])), CONTEXT
        )
