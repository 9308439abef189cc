"""Every principal on every topic of a real broker that asks who they are: only the listed cells let it.

The cells come from the contracts (producers and consumers) and from a short list with reasons; a topic or a principal
that is new is denied until somebody lists it. Tables have a matrix of their own: tests/security/postgres.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
)
from headrace import topics
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import acls
from headrace_embedded.servers import kafka as kafka_module
from headrace_embedded.servers.kafka import KafkaServer
from headrace_embedded.servers.topics import every_topic
from headrace_stream.security import BusSecurity

ROOT = Path(__file__).parents[3]
STRANGER = "stranger"
SERVICES = ("ingest", "classifier", "embedder", "retriever", "inference", "feedback", "drift", "trainer")
EVERYBODY = (*SERVICES, acls.PRODUCTS, acls.OPERATOR, STRANGER)
TOPICS = [topic.name for topic in every_topic()]
#: Who takes records off which topic at an erasure, and so reads and writes it as well.
TRIMS = {
    ("ingest", "query.submitted"),
    ("ingest", "document.submitted"),
    ("feedback", "feedback.submitted"),
    ("classifier", "erasure.requested"),
    ("classifier", "erasure.verifying"),
}
PATIENCE = 15.0
REFUSED = (TopicAuthorizationFailedError, GroupAuthorizationFailedError)


@dataclass(frozen=True, slots=True)
class Secured:
    """A broker that asks, and what its clients answer."""

    server: KafkaServer
    passwords: dict[str, str]

    def options(self, principal: str) -> dict[str, Any]:
        told = BusSecurity(username=principal, password=self.passwords[principal]).options()
        return {"bootstrap_servers": self.server.bootstrap, **told}


def expected(principal: str, topic: str, operation: str) -> bool:
    """What the contracts and the list say, worked out here from the topics' files and not from the list itself."""
    name = topic.removesuffix(".dlq")
    if topic.endswith(".dlq"):
        ends_at_ingest = principal == "ingest" and name.startswith(("query.", "document."))
        reads = principal == acls.OPERATOR or ends_at_ingest
        writes = principal in SERVICES and principal in topics.CONSUMERS[name]
        return {"read": reads, "write": writes}[operation]
    listed = {"read": topics.CONSUMERS, "write": topics.PRODUCERS}[operation][name]
    trims = (principal, name) in TRIMS
    comes_from_outside = name.endswith(".submitted")
    has_letters = f"{name}.dlq" in TOPICS
    replays = principal == acls.OPERATOR and has_letters and not comes_from_outside
    return principal in listed or trims or replays


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """aiokafka writes a line for each time that it is refused, which is hundreds of times."""
    logger = logging.getLogger("aiokafka")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(before)


@pytest.fixture(scope="module")
def secured(state_folder: Path) -> Iterator[Secured]:
    kafka_module.fetch_jars(print)
    passwords = {name: secrets.token_urlsafe(16) for name in (*EVERYBODY, acls.SUPERUSER)}
    server = kafka_module.open_server(state_folder / "secured", 0, lifetime=Lifetime.PARENTS, passwords=passwords)
    server.start()
    yield Secured(server, passwords)
    server.stop()


@pytest_asyncio.fixture(scope="module")
async def broker(secured: Secured) -> AsyncIterator[Secured]:
    """The same, with topics and list as the composed one gets them."""
    told = {
        "HEADRACE_SETUP_KAFKA": secured.server.bootstrap,
        "HEADRACE_SETUP_KAFKA_PASSWORD": secured.passwords[acls.SUPERUSER],
    }
    command = [sys.executable, str(ROOT / "deploy" / "docker" / "prepare.py"), "topics"]
    done = await asyncio.to_thread(subprocess.run, command, env=told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(acls.every_acl())} lines" in done.stdout
    async with AIOKafkaProducer(**secured.options(acls.SUPERUSER)) as producer:
        for topic in TOPICS:
            await producer.send_and_wait(topic, b"to be read", partition=0)
    yield secured


async def may_write(broker: Secured, principal: str, topic: str) -> bool:
    """Whether the topic takes a record from it."""
    async with AIOKafkaProducer(**broker.options(principal)) as producer:
        return await _passes(producer.send_and_wait(topic, b"written", partition=0), producer.client.cluster, topic)


async def may_read(broker: Secured, principal: str, topic: str) -> bool:
    """Whether the topic hands it the record that lies there."""
    async with AIOKafkaConsumer(**broker.options(principal), fetch_max_wait_ms=20) as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        consumer.seek(TopicPartition(topic, 0), 0)
        return await _passes(consumer.getone(), consumer._client.cluster, topic)


async def may_take_off(broker: Secured, principal: str, topic: str) -> bool:
    """Whether it may delete the topic's records; there are none at offset 0 to delete."""
    admin = AIOKafkaAdminClient(**broker.options(principal))
    await admin.start()
    try:
        response = await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(0)})
    except KafkaError:
        return False
    finally:
        await admin.close()
    del response
    return True


async def _passes(attempt: Coroutine[Any, Any, object], cluster: Any, topic: str) -> bool:
    """Whether the broker does it. aiokafka asks for ever after a topic that is not even described to it."""
    task = asyncio.create_task(attempt)
    async with asyncio.timeout(PATIENCE):
        while not task.done() and topic not in cluster.unauthorized_topics:
            await asyncio.sleep(0.002)
    if not task.done():
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False
    return not isinstance(task.exception(), REFUSED)


@pytest.mark.real
@pytest.mark.parametrize("principal", EVERYBODY)
async def test_only_the_listed_cells_let_it_write(broker: Secured, principal: str) -> None:
    assert {t for t in TOPICS if await may_write(broker, principal, t)} == {
        t for t in TOPICS if expected(principal, t, "write")
    }


@pytest.mark.real
@pytest.mark.parametrize("principal", EVERYBODY)
async def test_only_the_listed_cells_let_it_read(broker: Secured, principal: str) -> None:
    assert {t for t in TOPICS if await may_read(broker, principal, t)} == {
        t for t in TOPICS if expected(principal, t, "read")
    }


@pytest.mark.real
@pytest.mark.parametrize("principal", EVERYBODY)
async def test_only_who_erases_takes_records_off(broker: Secured, principal: str) -> None:
    assert {t for t in TOPICS if await may_take_off(broker, principal, t)} == {t for p, t in TRIMS if p == principal}


@pytest.mark.real
async def test_a_cell_too_many_would_be_seen(broker: Secured) -> None:
    """The checks above look at what the broker does: one more line in its list, and they see it."""
    seeded = acls.Acl(STRANGER, "READ", "TOPIC", "query.submitted")
    admin = acls.open_admin(broker.server.bootstrap, acls.SUPERUSER, broker.passwords[acls.SUPERUSER])
    assert not await may_read(broker, STRANGER, seeded.name)
    await asyncio.to_thread(acls.put_all, admin, [seeded])
    assert await may_read(broker, STRANGER, seeded.name)


@pytest.mark.real
@pytest.mark.parametrize("principal", SERVICES)
async def test_a_service_joins_no_group_of_another(broker: Secured, principal: str) -> None:
    topic = next(t for t in topics.CONSUMERS if principal in topics.CONSUMERS[t])
    assert await joins(broker, principal, f"headrace.{principal}.trial", topic)
    other = next(service for service in SERVICES if service != principal)
    assert not await joins(broker, principal, f"headrace.{other}.trial", topic)


async def joins(broker: Secured, principal: str, group: str, topic: str) -> bool:
    """Whether it is let into a consumer group."""
    consumer = AIOKafkaConsumer(topic, **broker.options(principal), group_id=group)
    try:
        async with asyncio.timeout(PATIENCE):
            await consumer.start()
    except GroupAuthorizationFailedError:
        return False
    finally:
        await consumer.stop()
    return True


@pytest.mark.real
@pytest.mark.parametrize("password", ["", "guessed"])
async def test_nobody_gets_in_without_the_password(broker: Secured, password: str) -> None:
    options = BusSecurity("ingest", password or "x").options() if password else {}
    producer = AIOKafkaProducer(bootstrap_servers=broker.server.bootstrap, request_timeout_ms=2_000, **options)
    with pytest.raises(KafkaError):
        await producer.start()
    await producer.stop()


def test_the_list_names_nothing_that_is_not_there() -> None:
    named = {acl.name for acl in acls.every_acl() if acl.resource == "TOPIC"}
    assert named == set(TOPICS) - {f"{name}.dlq" for name in topics.CONSUMERS if f"{name}.dlq" not in TOPICS}
    assert set(acls.principals()) == {*SERVICES, acls.PRODUCTS, acls.OPERATOR}
    assert all(acls.REASONS.values())


def test_nobody_but_the_door_and_the_outside_touches_what_is_raw() -> None:
    """What is raw is read by ingest and feedback alone; not by who looks after dead letters."""
    raw = {topic.name for topic in topics.ALL if topic.json}
    readers = {acl.principal for acl in acls.every_acl() if acl.name in raw and acl.operation == "READ"}
    assert readers == {"ingest", "feedback"}
