"""Figures in Postgres. What comes back is columns of numbers, a measure at a time, and no row has a text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import numpy as np
from headrace_database import Connection, Database
from headrace_database.connection import statement
from headrace_privacy import Tier

from headrace_feedback.interaction import Versioned
from headrace_feedback.reporting import live_sql, paired_sql
from headrace_feedback.reporting.columns import Answers, Column, Places, acted, counts_of, seen_in, told_by
from headrace_feedback.reporting.measures import Key
from headrace_feedback.reporting.prompts import PromptFigures, PromptRequest
from headrace_feedback.reporting.reports import Batch, Counts, Evidence, Floats, Lengths, Paired, Request, Seen, Side
from headrace_feedback.running.postgres import PostgresRuns
from headrace_feedback.running.runs import Run

#: The newest so many answers are compared; half a million take some tens of megabytes.
MOST_ANSWERS = 500_000
#: From so many on it is faster to read tables than to look things up.
MANY_ANSWERS = 2_000


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
        return [Batch(Tier(row["tier"]), tuple(row["sources"]), tuple(row["ids"])) for row in rows]

    async def evidence(self, request: Request, ids: Sequence[Any], *, clearance: Tier) -> Evidence:
        """See ports.Books."""
        async with self._database.transaction(tenant=request.tenant, clearance=clearance) as connection:
            await _prepare(connection, len(ids))
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


async def _prepare(connection: Connection, count: int) -> None:
    """Has the planner know what it cannot see: how many ids it is given. It takes them for some hundred, and would look
    up each of a hundred thousand by itself, in four indexes."""
    if count >= MANY_ANSWERS:
        await connection.execute(
            "SELECT set_config('enable_nestloop', 'off', true), set_config('work_mem', '64MB', true)"
        )


async def _live_evidence(connection: Connection, request: Request, ids: Sequence[Any]) -> Evidence:
    given = (request.tenant, ids)
    answers = _answers(await connection.fetchrow(live_sql.ANSWERS, *given, *_sides(request)), len(ids))
    seen = [one for column in told_by(answers) for one in seen_in(column, answers)]
    # Row by row: each is one measure of all answers, and only its sums are kept.
    async for row in connection.cursor(live_sql.SCORES, *given, prefetch=1):
        column = Column(_key(row), _integers(row["places"]), _floats(row["values"]), row["decides"])
        seen += seen_in(column, answers)
    for row in await connection.fetch(live_sql.SAID, *given):
        if (said := _said(row, answers)) is not None:
            seen += seen_in(said, answers)
    stale = _integers(await connection.fetchval(live_sql.STALE, *given))
    return Evidence(seen, counts_of(answers, stale))


def _answers(row: Any, count: int) -> Answers:
    """The columns, in the order of the ids: rows come as they please, and what has gone since is on no side."""
    places = _integers(row["places"])

    def integers(name: str) -> Places:
        whole = np.zeros(count, dtype=np.int64)
        whole[places] = _integers(row[name])
        return whole

    def floats(name: str) -> Floats:
        whole = np.full(count, np.nan)
        whole[places] = _floats(row[name])
        return whole

    return Answers(
        kinds=row["kinds"],
        side=integers("side"),
        kind=integers("kind"),
        conversation=integers("conversation"),
        grounding=integers("grounding"),
        cost=floats("cost"),
        seconds=floats("seconds"),
    )


def _said(row: Any, answers: Answers) -> Column | None:
    places, values = _integers(row["places"]), _floats(row["values"])
    match row["kind"]:
        case "thumb":
            return Column(Key("thumbs"), places, (values > 0).astype(float))
        case "rating":
            return Column(Key("rating"), places, values)
        case _:
            return acted(row["detail"], places, answers) if row["detail"] in {"copied", "asked_again"} else None


def _integers(column: bytes | None) -> Places:
    """Postgres sends the most significant byte first."""
    return np.frombuffer(column or b"", dtype=">i4").astype(np.int64)


def _floats(column: bytes | None) -> Floats:
    return np.frombuffer(column or b"", dtype=">f8").astype(np.float64)


async def _paired_evidence(connection: Connection, request: Request, ids: Sequence[Any]) -> Evidence:
    live = [UUID(one) for one in ids if _is_uuid(one)]
    # A case is a text, and where it is a live query too its id.
    cases = (request.tenant, request.run_id, *_arm(request.a), *_arm(request.b), list(ids), live)
    rows = await connection.fetch(paired_sql.EVIDENCE, *cases)
    counts = await connection.fetch(paired_sql.COUNTS, *cases)
    lengths = await connection.fetch(paired_sql.LENGTHS, *cases)
    return Evidence([_paired_seen(row) for row in rows], _counts(counts), [_lengths(row) for row in lengths])


def _lengths(row: Any) -> Lengths:
    preferences, extra = (np.array(row[name], dtype=float) for name in ("preferences", "extra"))
    return Lengths(_key(row), preferences, extra)


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
