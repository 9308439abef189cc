"""Runs in Postgres; migrations/0001_runs.sql says what each column holds."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from google.protobuf.json_format import MessageToDict, ParseDict
from headrace.training.v1.training_pb2 import Recipe as WireRecipe
from headrace_database import Connection
from headrace_privacy import Tier

from headrace_trainer.running.ports import Noted, Pause
from headrace_trainer.running.rules import Rules, Used
from headrace_trainer.running.runs import (
    Base,
    Cause,
    Made,
    Memorisation,
    Person,
    Point,
    Progress,
    Run,
    Snapshot,
    State,
    Target,
)
from headrace_trainer.running.translate import recipe_of, rules_of_json, rules_to_json, to_recipe

#: The row of `loops` that stands for everybody.
EVERYBODY = "*"

_ADD = """
    INSERT INTO runs (
        tenant, run_id, target, wanted, query, base_name, base_version, recipe, seed, causes, because, traceparent,
        role, created_by, created_at, begin_at, state
    ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, 1)
"""
_FOLD = """
    UPDATE runs SET wanted = $3, query = $4, base_name = $5, base_version = $6, recipe = $7, seed = $8, causes = $9,
        because = $10, role = $11, created_by = $12, begin_at = $13
    WHERE tenant = $1 AND run_id = $2 AND state = 1
"""
_MOVE = """
    UPDATE runs SET state = $4, begun_at = coalesce(begun_at, clock_timestamp())
    WHERE tenant = $1 AND run_id = $2 AND state = $3 RETURNING true
"""
_END = """
    UPDATE runs SET state = $3, failure = $4, ended_at = clock_timestamp()
    WHERE tenant = $1 AND run_id = $2 AND ended_at IS NULL RETURNING *
"""
_SNAPSHOT = """
    UPDATE runs SET dataset_id = $3, dataset_tier = $4, grants = $5, rows = $6, held_out_rows = $7, without_grant = $8
    WHERE tenant = $1 AND run_id = $2
"""
_PROGRESS = """
    UPDATE runs SET step = $3, steps = $4, loss = $5, held_out_loss = $6, tokens = $7, tokens_a_second = $8,
        compute_seconds = $9
    WHERE tenant = $1 AND run_id = $2
"""
_POINT = """
    INSERT INTO run_points (tenant, run_id, step, loss, held_out_loss) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (tenant, run_id, step) DO UPDATE SET loss = $4, held_out_loss = $5
"""
# A person's run is none of the budget's, but what it computes is. One that goes on counts for what it has computed.
_USED = """
    SELECT count(*) FILTER (WHERE NOT 1 = ANY(causes) AND begun_at > clock_timestamp() - interval '1 day') AS runs,
        coalesce(sum(compute_seconds), 0) AS compute_seconds
    FROM runs WHERE tenant = $1 AND begun_at IS NOT NULL
        AND (ended_at IS NULL OR ended_at > clock_timestamp() - interval '1 day')
"""
_TAKE = """
    UPDATE run_turns SET holder = $1, held_until = clock_timestamp() + make_interval(secs => $2)
    WHERE (tenant, run_id) = (
        SELECT tenant, run_id FROM run_turns WHERE held_until <= clock_timestamp()
        ORDER BY held_until LIMIT 1 FOR UPDATE SKIP LOCKED
    ) RETURNING tenant, run_id
"""
_KEEP = """
    UPDATE run_turns SET held_until = clock_timestamp() + make_interval(secs => $3)
    WHERE run_id = $2 AND holder = $1 RETURNING true
"""
_LET_GO = """
    UPDATE run_turns SET holder = NULL, held_until = clock_timestamp() + make_interval(secs => $3)
    WHERE run_id = $2 AND holder = $1
"""
_PAUSE = """
    INSERT INTO loops (tenant, paused_at, paused_by, paused_because) VALUES ($1, clock_timestamp(), $2, $3)
    ON CONFLICT (tenant) DO UPDATE SET paused_at = clock_timestamp(), paused_by = $2, paused_because = $3
"""
_SCHEDULE = """
    INSERT INTO loops AS l (tenant, next_scheduled_at)
    VALUES ($1, CASE WHEN $2::float8 > 0 THEN clock_timestamp() + make_interval(secs => $2) END)
    ON CONFLICT (tenant) DO UPDATE SET next_scheduled_at = excluded.next_scheduled_at
"""


class PostgresBooks:
    """See ports.Books and ports.Turns. On one connection, inside its transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def hold(self, tenant: str) -> None:
        await self._connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 6))", f"loop of {tenant}")

    async def now(self) -> datetime:
        found: datetime = await self._connection.fetchval("SELECT clock_timestamp()")
        return found

    async def rules(self, tenant: str) -> Rules:
        content = await self._connection.fetchval(
            "SELECT rules FROM loop_rules WHERE tenant = $1 ORDER BY version DESC LIMIT 1", tenant
        )
        return rules_of_json(json.loads(content)) if content else Rules()

    async def put_rules(self, tenant: str, rules: Rules) -> None:
        await self._connection.execute(
            "INSERT INTO loop_rules (tenant, version, rules, changed_by, changed_at) VALUES ($1, $2, $3, $4, $5)",
            tenant,
            rules.version,
            json.dumps(rules_to_json(rules)),
            rules.changed_by,
            rules.changed_at,
        )
        await self.schedule_again(tenant, seconds=rules.schedule_seconds if rules.automatic else 0)

    async def pause_of(self, tenant: str) -> Pause | None:
        row = await self._connection.fetchrow(
            "SELECT * FROM loops WHERE tenant IN ($1, $2) AND paused_at IS NOT NULL ORDER BY tenant = $2 LIMIT 1",
            tenant,
            EVERYBODY,
        )
        if row is None:
            return None
        return Pause(row["paused_by"], row["paused_at"], row["paused_because"], everybody=row["tenant"] == EVERYBODY)

    async def pause(self, tenant: str, pause: Pause) -> None:
        await self._connection.execute(_PAUSE, tenant or EVERYBODY, pause.by, pause.because)

    async def resume(self, tenant: str) -> None:
        await self._connection.execute("UPDATE loops SET paused_at = NULL WHERE tenant = $1", tenant or EVERYBODY)

    async def used(self, tenant: str) -> Used:
        row = await self._connection.fetchrow(_USED, tenant)
        return Used(row["runs"], row["compute_seconds"]) if row else Used()

    async def add_cause(self, tenant: str, noted: Noted) -> bool:
        inserted = await self._connection.fetchval(
            "INSERT INTO causes (tenant, cause_id, target, cause, because, traceparent, run_id, added_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING RETURNING true",
            tenant,
            noted.cause_id,
            int(noted.target),
            int(noted.cause),
            list(noted.because),
            noted.traceparent,
            noted.run_id,
            noted.added_at,
        )
        return bool(inserted)

    async def drop_held(self, tenant: str, cause_id: UUID) -> None:
        await self._connection.execute(
            "DELETE FROM causes WHERE tenant = $1 AND cause_id = $2 AND run_id IS NULL", tenant, cause_id
        )

    async def held(self, tenant: str, target: Target) -> Sequence[Noted]:
        rows = await self._connection.fetch(
            "SELECT * FROM causes WHERE tenant = $1 AND target = $2 AND run_id IS NULL ORDER BY added_at, cause_id",
            tenant,
            int(target),
        )
        return [_noted(row) for row in rows]

    async def attach(self, tenant: str, cause_ids: Sequence[UUID], run_id: UUID) -> None:
        await self._connection.execute(
            "UPDATE causes SET run_id = $3 WHERE tenant = $1 AND cause_id = ANY($2)", tenant, list(cause_ids), run_id
        )

    async def waiting(self, tenant: str, target: Target) -> Run | None:
        row = await self._connection.fetchrow(
            "SELECT * FROM runs WHERE tenant = $1 AND target = $2 AND state = 1 FOR UPDATE", tenant, int(target)
        )
        return _run(row) if row else None

    async def under_way(self, tenant: str, target: Target) -> UUID | None:
        found: UUID | None = await self._connection.fetchval(
            "SELECT run_id FROM runs WHERE tenant = $1 AND target = $2 AND state IN (2, 3, 8)", tenant, int(target)
        )
        return found

    async def add(self, run: Run) -> None:
        await self._connection.execute(
            _ADD,
            run.tenant,
            run.run_id,
            int(run.target),
            *_wish(run),
            [int(cause) for cause in run.causes],
            list(run.because),
            run.traceparent,
            run.by.role,
            run.by.subject,
            run.created_at,
            run.begin_at,
        )
        await self._connection.execute(
            "INSERT INTO run_turns (tenant, run_id, held_until) VALUES ($1, $2, $3)",
            run.tenant,
            run.run_id,
            run.begin_at,
        )

    async def fold(self, run: Run) -> None:
        causes = [int(cause) for cause in run.causes]
        more = (causes, list(run.because), run.by.role, run.by.subject, run.begin_at)
        await self._connection.execute(_FOLD, run.tenant, run.run_id, *_wish(run), *more)
        await self._connection.execute(
            "UPDATE run_turns SET held_until = $3 WHERE tenant = $1 AND run_id = $2 AND holder IS NULL",
            run.tenant,
            run.run_id,
            run.begin_at,
        )

    async def get(self, tenant: str, run_id: UUID) -> Run | None:
        row = await self._connection.fetchrow("SELECT * FROM runs WHERE tenant = $1 AND run_id = $2", tenant, run_id)
        if row is None:
            return None
        points = await self._connection.fetch(
            "SELECT step, loss, held_out_loss FROM run_points WHERE tenant = $1 AND run_id = $2 ORDER BY step",
            tenant,
            run_id,
        )
        return _run(row, curve=tuple(Point(*point) for point in points))

    async def newest(self, tenant: str, most: int) -> Sequence[Run]:
        rows = await self._connection.fetch(
            "SELECT * FROM runs WHERE tenant = $1 ORDER BY created_at DESC, run_id LIMIT $2", tenant, most
        )
        return [_run(row) for row in rows]

    async def of_dataset(self, tenant: str, dataset_id: str) -> Sequence[Run]:
        rows = await self._connection.fetch(
            "SELECT * FROM runs WHERE tenant = $1 AND dataset_id = $2 ORDER BY created_at DESC, run_id",
            tenant,
            dataset_id,
        )
        return [_run(row) for row in rows]

    async def move(self, run: Run, state: State) -> bool:
        return bool(await self._connection.fetchval(_MOVE, run.tenant, run.run_id, int(run.state), int(state)))

    async def set_snapshot(self, run: Run, snapshot: Snapshot) -> None:
        numbers = (snapshot.rows, snapshot.held_out_rows, snapshot.without_grant)
        which = (run.tenant, run.run_id, snapshot.dataset_id)
        await self._connection.execute(_SNAPSHOT, *which, int(snapshot.tier), list(snapshot.grants), *numbers)

    async def count_attempt(self, run: Run) -> int:
        attempts: int = await self._connection.fetchval(
            "UPDATE runs SET attempts = attempts + 1 WHERE tenant = $1 AND run_id = $2 RETURNING attempts",
            run.tenant,
            run.run_id,
        )
        return attempts

    async def uncount_attempt(self, run: Run) -> None:
        await self._connection.execute(
            "UPDATE runs SET attempts = greatest(attempts - 1, 0) WHERE tenant = $1 AND run_id = $2",
            run.tenant,
            run.run_id,
        )

    async def set_progress(self, run: Run, progress: Progress, points: Sequence[Point]) -> None:
        await self._connection.execute(
            _PROGRESS,
            run.tenant,
            run.run_id,
            progress.step,
            progress.steps,
            progress.loss,
            progress.held_out_loss,
            progress.tokens,
            progress.tokens_a_second,
            progress.compute_seconds,
        )
        rows = [(run.tenant, run.run_id, one.step, one.loss, one.held_out_loss) for one in points]
        await self._connection.executemany(_POINT, rows)

    async def set_made(self, run: Run, made: Made) -> None:
        await self._connection.execute(
            "UPDATE runs SET made = $3 WHERE tenant = $1 AND run_id = $2",
            run.tenant,
            run.run_id,
            json.dumps(asdict(made)),
        )

    async def set_model(self, run: Run, model: str) -> None:
        await self._connection.execute(
            "UPDATE runs SET model = $3 WHERE tenant = $1 AND run_id = $2", run.tenant, run.run_id, model
        )

    async def end(self, run: Run, state: State, *, failure: str = "") -> Run | None:
        row = await self._connection.fetchrow(_END, run.tenant, run.run_id, int(state), failure)
        if row is None:
            return None
        await self._connection.execute(
            "DELETE FROM run_turns WHERE tenant = $1 AND run_id = $2", run.tenant, run.run_id
        )
        return _run(row)

    async def take(self, holder: UUID, *, seconds: float) -> tuple[str, UUID] | None:
        """By the server's clock: those of two machines may differ by more than a turn."""
        row = await self._connection.fetchrow(_TAKE, holder, seconds)
        return (row["tenant"], row["run_id"]) if row else None

    async def keep(self, holder: UUID, run_id: UUID, *, seconds: float) -> bool:
        return bool(await self._connection.fetchval(_KEEP, holder, run_id, seconds))

    async def pass_on(self, holder: UUID, run_id: UUID, *, seconds: float) -> None:
        await self._connection.execute(_LET_GO, holder, run_id, seconds)

    async def going_on(self, run_ids: Collection[UUID]) -> Collection[UUID]:
        rows = await self._connection.fetch("SELECT run_id FROM run_turns WHERE run_id = ANY($1)", list(run_ids))
        return {row["run_id"] for row in rows}

    async def everybody(self) -> Sequence[tuple[str, UUID]]:
        rows = await self._connection.fetch("SELECT tenant, run_id FROM run_turns ORDER BY tenant, run_id")
        return [(row["tenant"], row["run_id"]) for row in rows]

    async def scheduled(self) -> str | None:
        found: str | None = await self._connection.fetchval(
            "SELECT tenant FROM loops WHERE next_scheduled_at <= clock_timestamp()"
            " ORDER BY next_scheduled_at LIMIT 1 FOR UPDATE SKIP LOCKED"
        )
        return found

    async def schedule_again(self, tenant: str, *, seconds: float) -> None:
        await self._connection.execute(_SCHEDULE, tenant, float(seconds))


def _wish(run: Run) -> tuple[Any, ...]:
    recipe = json.dumps(MessageToDict(to_recipe(run.recipe)))
    return run.wanted, run.query, run.base.name, run.base.version, recipe, str(run.seed)


def _noted(row: asyncpg.Record) -> Noted:
    return Noted(
        cause_id=row["cause_id"],
        target=Target(row["target"]),
        cause=Cause(row["cause"]),
        because=tuple(row["because"]),
        traceparent=row["traceparent"],
        added_at=row["added_at"],
        run_id=row["run_id"],
    )


def _run(row: asyncpg.Record, *, curve: Sequence[Point] = ()) -> Run:
    return Run(
        run_id=row["run_id"],
        tenant=row["tenant"],
        target=Target(row["target"]),
        wanted=row["wanted"],
        query=row["query"],
        base=Base(row["base_name"], row["base_version"]),
        recipe=recipe_of(ParseDict(json.loads(row["recipe"]), WireRecipe())),
        seed=int(row["seed"]),
        causes=tuple(Cause(cause) for cause in row["causes"]),
        because=tuple(row["because"]),
        traceparent=row["traceparent"],
        by=Person(row["role"], row["created_by"]),
        created_at=row["created_at"],
        state=State(row["state"]),
        snapshot=_snapshot(row),
        progress=_progress(row),
        made=_made(row["made"]),
        model=row["model"],
        failure=row["failure"],
        begin_at=row["begin_at"],
        begun_at=row["begun_at"],
        ended_at=row["ended_at"],
        attempts=row["attempts"],
        curve=curve,
    )


def _snapshot(row: asyncpg.Record) -> Snapshot:
    return Snapshot(
        dataset_id=row["dataset_id"],
        tier=Tier(row["dataset_tier"]),
        grants=tuple(row["grants"]),
        rows=row["rows"],
        held_out_rows=row["held_out_rows"],
        without_grant=row["without_grant"],
    )


def _progress(row: asyncpg.Record) -> Progress:
    names = ("step", "steps", "loss", "held_out_loss", "tokens", "tokens_a_second", "compute_seconds")
    return Progress(**{name: row[name] for name in names})


def _made(content: str | None) -> Made | None:
    if content is None:
        return None
    told = json.loads(content)
    told["base"] = Base(**told["base"])
    if told["memorisation"] is not None:
        told["memorisation"] = Memorisation(**told["memorisation"])
    return Made(**told)
