"""What the embedder needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from headrace_embedder.domain import Chunk, Identity, Passage, Trained, Vector


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


class TrainedEmbedders(Protocol):
    """The tenants' own models."""

    def lend(self, model: Trained) -> AbstractAsyncContextManager[Embedder]:
        """A tenant's own embedder, which stays in memory until the context is left; loaded first, if it is not there.

        Its identity's name is the model's. Raises Conflict when its weights cannot be used, Overloaded when too many
        others are in use.
        """

    async def forget(self, tenant: str, model: str) -> None:
        """Lets go of a model, and deletes what was kept of it on this machine. What is gone already is no error."""


class Chunker(Protocol):
    """Cuts documents into chunks."""

    async def chunk(self, title: str, markdown: str) -> Sequence[Chunk]:
        """Returns the chunks in reading order; none for a document without text."""

    async def embedded_texts(self, passages: Sequence[Passage]) -> Sequence[str]:
        """Returns what their vectors are made of: title and headings as far as there is room, then the text."""


class Splitter(Protocol):
    """Cuts a text where it hurts least."""

    def split(self, text: str) -> Sequence[str]:
        """Returns pieces that, joined, are the text; each has at most as many tokens as the splitter was made for."""


class TokenCounter(Protocol):
    """Counts as the model reads, without the marks that it sets around a text."""

    def count(self, texts: Sequence[str]) -> Sequence[int]:
        """Returns each text's number of tokens."""
