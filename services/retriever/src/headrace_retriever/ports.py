"""What the retriever needs from outside."""

from __future__ import annotations

from typing import Protocol

from headrace_privacy import Text

from headrace_retriever.domain import Embedder, Found, Question, Vector


class Index(Protocol):
    """Where chunks are found."""

    async def search(self, question: Question) -> Found:
        """Returns the best passages. Raises Conflict for another embedder's vector, Unavailable("postgres")."""


class TextEmbedder(Protocol):
    """What turns a text into a vector."""

    async def embed(self, text: Text) -> tuple[Vector, Embedder]:
        """Returns the vector and what made it. Raises Unavailable("embedder")."""
