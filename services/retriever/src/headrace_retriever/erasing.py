"""The index's part in an erasure: documents with their chunks, vectors and words. Of end users it holds nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from headrace import topics
from headrace_database import Connection, Database
from headrace_stream import Bus
from headrace_stream.erasing import Document, Eraser, Erasure, Kind, Names, Source, bury

from headrace_retriever.adapters.postgres import shard_of
from headrace_retriever.adapters.statements import ADD_TO_TALLY

DOCUMENTS = "retriever.documents"
CHUNKS = "retriever.chunks"
OWN_VECTORS = "retriever.trained_vectors"

HOW = {
    DOCUMENTS: "deleted and vacuumed",
    CHUNKS: "deleted and vacuumed, vectors and words included",
    OWN_VECTORS: "deleted and vacuumed, those of every embedder",
}

#: Larger tables are vacuumed in place: rewriting them would keep searches waiting for minutes, and TIER_2 text in what
#: is left of a page is sealed with a key that is destroyed. In bytes, indexes included.
REWRITTEN_BYTES = 256 * 1024 * 1024


def meant_by(erasure: Erasure) -> tuple[str, tuple[object, ...]] | None:
    """Returns which documents an erasure means: SQL and its values, from $2 on; None for no document."""
    match erasure.what:
        case Source(source):
            return "source = $2", (source,)
        case Document(source, document_id):
            return "source = $2 AND document_id = $3", (source, document_id)
        case _:
            return None


@dataclass(frozen=True, slots=True)
class IndexHoldings:
    """See headrace_stream.erasing.Holdings."""

    database: Database
    how: Mapping[str, str] = field(default_factory=lambda: HOW)

    async def remove(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """See Holdings.remove. The documents' addresses are buried: an event that is late does not bring them back."""
        meant = meant_by(erasure)
        if meant is None:
            return {}
        condition, values = meant
        # Before the chunks, with which they would go: so they are counted.
        own = await connection.execute(
            f"""DELETE FROM trained_vectors WHERE tenant = $1
            AND chunk_id IN (SELECT chunk_id FROM chunks WHERE tenant = $1 AND {condition})""",  # noqa: S608 - our own words
            erasure.tenant,
            *values,
        )
        gone = await connection.fetch(
            f"""WITH gone AS (DELETE FROM chunks WHERE tenant = $1 AND {condition} RETURNING source, document_id, tier)
            SELECT source, document_id, tier, count(*) AS chunks FROM gone GROUP BY source, document_id, tier""",  # noqa: S608 - our own words
            erasure.tenant,
            *values,
        )
        await _take_from_tallies(connection, erasure.tenant, gone)
        documents = await connection.fetch(
            f"DELETE FROM documents WHERE tenant = $1 AND {condition} RETURNING source, document_id",  # noqa: S608
            erasure.tenant,
            *values,
        )
        buried = [(Kind.DOCUMENT, names.document(row["source"], row["document_id"])) for row in documents]
        await bury(connection, erasure.tenant, buried, until=erasure.until)
        chunks = sum(row["chunks"] for row in gone)
        return {DOCUMENTS: len(documents), CHUNKS: chunks, OWN_VECTORS: int(own.rpartition(" ")[2])}

    async def clear(self, erasure: Erasure) -> Mapping[str, int]:
        """See Holdings.clear."""
        if meant_by(erasure) is None:
            return {}
        await self.database.rewrite("documents", "tallies", "outbox")
        for table in ("chunks", "trained_vectors"):
            if await self._size(table) <= REWRITTEN_BYTES:
                await self.database.rewrite(table)
            else:
                await self.database.vacuum(table)
        return {}

    async def _size(self, table: str) -> int:
        async with self.database.transaction() as connection:
            return int(await connection.fetchval("SELECT pg_total_relation_size(to_regclass($1::text))", table))

    async def left(self, connection: Connection, erasure: Erasure, names: Names) -> Mapping[str, int]:
        """See Holdings.left."""
        del names
        meant = meant_by(erasure)
        if meant is None:
            return {}
        condition, values = meant
        left = {
            store: await connection.fetchval(
                f"SELECT count(*) FROM {table} WHERE tenant = $1 AND {condition}",  # noqa: S608 - our own words
                erasure.tenant,
                *values,
            )
            for store, table in ((DOCUMENTS, "documents"), (CHUNKS, "chunks"))
        }
        return {**left, OWN_VECTORS: await connection.fetchval(_ORPHANS, erasure.tenant)}

    async def left_elsewhere(self, erasure: Erasure) -> Mapping[str, int]:
        """See Holdings.left_elsewhere. There is nothing elsewhere."""
        del erasure
        return {}


# Whose chunk is gone has nothing to be told by but that it is gone.
_ORPHANS = """
SELECT count(*) FROM trained_vectors AS v WHERE v.tenant = $1
    AND NOT EXISTS (SELECT FROM chunks AS c WHERE c.tenant = v.tenant AND c.chunk_id = v.chunk_id)
"""


async def _take_from_tallies(connection: Connection, tenant: str, gone: Sequence[Any]) -> None:
    changes: Counter[tuple[str, int, int]] = Counter()
    for row in gone:
        changes[(row["source"], shard_of(row["document_id"]), row["tier"])] -= row["chunks"]
    for (source, shard, tier), change in sorted(changes.items()):
        await connection.execute(ADD_TO_TALLY, tenant, source, shard, [tier], [change])


def subscribe(bus: Bus, eraser: Eraser) -> None:
    """Wires the index's part."""
    bus.subscribe(topics.ERASURE_REQUESTED, partial(eraser.apply, topics.ERASURE_APPLIED))
    bus.subscribe(topics.ERASURE_VERIFYING, partial(eraser.verify, topics.ERASURE_VERIFIED))
