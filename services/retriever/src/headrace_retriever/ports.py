"""What the retriever needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
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
from headrace_retriever.generations import (
    Filling,
    Generation,
    Opened,
    Spot,
    Standing,
    Switch,
    Switched,
    Trained,
    Trouble,
    Urgency,
)


class Index(Protocol):
    """Where passages are found."""

    async def search(self, question: Question, *, blinding: Blinding) -> Found:
        """Returns the best passages, all from one snapshot, by the vectors of one embedder.

        Raises Conflict for another embedder's vector, and for a trial of a generation that is not ready; Moved when
        another generation is live than the question's own vector is of; Unavailable("postgres").
        """


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
        Conflict for another embedder's vectors, and for dimensions that have no graphs; Moved when another generation
        is live than the change's own vectors are of.
        """


class TextEmbedder(Protocol):
    """What turns a text into a vector."""

    async def embed(self, text: Text) -> tuple[Vector, Embedder]:
        """Returns the vector and what made it. Raises Unavailable("embedder"), Overloaded("embedder")."""


class OwnEmbedder(Protocol):
    """What turns texts into vectors by a tenant's own embedder."""

    async def embed_as(
        self, trained: Trained, texts: Sequence[Opened], *, urgency: Urgency
    ) -> tuple[Sequence[Vector], Embedder]:
        """Returns a vector for each text, in their order, and what made them.

        Raises Unusable for weights or vectors that cannot be used, Unavailable("embedder"), Overloaded("embedder").
        """


class Generations(Protocol):
    """Where it is kept which indexes of their own embedders the tenants have. All raise Unavailable("postgres")."""

    async def prepare(self, trained: Trained, *, now: datetime) -> Generation:
        """Begins a generation. One that is there stays as it is, and one that is gone begins again.

        Raises Conflict for a model of other files, and for too many.
        """

    async def standing(self, tenant: str) -> Standing:
        """Whose vectors answer, and how far the others are."""

    async def find(self, tenant: str, model: str) -> Generation | None:
        """Returns a model's generation."""

    async def switch(self, switch: Switch, *, now: datetime) -> Switched:
        """Has another generation answer, all at once; what is live stays so.

        Raises NotFound; Conflict unless each chunk has its vector in it, and when another is live than was expected.
        """


class Filled(Protocol):
    """What fills generations. All raise Unavailable("postgres")."""

    async def tenants(self) -> Sequence[str]:
        """Returns who ever had an embedder of its own."""

    def filling(self, tenant: str) -> AbstractAsyncContextManager[bool]:
        """Says whether this instance may fill a tenant's generations until the context is left: one at a time does."""

    async def kept(self, tenant: str) -> Sequence[Generation]:
        """Returns a tenant's generations that are to be filled, the most needed first."""

    async def lacking(self, generation: Generation, *, after: Spot | None, most: int) -> Sequence[Passage]:
        """Returns the next chunks without a vector in the generation, as they rest."""

    async def learn(self, generation: Generation, embedder: Embedder) -> None:
        """Notes what makes its vectors. Raises Unusable("unusable") when it was another before."""

    async def is_behind(self, generation: Generation) -> bool:
        """Says whether a chunk has no vector in the generation."""

    async def fill(self, filling: Filling) -> None:
        """Stores vectors in one transaction: of chunks that are still there, in a generation that is not gone."""

    async def settle(self, generation: Generation, *, now: datetime) -> None:
        """Notes that it is ready if no chunk lacks its vector, and that nothing keeps it from getting on."""

    async def fail(self, generation: Generation, trouble: Trouble) -> None:
        """Notes what keeps it from getting on."""

    async def sweep(self, tenant: str) -> int:
        """Deletes the vectors of generations that are gone. Returns how many."""
