"""Erasures in Postgres; migrations/0003_erasures.sql says what each column holds. Each call is in the caller's
transaction, which sees the tenant or everybody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from headrace.privacy.v1.erasure_pb2 import ErasureScope, StoreReport
from headrace_database import Connection
from headrace_privacy import Tier

from headrace_classifier.erasure_translate import to_scope, to_stored, to_what
from headrace_classifier.erasures import Record, Report, State

_COLUMNS = (
    "tenant, erasure_id, scope, state, round, reason, requested_by, requested_role, requested_at, keys, due_at,"
    " closed_at, receipt, receipt_text"
)


async def add(connection: Connection, record: Record) -> None:
    """Stores a new one."""
    await connection.execute(
        f"INSERT INTO erasures ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",  # noqa: S608 - our own words
        record.tenant,
        record.erasure_id,
        to_scope(record.tenant, record.what).SerializeToString(deterministic=True),
        record.state,
        record.round,
        record.reason,
        record.requested_by,
        record.requested_role,
        record.requested_at,
        record.keys,
        record.due_at,
        record.closed_at,
        record.receipt,
        record.receipt_text,
    )


async def hold_open(connection: Connection, scope: ErasureScope) -> Record | None:
    """Finds the one of the same scope that is under way; whoever asks for the same at once waits."""
    serialized = scope.SerializeToString(deterministic=True)
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtext('headrace erasures'), hashtext($1))", serialized.hex()
    )
    found = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM erasures WHERE tenant = $1 AND scope = $2 AND state < 3",  # noqa: S608 - as above
        scope.tenant,
        serialized,
    )
    return _record(found) if found else None


async def hold(connection: Connection, erasure_id: UUID) -> Record | None:
    """Finds one, and keeps others from changing it until the transaction ends."""
    found = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM erasures WHERE erasure_id = $1 FOR UPDATE",  # noqa: S608 - as above
        erasure_id,
    )
    return _record(found) if found else None


async def find(connection: Connection, erasure_id: UUID) -> Record | None:
    """Finds one."""
    found = await connection.fetchrow(f"SELECT {_COLUMNS} FROM erasures WHERE erasure_id = $1", erasure_id)  # noqa: S608 - as above
    return _record(found) if found else None


async def newest(connection: Connection, *, most: int) -> list[Record]:
    """Lists those that the transaction sees."""
    rows = await connection.fetch(f"SELECT {_COLUMNS} FROM erasures ORDER BY requested_at DESC LIMIT $1", most)  # noqa: S608 - as above
    return [_record(row) for row in rows]


async def due(connection: Connection, now: datetime) -> list[Record]:
    """Finds those whose next round is to be announced."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM erasures WHERE due_at <= $1 ORDER BY due_at FOR UPDATE SKIP LOCKED",  # noqa: S608 - as above
        now,
    )
    return [_record(row) for row in rows]


async def change(connection: Connection, record: Record) -> None:
    """Stores where it stands."""
    await connection.execute(
        "UPDATE erasures SET scope = $3, state = $4, round = $5, due_at = $6, closed_at = $7, receipt = $8,"
        " receipt_text = $9 WHERE tenant = $1 AND erasure_id = $2",
        record.tenant,
        record.erasure_id,
        to_scope(record.tenant, record.what).SerializeToString(deterministic=True),
        record.state,
        record.round,
        record.due_at,
        record.closed_at,
        record.receipt,
        record.receipt_text,
    )


async def drop(connection: Connection, record: Record) -> None:
    """Removes one that found nothing."""
    await connection.execute(
        "DELETE FROM erasures WHERE tenant = $1 AND erasure_id = $2", record.tenant, record.erasure_id
    )


async def add_report(connection: Connection, record: Record, report: Report) -> None:
    """Stores what a service said; the first word counts."""
    stores = [StoreReport(store=s.store, records=s.records, how=s.how).SerializeToString() for s in report.stores]
    await connection.execute(
        "INSERT INTO erasure_reports (tenant, erasure_id, round, state, service, stores, reported_at)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
        record.tenant,
        record.erasure_id,
        report.round,
        report.state,
        report.service,
        stores,
        report.reported_at,
    )


async def reports_of(connection: Connection, record: Record) -> Sequence[Report]:
    """All that was said, by round, state and service."""
    rows = await connection.fetch(
        "SELECT round, state, service, stores, reported_at FROM erasure_reports"
        " WHERE tenant = $1 AND erasure_id = $2 ORDER BY round, state, service",
        record.tenant,
        record.erasure_id,
    )
    return [
        Report(
            service=row["service"],
            round=row["round"],
            state=State(row["state"]),
            stores=tuple(to_stored(StoreReport.FromString(each)) for each in row["stores"]),
            reported_at=row["reported_at"],
        )
        for row in rows
    ]


async def looked_until(connection: Connection, tier: Tier) -> dict[str, datetime]:
    """Up to when each tenant's records of a tier have been looked for that are kept no longer."""
    rows = await connection.fetch("SELECT tenant, before FROM retention WHERE tier = $1", tier)
    return {row["tenant"]: row["before"] for row in rows}


async def note_looked(connection: Connection, tenant: str, tier: Tier, before: datetime) -> None:
    """Notes the same."""
    await connection.execute(
        "INSERT INTO retention (tenant, tier, before) VALUES ($1, $2, $3)"
        " ON CONFLICT (tenant, tier) DO UPDATE SET before = $3",
        tenant,
        tier,
        before,
    )


def _record(row: asyncpg.Record) -> Record:
    what = to_what(ErasureScope.FromString(row["scope"]))
    return Record(
        erasure_id=row["erasure_id"],
        tenant=row["tenant"],
        what=what,
        reason=row["reason"],
        requested_by=row["requested_by"],
        requested_role=row["requested_role"],
        requested_at=row["requested_at"],
        keys=row["keys"],
        state=State(row["state"]),
        round=row["round"],
        due_at=row["due_at"],
        closed_at=row["closed_at"],
        receipt=row["receipt"],
        receipt_text=row["receipt_text"],
    )
