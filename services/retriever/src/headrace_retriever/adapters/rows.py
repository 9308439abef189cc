"""What rows of the index say."""

from __future__ import annotations

from typing import Any

from headrace_database import Connection
from headrace_privacy import Tier

from headrace_retriever.adapters import statements
from headrace_retriever.domain import Document, Embedder, Passage, Resting


def passage_of(row: Any, tenant: str) -> Passage:
    """Reads a passage's row."""
    return Passage(
        chunk_id=row["chunk_id"],
        document=Document(tenant, row["source"], row["document_id"], row["version"]),
        ordinal=row["ordinal"],
        resting=Resting(row["text"], row["labels"]),
        tier=Tier(row["tier"]),
        score=row["score"],
        similarity=row["similarity"],
        vector_rank=row["vector_rank"],
        text_rank=row["text_rank"],
    )


async def read_embedder(connection: Connection) -> Embedder | None:
    """Returns whose vectors the index holds; None before the first."""
    row = await connection.fetchrow(statements.IDENTITY)
    return Embedder(**row) if row else None
