"""Indexes of the tenants' own embedders: how they stand. Pure.

    PREPARING ──every chunk has its vector──▶ READY ──switch──▶ LIVE ──switch──▶ STANDING BY ──a later switch──▶ GONE
        └──────────the model is retired or deleted──┴───────────────────────────────┴─────────────────────────────▲
                                                                                     live: only when it is deleted

A generation is one embedder's vectors of all of a tenant's chunks. None live: the house's answers, which has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from headrace_retriever.domain import Embedder, Vector

State = Literal["preparing", "ready", "live", "standing_by", "gone"]
#: What keeps a generation from being filled.
Trouble = Literal["missing", "corrupt", "unsupported", "no_memory", "refused", "unusable", "unavailable"]
#: Who goes first at the embedder.
Urgency = Literal["soon", "in_turn"]

#: What a search may be asked to use.
SEARCHABLE: frozenset[State] = frozenset({"ready", "live", "standing_by"})
#: What is filled, the most needed first.
KEPT: tuple[State, ...] = ("live", "ready", "preparing", "standing_by")
#: So many may be kept for a tenant: each takes a vector for each chunk.
MOST_KEPT = 4


@dataclass(frozen=True, slots=True)
class Trained:
    """A tenant's own embedder. model: NAME@VERSION. address: of its folder, by fsspec. files: SHA-256 by name."""

    tenant: str
    model: str
    address: str
    files: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Generation:
    """number: counts a tenant's generations from 1. embedder: what makes its vectors; None until the first was made."""

    number: int
    trained: Trained
    state: State
    embedder: Embedder | None
    failure: str
    prepared_at: datetime
    ready_at: datetime | None
    changed_at: datetime

    @property
    def tenant(self) -> str:
        """Whose."""
        return self.trained.tenant

    @property
    def model(self) -> str:
        """NAME@VERSION."""
        return self.trained.model


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a generation is: of so many chunks, so many have their vector."""

    generation: Generation
    filled: int
    chunks: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Whose vectors answer a tenant, and how far the others are, the newest first. house: None while it is empty."""

    progress: tuple[Progress, ...]
    chunks: int
    house: Embedder | None

    @property
    def live(self) -> str:
        """The model that answers; "" for the house's."""
        return next((one.generation.model for one in self.progress if one.generation.state == "live"), "")


@dataclass(frozen=True, slots=True)
class Switch:
    """Who is to answer a tenant, and who does as the caller believes: models; "" for the house's."""

    tenant: str
    model: str
    expected: str


@dataclass(frozen=True, slots=True)
class Switched:
    """Who answered before and who does now: models; "" for the house's. at: since when."""

    before: str
    live: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Ended:
    """A model that answers no more. how: "retired" keeps its weights."""

    tenant: str
    model: str
    how: Literal["retired", "deleted"]


@dataclass(frozen=True, slots=True)
class Spot:
    """A chunk's place among a tenant's: they are filled by source, document and ordinal."""

    source: str
    document_id: str
    ordinal: int


@dataclass(frozen=True, slots=True, repr=False)
class Opened:
    """What a vector is made of, in the clear: the text with what stands above it. A question has only its text."""

    text: str
    title: str = ""
    headings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Filling:
    """Vectors of chunks, by their ids."""

    generation: Generation
    vectors: Mapping[UUID, Vector] = field(repr=False)


class Moved(Exception):
    """Another generation is live than the one whose vectors were brought. live: which; None for the house's."""

    def __init__(self, live: Generation | None) -> None:
        super().__init__(live.model if live else "")
        self.live = live


class Unusable(Exception):
    """A trained embedder cannot be used. Its text is one of Trouble."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble)
        self.trouble = trouble
