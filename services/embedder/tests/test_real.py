"""The whole embedder on a real Kafka and with the real model."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from headrace import topics
from headrace.document.v1.document_pb2 import Deletion, Document, DocumentClassified, DocumentEmbedded
from headrace.privacy.v1 import privacy_pb2
from headrace.privacy.v1.privacy_pb2 import ProtectedText
from headrace.query.v1.events_pb2 import QueryClassified, QueryEmbedded
from headrace.query.v1.query_pb2 import Query, Trial
from headrace_embedder.app import open_app
from headrace_embedder.settings import Settings
from headrace_identity.testing import Issuer
from headrace_privacy import Opener
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.testing import serving_keys

pytestmark = [pytest.mark.real, pytest.mark.models]

DOCUMENT = Document(tenant="demo", source="s", document_id="d", version=1, title="Scopes")


@pytest.fixture(scope="module")
async def address(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A broker that the embedder is working on. Other tests may use it too, so each looks for its own keys."""
    told = Issuer().settings(tmp_path_factory.mktemp("keys"))
    async with (
        serving_keys(MemoryKeyring()) as classifier,
        open_app(Settings(kafka=kafka, classifier=classifier, **told)) as service,
    ):
        await service.bus.start()
        yield kafka
        await service.bus.stop(5.0)


@pytest.fixture
def key() -> str:
    return str(uuid4())


async def send(address: str, topic: str, key: str, *values: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=address)
    await producer.start()
    try:
        for value in values:
            headers = [("ce_id", str(uuid4()).encode()), ("ce_tenant", b"demo"), ("ce_correlationid", key.encode())]
            await producer.send_and_wait(topic, value, key=key.encode(), headers=headers)
    finally:
        await producer.stop()


async def read(address: str, topic: str, key: str, count: int = 1) -> list[tuple[bytes, dict[str, bytes]]]:
    """Returns the first records that this test caused."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=address, auto_offset_reset="earliest")
    await consumer.start()
    found: list[tuple[bytes, dict[str, bytes]]] = []
    try:
        async with asyncio.timeout(30):
            while len(found) < count:
                record = await consumer.getone()
                headers = dict(record.headers)
                if headers.get("ce_correlationid") == key.encode():
                    found.append((record.value, headers))
    finally:
        await consumer.stop()
    return found


async def test_a_query_comes_out_with_its_vector(address: str, key: str) -> None:
    event = QueryClassified(
        query=Query(query_id=key, tenant="demo"), text=ProtectedText(plain="What?"), tier=privacy_pb2.TIER_1
    )
    await send(address, topics.QUERY_CLASSIFIED.name, key, event.SerializeToString())
    ((value, headers),) = await read(address, topics.QUERY_EMBEDDED.name, key)
    embedded = QueryEmbedded.FromString(value)
    assert sum(number * number for number in Opener().reveal_vector(embedded.vector)) == pytest.approx(1, abs=1e-4)
    assert embedded.vector.dimensions == 384
    assert headers["ce_dataclassification"] == b"tier_1"


async def test_a_trial_comes_out_as_one(address: str, key: str) -> None:
    asked = Query(query_id=key, tenant="demo", trial=Trial(run_id="r", case_id="c", variant="v", variant_version="1"))
    event = QueryClassified(query=asked, text=ProtectedText(plain="What?"), tier=privacy_pb2.TIER_1)
    await send(address, topics.QUERY_REPLAYED.name, key, event.SerializeToString())
    ((value, _),) = await read(address, topics.QUERY_EMBEDDED.name, key)
    assert QueryEmbedded.FromString(value).query.trial == asked.trial


async def test_a_document_and_its_deletion_come_out_in_order(address: str, key: str) -> None:
    put = DocumentClassified(document=DOCUMENT, tier=1, markdown=ProtectedText(plain="# Scopes\n\nA name is bound."))
    delete = DocumentClassified(document=DOCUMENT, tier=1, deletion=Deletion())
    await send(address, topics.DOCUMENT_CLASSIFIED.name, key, put.SerializeToString(), delete.SerializeToString())
    records = await read(address, topics.DOCUMENT_EMBEDDED.name, key, 2)
    embedded = [DocumentEmbedded.FromString(value) for value, _ in records]
    assert [len(message.chunks) for message in embedded] == [1, 0]
    assert embedded[0].chunks[0].text.plain == "A name is bound."
    assert list(embedded[0].chunks[0].headings) == ["Scopes"]


async def test_a_document_too_large_to_travel_is_dead_lettered_and_delays_nobody(address: str, key: str) -> None:
    huge = ProtectedText(plain="# canary\nx\n" * 60_000)
    bad = DocumentClassified(document=DOCUMENT, tier=1, markdown=huge)
    good = DocumentClassified(document=DOCUMENT, tier=1, markdown=ProtectedText(plain="Still here."))
    await send(address, topics.DOCUMENT_CLASSIFIED.name, key, bad.SerializeToString(), good.SerializeToString())
    ((value, _),) = await read(address, topics.DOCUMENT_EMBEDDED.name, key)
    assert DocumentEmbedded.FromString(value).chunks[0].text.plain == "Still here."
    ((letter, _),) = await read(address, topics.DOCUMENT_CLASSIFIED.dead_letters.name, key)
    assert b"markdown: too_large" in letter
    assert b"canary" not in letter
