"""What the embedder needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from headrace_embedder.domain import Chunk, Identity, Vector


class Embedder(Protocol):
    """Turns texts into vectors, in their order. What goes beyond the model's window is cut off."""

    @property
    def identity(self) -> Identity:
        """What makes the vectors."""

    async def embed_soon(self, texts: Sequence[str]) -> Sequence[Vector]:
        """For somebody who waits. Raises Overloaded."""

    async def embed_in_turn(self, texts: Sequence[str]) -> Sequence[Vector]:
        """For documents, which let those who wait go first. Raises Overloaded."""

    def forget(self) -> None:
        """Drops what is kept for texts that come again."""


class Chunker(Protocol):
    """Cuts documents into chunks."""

    async def chunk(self, title: str, markdown: str) -> Sequence[Chunk]:
        """Returns the chunks in reading order; none for a document without text."""


class Splitter(Protocol):
    """Cuts a text where it hurts least."""

    def split(self, text: str) -> Sequence[str]:
        """Returns pieces that, joined, are the text; each has at most as many tokens as the splitter was made for."""


class TokenCounter(Protocol):
    """Counts as the model reads, without the marks that it sets around a text."""

    def count(self, texts: Sequence[str]) -> Sequence[int]:
        """Returns each text's number of tokens."""
