"""Figures in Postgres: sums by conversation and values in pairs, each report's in one statement.

What comes back is arrays of numbers, whatever the number of answers: the database adds up, and no row has a text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from headrace_database import Connection, Database
from headrace_database.connection import statement
from headrace_privacy import Tier

from headrace_feedback.interaction import Versioned
from headrace_feedback.reporting import live_sql, paired_sql
from headrace_feedback.reporting.measures import Key
from headrace_feedback.reporting.prompts import PromptFigures, PromptRequest
from headrace_feedback.reporting.reports import Batch, Counts, Evidence, Paired, Request, Seen, Side, Sums
from headrace_feedback.running.postgres import PostgresRuns
from headrace_feedback.running.runs import Run

#: The newest so many answers are compared; half a million take some tens of megabytes.
MOST_ANSWERS = 500_000


class PostgresBooks:
    """See ports.Books."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self, tenant: str, run_id: str) -> Run | None:
        """See ports.Books."""
        try:
            identity = UUID(run_id)
        except ValueError:
            return None
        async with self._database.transaction(tenant=tenant) as connection:
            return await PostgresRuns(connection).get(tenant, identity)

    async def has_shadow(self, tenant: str, run_id: str) -> bool:
        """See ports.Books."""
        async with self._database.transaction(tenant=tenant) as connection:
            return bool(await connection.fetchval(paired_sql.HAS_SHADOW, tenant, run_id))

    async def batches(self, request: Request, *, apart: Collection[Tier]) -> Sequence[Batch]:
        """See ports.Books."""
        closed = [int(tier) for tier in apart]
        async with self._database.transaction(tenant=request.tenant) as connection:
            with statement("SELECT interactions", operation="SELECT", collection="interactions"):
                if request.run_id:
                    rows = await connection.fetch(paired_sql.BATCHES, *_paired_row(request), closed, MOST_ANSWERS)
                else:
                    rows = await connection.fetch(live_sql.BATCHES, *_live_row(request), closed, MOST_ANSWERS)
        return [Batch(Tier(row["tier"]), tuple(row["sources"]), tuple(map(str, row["ids"]))) for row in rows]

    async def evidence(self, request: Request, ids: Collection[str], *, clearance: Tier) -> Evidence:
        """See ports.Books."""
        async with self._database.transaction(tenant=request.tenant, clearance=clearance) as connection:
            # The sums of a hundred thousand answers fit; without it they go through the disk.
            await connection.execute("SET LOCAL work_mem = '64MB'")
            with statement("SELECT scores", operation="SELECT", collection="scores"):
                if request.run_id:
                    return await _paired_evidence(connection, request, ids)
                return await _live_evidence(connection, request, ids)

    async def prompts(self, request: PromptRequest, *, tiers: Collection[Tier]) -> Sequence[PromptFigures]:
        """See ports.Books."""
        async with self._database.transaction(tenant=request.tenant) as connection:
            rows = await connection.fetch(
                live_sql.PROMPTS, request.tenant, request.name, request.since, [int(tier) for tier in tiers]
            )
        return [_figures(row) for row in rows]


async def _live_evidence(connection: Connection, request: Request, ids: Collection[str]) -> Evidence:
    answers = (request.tenant, [UUID(one) for one in ids], *_sides(request))
    rows = await connection.fetch(live_sql.EVIDENCE, *answers)
    counts = await connection.fetch(live_sql.COUNTS, *answers)
    return Evidence(list(_live_seen(rows)), _counts(counts))


def _live_seen(rows: Sequence[Any]) -> Iterator[Seen]:
    found: dict[tuple[Key, str], dict[str, Any]] = {}
    for row in rows:
        found.setdefault((_key(row), row["kind"]), {})[row["side"]] = row
    for (key, kind), sides in found.items():
        sums = tuple(_sums(sides[side]) if side in sides else None for side in ("a", "b"))
        yield Seen(key, kind, (sums[0], sums[1]), all(row["decides"] for row in sides.values()))


def _sums(row: Any) -> Sums:
    return Sums(*(np.array(row[name], dtype=float) for name in ("sums", "sizes", "squares")))


async def _paired_evidence(connection: Connection, request: Request, ids: Collection[str]) -> Evidence:
    live = [UUID(one) for one in ids if _is_uuid(one)]
    cases = (request.tenant, request.run_id, *_arm(request.a), *_arm(request.b), list(ids), live)
    rows = await connection.fetch(paired_sql.EVIDENCE, *cases)
    counts = await connection.fetch(paired_sql.COUNTS, *cases)
    return Evidence([_paired_seen(row) for row in rows], _counts(counts))


def _paired_seen(row: Any) -> Seen:
    a, b = (np.array(row[side], dtype=float) for side in ("a", "b"))
    return Seen(_key(row), row["kind"], Paired(a, b, np.array(row["groups"], dtype=np.int64)), row["decides"])


def _key(row: Any) -> Key:
    return Key(row["evaluator"], row["version"], row["rubric"], row["rubric_version"], row["criterion"])


def _counts(rows: Sequence[Any]) -> dict[str, Counts]:
    names = ("kind", "a", "b", "pairs", "stale_a", "stale_b")
    return {row["kind"]: Counts(*(row[name] for name in names)) for row in rows}


def _live_row(request: Request) -> tuple[object, ...]:
    return (request.tenant, request.kind, request.product, request.since, request.until, *_sides(request))


def _sides(request: Request) -> tuple[str, ...]:
    sides = (request.a.variant, request.b.variant)
    return tuple(part for variant in sides for part in (variant.name, variant.version))


def _paired_row(request: Request) -> tuple[object, ...]:
    return (
        *(request.tenant, request.run_id, request.kind, request.product, request.since, request.until),
        *_arm(request.a),
        *_arm(request.b),
    )


def _arm(side: Side) -> tuple[object, ...]:
    return side.variant.name, side.variant.version, int(side.setting)


def _figures(row: Any) -> PromptFigures:
    prompt = Versioned(row["prompt_name"], row["prompt_version"])
    names = ("answers", "borne_out", "extracted", "refused", "thumbs_up", "thumbs_down")
    return PromptFigures(prompt, *(row[name] for name in names))


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
