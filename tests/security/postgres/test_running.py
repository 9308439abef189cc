"""The whole of Headrace as `headrace up` brings it up: whom the running services connect as, and what doctor says."""

from __future__ import annotations

import asyncpg
import pytest
from headrace_embedded.checks import Verdict, row_security
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import postgres, provision
from headrace_embedded.trial import Trial

pytestmark = [pytest.mark.real, pytest.mark.models]

_CONNECTED = """
SELECT DISTINCT a.usename AS name, r.rolsuper OR r.rolbypassrls AS is_mighty,
    pg_has_role(r.oid, $1, 'MEMBER') AS is_owner
FROM pg_stat_activity a JOIN pg_roles r ON r.rolname = a.usename
WHERE a.backend_type = 'client backend' AND a.pid <> pg_backend_pid()
"""


def _port(stack: Trial) -> int:
    return int(stack.part("postgres").address.rsplit(":", 1)[1])


async def test_no_service_connects_as_owner_or_superuser(stack: Trial) -> None:
    server = postgres.open_server(stack.home / "postgres", _port(stack), lifetime=Lifetime.PARENTS)
    connection = await asyncpg.connect(server.dsn(provision.DATABASE))
    try:
        connected = await connection.fetch(_CONNECTED, provision.OWNER)
    finally:
        await connection.close()
    names = {row["name"] for row in connected}
    assert names <= {provision.role_of(schema) for schema in provision.SCHEMAS}
    assert {
        provision.role_of(name)
        for name in ("ingest", "classifier", "retriever", "inference", "feedback", "drift", "trainer")
    } <= names
    assert not any(row["is_mighty"] or row["is_owner"] for row in connected)


def test_doctor_finds_nothing_round_the_policies(stack: Trial) -> None:
    check = row_security(stack.home, port=_port(stack))
    assert (check.verdict, check.mend) == (Verdict.OK, "")
