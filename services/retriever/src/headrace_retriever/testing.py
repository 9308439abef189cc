"""For tests and measurements: makers of documents, questions and seeded vectors, and a quick way to fill an index."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import numpy as np
import numpy.typing as npt
from headrace_database import Database
from headrace_privacy import Text, Tier

from headrace_retriever.adapters import statements
from headrace_retriever.adapters.postgres import PostgresShelf
from headrace_retriever.domain import Change, Chunk, Document, Embedder, Indexed, Question, Vector, as_vector, chunk_id

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SMALL = Embedder("small", 8, "0123456789abcdef")


def towards(axis: int, *, dimensions: int = 8, tilt: float = 0.0) -> Vector:
    """A vector along an axis, tilted a little towards the next."""
    vector = np.zeros(dimensions, dtype=np.float32)
    vector[axis], vector[(axis + 1) % dimensions] = 1.0, tilt
    return vector


def document(document_id: str = "a", *, tenant: str = "acme", source: str = "docs", version: int = 1) -> Document:
    """A document with a title and a place."""
    return Document(tenant, source, document_id, version, f"Title of {document_id}", f"https://docs/{document_id}")


def put(
    which: Document,
    texts: Sequence[str],
    vectors: Iterable[Sequence[float] | Vector],
    *,
    tier: Tier = Tier.PUBLIC,
    embedder: Embedder = SMALL,
) -> Change:
    """A put of these texts, each with its vector."""
    pairs = zip(texts, vectors, strict=True)
    chunks = (Chunk(i, ("Top",), Text(text, tier), as_vector(v), len(text) // 4) for i, (text, v) in enumerate(pairs))
    return Change(which, tier, tuple(chunks), embedder)


def removal(which: Document) -> Change:
    """A deletion."""
    return Change(which, Tier.PUBLIC, (), Embedder("", 0, ""))


def question(
    text: str,
    vector: Sequence[float] | Vector,
    *,
    tenant: str = "acme",
    sources: tuple[str, ...] = (),
    max_tier: Tier = Tier.TIER_2,
    top_k: int = 8,
    embedder: Embedder = SMALL,
) -> Question:
    """A question with its vector."""
    return Question(tenant, Text(text, Tier.PUBLIC), as_vector(vector), embedder, sources, max_tier, top_k)


def clusters(count: int, *, dimensions: int, centres: int, seed: int) -> npt.NDArray[np.float32]:
    """Unit vectors in clusters, as texts on some topics are: (count, dimensions)."""
    random = np.random.default_rng(seed)
    middles = random.normal(size=(centres, dimensions)) / np.sqrt(dimensions)
    vectors = middles[random.integers(centres, size=count)] + 0.7 * random.normal(size=(count, dimensions)) / np.sqrt(
        dimensions
    )
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


async def write(database: Database, change: Change) -> Indexed | None:
    """Applies a change in a transaction of its own, as the consumer does in the ledger's."""
    async with database.transaction(tenant=change.document.tenant) as connection:
        return await PostgresShelf(connection).apply(change, now=NOW)


@dataclass(frozen=True, slots=True)
class Bulk:
    """Many chunks at once: chunk i belongs to document `i // per_document`, whose chunks share tenant and tier."""

    embedder: Embedder
    vectors: npt.NDArray[np.float32]
    tenants: Sequence[str]
    tiers: Sequence[Tier]
    texts: Sequence[str]
    per_document: int = 20

    def rows(self) -> Iterable[tuple[object, ...]]:
        """The chunks as rows of the staging table."""
        for i, vector in enumerate(self.vectors):
            which = document(f"d{i // self.per_document}", tenant=self.tenants[i])
            yield (
                *(which.tenant, which.source, which.document_id, i, chunk_id(which, i), int(self.tiers[i])),
                *(self.texts[i], vector.tolist()),
            )


async def load(superuser_dsn: str, bulk: Bulk) -> None:
    """Fills an empty index by COPY, and builds its graphs afterwards: minutes less than change by change."""
    connection = await asyncpg.connect(superuser_dsn)
    try:
        await connection.execute("SET search_path = retriever, public")
        await connection.execute(_STAGING)
        await connection.copy_records_to_table("staged", records=bulk.rows())
        await connection.execute(_UNSTAGE, timeout=600)
        embedder = bulk.embedder
        await connection.fetch(statements.ADOPT, embedder.name, embedder.dimensions, embedder.hash, timeout=600)
        await connection.execute("VACUUM ANALYZE chunks", timeout=600)
    finally:
        await connection.close()


_STAGING = """
CREATE TEMP TABLE staged (tenant text, source text, document_id text, ordinal integer, chunk_id uuid, tier smallint,
    text text, embedding real[])
"""

_UNSTAGE = """
SET maintenance_work_mem = '512MB';
DROP INDEX chunks_words;
INSERT INTO documents SELECT DISTINCT ON (tenant, source, document_id)
    tenant, source, document_id, 1, 'Title', '', tier, false, now() FROM staged;
INSERT INTO chunks SELECT tenant, source, document_id, ordinal, 1, chunk_id, tier, 0, '{}', text,
    embedding::halfvec, to_tsvector('english', text) FROM staged;
INSERT INTO tallies SELECT tenant, source, tier, 0, count(*) FROM staged GROUP BY tenant, source, tier;
CREATE INDEX chunks_words ON chunks USING gin (words) WITH (fastupdate = off);
"""
