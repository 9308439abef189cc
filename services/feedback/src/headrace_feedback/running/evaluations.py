"""Having trials measured: tasks in the queue of evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from headrace_database import Connection

from headrace_feedback.evaluating.queue import put_task, sampling_of
from headrace_feedback.evaluating.tasks import Task, live_task
from headrace_feedback.running.runs import Kind, Pair, Run, TrialAnswer


class QueuedEvaluations:
    """See ports.Evaluations."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def put_answer(self, answer: TrialAnswer, *, judges: Sequence[str]) -> None:
        """See ports.Evaluations."""
        tenant, query_id = answer.interaction.tenant, answer.interaction.query_id
        if answer.kind is Kind.SHADOW:
            task = await self._as_live(answer)
        else:
            task = Task(tenant, query_id, answer.run_id, answer.case_id, judges=tuple(judges))
        await put_task(self._connection, task)

    async def _as_live(self, answer: TrialAnswer) -> Task:
        """Drawn by the live query's id: where the one was looked into, the other is too."""
        tenant = answer.interaction.tenant
        drawn = live_task(tenant, UUID(answer.case_id), await sampling_of(self._connection, tenant))
        return replace(drawn, query_id=answer.interaction.query_id, run_id=answer.run_id, case_id=answer.case_id)

    async def put_baseline(self, run: Run, case_id: str) -> None:
        """See ports.Evaluations."""
        task = Task(run.tenant, UUID(case_id), str(run.run_id), case_id, judges=run.judges)
        await put_task(self._connection, task)

    async def put_pair(self, pair: Pair) -> None:
        """See ports.Evaluations."""
        if not pair.run.judges:
            return
        first = pair.first or UUID(pair.case_id)
        task = Task(pair.run.tenant, first, str(pair.run.run_id), pair.case_id, judges=pair.run.judges)
        await put_task(self._connection, replace(task, against=pair.second))
