"""The registry's books in Postgres."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from headrace_database import Connection
from headrace_database.connection import statement

from headrace_trainer.registry.evidence import Answer, Sample, Side, Thumb
from headrace_trainer.registry.models import Model
from headrace_trainer.registry.records import from_json, to_json

_ADD = """
INSERT INTO models (tenant, model, target, state, answers, run_id, dataset_id, tier, registered_at, record)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING RETURNING true
"""
# One value, found once: as a joined subquery it is evaluated for every row where the planner believes that there are
# few, and each time locks the next.
_TAKE = """
UPDATE model_turns SET holder = $1, held_until = $2::timestamptz + make_interval(secs => $3), due_at = 'infinity'
WHERE (tenant, model) = (
    SELECT tenant, model FROM model_turns WHERE (due_at <= $2 OR holder IS NOT NULL) AND held_until <= $2
    ORDER BY due_at, tenant, model LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING tenant, model
"""
_PUT = """
INSERT INTO model_turns AS t (tenant, model, is_watched, due_at, held_until) VALUES ($1, $2, $3, $4, '-infinity')
ON CONFLICT (tenant, model) DO UPDATE SET is_watched = $3, due_at = $4
"""
_RELEASE = """
UPDATE model_turns SET holder = NULL, held_until = '-infinity', due_at = least(due_at, $4)
WHERE tenant = $1 AND model = $2 AND holder = $3
"""
_SIDES: dict[bool, Side] = {True: "canary", False: "champion"}


class PostgresBooks:
    """See ports.Models, ports.Counts and ports.Turns."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def hold(self, tenant: str) -> None:
        await self._connection.execute("SELECT pg_advisory_xact_lock(hashtext('models'), hashtext($1))", tenant)

    async def add(self, model: Model) -> bool:
        with statement("INSERT models", operation="INSERT", collection="models"):
            is_new = await self._connection.fetchval(
                _ADD,
                model.tenant,
                model.model,
                int(model.target),
                int(model.state),
                model.answers,
                model.run_id,
                model.dataset_id,
                int(model.tier),
                model.registered_at,
                to_json(model),
            )
        return bool(is_new)

    async def save(self, model: Model) -> None:
        await self._connection.execute(
            "UPDATE models SET state = $3, answers = $4, record = $5 WHERE tenant = $1 AND model = $2",
            model.tenant,
            model.model,
            int(model.state),
            model.answers,
            to_json(model),
        )

    async def get(self, tenant: str, model: str) -> Model | None:
        found = await self._find("model = $2", tenant, model, 1)
        return found[0] if found else None

    async def of_run(self, tenant: str, run_id: UUID) -> Model | None:
        found = await self._find("run_id = $2", tenant, run_id, 1)
        return found[0] if found else None

    async def of_dataset(self, tenant: str, dataset_id: str) -> Sequence[Model]:
        return await self._find("dataset_id = $2", tenant, dataset_id, 1_000)

    async def newest(self, tenant: str, most: int) -> Sequence[Model]:
        return await self._find("$2::text IS NULL", tenant, None, most)

    async def _find(self, condition: str, tenant: str, value: object, most: int) -> list[Model]:
        rows = await self._connection.fetch(
            f"SELECT record FROM models WHERE tenant = $1 AND {condition}"  # noqa: S608 - our own words
            " ORDER BY registered_at DESC, model DESC LIMIT $3",
            tenant,
            value,
            most,
        )
        return [from_json(row["record"]) for row in rows]

    async def count(self, tenant: str, model: str, query_id: UUID, answer: Answer) -> None:
        await self._connection.execute(
            "INSERT INTO canary_answers"
            " (tenant, model, query_id, is_canary, failed, grounded, refused, too_slow, latency_ms)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
            tenant,
            model,
            query_id,
            answer.side == "canary",
            answer.failed,
            answer.grounded,
            answer.refused,
            answer.too_slow,
            answer.latency_ms,
        )

    async def thumb(self, tenant: str, query_id: UUID, *, up: int) -> None:
        await self._connection.execute(
            "INSERT INTO canary_thumbs (tenant, query_id, up) VALUES ($1, $2, $3)"
            " ON CONFLICT (tenant, query_id) DO UPDATE SET up = $3",
            tenant,
            query_id,
            bool(up),
        )

    async def sample(self, tenant: str, model: str, *, share: float, most: int) -> Sample:
        rows = await self._connection.fetch(
            "SELECT is_canary, failed, grounded, refused, too_slow, latency_ms FROM canary_answers"
            " WHERE tenant = $1 AND model = $2 ORDER BY place LIMIT $3",
            tenant,
            model,
            most,
        )
        thumbs = await self._connection.fetch(
            "SELECT a.is_canary, t.up FROM canary_thumbs t JOIN canary_answers a USING (tenant, query_id)"
            " WHERE t.tenant = $1 AND a.model = $2 ORDER BY t.place LIMIT $3",
            tenant,
            model,
            most,
        )
        answers = [
            Answer(
                side=_SIDES[row["is_canary"]],
                failed=row["failed"],
                grounded=row["grounded"],
                refused=row["refused"],
                latency_ms=row["latency_ms"],
                too_slow=row["too_slow"],
            )
            for row in rows
        ]
        return Sample(answers, [Thumb(_SIDES[row["is_canary"]], row["up"]) for row in thumbs], share)

    async def forget(self, tenant: str, model: str) -> None:
        await self._connection.execute("DELETE FROM canary_answers WHERE tenant = $1 AND model = $2", tenant, model)
        await self._connection.execute("DELETE FROM canary_thumbs WHERE tenant = $1", tenant)

    async def put(self, tenant: str, model: str, *, due_at: datetime, watched: int) -> None:
        await self._connection.execute(_PUT, tenant, model, bool(watched), due_at)

    async def drop(self, tenant: str, model: str) -> None:
        await self._connection.execute("DELETE FROM model_turns WHERE tenant = $1 AND model = $2", tenant, model)

    async def take(self, holder: UUID, *, now: datetime, seconds: float) -> tuple[str, str] | None:
        row = await self._connection.fetchrow(_TAKE, holder, now, seconds)
        return (row["tenant"], row["model"]) if row else None

    async def release(self, holder: UUID, tenant: str, model: str, *, due_at: datetime) -> None:
        await self._connection.execute(_RELEASE, tenant, model, holder, due_at)

    async def watched(self) -> Sequence[tuple[str, str]]:
        rows = await self._connection.fetch("SELECT tenant, model FROM model_turns WHERE is_watched ORDER BY 1, 2")
        return [(row["tenant"], row["model"]) for row in rows]
