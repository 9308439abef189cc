"""What the tests' fixtures stand on: a folder that any user can reach, a fresh database, fresh topics."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import NotLeaderForPartitionError
from headrace_database.migrations import migrate, migrations_of

from headrace_embedded.errors import NotReady
from headrace_embedded.house import CHECKOUT
from headrace_embedded.servers import provision, topics
from headrace_embedded.servers.postgres import PostgresServer

TEMPLATE = "headrace_template"

#: In Kafka's protocol: everything up to the high watermark.
_ALL = -1

_TRIES = 100


@contextmanager
def state_folder() -> Iterator[Path]:
    """Gives a folder that is gone afterwards. Root's Postgres runs as another user, so it is open."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-test-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Database:
    """One database with every service's role and schema in place."""

    server: PostgresServer
    name: str

    @property
    def superuser(self) -> str:
        """The address for the superuser: for looking at what a test did, never for a service."""
        return self.server.dsn(self.name)

    def dsn(self, service: str) -> str:
        """The address that the service itself connects with."""
        return self.server.dsn(self.name, role=provision.role_of(service))

    async def migrate(self, service: str) -> None:
        """Makes the service's tables, with nothing in them."""
        connection = await asyncpg.connect(self.superuser)
        try:
            await migrate(connection, schema=service, migrations=migrations_of(service, root=CHECKOUT))
        finally:
            await connection.close()


async def open_database(server: PostgresServer, name: str) -> Database:
    """Makes a database from the template, which the first call makes."""
    if not await _exists(server, TEMPLATE):
        await provision.provision(server.dsn(), database=TEMPLATE, passwords=provision.passwords_of(server))
    await _execute(server, f'CREATE DATABASE "{name}" TEMPLATE "{TEMPLATE}"')
    # A copy has the schemas and their grants, but not the grants and settings of the database itself.
    await provision.provision(server.dsn(), database=name, passwords=provision.passwords_of(server))
    return Database(server, name)


async def drop_database(database: Database) -> None:
    """Removes the database, whoever is still connected."""
    await _execute(database.server, f'DROP DATABASE IF EXISTS "{database.name}" WITH (FORCE)')


async def _exists(server: PostgresServer, name: str) -> bool:
    connection = await asyncpg.connect(server.dsn())
    try:
        return bool(await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name))
    finally:
        await connection.close()


async def _execute(server: PostgresServer, statement: str) -> None:
    connection = await asyncpg.connect(server.dsn())
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def create_topic(bootstrap: str, name: str, *, partitions: int = 8) -> str:
    """Makes one topic of any name, for tests that want their own, and returns its name."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, partitions, 1)])
    finally:
        await admin.close()
    return name


async def renew_topics(bootstrap: str) -> None:
    """Empties every topic of the contracts. Consumer groups go on from where they are, which is the end.

    Records are deleted rather than topics: a topic that is deleted and made again at once can end up deleted.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        every = [TopicPartition(t.name, n) for t in topics.every_topic() for n in range(t.partitions)]
        await _empty(admin, every)
    finally:
        await admin.close()


async def _empty(admin: Any, partitions: list[TopicPartition]) -> None:
    """Deletes all records. Partitions that were made a moment ago may not have their leader yet."""
    for _ in range(_TRIES):
        try:
            await admin.delete_records({partition: RecordsToDelete(_ALL) for partition in partitions})
        except NotLeaderForPartitionError:
            await asyncio.sleep(0.1)
        else:
            return
    raise NotReady("Kafka's new topics have no leaders after 10 s")
