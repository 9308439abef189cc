"""The servers start, stop, and keep their data through a crash."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from headrace_embedded import ports, testing
from headrace_embedded.errors import Missing, NotReady
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import kafka as kafka_module
from headrace_embedded.servers import postgres as postgres_module
from headrace_embedded.servers.kafka import KafkaServer
from headrace_embedded.servers.postgres import PostgresServer
from headrace_embedded.servers.topics import create_topics, every_topic

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[KafkaServer]:
    """A broker that these tests may kill without hurting others."""
    with testing.state_folder() as folder:
        server = kafka_module.open_server(folder / "kafka", 0, lifetime=Lifetime.PARENTS)
        server.start()
        yield server
        server.stop()


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    with testing.state_folder() as folder:
        server = postgres_module.open_server(folder / "postgres", 0, lifetime=Lifetime.PARENTS)
        server.start()
        yield server
        server.stop()


async def send(bootstrap: str, topic: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True) as producer:
        await producer.send_and_wait(topic, value)


async def read_one(bootstrap: str, topic: str) -> bytes:
    async with AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        record = await consumer.getone()
        return bytes(record.value)


async def test_an_acknowledged_record_outlives_a_crash_of_the_broker(own_kafka: KafkaServer) -> None:
    await create_topics(own_kafka.bootstrap)
    await send(own_kafka.bootstrap, "query.submitted", b"kept")
    own_kafka.kill()
    assert own_kafka.pid is None
    own_kafka.start()
    assert await read_one(own_kafka.bootstrap, "query.submitted") == b"kept"


async def test_the_broker_has_every_topic_with_its_limits_and_a_second_call_changes_nothing(
    own_kafka: KafkaServer,
) -> None:
    await create_topics(own_kafka.bootstrap)
    assert await create_topics(own_kafka.bootstrap) == []
    admin = AIOKafkaAdminClient(bootstrap_servers=own_kafka.bootstrap)
    await admin.start()
    try:
        described = {t["topic"]: len(t["partitions"]) for t in await admin.describe_topics()}
    finally:
        await admin.close()
    assert {topic.name: topic.partitions for topic in every_topic()}.items() <= described.items()


async def test_a_topic_that_nobody_made_stays_unmade(own_kafka: KafkaServer) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=own_kafka.bootstrap)
    await admin.start()
    try:
        assert "no.such.topic" not in await admin.list_topics()
    finally:
        await admin.close()


def test_the_broker_listens_on_loopback_only(own_kafka: KafkaServer) -> None:
    assert own_kafka.pid is not None
    assert _listening_addresses(own_kafka.pid) <= {"127.0.0.1", "::ffff:127.0.0.1"}


def test_the_database_listens_on_loopback_only(own_postgres: PostgresServer) -> None:
    assert own_postgres.pid is not None
    assert _listening_addresses(own_postgres.pid) == {"127.0.0.1"}


def _listening_addresses(pid: int) -> set[str]:
    connections = psutil.Process(pid).net_connections(kind="inet")
    return {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}


async def test_a_committed_row_outlives_a_crash_of_the_database(own_postgres: PostgresServer) -> None:
    connection = await asyncpg.connect(own_postgres.dsn())
    await connection.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (7)")
    own_postgres.kill()
    connection.terminate()
    assert own_postgres.pid is None
    own_postgres.start()
    connection = await asyncpg.connect(own_postgres.dsn())
    assert await connection.fetchval("SELECT n FROM kept") == 7
    await connection.close()


async def test_a_lock_with_somebody_elses_process_id_does_not_stop_the_start(own_postgres: PostgresServer) -> None:
    own_postgres.stop()
    lock = own_postgres.folder / "data" / "postmaster.pid"
    lock.write_text(f"{os.getpid()}\n")
    own_postgres.start()
    assert own_postgres.pid is not None


async def test_the_database_wants_a_password(own_postgres: PostgresServer) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(f"postgresql://postgres:wrong@127.0.0.1:{own_postgres.port}/postgres")


def test_the_passwords_are_for_their_owner_alone(own_postgres: PostgresServer) -> None:
    assert (own_postgres.folder / "passwords.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("failing", "error"),
    [
        ("INSERT INTO texts VALUES ('long-{canary}')", asyncpg.CheckViolationError),
        ("INSERT INTO texts SELECT 'dup', '{canary}' FROM generate_series(1, 2)", asyncpg.UniqueViolationError),
        ("SELECT '{canary}'::integer", asyncpg.InvalidTextRepresentationError),
        ("SELECT '{canary}' || no_such_column", asyncpg.UndefinedColumnError),
        ("SELECT '{canary}' FROM WHERE", asyncpg.PostgresSyntaxError),
        ("DO $$ BEGIN RAISE EXCEPTION '{canary}'; END $$", asyncpg.RaiseError),
        ("DO $$ BEGIN RAISE WARNING '{canary}'; END $$", None),
        ("SELECT pg_sleep(0.2), '{canary}'", None),
    ],
)
async def test_users_text_stays_out_of_the_database_log(
    own_postgres: PostgresServer, failing: str, error: type[Exception] | None
) -> None:
    canary = f"canary-{uuid4().hex}"
    connection = await asyncpg.connect(own_postgres.dsn())
    try:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS texts (t text PRIMARY KEY CHECK (length(t) < 5), note text)"
        )
        with pytest.raises(error) if error else contextlib.nullcontext():
            await connection.execute(failing.format(canary=canary))
        with pytest.raises(asyncpg.DataError):  # as a parameter
            await connection.fetchval("SELECT $1::text::integer", canary)
    finally:
        await connection.close()
    assert canary not in own_postgres.log.read_text()


async def test_the_database_keeps_no_old_segment_of_its_log(own_postgres: PostgresServer) -> None:
    connection = await asyncpg.connect(own_postgres.dsn())
    try:
        for _ in range(3):
            await connection.execute("CREATE TABLE IF NOT EXISTS filler (n int); INSERT INTO filler VALUES (1)")
            await connection.execute("SELECT pg_switch_wal()")
        await connection.execute("CHECKPOINT")
        segments = await connection.fetchval("SELECT count(*) FROM pg_ls_waldir()")
        current = await connection.fetchval("SELECT pg_walfile_name(pg_current_wal_lsn())")
        names = {row["name"] for row in await connection.fetch("SELECT name FROM pg_ls_waldir()")}
    finally:
        await connection.close()
    assert segments <= 2
    assert {name for name in names if name > current} == set()  # none waits to be written over


async def test_the_database_lowers_letters_beyond_ascii(own_postgres: PostgresServer) -> None:
    connection = await asyncpg.connect(own_postgres.dsn())
    assert await connection.fetchval("SELECT lower('ÄÖÉ')") == "äöé"
    await connection.close()


def test_servers_die_with_the_process_that_started_them(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import pathlib, sys, time
        from headrace_embedded import testing
        from headrace_embedded.processes import Lifetime
        from headrace_embedded.servers import postgres
        with testing.state_folder() as folder:
            server = postgres.open_server(folder / "postgres", 0, lifetime=Lifetime.PARENTS)
            server.start()
            print(server.pid, folder, flush=True)
            time.sleep(60)
        """
    )
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid, _ = parent.stdout.readline().split()
    server = psutil.Process(int(pid))
    parent.send_signal(signal.SIGKILL)
    parent.wait(5)
    parent.stdout.close()
    psutil.wait_procs([server], timeout=10)
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE


def test_a_server_that_cannot_start_says_why_and_where_its_log_is() -> None:
    with testing.state_folder() as folder:
        data = folder / "postgres" / "data"
        data.mkdir(parents=True)
        (data / "PG_VERSION").write_text("9\n")
        server = postgres_module.open_server(folder / "postgres", ports.reserve(), lifetime=Lifetime.PARENTS)
        with pytest.raises(NotReady, match=r"postgres\.log"):
            server.start()


def test_a_jar_that_is_not_the_pinned_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="not the jar"):
        kafka_module.verify(tmp_path)


async def test_a_test_gets_topics_of_its_own(make_topic: Callable[..., Awaitable[str]], kafka: str) -> None:
    topic = await make_topic("mine", partitions=1)
    await send(kafka, topic, b"x")
    assert await read_one(kafka, topic) == b"x"


async def test_renewed_topics_are_empty(fresh_kafka: str) -> None:
    await send(fresh_kafka, "query.submitted", b"old")
    await testing.renew_topics(fresh_kafka)
    await send(fresh_kafka, "query.submitted", b"new")
    assert await read_one(fresh_kafka, "query.submitted") == b"new"
