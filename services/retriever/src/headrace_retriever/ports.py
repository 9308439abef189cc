"""What the retriever needs from outside."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from headrace_privacy import Text

from headrace_retriever.blinding import Blinding
from headrace_retriever.domain import (
    Change,
    Embedder,
    Found,
    Indexed,
    Listed,
    Listing,
    Passage,
    Question,
    Vector,
    Wanted,
)


class Index(Protocol):
    """Where passages are found."""

    async def search(self, question: Question, *, blinding: Blinding) -> Found:
        """Returns the best passages. Raises Conflict for another embedder's vector, Unavailable("postgres")."""


class Passages(Protocol):
    """Where passages are, by their ids and by their source."""

    async def fetch(self, wanted: Wanted) -> tuple[Passage, ...]:
        """Returns those of the wanted passages that are there, in no order, without ranks and scores.

        Raises Unavailable("postgres").
        """

    async def list(self, listing: Listing) -> Listed:
        """Returns the next passages of a source by document and ordinal, without ranks and scores.

        Raises Unavailable("postgres").
        """


class Shelf(Protocol):
    """Where documents are put, within a transaction that the caller holds."""

    async def apply(self, change: Change, *, blinding: Blinding, now: datetime) -> Indexed | None:
        """Puts a document in place of what its id held, and reads back what is there.

        Returns None, having changed nothing, for a version that is not newer than what the index holds. Raises
        Conflict for another embedder's vectors, and for dimensions that have no graphs.
        """


class TextEmbedder(Protocol):
    """What turns a text into a vector."""

    async def embed(self, text: Text) -> tuple[Vector, Embedder]:
        """Returns the vector and what made it. Raises Unavailable("embedder"), Overloaded("embedder")."""
