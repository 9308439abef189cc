"""The audit log in Postgres; migrations/0001_governance.sql says what each column holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import cast

import asyncpg
from headrace_database import Connection, Database
from headrace_database.connection import statement
from headrace_identity import EVERYBODY
from headrace_privacy import Tier
from headrace_privacy.policy import Policy

from headrace_classifier.adapters.sealing_rows import Sealer
from headrace_classifier.audit import Action, Entry, Row, chained

_COLUMNS = (
    "sequence, recorded_at, action, role, actor, tenant, purpose, tier, object, records, reason, policy_version,"
    " trace_id, hash"
)
_PLACES = ", ".join(f"${number}" for number in range(1, 15))
_INSERT = f"INSERT INTO audit ({_COLUMNS}) VALUES ({_PLACES})"  # noqa: S608 - constants

#: Rows read at a time.
BATCH = 1_000
_WHERE = f"FROM audit WHERE sequence > $1 AND ($2 = '{EVERYBODY}' OR tenant = $2)"
_AFTER = f"SELECT {_COLUMNS} {_WHERE} ORDER BY sequence LIMIT $3"
_NEWEST = f"SELECT {_COLUMNS} {_WHERE} ORDER BY sequence DESC LIMIT $3"


@dataclass(frozen=True, slots=True)
class PostgresAudit:
    """The log. `key` is the chain's: 32 bytes that the database never sees. Without a sealer nothing is sealed."""

    key: bytes = field(repr=False)
    sealer: Sealer | None = None

    async def append(self, connection: Connection, entry: Entry) -> Row:
        """Adds a row in the caller's transaction, and returns it: to be sealed once that has ended well.

        Whoever appends waits for whoever appended before to end its transaction, so this comes last in one.
        """
        return (await self.append_all(connection, [entry]))[0]

    async def append_all(self, connection: Connection, entries: Iterable[Entry]) -> Sequence[Row]:
        """As append, for many rows at once."""
        await self.hold(connection)
        last = await self.last(connection)
        if self.sealer is not None:
            self.sealer.look(last)
        rows: list[Row] = []
        for entry in entries:
            last = chained(self.key, last, entry=entry)
            rows.append(last)
        with statement("INSERT audit", operation="INSERT", collection="audit"):
            await connection.executemany(_INSERT, map(_values, rows))
        return rows

    async def seal(self, row: Row | None) -> None:
        """Seals a row, if there is one, whose transaction has ended well: then it cannot be cut off unseen."""
        if self.sealer is not None and row is not None:
            await self.sealer.seal(row)

    async def hold(self, connection: Connection) -> None:
        """Lets nobody else append until the caller's transaction ends."""
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('headrace audit'))")

    async def note_policy(self, connection: Connection, policy: Policy, *, now: datetime) -> Row | None:
        """Records that a policy is in force, unless it was already when it was last recorded; returns the row."""
        last = await connection.fetchrow(
            "SELECT policy_version, object FROM audit WHERE action = 'policy.loaded' ORDER BY sequence DESC LIMIT 1"
        )
        if last is not None and tuple(last) == (policy.version, policy.sha256):
            return None
        entry = Entry(
            recorded_at=now,
            action="policy.loaded",
            role="service:classifier",
            actor="classifier",
            object=policy.sha256,
            policy_version=policy.version,
        )
        return await self.append(connection, entry)

    async def last(self, connection: Connection) -> Row | None:
        """The last row, None where the log is empty."""
        found = await connection.fetchrow(f"SELECT {_COLUMNS} FROM audit ORDER BY sequence DESC LIMIT 1")  # noqa: S608
        return to_row(found) if found else None


@dataclass(frozen=True, slots=True)
class PostgresAuditReader:
    """Reads the log, in batches, each in a transaction of its own."""

    database: Database

    async def rows(self, *, tenant: str = EVERYBODY, after: int = 0) -> AsyncIterator[Sequence[Row]]:
        """Rows about a tenant, or all for EVERYBODY, after a number, oldest first."""
        while True:
            async with self.database.transaction() as connection:
                found = await connection.fetch(_AFTER, after, tenant, BATCH)
            if not found:
                return
            yield [to_row(row) for row in found]
            after = found[-1]["sequence"]

    async def newest(self, *, tenant: str, after: int, most: int) -> Sequence[Row]:
        """At most so many of the same, the newest ones, oldest first."""
        async with self.database.transaction() as connection:
            found = await connection.fetch(_NEWEST, after, tenant, most)
        return [to_row(row) for row in reversed(found)]

    async def noted_checkpoints(self) -> Mapping[int, int]:
        """The checkpoints that the database remembers: their numbers, and the rows that they sealed."""
        async with self.database.transaction() as connection:
            found = await connection.fetch("SELECT number, sequence FROM checkpoints")
        return {row["number"]: row["sequence"] for row in found}


def to_row(found: asyncpg.Record) -> Row:
    """Reads a row."""
    entry = Entry(
        recorded_at=found["recorded_at"],
        action=cast("Action", found["action"]),
        role=found["role"],
        actor=found["actor"],
        tenant=found["tenant"],
        purpose=found["purpose"],
        tier=Tier(found["tier"]) if found["tier"] else None,
        object=found["object"],
        records=tuple(found["records"]),
        reason=found["reason"],
        policy_version=found["policy_version"],
        trace_id=found["trace_id"],
    )
    return Row(found["sequence"], entry, found["hash"])


def _values(row: Row) -> tuple[object, ...]:
    entry = row.entry
    return (
        row.sequence,
        entry.recorded_at,
        entry.action,
        entry.role,
        entry.actor,
        entry.tenant,
        entry.purpose,
        int(entry.tier or 0),
        entry.object,
        list(entry.records),
        entry.reason,
        entry.policy_version,
        entry.trace_id,
        row.hash,
    )
