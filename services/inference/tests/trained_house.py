"""Instances of the service on a real Kafka and a real Postgres, with a trainer's words and traffic that goes on."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
from headrace import topics
from headrace.inference.v1 import routes_pb2, variants_pb2
from headrace.privacy.v1 import privacy_pb2
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.training.v1 import models_pb2, training_pb2
from headrace_database.migrations import migrate, migrations_of
from headrace_embedded import testing
from headrace_inference.app import open_app
from headrace_inference.settings import Settings
from headrace_privacy import Tier
from headrace_stream import Event

from services.inference.tests.test_edges import retrieved
from services.inference.tests.test_routes_real import CONTEXT, until
from services.inference.tests.trained_folders import hashes_of

ROOT = Path(__file__).parents[3]
POUR = "What does the pour statement do?"


async def migrated(database: testing.Database) -> None:
    """Gives a database inference's schema."""
    connection = await asyncpg.connect(database.superuser)
    try:
        await migrate(connection, schema="inference", migrations=migrations_of("inference", root=ROOT))
    finally:
        await connection.close()


@dataclass
class Traffic:
    """Queries that come one after the other, and what became of them. most: so many are under way at a time."""

    bus: Any
    pause: float = 0.05
    most: int = 1_000
    asked: dict[str, float] = field(default_factory=dict)
    answers: dict[str, AnswerCompleted] = field(default_factory=dict)
    answered: dict[str, float] = field(default_factory=dict)

    async def on_answer(self, message: AnswerCompleted) -> None:
        assert message.query.query_id not in self.answers, "an answer comes once"
        self.answers[message.query.query_id] = message
        self.answered[message.query.query_id] = asyncio.get_running_loop().time()

    async def ask(self) -> str:
        query_id = str(uuid4())
        message = retrieved(POUR, query_id=query_id)
        self.asked[query_id] = asyncio.get_running_loop().time()
        await self.bus.publish(event(topics.QUERY_RETRIEVED, message, key=query_id, source="retriever"))
        return query_id

    async def flow(self) -> None:
        while True:
            if len(self.asked) - len(self.answers) < self.most:
                await self.ask()
            await asyncio.sleep(self.pause)

    async def all_answered(self) -> None:
        await until(lambda: self.answers.keys() == self.asked.keys(), 120)

    def by(self, version: str) -> list[AnswerCompleted]:
        return [answer for answer in self.answers.values() if answer.model.version == version]


def event(topic: Any, message: Any, *, key: str, source: str) -> Event[Any]:
    return Event(
        topic=topic,
        message=message,
        key=key,
        event_id=uuid4(),
        source=source,
        correlation_id=key,
        causation_id="",
        tenant="demo",
        tier=Tier.PUBLIC,
    )


class House:
    """Instances of the service, and what they stand on."""

    def __init__(self, common: dict[str, Any], bus: Any, folders: Path) -> None:
        self.common, self.bus, self.folders = common, bus, folders
        self.traffic = Traffic(bus)
        self.instances: list[tuple[Any, AsyncExitStack]] = []

    async def start(self) -> None:
        stack = AsyncExitStack()
        service = await stack.enter_async_context(open_app(Settings(**self.common)))
        await service.bus.start()
        self.instances.append((service, stack))

    async def stop(self) -> None:
        service, stack = self.instances.pop()
        await service.bus.stop(10)
        await stack.aclose()

    def of(self, instance: int, name: str) -> Any:
        servicers = self.instances[instance][0].servicers
        (found,) = [s.servicer for s in servicers if s.name.endswith(f".{name}")]
        return found

    async def change(self, what: str, version: str, *, tenant: str = "demo", **more: Any) -> None:
        """The trainer says how a model stands."""
        folder = self.folders / version
        model = models_pb2.Model(
            model=f"tuned@{version}",
            tenant=tenant,
            target=training_pb2.TARGET_GENERATOR,
            tier=privacy_pb2.TIER_1,
            address=str(folder),
            files=more.get("files", hashes_of(folder) if folder.exists() else {}),
        )
        message = models_pb2.ModelChanged(
            change_id=str(uuid4()), change=models_pb2.ModelChange.Value(f"MODEL_CHANGE_{what}"), model=model
        )
        message.changed_at.FromDatetime(datetime.now(UTC))
        await self.bus.publish(event(topics.MODEL_CHANGED, message, key=tenant, source="trainer"))

    async def told(self, instance: int) -> dict[str, tuple[str, str]]:
        request = variants_pb2.ListTrainedModelsRequest(tenant="demo")
        listed = (await self.of(instance, "VariantService").ListTrainedModels(request, CONTEXT)).models
        return {told.model.version: (told.state, told.failure) for told in listed}

    async def everywhere(self, version: str, state: str, failure: str = "") -> None:
        async with asyncio.timeout(60):
            for instance in range(len(self.instances)):
                while (await self.told(instance)).get(version, ("", "")) != (state, failure):
                    await asyncio.sleep(0.05)

    async def put_variant(self, version: str) -> None:
        variant = variants_pb2.Variant(
            name=f"on-{version}", prompt="grounded-answer", prompt_version=1, model_version=version
        )
        variant.decoding.max_output_tokens = 16
        request = variants_pb2.PutVariantRequest(tenant="demo", variant=variant)
        await self.of(0, "VariantService").PutVariant(request, CONTEXT)

    async def route(self, *versions: str) -> None:
        arms = [routes_pb2.Arm(variant=routes_pb2.VariantReference(name=f"on-{v}"), weight=1) for v in versions]
        request = routes_pb2.PutRouteRequest(tenant="demo", route=routes_pb2.Route(kind="*", arms=arms))
        await self.of(0, "RouteService").PutRoute(request, CONTEXT)
