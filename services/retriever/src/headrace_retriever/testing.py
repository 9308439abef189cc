"""Makers of documents, questions and seeded vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
from headrace_privacy import Text, Tier

from headrace_retriever.domain import Change, Chunk, Document, Embedder, Question, Vector, as_vector

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
