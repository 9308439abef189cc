"""The queue in Postgres: any number of instances share it, each task is one instance's for the length of a lease.

Of all tenants; a transaction of any tenant, or of none, may put and take.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from headrace_database import Connection
from headrace_stream import Unit

from headrace_feedback.evaluating.tasks import SUSPECTED_FROM, Depth, Held, Sampling, Task, live_task
from headrace_feedback.interaction import Interaction

_PUT = """
    INSERT INTO evaluation_tasks (tenant, task_id, query_id, against, run_id, case_id, depth, judges)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING
"""
# The clock is the server's, so that instances whose clocks differ agree on whose a task is.
# What was begun in vain before comes last and by itself, the least tried first: in a batch it would count against all.
_CLAIM = """
    WITH fresh AS (
        SELECT tenant, task_id FROM evaluation_tasks WHERE due_at <= now() AND attempts < $4
        ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
    ), suspected AS (
        SELECT tenant, task_id FROM evaluation_tasks
        WHERE due_at <= now() AND attempts >= $4 AND NOT EXISTS (SELECT FROM fresh)
        ORDER BY attempts, due_at LIMIT 1 FOR UPDATE SKIP LOCKED
    ), next AS (
        SELECT * FROM fresh UNION ALL SELECT * FROM suspected
    )
    UPDATE evaluation_tasks t
    SET holder = $1, due_at = now() + make_interval(secs => $2), attempts = t.attempts + 1
    FROM next WHERE t.tenant = next.tenant AND t.task_id = next.task_id
    RETURNING t.*
"""
_RENEW = """
    UPDATE evaluation_tasks SET due_at = now() + make_interval(secs => $2)
    WHERE holder = $1 AND (tenant, task_id) IN (SELECT * FROM unnest($3::text[], $4::uuid[]))
"""
_RELEASE = """
    UPDATE evaluation_tasks SET holder = NULL, due_at = now() + make_interval(secs => $4), attempts = $5
    WHERE holder = $1 AND tenant = $2 AND task_id = $3
"""
_FINISH = "DELETE FROM evaluation_tasks WHERE holder = $1 AND tenant = $2 AND task_id = $3 RETURNING true"
_SAMPLING = "SELECT share, judges, judged_share FROM evaluation_settings WHERE tenant = $1"


async def put_task(connection: Connection, task: Task) -> None:
    """Puts a task into the queue, in the caller's transaction; one that waits already is not put again."""
    await connection.execute(
        _PUT,
        task.tenant,
        task.task_id,
        task.query_id,
        task.against,
        task.run_id,
        task.case_id,
        int(task.depth),
        list(task.judges),
    )


async def put_live(connection: Connection, tenant: str, query_id: UUID) -> None:
    """Puts a live answer into the queue, as far as the tenant's settings sample it, in the caller's transaction, which
    has named the tenant."""
    await put_task(connection, live_task(tenant, query_id, await sampling_of(connection, tenant)))


async def sampling_of(connection: Connection, tenant: str) -> Sampling:
    """Reads a tenant's settings; nothing is sampled where there are none."""
    row = await connection.fetchrow(_SAMPLING, tenant)
    return Sampling(row["share"], tuple(row["judges"]), row["judged_share"]) if row else Sampling()


class QueuedAnswers:
    """See headrace_feedback.ports.Evaluations."""

    async def on_answer(self, unit: Unit, interaction: Interaction) -> None:
        """See headrace_feedback.ports.Evaluations."""
        await put_live(unit.connection, interaction.tenant, interaction.query_id)


class PostgresQueue:
    """See ports.Queue, in the caller's transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def claim(self, holder: UUID, *, seconds: float, most: int) -> Sequence[Held]:
        """See ports.Queue."""
        return [_held(row) for row in await self._connection.fetch(_CLAIM, holder, seconds, most, SUSPECTED_FROM)]

    async def renew(self, holder: UUID, tasks: Sequence[Task], *, seconds: float) -> None:
        """See ports.Queue."""
        tenants, ids = [task.tenant for task in tasks], [task.task_id for task in tasks]
        await self._connection.execute(_RENEW, holder, seconds, tenants, ids)

    async def release(self, holder: UUID, task: Task, *, seconds: float, attempts: int) -> None:
        """See ports.Queue."""
        await self._connection.execute(_RELEASE, holder, task.tenant, task.task_id, seconds, attempts)

    async def finish(self, holder: UUID, task: Task) -> bool:
        """See ports.Queue."""
        return bool(await self._connection.fetchval(_FINISH, holder, task.tenant, task.task_id))

    async def waiting(self, tenant: str) -> int:
        """See ports.Queue."""
        count = await self._connection.fetchval("SELECT count(*) FROM evaluation_tasks WHERE tenant = $1", tenant)
        return int(count)


def _held(row: Any) -> Held:
    task = Task(
        tenant=row["tenant"],
        query_id=row["query_id"],
        run_id=row["run_id"],
        case_id=row["case_id"],
        depth=Depth(row["depth"]),
        judges=tuple(row["judges"]),
        against=row["against"],
    )
    return Held(task, row["attempts"])
