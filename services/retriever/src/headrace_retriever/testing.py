"""For tests and measurements: makers of documents, questions and seeded vectors, and a quick way to fill an index."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg
import numpy as np
import numpy.typing as npt
from headrace.privacy.v1.privacy_pb2 import ProtectedText
from headrace.retrieval.v1.retrieval_pb2 import ChunkReference
from headrace_database import Database
from headrace_privacy import DataKey, Opener, Owner, Seal, Text, Tier

from headrace_retriever.adapters import statements
from headrace_retriever.adapters.postgres import PostgresShelf
from headrace_retriever.blinding import Blinding
from headrace_retriever.domain import (
    Change,
    Chunk,
    Document,
    Embedder,
    Found,
    Indexed,
    Passage,
    Question,
    Resting,
    Vector,
    as_vector,
    chunk_id,
)
from headrace_retriever.generations import Opened, Trained, Urgency
from headrace_retriever.ports import Index

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SMALL = Embedder("small", 8, "0123456789abcdef")
#: What seals and blinds here: the same for every document and tenant, and no secret at all.
KEY = DataKey("3f0c8d1e-7f0b-5c57-9d0e-6b5a3c2d1e0f", bytes(range(32)))
BLINDING = Blinding.of(KEY.secret)
OPENER = Opener({KEY.key_id: KEY})


def towards(axis: int, *, dimensions: int = 8, tilt: float = 0.0) -> Vector:
    """A vector along an axis, tilted a little towards the next."""
    vector = np.zeros(dimensions, dtype=np.float32)
    vector[axis], vector[(axis + 1) % dimensions] = 1.0, tilt
    return vector


def document(document_id: str = "a", *, tenant: str = "acme", source: str = "docs", version: int = 1) -> Document:
    """A document."""
    return Document(tenant, source, document_id, version)


def resting(which: Document, text: str, tier: Tier) -> Resting:
    """What rests of a passage below the heading "Top"."""
    seal = Seal(Owner.document(which.tenant, which.source, which.document_id), KEY)
    labels = ChunkReference(
        title=f"Title of {which.document_id}", headings=["Top"], uri=f"https://docs/{which.document_id}"
    )
    return Resting(
        seal.protect(Text(text, tier)).SerializeToString(), seal.seal_labels(labels, tier).SerializeToString()
    )


def text_of(passage: Passage) -> str:
    """A passage's text, opened."""
    return OPENER.reveal(ProtectedText.FromString(passage.resting.text), passage.tier).reveal()


def labels_of(passage: Passage) -> ChunkReference:
    """A passage's title, headings and address, opened."""
    return OPENER.open_labels(ChunkReference.FromString(passage.resting.labels))


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
    chunks = (
        Chunk(i, ("Top",), Text(text, tier), as_vector(vector), len(text) // 4, resting(which, text, tier))
        for i, (text, vector) in enumerate(pairs)
    )
    return Change(which, f"Title of {which.document_id}", tier, tuple(chunks), embedder)


def removal(which: Document) -> Change:
    """A deletion."""
    return Change(which, "", Tier.PUBLIC, (), Embedder("", 0, ""))


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


async def ask(index: Index, asking: Question) -> Found:
    """Searches with the tests' key."""
    return await index.search(asking, blinding=BLINDING)


async def write(database: Database, change: Change) -> Indexed | None:
    """Applies a change in a transaction of its own, as the consumer does in the ledger's."""
    async with database.transaction(tenant=change.document.tenant) as connection:
        return await PostgresShelf(connection).apply(change, blinding=BLINDING, now=NOW)


def trained(name: str = "own@0000000000000001", *, tenant: str = "acme") -> Trained:
    """A tenant's own embedder."""
    return Trained(tenant, name, f"memory://trained/{name}", {"model.safetensors": "0" * 64})


def own_vector_of(model: str, text: str, *, dimensions: int = 4) -> Vector:
    """The vector of a text by a tenant's own embedder here: made by chance, always the same, and another by each
    model."""
    seed = int.from_bytes(hashlib.sha256(f"{model} {text}".encode()).digest()[:8])
    return as_vector(np.random.default_rng(seed).normal(size=dimensions))


@dataclass(slots=True)
class FakeOwnEmbedder:
    """Embeds by own_vector_of, and remembers for whom. failure: raised instead, while there is one."""

    dimensions: int = 4
    failure: Exception | None = None
    asked: list[tuple[Trained, tuple[str, ...], Urgency]] = field(default_factory=list)

    async def embed_as(
        self, trained: Trained, texts: Sequence[Opened], *, urgency: Urgency
    ) -> tuple[Sequence[Vector], Embedder]:
        """See ports.OwnEmbedder."""
        self.asked.append((trained, tuple(text.text for text in texts), urgency))
        if self.failure is not None:
            raise self.failure
        vectors = [own_vector_of(trained.model, text.text, dimensions=self.dimensions) for text in texts]
        return vectors, Embedder(trained.model, self.dimensions, "f" * 16)


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
            rest = resting(which, self.texts[i], Tier(self.tiers[i]))
            yield (
                *(which.tenant, which.source, which.document_id, i, chunk_id(which, i), int(self.tiers[i])),
                *(rest.text, rest.labels, self.texts[i], vector.tolist()),
            )


async def load(superuser_dsn: str, bulk: Bulk) -> None:
    """Fills an empty index by COPY, and builds its graphs afterwards: minutes less than change by change.

    Row-level security does not hold for the superuser.
    """
    connection = await asyncpg.connect(superuser_dsn)
    try:
        await connection.execute("SET search_path = retriever, public")
        await connection.execute(_STAGING)
        await connection.copy_records_to_table("staged", records=bulk.rows())
        embedder = bulk.embedder
        await connection.execute(_drop_graphs(embedder.dimensions))
        await connection.execute(_UNSTAGE, timeout=600)
        await connection.execute(_FILL, BLINDING.inner, BLINDING.outer, timeout=600)
        await connection.execute(statements.ADOPT, embedder.name, embedder.dimensions, embedder.hash)
        await make_graphs(connection, embedder.dimensions)
        await connection.execute("CREATE INDEX chunks_words ON chunks USING gin (words) WITH (fastupdate = off)")
        await connection.execute("VACUUM ANALYZE chunks", timeout=600)
    finally:
        await connection.close()


_STAGING = """
CREATE TEMP TABLE staged (tenant text, source text, document_id text, ordinal integer, chunk_id uuid, tier smallint,
    text bytea, labels bytea, plain text, embedding real[])
"""

_UNSTAGE = """
SET maintenance_work_mem = '512MB';
DROP INDEX chunks_words;
INSERT INTO documents SELECT DISTINCT ON (tenant, source, document_id)
    tenant, source, document_id, 1, tier, false, now() FROM staged;
INSERT INTO tallies SELECT tenant, source, tier, 0, count(*) FROM staged GROUP BY tenant, source, tier;
"""

_FILL = f"""
INSERT INTO chunks (tenant, source, document_id, ordinal, version, chunk_id, tier, tokens, labels, text, embedding,
    words)
SELECT tenant, source, document_id, ordinal, 1, chunk_id, tier, 0, labels, text, embedding::halfvec,
    {statements.blinded_words("to_tsvector('english', plain)", inner="$1::bytea", outer="$2::bytea")}
FROM staged
"""  # noqa: S608 - our own words


def _drop_graphs(dimensions: int) -> str:
    names = ", ".join(f"chunks_vectors_{dimensions}_tier_{int(tier)}" for tier in Tier)
    return f"DROP INDEX IF EXISTS {names}"


async def make_graphs(connection: Any, dimensions: int) -> None:
    """Makes the graphs for vectors of so many dimensions, as the owner of the tables does it."""
    await connection.execute("SET ROLE headrace_owner")
    try:
        await connection.execute(
            f"SET maintenance_work_mem = '512MB'; SELECT retriever.make_graphs({dimensions:d})", timeout=600
        )
    finally:
        await connection.execute("RESET ROLE")
