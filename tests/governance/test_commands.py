"""The privacy team's commands, over the classifier's own servicers: real tokens, a real gRPC edge, a real Postgres."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import pytest_asyncio
from headrace_classifier.adapters.audit_key import read_audit_key
from headrace_classifier.adapters.postgres_audit import PostgresAudit
from headrace_classifier.governing import open_governance
from headrace_classifier.settings import Settings
from headrace_client.cli.app import build_app
from headrace_database import open_database
from headrace_embedded import testing
from headrace_embedded.audit_key import ensure_audit_key
from headrace_embedded.identity import ensure_keys
from headrace_privacy import Vault
from headrace_privacy.memory import MemoryKeyring
from headrace_privacy.policy_file import read_policy
from headrace_runtime.admission import open_admission
from headrace_runtime.grpc_server import open_grpc_server
from headrace_stream import Ledger
from typer.testing import CliRunner

pytestmark = pytest.mark.real


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass
class House:
    """A classifier's governance that is served, and the commands of those who may use it."""

    endpoints: Path
    database: testing.Database
    governance: Any

    async def run(self, *arguments: str, **environ: str) -> Ran:
        given = {"HEADRACE_ENDPOINTS": str(self.endpoints), "HEADRACE_HOME": "", "COLUMNS": "200", **environ}
        ran = await asyncio.to_thread(CliRunner().invoke, build_app(), list(arguments), env=given)
        assert ran.exception is None or isinstance(ran.exception, SystemExit), ran.exception
        return Ran(ran.exit_code, ran.stdout, ran.stderr)

    async def request(self, *more: str, person: str = "rita") -> str:
        """Asks for a grant and gives its id."""
        ran = await self.run(
            "approvals", "request", "--tenant", "acme", "--purpose", "review", "--reason", "judge November", "--json",
            "--as", person, *more,
        )  # fmt: skip
        assert ran.code == 0, ran.err
        return str(ran.json[0]["grant_id"])

    async def tamper(self, statement: str) -> None:
        superuser = await asyncpg.connect(self.database.superuser, server_settings={"search_path": "classifier"})
        await superuser.execute(f"SET session_replication_role = replica; {statement}")
        await superuser.close()


@pytest_asyncio.fixture
async def house(postgres: Any, tmp_path: Path) -> AsyncIterator[House]:
    database = await testing.open_database(postgres, f"governance_{tmp_path.name[-20:].lower().replace('-', '_')}")
    await database.migrate("classifier")
    keys = ensure_keys(tmp_path)
    settings = Settings(
        database=database.dsn("classifier"),
        audit_key=ensure_audit_key(keys.folder),
        checkpoints=keys.folder / "checkpoints",
        identities=str(keys.identities),
        service_key=keys.service("classifier"),
    )
    audit = PostgresAudit(read_audit_key(settings.audit_key))
    vault = Vault(MemoryKeyring(), clock=time.monotonic)
    try:
        async with (
            open_database(settings.database, schema="classifier") as opened,
            open_governance(
                opened, read_policy(None), audit, ledger=Ledger(opened), vault=vault, settings=settings
            ) as governance,
            open_admission(settings) as admission,
            open_grpc_server("127.0.0.1:0", governance.servicers, drain_seconds=1, admission=admission) as server,
        ):
            endpoints = tmp_path / "endpoints.json"
            services = {"classifier": f"127.0.0.1:{server.port}"}
            endpoints.write_text(json.dumps({"services": services, "keys": str(keys.folder)}))
            yield House(endpoints, database, governance)
    finally:
        await testing.drop_database(database)


async def test_from_a_request_to_a_revocation(house: House) -> None:
    asked = await house.run(
        "approvals", "request", "--tenant", "acme", "--purpose", "review", "--source", "wiki", "--days", "30",
        "--reason", "judge November", "--as", "rita", "--role", "reviewer",
    )  # fmt: skip
    assert asked.code == 0, asked.err
    assert "review of acme's records up to tier-2, of wiki, until" in asked.out
    (listed,) = (await house.run("approvals", "list", "--state", "requested", "--json")).json
    grant = listed["grant_id"]
    assert (listed["requested_by"], listed["sources"], listed["state"]) == ("rita", ["wiki"], "requested")
    approved = await house.run("approvals", "decide", grant, "--approve", "--note", "until the audit", "--as", "paul")
    assert approved.out.startswith("Approved: review of acme's records")
    shown = await house.run("approvals", "show", grant)
    assert "State    live" in shown.out
    assert "Decided  by paul" in shown.out
    assert "Note     until the audit" in shown.out
    table = await house.run("approvals", "list", "--tenant", "acme")
    assert [word in table.out for word in (grant, "live", "wiki", "rita", "paul")] == [True] * 5
    revoked = await house.run("approvals", "revoke", grant, "--as", "paul")
    assert revoked.out.startswith("Revoked:")
    again = await house.run("approvals", "revoke", grant)
    assert (again.code, "is revoked, not live" in again.err) == (1, True)
    told = await house.run("audit", "show", "--tenant", "acme")
    lines = [line[21:] for line in told.out.splitlines()]
    short = grant[:8]
    assert [line.split(" until")[0] for line in lines] == [
        f"rita (reviewer) asked for grant {short}: review of acme's tier-2 records of wiki",
        f"paul (privacy) approved grant {short}: review of acme's tier-2 records of wiki",
        f"paul (privacy) revoked grant {short}: review of acme's tier-2 records of wiki",
    ]


async def test_nobody_decides_their_own_and_it_leaves_with_3(house: House) -> None:
    grant = await house.request(person="maria")
    own = await house.run("approvals", "decide", grant, "--approve", "--as", "Maria")
    assert (own.code, "another person" in own.err) == (3, True)
    (shown,) = (await house.run("approvals", "show", grant, "--json")).json
    assert shown["state"] == "requested"
    told = await house.run("audit", "show", "--last", "1")
    assert f"Maria (privacy) was refused (grant {grant[:8]}): a request is decided by another person" in told.out


async def test_what_the_policy_leaves_no_room_for_leaves_with_3(house: House) -> None:
    ran = await house.run(
        "approvals", "request", "--tenant", "acme", "--purpose", "log", "--reason", "why not", "--as", "rita"
    )
    assert (ran.code, "needs no grant" in ran.err) == (3, True)


async def test_a_role_that_may_not_leaves_with_3(house: House) -> None:
    grant = await house.request()
    token = await house.run("token", "--role", "developer", "--tenant", "acme", "--subject", "dan")
    assert token.code == 0, token.err
    ran = await house.run("approvals", "decide", grant, "--approve", HEADRACE_TOKEN=token.out.strip())
    assert ran.code == 3
    ran = await house.run("audit", "show", HEADRACE_TOKEN=token.out.strip())
    assert ran.code == 3


async def test_a_wrong_request_leaves_with_2_and_names_the_field(house: House) -> None:
    ran = await house.run(
        "approvals", "request", "--tenant", "acme", "--purpose", "review", "--reason", "r", "--days", "91"
    )
    assert ran.code == 2
    assert "expires_at: The policy allows at most 90 days." in ran.err
    assert (await house.run("approvals", "decide", "nonsense", "--approve")).code == 2
    assert (await house.run("approvals", "request", "--tenant", "a", "--reason", "r", "--purpose", "fun")).code == 2


async def test_the_policy_in_force_is_explained(house: House) -> None:
    ran = await house.run("policy", "explain", "--purpose", "train", "--tier", "tier_2")
    assert ran.code == 0, ran.err
    assert "purposes.train.tier_2 allows it to service:trainer under a grant" in ran.out
    (whole,) = (await house.run("policy", "explain", "--json")).json
    assert {line["purpose"] for line in whole["rulings"]} == {
        "answer", "log", "evaluate", "review", "train", "share",
    }  # fmt: skip
    assert {(r["tier"], r["days"]) for r in whole["retention"]} == {("public", 365), ("tier_1", 180), ("tier_2", 30)}
    one = await house.run("policy", "explain", "--role", "reviewer", "--json")
    assert {line["role"] for line in one.json[0]["rulings"]} == {"reviewer"}


async def test_a_tier_is_decided_listed_and_taken_back(house: House) -> None:
    decide = ("policy", "decide-tier", "--tenant", "acme", "--source", "wiki", "--reason", "looked through")
    ran = await house.run(*decide, "--tier", "tier-1", "--as", "maria")
    assert ran.out == "acme's source wiki is tier-1 from now on.\n"
    (row,) = (await house.run("policy", "decisions", "--json")).json
    assert (row["name"], row["tier"], row["decided_by"]) == ("wiki", "tier_1", "maria")
    assert "looked through" in (await house.run("policy", "decisions", "--tenant", "acme")).out
    back = await house.run(*decide, "--take-back")
    assert back.out == "The decision on acme's source wiki is taken back.\n"
    assert (await house.run(*decide, "--take-back")).code == 1
    assert "Nothing was decided" in (await house.run("policy", "decisions")).out
    told = (await house.run("audit", "show", "--tenant", "acme")).out
    assert "maria (privacy) decided for acme: source wiki is tier_1" in told


async def test_a_dictionary_is_put_and_never_shown(house: House, tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("# our customers\nProjekt Nordlicht\n\nKD-2044-881\n")
    assert (await house.run("policy", "dictionary", "show", "--tenant", "acme")).out == "acme has no dictionary.\n"
    ran = await house.run("policy", "dictionary", "put", str(file), "--tenant", "acme")
    assert ran.out == "acme has 2 identifiers now.\n"
    shown = await house.run("policy", "dictionary", "show", "--tenant", "acme")
    assert shown.out.startswith("acme has 2 identifiers, since ")
    file.write_text("ab\n")
    ran = await house.run("policy", "dictionary", "put", str(file), "--tenant", "acme")
    assert (ran.code, "identifiers[0]" in ran.err) == (2, True)


async def test_the_log_is_verified_and_tampering_leaves_with_1(house: House) -> None:
    grant = await house.request()
    await house.run("approvals", "decide", grant, "--approve", "--as", "paul")
    await house.governance.checkpoints.make()
    good = await house.run("audit", "verify")
    assert (good.code, good.out.startswith("Nothing is wrong: 3 rows, 1 checkpoints")) == (0, True)
    await house.tamper("UPDATE audit SET actor = 'rita' WHERE sequence = 3")
    bad = await house.run("audit", "verify")
    assert bad.code == 1
    assert "edited: Row 3 is not what was written" in bad.err
    await house.tamper("DELETE FROM audit WHERE sequence = 3")
    (report,) = (await house.run("audit", "verify", "--json")).json
    assert [(fault["kind"], fault["sequence"]) for fault in report["faults"]] == [("truncated", 3)]


async def test_the_policy_that_came_into_force_is_on_the_log(house: House) -> None:
    told = await house.run("audit", "show")
    assert "policy 2 came into force (sha256 " in told.out
    (row,) = (await house.run("audit", "show", "--json")).json
    assert (row["sequence"], row["action"], len(row["hash"])) == (1, "policy.loaded", 64)


async def test_a_file_is_checked_without_anything_that_runs(house: House, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("version: '9'\nunknown: public\n")
    ran = await house.run("policy", "explain", "--file", str(file), HEADRACE_ENDPOINTS="")
    assert ran.code == 2
    assert f"{file} is not a policy:" in ran.err
    assert "line 2, unknown:" in ran.err
