"""deploy/docker/prepare.py, run as the container runs it, on a real Postgres and Kafka."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
from headrace_embedded.servers import provision
from headrace_embedded.servers.postgres import PostgresServer

from tests.deploy import recipes

SCRIPT = recipes.ROOT / "deploy" / "docker" / "prepare.py"


def run(verb: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, verb], env=environ, capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.real
async def test_the_database_is_prepared_and_prepared_again(postgres: PostgresServer) -> None:
    name = f"prepared_{uuid4().hex[:8]}"
    # The server is shared with other tests: the roles keep the passwords that they have.
    roles = provision.passwords_of(postgres)
    passwords = {f"HEADRACE_PASSWORD_{role.removeprefix('headrace_').upper()}": p for role, p in roles.items()}
    for expected in ("feedback: stream/0001_ledger, ", "feedback: up to date"):
        done = run("database", HEADRACE_SETUP_DATABASE=postgres.dsn(), HEADRACE_SETUP_NAME=name, **passwords)
        assert done.returncode == 0, done.stderr
        assert any(line.startswith(expected) for line in done.stdout.splitlines())
    connection = await asyncpg.connect(postgres.dsn(name, role=provision.role_of("feedback")))
    try:
        assert await connection.fetchval("SELECT count(*) FROM interactions") == 0
    finally:
        await connection.close()


@pytest.mark.real
def test_the_topics_are_prepared(kafka: str) -> None:
    done = run("topics", HEADRACE_SETUP_KAFKA=kafka)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "0 topics made\n", "the fixture made them all"


def test_the_keys_are_prepared_and_kept(tmp_path: Path) -> None:
    made = []
    for _ in range(2):
        done = run("keys", HEADRACE_SETUP_KEYS=str(tmp_path))
        assert done.returncode == 0, done.stderr
        made.append({path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()})
    assert {path.name for path in made[0]} >= {"identities.json", "issuer.jwk", "ingest.jwk", "audit.key"}
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("verb", "environ", "message"),
    [
        ("database", {}, "HEADRACE_SETUP_DATABASE is not set"),
        ("database", {"HEADRACE_SETUP_DATABASE": "postgresql://x"}, "HEADRACE_PASSWORD_INGEST: set it"),
        ("topics", {}, "HEADRACE_SETUP_KAFKA is not set"),
        ("keys", {}, "HEADRACE_SETUP_KEYS is not set"),
        ("nonsense", {}, "usage:"),
    ],
)
def test_what_is_missing_is_named(verb: str, environ: dict[str, str], message: str) -> None:
    done = run(verb, **environ)
    assert done.returncode == 1
    assert message in done.stderr


@pytest.mark.parametrize("password", ["short", "it's-a-quote", "with space 1", "a/b@c:d-e"])
def test_a_password_that_would_break_a_dsn_is_refused_and_not_shown(password: str) -> None:
    environ = {"HEADRACE_SETUP_DATABASE": "postgresql://x", "HEADRACE_PASSWORD_INGEST": password}
    done = run("database", **environ)
    assert done.returncode == 1
    assert password not in done.stderr
