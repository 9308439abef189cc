"""The table of spans."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from headrace_database import Database
from headrace_identity import EVERYBODY
from headrace_telemetry.names import Attribute

from headrace_embedded.traces.spans import StoredSpan

#: The attribute of a span that says whose data it is about.
TENANT: Attribute = "headrace.tenant"

_COLUMNS = (
    "trace_id",
    "span_id",
    "parent_span_id",
    "service",
    "name",
    "kind",
    "started_ns",
    "ended_ns",
    "failed",
    "attributes",
    "links",
    "query_id",
)
_ADD = f"""
INSERT INTO spans ({", ".join(_COLUMNS)}) VALUES ({", ".join(f"${place}" for place in range(1, len(_COLUMNS) + 1))})
"""  # noqa: S608 - our own column names
# A sender that tries again may leave a span twice; one of them is read.
_ONE_TRACE = f"""
SELECT * FROM (SELECT DISTINCT ON (span_id) {", ".join(_COLUMNS)} FROM spans WHERE trace_id = $1) once
ORDER BY started_ns, ended_ns DESC
"""  # noqa: S608 - our own column names
_AFTER = "SELECT * FROM spans WHERE position > $1 ORDER BY position LIMIT $2"
# Two tenants may use the same query id: the later one is shown.
_TRACE_OF_QUERY = f"""
SELECT trace_id FROM spans WHERE query_id = $1 AND ($2 = '{EVERYBODY}' OR attributes ->> '{TENANT}' = $2)
ORDER BY position DESC LIMIT 1
"""  # noqa: S608 - our own names


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept at most."""

    age: timedelta
    rows: int


class SpanStore:
    """Spans in Postgres. Raises Unavailable("postgres") when it can't be reached."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, spans: Sequence[StoredSpan]) -> None:
        """Stores spans. Not by COPY, which row-level security does not let in."""
        async with self._database.transaction() as connection:
            await connection.executemany(_ADD, list(map(_record, spans)))

    async def trace(self, trace_id: str) -> list[StoredSpan]:
        """Returns a trace's spans by their start; empty when none is kept."""
        async with self._database.transaction() as connection:
            return [_stored(row) for row in await connection.fetch(_ONE_TRACE, trace_id)]

    async def after(self, position: int, *, limit: int) -> list[tuple[int, StoredSpan]]:
        """Returns spans in the order in which they were stored, each with its position, from after a position on.

        Only one process writes, so no span turns up later at a lower position.
        """
        async with self._database.transaction() as connection:
            rows = await connection.fetch(_AFTER, position, limit)
        return [(row["position"], _stored(row)) for row in rows]

    async def trace_of_query(self, query_id: str, *, tenant: str) -> str:
        """Returns the id of the trace that followed a tenant's query, or EVERYBODY's; empty when none is kept."""
        async with self._database.transaction() as connection:
            return await connection.fetchval(_TRACE_OF_QUERY, query_id, tenant) or ""

    async def forget(self, retention: Retention, *, now: datetime) -> int:
        """Removes what is too old or too much, and returns how many spans that were."""
        async with self._database.transaction() as connection:
            old = await connection.execute("DELETE FROM spans WHERE stored_at < $1", now - retention.age)
            newest = await connection.fetchval("SELECT max(position) FROM spans") or 0
            many = await connection.execute("DELETE FROM spans WHERE position <= $1", newest - retention.rows)
        return _count(old) + _count(many)


def utc_now() -> datetime:
    """Returns the time."""
    return datetime.now(UTC)


def _count(command_tag: str) -> int:
    return int(command_tag.rsplit(" ", 1)[1])


def _record(span: StoredSpan) -> tuple[Any, ...]:
    values = {name: getattr(span, name) for name in _COLUMNS}
    values["attributes"] = json.dumps(dict(span.attributes))
    values["links"] = list(span.links)
    return tuple(values.values())


def _stored(row: Any) -> StoredSpan:
    known = {name: row[name] for name in _COLUMNS if name not in ("attributes", "links", "query_id")}
    return StoredSpan(**known, attributes=json.loads(row["attributes"]), links=tuple(row["links"]))
