"""The whole classifier on a real Kafka: from the accepted event to the classified one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from headrace import topics
from headrace.document.v1.document_pb2 import Document, DocumentAccepted, DocumentClassified
from headrace.privacy.v1 import privacy_pb2
from headrace.query.v1.events_pb2 import QueryAccepted, QueryClassified
from headrace.query.v1.query_pb2 import Query
from headrace_classifier.app import open_app
from headrace_embedded import testing

from services.classifier.tests.makers import settings_of

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the classifier's keys lie: they belong to the database, and outlive each test's classifier as it does."""
    return tmp_path_factory.mktemp("classifier")


@pytest.fixture
async def address(kafka: str, schema: testing.Database, folder: Path) -> AsyncIterator[str]:
    """A broker that the classifier is working on. Other tests may use it too, so each looks for its own keys."""
    async with open_app(settings_of(kafka, schema, folder)) as service:
        await service.bus.start()
        yield kafka
        await service.bus.stop(5.0)


@pytest.fixture
def key() -> str:
    return str(uuid4())


async def _send(address: str, topic: str, key: str, *values: bytes) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=address)
    await producer.start()
    try:
        for value in values:
            headers = [("ce_id", str(uuid4()).encode()), ("ce_tenant", b"demo"), ("ce_correlationid", key.encode())]
            await producer.send_and_wait(topic, value, key=key.encode(), headers=headers)
    finally:
        await producer.stop()


async def _read(address: str, topic: str, key: str) -> tuple[bytes, dict[str, bytes]]:
    """Returns the first record that this test caused."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=address, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(30):
            async for record in consumer:
                headers = dict(record.headers)
                if headers.get("ce_correlationid") == key.encode():
                    return record.value, headers
    finally:
        await consumer.stop()
    raise AssertionError("the consumer ended")


async def test_a_query_comes_out_masked_with_its_tier_in_the_header(address: str, key: str) -> None:
    query = Query(query_id=key, tenant="demo", product="docs-search")
    event = QueryAccepted(query=query, text="I am bob@acme.com, password=hunter2")
    await _send(address, topics.QUERY_ACCEPTED.name, key, event.SerializeToString())
    value, headers = await _read(address, topics.QUERY_CLASSIFIED.name, key)
    classified = QueryClassified.FromString(value)
    assert classified.text.WhichOneof("content") == "sealed"
    assert classified.text.characters == len("I am bob@acme.com, password=[secret:password]")
    assert b"bob@acme.com" not in value
    assert classified.tier == privacy_pb2.TIER_2
    assert headers["ce_dataclassification"] == b"tier_2"


async def test_a_document_of_the_demo_comes_out_public(address: str, key: str) -> None:
    document = Document(tenant="demo", source="python-reference", document_id="nonlocal", version=1)
    event = DocumentAccepted(document=document, markdown="# The nonlocal statement", declared_tier=1)
    await _send(address, topics.DOCUMENT_ACCEPTED.name, key, event.SerializeToString())
    value, headers = await _read(address, topics.DOCUMENT_CLASSIFIED.name, key)
    assert DocumentClassified.FromString(value).tier == privacy_pb2.TIER_PUBLIC
    assert headers["ce_dataclassification"] == b"public"


async def test_an_event_that_cannot_be_classified_delays_nobody(address: str, key: str) -> None:
    """It is dead-lettered without its text, and the next one comes out."""
    good = DocumentAccepted(document=Document(tenant="demo", source="s", document_id="d", version=1), markdown="canary")
    bad = DocumentAccepted(document=Document(tenant="demo", source="s", document_id="canary-id", version=1))
    await _send(address, topics.DOCUMENT_ACCEPTED.name, key, bad.SerializeToString(), good.SerializeToString())
    value, _ = await _read(address, topics.DOCUMENT_CLASSIFIED.name, key)
    assert DocumentClassified.FromString(value).markdown.characters == len("canary")
    letter, _ = await _read(address, topics.DOCUMENT_ACCEPTED.dead_letters.name, key)
    assert b"change: missing" in letter
    assert b"canary" not in letter
