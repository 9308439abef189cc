"""What the embedder works with. No repr of it shows user text, or a vector, which gives the text away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

#: Who goes first: somebody waits; or it may take its turn.
Urgency = Literal["soon", "in_turn"]


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes the vectors. hash: the first 16 hex digits of the SHA-256 over weights and tokenizer."""

    name: str
    dimensions: int
    hash: str


@dataclass(frozen=True, slots=True)
class Trained:
    """A tenant's own model. model: NAME@VERSION. address: of its folder, by fsspec. files: name and SHA-256 of each."""

    tenant: str
    model: str
    address: str
    files: tuple[tuple[str, str], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Vector:
    """One text's vector. values: unit length, float32 [dimensions]. tokens: how many the model read."""

    values: NDArray[np.float32] = field(repr=False)
    tokens: int


@dataclass(frozen=True, slots=True, repr=False)
class Section:
    """A stretch of a document without a heading in it. headings: those above it, outermost first."""

    headings: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True, repr=False)
class Chunk:
    """A passage, verbatim. tokens: its length in the embedder's tokens. context: what is embedded before it."""

    headings: tuple[str, ...]
    text: str
    tokens: int
    context: str

    @property
    def embedded_text(self) -> str:
        """What the vector is made of: title and headings, then the passage."""
        return f"{self.context}\n\n{self.text}" if self.context else self.text

    @property
    def wire_bytes(self) -> int:
        """About how many bytes it takes in an event, its vector left out."""
        # 320: tags, lengths and counts, and three times a seal: key id, cipher, nonce and tag are 71 bytes.
        return 320 + sum(len(part.encode()) + 4 for part in (*self.headings, self.text))


@dataclass(frozen=True, slots=True, repr=False)
class Passage:
    """A text, and what stands above it: as a chunk came back from where it rests. A question has only its text."""

    title: str
    headings: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True, repr=False)
class EmbeddedChunk:
    """A chunk with its vector."""

    chunk: Chunk
    vector: Vector
