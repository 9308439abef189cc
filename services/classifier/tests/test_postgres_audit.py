"""The audit log in a real Postgres: the service adds and reads, and nothing else; what a superuser does is found."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from headrace import topics
from headrace.inference.v1 import changes_pb2
from headrace.inference.v1.changes_pb2 import RoutingChanged
from headrace_classifier.adapters.audit_key import read_audit_key
from headrace_classifier.adapters.checkpoint_folder import CheckpointFolder
from headrace_classifier.adapters.postgres_audit import PostgresAudit, PostgresAuditReader
from headrace_classifier.adapters.postgres_changes import ChangeLog
from headrace_classifier.adapters.postgres_denials import DenialLog
from headrace_classifier.adapters.postgres_registry import PostgresRegistry
from headrace_classifier.adapters.sealing_rows import Sealer
from headrace_classifier.adapters.signing_checkpoints import Checkpoints, Evidences, keeping
from headrace_classifier.audit import Entry, Row, link
from headrace_classifier.audit_servicer import verify
from headrace_classifier.checkpoints import Signed
from headrace_classifier.verifying import Verification
from headrace_database import Database, open_database
from headrace_embedded import testing
from headrace_identity import Limit, new_key, open_identities
from headrace_identity.tokens import sign_json
from headrace_privacy import Tier
from headrace_privacy.policy import Policy
from headrace_runtime.denials import Denial, Refused, Report
from headrace_runtime.errors import Conflict, Rejected
from headrace_stream import Ledger
from headrace_stream.memory import delivered
from structlog.testing import capture_logs

from services.classifier.tests.makers import AUDIT_KEY, OWN_KEY, believe

pytestmark = pytest.mark.real
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
READ = Entry(
    recorded_at=NOW, action="read.allowed", role="reviewer", actor="maria", tenant="acme", purpose=4, tier=Tier.TIER_2,
    object="q", records=("a", "b"), reason="under a grant", policy_version="1",
)  # fmt: skip
AUDIT = PostgresAudit(AUDIT_KEY)


@dataclass
class Log:
    """A log in a database of its own, with its checkpoints in a folder."""

    database: Database
    folder: CheckpointFolder
    checkpoints: Checkpoints
    evidences: Evidences
    superuser: Any

    async def append(self, number: int) -> Row:
        async with self.database.transaction() as connection:
            return await AUDIT.append(connection, replace(READ, object=str(number)))

    async def verify(self) -> Verification:
        return await verify(PostgresAuditReader(self.database), await self.evidences.read(), key=AUDIT_KEY)

    async def faults(self) -> list[tuple[str, int]]:
        return [(fault.kind, fault.sequence) for fault in (await self.verify()).faults]

    async def tamper(self, statement: str) -> None:
        """As a superuser who switches the triggers off first."""
        await self.superuser.execute(f"SET session_replication_role = replica; {statement}")

    def file(self, number: int) -> Path:
        return self.folder.path / f"{number:012d}.jws"


@pytest_asyncio.fixture
async def log(postgres: Any, tmp_path: Path) -> AsyncIterator[Log]:
    fresh = await testing.open_database(postgres, f"audit_{tmp_path.name[-12:].lower().replace('-', '_')}")
    await fresh.migrate("classifier")
    superuser = await asyncpg.connect(fresh.superuser, server_settings={"search_path": "classifier"})
    folder = CheckpointFolder(tmp_path / "checkpoints")
    folder.prepare()
    try:
        async with (
            open_database(fresh.dsn("classifier"), schema="classifier") as database,
            open_identities(str(believe(tmp_path, OWN_KEY, new_key("stranger", limit=STRANGER)))) as identities,
        ):
            checkpoints = Checkpoints(database, AUDIT, folder, OWN_KEY, lambda: NOW)
            yield Log(
                database, folder, checkpoints, Evidences(PostgresAuditReader(database), folder, identities), superuser
            )
    finally:
        await superuser.close()
        await testing.drop_database(fresh)


@pytest_asyncio.fixture
async def sealing(log: Log) -> PostgresAudit:
    """The same log, whose rows are sealed when they are committed."""
    names = iter(["one", "two", "three"])
    return PostgresAudit(AUDIT_KEY, Sealer(log.folder, OWN_KEY, now=lambda: NOW, new_name=lambda: next(names)))


async def append_and_seal(log: Log, sealing: PostgresAudit, number: int) -> Row:
    async with PostgresRegistry(log.database, sealing).open("acme") as register:
        await register.record(replace(READ, object=str(number)))
    assert register.recorded is not None
    return register.recorded


STRANGER = Limit(frozenset({"service:ingest"}), frozenset({"*"}))


async def test_rows_follow_each_other_without_a_gap(log: Log) -> None:
    rows = await asyncio.gather(*(log.append(number) for number in range(20)))
    assert sorted(row.sequence for row in rows) == list(range(1, 21))
    report = await log.verify()
    assert (report.entries, report.faults) == (20, ())


async def test_a_row_that_was_rolled_back_leaves_no_gap(log: Log) -> None:
    await log.append(1)
    with contextlib.suppress(asyncpg.DivisionByZeroError):
        async with log.database.transaction() as connection:
            await AUDIT.append(connection, READ)
            await connection.execute("SELECT 1 / 0")
    assert (await log.append(2)).sequence == 2
    assert await log.faults() == []


@pytest.mark.parametrize("table", ["audit", "checkpoints"])
async def test_the_service_adds_and_reads_and_nothing_else(log: Log, table: str) -> None:
    await log.append(1)
    await log.checkpoints.make()
    for statement in (f"UPDATE {table} SET sequence = 7", f"DELETE FROM {table}", f"TRUNCATE {table}"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with log.database.transaction() as connection:
                await connection.execute(statement)


async def test_the_database_lets_a_row_follow_the_last_one_only(log: Log) -> None:
    await log.append(1)
    for sequence in (1, 3, 9):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            async with log.database.transaction() as connection:
                await connection.execute(
                    "INSERT INTO audit SELECT $1, recorded_at, action, role, actor, tenant, purpose, tier, object,"
                    " records, reason, policy_version, trace_id, hash FROM audit LIMIT 1",
                    sequence,
                )


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit"])
async def test_even_the_owner_is_stopped_by_the_trigger(log: Log, statement: str) -> None:
    await log.append(1)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match="only grows"):
        await log.superuser.execute(statement)


async def test_checkpoints_seal_what_is_new(log: Log) -> None:
    assert await log.checkpoints.make() is None
    first = await log.append(1)
    made = await log.checkpoints.make()
    assert made is not None
    assert (made.number, made.sequence, made.hash, made.previous) == (1, 1, first.hash.hex(), "")
    assert await log.checkpoints.make() is None, "nothing has changed"
    await asyncio.gather(*(log.append(number) for number in range(5)))
    made_at_once = await asyncio.gather(*(log.checkpoints.make() for _ in range(3)))
    (second,) = [one for one in made_at_once if one is not None]
    assert (second.number, second.sequence) == (2, 6)
    report = await log.verify()
    assert (report.entries, report.checkpoints, report.faults) == (6, 2, ())


async def test_a_checkpoint_is_made_as_time_passes_and_at_the_end(log: Log) -> None:
    await log.append(1)
    async with keeping(log.checkpoints, seconds=0.05):
        async with asyncio.timeout(5):
            while not log.file(1).exists():
                await asyncio.sleep(0.01)
    async with keeping(log.checkpoints, seconds=3600):
        await log.append(2)
    assert log.file(2).exists()


async def rewrite_with_the_key(log: Log) -> None:
    """Changes a row so well that its own hash fits: whoever has the chain's key can, but the next row tells."""
    (rows,) = [batch async for batch in PostgresAuditReader(log.database).rows()]
    hash_ = link(AUDIT_KEY, rows[3].hash, sequence=5, entry=replace(rows[4].entry, actor="nobody"))
    await log.tamper("SELECT 1")
    await log.superuser.execute("UPDATE audit SET actor = 'nobody', hash = $1 WHERE sequence = 5", hash_)


SWAP = (
    "UPDATE audit SET sequence = -1 WHERE sequence = 3; UPDATE audit SET sequence = 3 WHERE sequence = 7;"
    " UPDATE audit SET sequence = 7 WHERE sequence = -1"
)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE audit SET actor = 'nobody' WHERE sequence = 5", [("edited", 5)]),
        ("UPDATE audit SET records = '{a}' WHERE sequence = 1", [("edited", 1)]),
        ("UPDATE audit SET recorded_at = recorded_at + interval '1 microsecond' WHERE sequence = 9", [("edited", 9)]),
        ("UPDATE audit SET hash = sha256('x') WHERE sequence = 9", [("edited", 9), ("edited", 10)]),
        ("DELETE FROM audit WHERE sequence = 5", [("missing", 5)]),
        ("DELETE FROM audit WHERE sequence < 4", [("missing", 1)]),
        (f"ALTER TABLE audit DROP CONSTRAINT audit_sequence_check; {SWAP}", [("reordered", 3), ("reordered", 7)]),
        ("DELETE FROM audit WHERE sequence > 6", [("truncated", 7)]),
        ("DELETE FROM audit WHERE sequence > 7", [("truncated", 8)]),
        ("DELETE FROM audit", [("truncated", 1)]),
        ("DELETE FROM audit; DELETE FROM checkpoints", [("truncated", 1)]),
        ("DELETE FROM checkpoints", []),
    ],
)
async def test_what_a_superuser_did_is_found(log: Log, statement: str, found: list[tuple[str, int]]) -> None:
    for number in range(10):
        if number in (4, 8):
            await log.checkpoints.make()
        await log.append(number)
    await log.tamper(statement)
    assert await log.faults() == found


async def test_a_row_rewritten_with_the_key_itself_does_not_fit_the_next(log: Log) -> None:
    for number in range(10):
        await log.append(number)
    await rewrite_with_the_key(log)
    assert await log.faults() == [("edited", 6)]


def forged(log: Log) -> None:
    """Signed, but by a key that speaks for another service."""
    claims = {"number": 2, "sequence": 2, "hash": "0" * 64, "previous": "", "iat": 1}
    _replace(log.file(2), sign_json(claims, new_key("stranger", limit=STRANGER), kind="headrace-checkpoint+jwt"))


def a_token(log: Log) -> None:
    """The classifier's own signature, on something else."""
    _replace(log.file(2), sign_json({"sub": "classifier"}, OWN_KEY, kind="JWT"))


def copied(log: Log) -> None:
    """The one before once more."""
    _replace(log.file(2), log.file(1).read_text())


def _replace(path: Path, content: str) -> None:
    path.unlink()
    path.write_text(content)


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (forged, [("checkpoint_forged", 2), ("checkpoint_forged", 3)]),
        (a_token, [("checkpoint_forged", 2), ("checkpoint_forged", 3)]),
        (lambda log: _replace(log.file(2), "\x00"), [("checkpoint_forged", 2), ("checkpoint_forged", 3)]),
        (
            lambda log: _replace(log.file(2), log.file(1).read_text()),
            [("checkpoint_forged", 2), ("checkpoint_forged", 3)],
        ),
        (lambda log: log.file(1).unlink(), [("checkpoint_missing", 1)]),
        (lambda log: log.file(2).unlink(), [("checkpoint_missing", 2)]),
        (lambda log: log.file(3).unlink(), [("checkpoint_missing", 3)]),
    ],
)
async def test_what_was_done_to_the_files_is_found(
    log: Log, tamper: Callable[[Log], None], found: list[tuple[str, int]]
) -> None:
    for number in range(3):
        await log.append(number)
        await log.checkpoints.make()
    tamper(log)
    assert await log.faults() == found


async def test_a_log_that_was_cut_off_is_not_sealed_again(log: Log) -> None:
    for number in range(3):
        await log.append(number)
    await log.checkpoints.make()
    await log.tamper("DELETE FROM audit WHERE sequence > 1")
    with pytest.raises(Conflict, match="ends before"):
        await log.checkpoints.make()


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("SELECT 1", []),
        ("DELETE FROM audit WHERE sequence = 6", [("truncated", 6)]),
        ("DELETE FROM audit WHERE sequence > 3", [("truncated", 4)]),
        ("DELETE FROM audit WHERE sequence > 3; DELETE FROM checkpoints WHERE sequence > 3", [("truncated", 4)]),
    ],
)
async def test_rows_cut_off_before_their_checkpoint_are_found(
    log: Log, sealing: PostgresAudit, statement: str, found: list[tuple[str, int]]
) -> None:
    for number in range(6):
        if number == 3:
            await log.checkpoints.make()
        await append_and_seal(log, sealing, number)
    await log.tamper(statement)
    assert await log.faults() == found


async def test_without_seals_the_same_is_not_found(log: Log) -> None:
    """The seeded hole: this is what the seals are for."""
    for number in range(6):
        if number == 3:
            await log.checkpoints.make()
        await log.append(number)
    await log.tamper("DELETE FROM audit WHERE sequence > 3")
    assert await log.faults() == []


async def test_what_is_written_after_a_cut_does_not_cover_it_up(log: Log, sealing: PostgresAudit) -> None:
    for number in range(4):
        await append_and_seal(log, sealing, number)
    await log.tamper("DELETE FROM audit WHERE sequence > 2")
    with capture_logs() as lines:
        await append_and_seal(log, sealing, 7)
    assert [line["event"] for line in lines] == ["the audit log has lost a row"]
    assert await log.faults() == [("truncated", 4)]
    for number in range(3):
        await append_and_seal(log, sealing, number)
    await log.checkpoints.make()
    assert await log.faults() == [("edited", 4)]
    assert sorted(log.folder.read_seals()) == ["one", "two"]


async def test_what_another_instance_sealed_outlives_it(log: Log, sealing: PostgresAudit) -> None:
    """A classifier that starts after the cut begins a seal of its own, and leaves those of others alone."""
    await append_and_seal(log, sealing, 1)
    await append_and_seal(log, sealing, 2)
    await log.tamper("DELETE FROM audit WHERE sequence > 1")
    fresh = PostgresAudit(AUDIT_KEY, Sealer(log.folder, OWN_KEY, now=lambda: NOW, new_name=lambda: "fresh"))
    await append_and_seal(log, fresh, 3)
    await log.checkpoints.make()
    assert await log.faults() == [("edited", 2)]


async def test_rows_that_are_committed_at_once_share_their_seals(log: Log, sealing: PostgresAudit) -> None:
    await asyncio.gather(*(append_and_seal(log, sealing, number) for number in range(20)))
    assert list(log.folder.read_seals()) == ["one"]
    assert await log.faults() == []
    await log.tamper("DELETE FROM audit WHERE sequence = 20")
    assert await log.faults() == [("truncated", 20)]


async def test_a_row_that_was_rolled_back_has_no_seal(log: Log, sealing: PostgresAudit) -> None:
    await append_and_seal(log, sealing, 1)
    with contextlib.suppress(asyncpg.DivisionByZeroError):
        async with PostgresRegistry(log.database, sealing).open("acme") as register:
            await register.record(READ)
            async with log.database.transaction() as connection:
                await connection.execute("SELECT 1 / 0")
    assert await log.faults() == []
    await append_and_seal(log, sealing, 2)
    assert await log.faults() == []


async def test_a_seal_that_cannot_be_written_stops_nobody(log: Log, tmp_path: Path) -> None:
    nowhere = CheckpointFolder(tmp_path / "gone")
    blind = PostgresAudit(AUDIT_KEY, Sealer(nowhere, OWN_KEY, now=lambda: NOW, new_name=lambda: "one"))
    with capture_logs() as lines:
        await append_and_seal(log, blind, 1)
    assert [line["event"] for line in lines] == ["no seal of the audit log"]
    assert await log.faults() == []


@pytest.mark.parametrize("content", ["", "nonsense", sign_json({"sub": "classifier"}, OWN_KEY, kind="JWT")])
async def test_a_seal_that_nobody_signed_is_found(log: Log, sealing: PostgresAudit, content: str) -> None:
    await append_and_seal(log, sealing, 1)
    (log.folder.path / "seal-one.txt").write_text(content)
    assert await log.faults() == [("seal_forged", 0)]


async def test_a_machine_that_dies_while_it_writes_leaves_the_seal_before(log: Log, sealing: PostgresAudit) -> None:
    for number in range(3):
        await append_and_seal(log, sealing, number)
    path = log.folder.path / "seal-one.txt"
    written = path.read_bytes()
    assert len(written) == 8192
    one, other = written[:4096], written[4096:]
    for torn in (one[:100] + bytes(3996) + other, one + other[:100] + bytes(3996)):
        path.write_bytes(torn)
        assert await log.faults() == []
    path.write_bytes(bytes(8192))
    assert await log.faults() == [("seal_forged", 0)]


async def test_a_seal_by_another_services_key_proves_nothing(log: Log, sealing: PostgresAudit) -> None:
    await append_and_seal(log, sealing, 1)
    claims = {"name": "one", "sequence": 1, "hash": "0" * 64, "iat": 1}
    stranger = sign_json(claims, new_key("stranger", limit=STRANGER), kind="headrace-seal+jwt")
    (log.folder.path / "seal-one.txt").write_text(stranger)
    assert await log.faults() == [("seal_forged", 0)]


async def test_old_seals_go_when_a_checkpoint_stands_in_for_them(log: Log, sealing: PostgresAudit) -> None:
    await append_and_seal(log, sealing, 1)
    later = replace(log.checkpoints, now=lambda: NOW + timedelta(days=2))
    await later.drop_old_seals()
    assert list(log.folder.read_seals()) == ["one"], "no checkpoint yet"
    await log.checkpoints.make()
    await log.checkpoints.drop_old_seals()
    assert list(log.folder.read_seals()) == ["one"], "its instance may live"
    await later.drop_old_seals()
    assert log.folder.read_seals() == {}


async def test_a_seal_that_says_otherwise_stays_as_evidence(log: Log, sealing: PostgresAudit) -> None:
    await append_and_seal(log, sealing, 1)
    await append_and_seal(log, sealing, 2)
    await log.tamper("DELETE FROM audit WHERE sequence = 2")
    await log.append(3)
    await log.checkpoints.make()
    await replace(log.checkpoints, now=lambda: NOW + timedelta(days=2)).drop_old_seals()
    assert list(log.folder.read_seals()) == ["one"]


async def test_a_report_of_refusals_is_recorded_once_and_sealed(log: Log, sealing: PostgresAudit) -> None:
    refused = Refused("reviewer", "rita", "acme", "headrace.query.v1.QueryService/Get", "role")
    told = Report(uuid4(), [Denial(refused, 2, NOW, ""), Denial(replace(refused, name="paul"), 1, NOW, "")], 3)
    denials = DenialLog(log.database, sealing, "1", lambda: NOW)
    for _ in range(3):
        await denials.record(told, edge="ingest")
    (rows,) = [batch async for batch in PostgresAuditReader(log.database).rows()]
    assert [(row.entry.action, row.entry.actor) for row in rows] == [
        ("access.denied", "rita"), ("access.denied", "paul"), ("access.denied", "ingest"),
    ]  # fmt: skip
    await log.tamper("DELETE FROM audit WHERE sequence = 3")
    assert await log.faults() == [("truncated", 3)]


CHANGED = RoutingChanged(
    change_id="7c0e3a52-6f0e-4f0e-9d9b-0a2f6a0a6f10", tenant="acme", change=changes_pb2.ROUTING_CHANGE_ROUTE,
    name="how-to", version=3, previous=2, role="developer", changed_by="dana",
)  # fmt: skip


async def test_a_change_of_routing_is_recorded_once(log: Log, sealing: PostgresAudit) -> None:
    changes = ChangeLog(Ledger(log.database), sealing, "1", lambda: NOW)
    events = [UUID(int=1), UUID(int=2), UUID(int=1)]  # the first is delivered again
    for event_id in events:
        await changes.on_change(delivered(CHANGED, topics.ROUTING_CHANGED, service="classifier", event_id=event_id))
    (rows,) = [batch async for batch in PostgresAuditReader(log.database).rows()]
    assert len(rows) == 2
    entry = rows[0].entry
    assert (entry.action, entry.role, entry.actor, entry.tenant) == ("route.changed", "developer", "dana", "acme")
    assert (entry.object, entry.reason) == ("how-to", "version 3, before it version 2")
    assert await log.faults() == []


async def test_a_change_that_nobody_knows_is_rejected(log: Log) -> None:
    changes = ChangeLog(Ledger(log.database), AUDIT, "1", lambda: NOW)
    with pytest.raises(Rejected):
        await changes.on_change(
            delivered(
                RoutingChanged(change=cast(Any, 99)), topics.ROUTING_CHANGED, service="classifier", event_id=uuid4()
            )
        )


async def test_lost_files_do_not_stop_new_ones(log: Log) -> None:
    await log.append(1)
    await log.checkpoints.make()
    log.file(1).unlink()
    await log.append(2)
    made = await log.checkpoints.make()
    assert made is not None
    assert made.number == 2
    assert ("checkpoint_missing", 1) in await log.faults()


async def test_a_file_that_was_never_noted_is_no_fault(log: Log) -> None:
    """The process died between the file and the commit; the next checkpoint follows the file."""
    await log.append(1)
    await log.checkpoints.make()
    await log.tamper("DELETE FROM checkpoints")
    await log.append(2)
    await log.checkpoints.make()
    assert log.file(2).exists()
    assert await log.faults() == []


def test_a_checkpoint_is_written_once(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "new" / "folder")
    folder.prepare()
    folder.write(Signed(1, "first"))
    with pytest.raises(FileExistsError):
        folder.write(Signed(1, "second"))
    assert folder.last() == Signed(1, "first")
    assert folder.read_all() == [Signed(1, "first")]
    assert len(list(folder.path.iterdir())) == 1


async def test_a_policy_is_noted_when_it_changes(log: Log) -> None:
    policies = [Policy("1", sha256="a"), Policy("1", sha256="a"), Policy("1", sha256="b"), Policy("2", sha256="b")]
    for policy in policies:
        async with log.database.transaction() as connection:
            await AUDIT.note_policy(connection, policy, now=NOW)
    (rows,) = [batch async for batch in PostgresAuditReader(log.database).rows()]
    assert [(r.entry.action, r.entry.policy_version, r.entry.object) for r in rows] == [
        ("policy.loaded", "1", "a"), ("policy.loaded", "1", "b"), ("policy.loaded", "2", "b"),
    ]  # fmt: skip


@pytest.mark.parametrize("content", ["", "not hex", "00" * 31, "00" * 33])
def test_a_key_of_another_kind_stops_the_start(tmp_path: Path, content: str) -> None:
    path = tmp_path / "audit.key"
    path.write_text(content)
    with pytest.raises(Conflict, match=r"audit\.key.*openssl rand -hex 32"):
        read_audit_key(path)
    with pytest.raises(Conflict, match="openssl"):
        read_audit_key(tmp_path / "none")
