"""The drift monitor's part in an erasure: the queries that it keeps by id. The rest are counts, and nobody's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import asyncpg
from headrace import topics
from headrace_database import Connection, Database
from headrace_stream import Bus
from headrace_stream.erasing import Eraser, Erasure, Expired, Names, Subject

from headrace_drift.measuring import Sketch

SKETCHES = "drift.sketches"
EXAMPLES = "drift.examples"
ALERTS = "drift.alert_examples"

HOW = {
    SKETCHES: "queries' ids deleted and vacuumed; what is left are counts",
    EXAMPLES: "deleted and vacuumed",
    ALERTS: "deleted and vacuumed",
}

_TABLES = {EXAMPLES: "examples", ALERTS: "alert_examples"}


def meant_by(erasure: Erasure, names: Names) -> tuple[str, tuple[object, ...]]:
    """Returns which samples an erasure means: SQL and its values, from $2 on."""
    match erasure.what:
        case Subject(name):
            return "subject = $2 AND asked_at <= $3", (names.subject(name), erasure.until)
        case Expired(tier, before):
            return "tier = $2 AND asked_at < $3", (int(tier), before)
        case _:  # which documents were used is written where answers are kept
            return "false", ()


@dataclass(frozen=True, slots=True)
class SampleHoldings:
    """See headrace_stream.erasing.Holdings."""

    database: Database
    how: Mapping[str, str] = field(default_factory=lambda: HOW)

    async def remove(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """See Holdings.remove. A sketch that keeps one of the queries is written anew without it."""
        condition, values = meant_by(erasure, names)
        rows = await connection.fetch(
            "SELECT bucket, product, kind, array_agg(query_id) AS query_ids FROM examples"  # noqa: S608 - our own words
            f" WHERE tenant = $1 AND {condition} GROUP BY bucket, product, kind",
            erasure.tenant,
            *values,
        )
        rewritten = 0
        for row in rows:
            rewritten += await _forget(connection, erasure.tenant, row)
        removed = {SKETCHES: rewritten}
        for store, table in _TABLES.items():
            status = await connection.execute(
                f"DELETE FROM {table} WHERE tenant = $1 AND {condition}",  # noqa: S608 - our own words
                erasure.tenant,
                *values,
            )
            removed[store] = int(status.rpartition(" ")[2])
        return removed

    async def clear(self, erasure: Erasure) -> Mapping[str, int]:
        """See Holdings.clear."""
        if isinstance(erasure.what, Subject | Expired):
            await self.database.rewrite("sketches", "examples", "alert_examples", "outbox")
        return {}

    async def left(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """See Holdings.left."""
        condition, values = meant_by(erasure, names)
        return {
            store: await connection.fetchval(
                f"SELECT count(*) FROM {table} WHERE tenant = $1 AND {condition}",  # noqa: S608 - our own words
                erasure.tenant,
                *values,
            )
            for store, table in _TABLES.items()
        }

    async def left_elsewhere(self, erasure: Erasure) -> Mapping[str, int]:
        """See Holdings.left_elsewhere. There is nothing elsewhere."""
        del erasure
        return {}


async def _forget(connection: Connection, tenant: str, row: asyncpg.Record) -> int:
    """Takes these queries out of the parts of one place; returns how many parts had one."""
    where = tenant, row["bucket"], row["product"], row["kind"]
    parts = await connection.fetch(
        "SELECT part, sketch FROM sketches WHERE tenant = $1 AND bucket = $2 AND product = $3 AND kind = $4 FOR UPDATE",
        *where,
    )
    changed = 0
    for part in parts:
        data = _without(part["sketch"], row["query_ids"])
        if data is not None:
            changed += 1
            await connection.execute(
                "UPDATE sketches SET sketch = $6"
                " WHERE tenant = $1 AND bucket = $2 AND product = $3 AND kind = $4 AND part = $5",
                *where,
                part["part"],
                data,
            )
    return changed


def _without(data: bytes, query_ids: Sequence[str]) -> bytes | None:
    sketch = Sketch.from_bytes(data)
    if not any(example.query_id in query_ids for example in sketch.examples):
        return None
    return sketch.without_examples(query_ids).to_bytes()


def subscribe(bus: Bus, eraser: Eraser) -> None:
    """Wires the part."""
    bus.subscribe(topics.ERASURE_REQUESTED, partial(eraser.apply, topics.ERASURE_APPLIED))
    bus.subscribe(topics.ERASURE_VERIFYING, partial(eraser.verify, topics.ERASURE_VERIFIED))
