"""What measuring holds of an erasure: scores, comparisons, and what waits. No words of anybody, but ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from headrace_database import Connection
from headrace_stream.erasing import Erasure, Names

SCORES = "feedback.scores"
PAIRS = "feedback.pair_scores"
TASKS = "feedback.evaluation_tasks"

# Of an answer that is in the log no more, nor among the trials' answers. What waits goes first: a worker takes its task
# off the queue in the transaction that stores its scores, so none can be stored behind our back.
_GONE = """
    ({id} = ANY($2) OR NOT EXISTS (SELECT FROM interactions i WHERE i.tenant = $1 AND i.query_id = {id})
        AND NOT EXISTS (SELECT FROM trial_answers t WHERE t.tenant = $1 AND t.query_id = {id}))
"""
_OF_TASKS = f"tenant = $1 AND ({_GONE.format(id='query_id')} OR against IS NOT NULL AND {_GONE.format(id='against')})"
_OF_SCORES = f"tenant = $1 AND {_GONE.format(id='query_id')}"
_OF_PAIRS = f"tenant = $1 AND ({_GONE.format(id='arm_a')} OR {_GONE.format(id='arm_b')})"
_WHERE = {TASKS: _OF_TASKS, SCORES: _OF_SCORES, PAIRS: _OF_PAIRS}


class EvaluationHoldings:
    """See headrace_feedback.erasing.Part. It comes after the part that removes the trials' answers."""

    @property
    def how(self) -> Mapping[str, str]:
        """See Part."""
        return {SCORES: "deleted and vacuumed", PAIRS: "deleted and vacuumed", TASKS: "deleted and vacuumed"}

    @property
    def tables(self) -> Sequence[str]:
        """See Part."""
        return ("scores", "pair_scores", "evaluation_tasks")

    async def remove(
        self, connection: Connection, erasure: Erasure, names: Names, *, queries: Sequence[UUID]
    ) -> Mapping[str, int]:
        """See Part."""
        del names
        removed: dict[str, int] = {}
        for store, where in _WHERE.items():
            delete = f"DELETE FROM {store.partition('.')[2]} WHERE {where}"  # noqa: S608 - our own words
            status = await connection.execute(delete, erasure.tenant, list(queries))
            removed[store] = int(status.rpartition(" ")[2])
        return removed

    async def left(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """See Part. Whatever of the tenant's hangs on an answer that is gone."""
        del names
        nothing: list[UUID] = []
        return {
            store: await connection.fetchval(
                f"SELECT count(*) FROM {store.partition('.')[2]} WHERE {where}",  # noqa: S608 - our own words
                erasure.tenant,
                nothing,
            )
            for store, where in _WHERE.items()
        }
