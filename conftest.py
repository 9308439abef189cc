"""Fixtures for every test that is marked `real`: a Kafka and a Postgres of this run's own, started at first use.

A machine without Java or Maven fails these tests, with the mend, instead of skipping them.
"""

from __future__ import annotations

import os

# As launch.py says: tests start servers while they hold channels. gRPC reads it when it is loaded.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from headrace_embedded import testing
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import kafka as kafka_server_module
from headrace_embedded.servers import postgres as postgres_module
from headrace_embedded.servers.kafka import KafkaServer
from headrace_embedded.servers.postgres import PostgresServer
from headrace_embedded.servers.topics import create_topics


@pytest.fixture(scope="session")
def state_folder() -> Iterator[Path]:
    """A folder for this run's servers, gone afterwards."""
    with testing.state_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def kafka_server(state_folder: Path) -> Iterator[KafkaServer]:
    """A real broker, with handles to stop, kill and restart it. A test that ends it must start it again."""
    kafka_server_module.fetch_jars(print)
    server = kafka_server_module.open_server(state_folder / "kafka", 0, lifetime=Lifetime.PARENTS)
    server.start()
    yield server
    server.stop()


@pytest_asyncio.fixture(scope="session")
async def kafka(kafka_server: KafkaServer) -> str:
    """The bootstrap address of a real broker that has every topic of the contracts."""
    await create_topics(kafka_server.bootstrap)
    return kafka_server.bootstrap


@pytest_asyncio.fixture
async def fresh_kafka(kafka: str) -> str:
    """The same broker, with every topic of the contracts empty."""
    await testing.renew_topics(kafka)
    return kafka


@pytest.fixture
def make_topic(kafka: str) -> Callable[..., Awaitable[str]]:
    """Makes a topic that no other test has: `name = await make_topic("orders", partitions=2)`."""

    async def make(stem: str = "topic", *, partitions: int = 8) -> str:
        return await testing.create_topic(kafka, f"{stem}.{uuid.uuid4().hex[:8]}", partitions=partitions)

    return make


@pytest.fixture(scope="session")
def postgres(state_folder: Path) -> Iterator[PostgresServer]:
    """A real database server, with handles to stop, kill and restart it. A test that ends it must start it again."""
    server = postgres_module.open_server(state_folder / "postgres", 0, lifetime=Lifetime.PARENTS)
    server.start()
    yield server
    server.stop()


@pytest_asyncio.fixture(scope="module")
async def database(postgres: PostgresServer) -> AsyncIterator[testing.Database]:
    """A fresh database for each test module: `database.dsn("retriever")` is that service's own address."""
    fresh = await testing.open_database(postgres, f"test_{uuid.uuid4().hex[:12]}")
    yield fresh
    await testing.drop_database(fresh)
