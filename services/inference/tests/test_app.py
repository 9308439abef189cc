"""The service as it runs: real Kafka, real Postgres, the real model; a query in, its chunks and its one answer out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from headrace import topics
from headrace.query.v1 import answer_pb2
from headrace.query.v1.answer_pb2 import AnswerChunk, AnswerCompleted
from headrace_database.migrations import migrate, migrations_of
from headrace_embedded import testing
from headrace_identity.testing import Issuer
from headrace_inference.app import open_app
from headrace_inference.settings import Settings
from headrace_privacy import Tier
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.testing import serving_keys
from headrace_stream import Event, open_bus

from services.inference.tests.test_edges import retrieved

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[3]


@pytest.fixture
async def classifier(tmp_path: Path) -> AsyncIterator[dict[str, Any]]:
    """Settings that name whoever has the keys."""
    async with serving_keys(MemoryKeyring()) as address:
        yield {"classifier": address, **Issuer().settings(tmp_path)}


def asking(query_id: str, text: str) -> Event:
    return Event(
        topic=topics.QUERY_RETRIEVED,
        message=retrieved(text, query_id=query_id),
        key=query_id,
        event_id=uuid4(),
        source="retriever",
        correlation_id=query_id,
        causation_id="",
        tenant="demo",
        tier=Tier.PUBLIC,
    )


async def test_a_query_has_its_answer_once(
    fresh_kafka: str, database: testing.Database, classifier: dict[str, Any]
) -> None:
    connection = await asyncpg.connect(database.superuser)
    try:
        await migrate(connection, schema="inference", migrations=migrations_of("inference", root=ROOT))
    finally:
        await connection.close()
    settings = Settings(
        kafka=fresh_kafka,
        database=database.dsn("inference"),
        cache=ROOT / "build" / "models",
        slots=4,
        context=1024,
        **classifier,
    )
    answers: list[AnswerCompleted] = []
    chunks: list[AnswerChunk] = []

    async def on_answer(message: AnswerCompleted) -> None:
        answers.append(message)

    async def on_chunk(message: AnswerChunk) -> None:
        chunks.append(message)

    known, unknown = str(uuid4()), str(uuid4())
    async with open_bus(fresh_kafka, service="product") as product:
        product.watch(topics.ANSWER_COMPLETED, on_answer)
        product.watch(topics.ANSWER_CHUNK, on_chunk)
        await product.start()
        async with open_app(settings) as service:
            await service.bus.start()
            pour = "What does the pour statement do?"
            # The second is another event for a query that has, or will have, its answer.
            await product.publish(asking(known, pour), asking(known, pour), asking(unknown, "How is bread baked?"))
            async with asyncio.timeout(120):
                while len(answers) < 2:
                    await asyncio.sleep(0.1)
            await asyncio.sleep(1)
            await service.bus.stop(5)
        await product.stop(5)
    by_query = {a.query.query_id: a for a in answers}
    assert len(answers) == len(by_query) == 2
    assert by_query[unknown].grounding == answer_pb2.GROUNDING_NOT_IN_SOURCES
    answer = by_query[known]
    assert answer.grounding in {answer_pb2.GROUNDING_GROUNDED, answer_pb2.GROUNDING_EXTRACTED}
    assert answer.model.name == "SmolLM2-135M-Instruct"
    assert answer.usage.input_tokens > 0
    assert UUID(answer.citations[0].chunk.chunk_id).int == 0
    generation = [c for c in chunks if c.query_id == known]
    assert "".join(c.text.plain for c in sorted(generation, key=lambda c: c.index)) == answer.text.plain
