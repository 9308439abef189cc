"""What the retriever works on: documents cut into chunks, questions with their vectors, and what was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID, uuid5

import numpy as np
import numpy.typing as npt
from headrace_privacy import Text, Tier
from headrace_runtime.errors import Conflict

#: A chunk's or a question's embedding: one axis, single precision, finite, not all zero.
Vector = npt.NDArray[np.float32]

VectorSearch = Literal["exact", "hnsw"]

# The namespace of chunk ids: whoever has the parts can make the id again.
_CHUNKS = UUID("5b0d5d0f-8f8e-5a5e-8c0a-6c1f3f0e9d11")


@dataclass(frozen=True, slots=True)
class Embedder:
    """Which model makes the vectors: its name, how many numbers a vector has, and the hash of its weights."""

    name: str
    dimensions: int
    hash: str

    def __str__(self) -> str:
        return f"{self.name} ({self.dimensions} dimensions, {self.hash or 'no hash'})"


@dataclass(frozen=True, slots=True)
class Document:
    """Which document, at which version. Versions count from 1, deletions included."""

    tenant: str
    source: str
    document_id: str
    version: int


@dataclass(frozen=True, slots=True)
class Resting:
    """A chunk's text and labels as they rest and travel, serialized: sealed for TIER_2."""

    text: bytes = field(repr=False)
    labels: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage with its vector. `ordinal` counts from 0; `headings` stand above it, outermost first.

    Title, headings and text are here to be indexed by; what is stored of them is `resting`.
    """

    ordinal: int
    headings: tuple[str, ...] = field(repr=False)
    text: Text
    vector: Vector = field(repr=False)
    tokens: int
    resting: Resting


@dataclass(frozen=True, slots=True)
class OwnChunks:
    """Vectors of a document's chunks, in their order, by the tenant's own embedder, to be stored with them.

    generation: whose; None: whichever is live. Without vectors, whoever fills indexes is to bring them.
    """

    generation: int | None = None
    vectors: tuple[Vector, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Change:
    """A document as the index shall hold it. Without chunks it shall be gone.

    own: where an embedder of the tenant's own is live, its vectors.
    """

    document: Document
    title: str = field(repr=False)
    tier: Tier
    chunks: tuple[Chunk, ...]
    embedder: Embedder
    own: OwnChunks | None = None


@dataclass(frozen=True, slots=True)
class Indexed:
    """What the index holds of a document after a change, read back in the change's own transaction."""

    change: Change
    chunks: int
    indexed_at: datetime


@dataclass(frozen=True, slots=True)
class OwnVector:
    """A question's vector by a tenant's own embedder, and whose index it is for."""

    generation: int
    embedder: Embedder
    vector: Vector = field(repr=False)


#: By whose vectors a question is searched: by what is live, which may be the house's; by the house's, whatever is live;
#: or, for a trial, by those of a generation that need not be live.
By = Literal["live", "house", "trial"]


@dataclass(frozen=True, slots=True)
class Question:
    """What to find, for whom, and within which limits. No sources: all of the tenant's.

    `max_tier` is what the asker is cleared for: the search runs in the database as the role of that clearance. `vector`
    is the house's, by which similarity is told whoever searches; `own`, where there is one, is what is searched by.
    `instead_of`: the generation that is believed to be live and cannot be had, so that the house's answers.
    """

    tenant: str
    text: Text
    vector: Vector = field(repr=False)
    embedder: Embedder
    sources: tuple[str, ...]
    max_tier: Tier
    top_k: int
    by: By = "live"
    own: OwnVector | None = None
    instead_of: int | None = None

    @property
    def believed_live(self) -> int | None:
        """The generation that is live, as the asker believes; None for the house's."""
        return self.own.generation if self.own else self.instead_of

    @property
    def searched_by(self) -> Embedder:
        """Whose vectors are searched."""
        return self.own.embedder if self.own else self.embedder


#: What a search names instead of a model to be answered by the house's vectors.
HOUSE = "house"


@dataclass(frozen=True, slots=True)
class Lookup:
    """A question whose vector is still to be made. model: by whose vectors; HOUSE, or "" for what is live."""

    tenant: str
    text: Text
    sources: tuple[str, ...]
    max_tier: Tier
    top_k: int
    model: str = ""

    def with_vector(self, vector: Vector, embedder: Embedder) -> Question:
        """Makes it a question."""
        return Question(self.tenant, self.text, vector, embedder, self.sources, self.max_tier, self.top_k)


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage that was found.

    `score` is the fused one; `similarity` the cosine, -1 to 1; the ranks count from 1, 0 when it was not among them.
    """

    chunk_id: UUID
    document: Document
    ordinal: int
    resting: Resting
    tier: Tier
    score: float
    similarity: float
    vector_rank: int
    text_rank: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which passages to hand out by their ids, nothing stricter than `max_tier`."""

    tenant: str
    chunk_ids: tuple[UUID, ...]
    max_tier: Tier


@dataclass(frozen=True, slots=True)
class Place:
    """A passage's place among those of a source: they are listed by document and ordinal."""

    document_id: str
    ordinal: int


@dataclass(frozen=True, slots=True)
class Listing:
    """Which passages of a source to list: those behind a place, nothing stricter than `max_tier`."""

    tenant: str
    source: str
    after: Place | None
    most: int
    max_tier: Tier


@dataclass(frozen=True, slots=True)
class Listed:
    """Some of a source's passages in order, and whether there are more behind them."""

    passages: tuple[Passage, ...]
    has_more: bool


@dataclass(frozen=True, slots=True)
class Tuning:
    """How searches are done.

    candidates: how many each of the two searches contributes. rrf_k: the constant of reciprocal rank fusion.
    exact_below: with fewer visible chunks than this, the nearest vectors are found by looking at all of them.
    ef_search: how many neighbours HNSW keeps in view. scan_tuples: where an HNSW scan for a rare tenant gives up.
    text_matches: about how many full-text matches are scored; beyond, the question's commonest words are not looked up.
    """

    candidates: int = 40
    rrf_k: int = 60
    exact_below: int = 10_000
    ef_search: int = 100
    scan_tuples: int = 100_000
    text_matches: int = 500


@dataclass(frozen=True, slots=True)
class Found:
    """Passages, best first, and how they were found. embedder: by whose vectors; None while nothing is indexed."""

    passages: tuple[Passage, ...]
    top_k: int
    candidates: int
    rrf_k: int
    vector_search: VectorSearch
    embedder: Embedder | None = None


def chunk_id(document: Document, ordinal: int) -> UUID:
    """Returns the id that this chunk of this version always has. The free-form part stands last: no two parts mix."""
    key = f"{document.tenant}/{document.source}/{document.version}/{ordinal}/{document.document_id}"
    return uuid5(_CHUNKS, key)


def require_same(index: Embedder, given: Embedder) -> None:
    """Refuses vectors of another embedder than the index's: their distances would mean nothing.

    Raises Conflict, which names both.
    """
    if index != given:
        raise Conflict(f"the index holds vectors of {index}; these are of {given}")


def is_usable(vector: Vector, dimensions: int) -> bool:
    """Whether a cosine can be taken of it: so many finite numbers within half precision's range, not all zero."""
    return vector.shape == (dimensions,) and bool(np.all(np.abs(vector) < 65504) and np.any(vector))


def as_vector(numbers: Sequence[float] | npt.NDArray[np.floating]) -> Vector:
    """Makes a vector of numbers."""
    return np.asarray(numbers, dtype=np.float32)
