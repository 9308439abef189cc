"""Erasures in Postgres; migrations/0003_erasures.sql says what each column holds. Each call is in the caller's
transaction, which sees the tenant or everybody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from headrace.privacy.v1.erasure_pb2 import ErasureScope, ReachedModel, StoreReport
from headrace_database import Connection
from headrace_privacy import Tier

from headrace_classifier.erasure_translate import from_reached, to_reached, to_scope, to_stored, to_what
from headrace_classifier.erasures import Reached, Record, Report, State

_COLUMNS = (
    "tenant, erasure_id, scope, state, round, reason, requested_by, requested_role, requested_at, keys, due_at,"
    " closed_at, receipt, receipt_text, completion, completion_text"
)


async def add(connection: Connection, record: Record) -> None:
    """Stores a new one."""
    places = ", ".join(f"${place}" for place in range(1, 17))
    await connection.execute(
        f"INSERT INTO erasures ({_COLUMNS}) VALUES ({places})",  # noqa: S608 - our own words
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
        record.completion,
        record.completion_text,
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
        " receipt_text = $9, completion = $10, completion_text = $11 WHERE tenant = $1 AND erasure_id = $2",
        record.tenant,
        record.erasure_id,
        to_scope(record.tenant, record.what).SerializeToString(deterministic=True),
        record.state,
        record.round,
        record.due_at,
        record.closed_at,
        record.receipt,
        record.receipt_text,
        record.completion,
        record.completion_text,
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
        "INSERT INTO erasure_reports (tenant, erasure_id, round, state, service, stores, reported_at, models)"
        " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        record.tenant,
        record.erasure_id,
        report.round,
        report.state,
        report.service,
        stores,
        report.reported_at,
        [from_reached(model).SerializeToString() for model in report.models],
    )


async def reports_of(connection: Connection, record: Record) -> Sequence[Report]:
    """All that was said, by round, state and service."""
    rows = await connection.fetch(
        "SELECT round, state, service, stores, reported_at, models FROM erasure_reports"
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
            models=tuple(to_reached(ReachedModel.FromString(each)) for each in row["models"]),
        )
        for row in rows
    ]


async def add_reached(connection: Connection, record: Record, models: Sequence[Reached]) -> None:
    """Stores which models learned from what was erased, with the end of those that are gone already."""
    await _hold_models(connection, record.tenant)
    await connection.executemany(
        "INSERT INTO reached_models (tenant, erasure_id, model, dataset_id, retire_by, retired_at, replaced_by)"
        " SELECT $1, $2, $3, $4, $5, coalesce($6, d.deleted_at), coalesce(nullif($7, ''), d.replaced_by, '')"
        " FROM (SELECT 1) AS one LEFT JOIN deleted_models d ON d.tenant = $1 AND d.model = $3"
        " ON CONFLICT DO NOTHING",
        [
            (
                *(record.tenant, record.erasure_id, model.model),
                *(model.dataset_id, model.retire_by, model.retired_at, model.replaced_by),
            )
            for model in models
        ],
    )


async def note_deleted(
    connection: Connection, tenant: str, model: str, *, at: datetime, replaced_by: str
) -> Sequence[UUID]:
    """Notes that a model's weights are deleted; returns the closed erasures that waited for it."""
    await _hold_models(connection, tenant)
    await connection.execute(
        "INSERT INTO deleted_models (tenant, model, deleted_at, replaced_by) VALUES ($1, $2, $3, $4)"
        " ON CONFLICT DO NOTHING",
        *(tenant, model, at, replaced_by),
    )
    rows = await connection.fetch(
        "UPDATE reached_models SET retired_at = $3, replaced_by = $4"
        " WHERE tenant = $1 AND model = $2 AND retired_at IS NULL RETURNING erasure_id",
        *(tenant, model, at, replaced_by),
    )
    return [row["erasure_id"] for row in rows]


async def _hold_models(connection: Connection, tenant: str) -> None:
    """Of an erasure that closes and a model that goes at the same time one sees the other."""
    await connection.execute("SELECT pg_advisory_xact_lock(hashtext('headrace reached models'), hashtext($1))", tenant)


async def reached_of(connection: Connection, record: Record) -> Sequence[Reached]:
    """The models that learned from what was erased, by name; none before it is closed."""
    rows = await connection.fetch(
        "SELECT model, dataset_id, retire_by, retired_at, replaced_by FROM reached_models"
        " WHERE tenant = $1 AND erasure_id = $2 ORDER BY model",
        record.tenant,
        record.erasure_id,
    )
    return [Reached(**row) for row in rows]


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
        completion=row["completion"],
        completion_text=row["completion_text"],
    )
