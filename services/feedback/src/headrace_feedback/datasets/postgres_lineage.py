"""Which row of which snapshot is of what, and which answers are, in Postgres; see migrations/0009 and 0010."""

from __future__ import annotations

from collections.abc import Sequence

from headrace_database import Connection
from headrace_database.connection import statement
from headrace_stream.erasing import Names

from headrace_feedback.datasets.erasing import OF_DOCUMENT, OF_SOURCE
from headrace_feedback.datasets.postgres import read_snapshot
from headrace_feedback.datasets.tracing import DOCUMENTS, EXAMPLES, SNAPSHOTS, Answers, Asked, Holder, Kind

#: Which rows `r` are of something, $2.
_ROWS: dict[Kind, str] = {
    "dataset": "r.dataset_id = $2",
    "source": OF_SOURCE,
    "document": OF_DOCUMENT,
    "subject": "r.subject = $2",
    "query_id": "r.row_id = $2",
}
# What has no rows any more is still there when it is asked for by its id.
_HOLDERS = """
    SELECT s.*, coalesce(found.rows, 0) AS traced, coalesce(found.row_ids, '{{}}') AS row_ids
    FROM snapshots s LEFT JOIN (
        SELECT r.dataset_id, count(*) AS rows, (array_agg(r.row_id ORDER BY r.row_id))[1:{examples}] AS row_ids
        FROM snapshot_rows r WHERE r.tenant = $1 AND {rows} GROUP BY r.dataset_id
    ) found USING (dataset_id)
    WHERE s.tenant = $1 AND {snapshots}
    ORDER BY s.created_at DESC, s.dataset_id LIMIT {most}
"""

_OF_CHUNKS = "i.query_id IN (SELECT c.query_id FROM interaction_chunks c WHERE c.tenant = $1 AND c.source = $2{})"
#: Which interactions `i` are of something, $2, and for a document $3 too.
_ANSWERS: dict[Kind, str] = {
    "source": _OF_CHUNKS.format(""),
    "document": _OF_CHUNKS.format(" AND c.document_id = $3"),
    "subject": "i.subject = $2",
    "query_id": "i.query_id = $2::text::uuid",
    "model_version": "i.model_version = ANY($2)",
}
_FIND_ANSWERS = """
    WITH found AS (SELECT i.query_id, i.completed_at FROM interactions i WHERE i.tenant = $1 AND {answers})
    SELECT (SELECT count(*) FROM found) AS count,
        ARRAY(SELECT query_id FROM found ORDER BY completed_at DESC, query_id LIMIT {examples}) AS query_ids
"""

_DOCUMENTS: dict[Kind, str] = {
    "dataset": """
        SELECT DISTINCT unnest(r.documents) AS document FROM snapshot_rows r WHERE r.tenant = $1 AND r.dataset_id = $2
    """,
    "query_id": """
        SELECT DISTINCT c.source || '/' || c.document_id AS document FROM interaction_chunks c
        WHERE c.tenant = $1 AND c.query_id = $2::text::uuid
    """,
}


class PostgresLineage:
    """See ports.Lineage. names: hash the tenant's end users, as the rows have them."""

    def __init__(self, connection: Connection, names: Names) -> None:
        self._connection = connection
        self._names = names

    async def holders(self, tenant: str, asked: Asked) -> Sequence[Holder]:
        """See ports.Lineage."""
        rows = _ROWS.get(asked.kind)
        if rows is None:
            return ()
        snapshots = "s.dataset_id = $2" if asked.kind == "dataset" else "found.rows > 0"
        sql = _HOLDERS.format(rows=rows, snapshots=snapshots, examples=EXAMPLES, most=SNAPSHOTS)
        value = self._names.subject(asked.name) if asked.kind == "subject" else asked.name
        with statement("SELECT snapshots", operation="SELECT", collection="snapshots"):
            found = await self._connection.fetch(sql, tenant, value)
        return [Holder(read_snapshot(row), row["traced"], row["row_ids"]) for row in found]

    async def answers(self, tenant: str, asked: Asked) -> Answers:
        """See ports.Lineage."""
        answers = _ANSWERS.get(asked.kind)
        if answers is None:
            return Answers()
        sql = _FIND_ANSWERS.format(answers=answers, examples=EXAMPLES)
        with statement("SELECT interactions", operation="SELECT", collection="interactions"):
            row = await self._connection.fetchrow(sql, tenant, *_values(asked))
        return Answers(row["count"], row["query_ids"])

    async def documents(self, tenant: str, asked: Asked) -> Sequence[str]:
        """See ports.Lineage."""
        sql = _DOCUMENTS.get(asked.kind)
        if sql is None:
            return ()
        rows = await self._connection.fetch(f"{sql} ORDER BY 1 LIMIT {DOCUMENTS}", tenant, asked.name)
        return [row["document"] for row in rows]


def _values(asked: Asked) -> tuple[object, ...]:
    """A model is known by "NAME@VERSION", its answers by the version alone."""
    match asked.kind:
        case "document":
            return tuple(asked.name.split("/", 1))
        case "model_version":
            return ([asked.name, asked.name.rpartition("@")[2]],)
        case _:
            return (asked.name,)
