"""A linear head over questions' vectors: how it rests in a folder, and what it says of a vector.

    head.json          the kinds in order, the version of the tenant's kinds, and what made the vectors
    head.safetensors   weights, bias, temperature; and, as metadata, the SHA-256 of head.json

So the version of a model, a hash over its safetensors, is one of both files: numbers never come under other names.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

#: What is like none of the kinds.
OTHER = "other"
WEIGHTS, LABELS = "head.safetensors", "head.json"
#: Far more than 64 kinds of 8,192 dimensions take; what is larger is no head.
MOST_BYTES = 16 * 1024 * 1024
MOST_KINDS = 65
_NAME = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)
_TENSORS = ("weights", "bias", "temperature")

Matrix: TypeAlias = NDArray[np.float64]


class UnusableHead(Exception):
    """A folder holds no head. Its text is in fixed words."""


@dataclass(frozen=True, slots=True)
class Embedder:
    """What made a vector. hash: the first 16 hex digits of the SHA-256 over weights and tokenizer."""

    name: str
    dimensions: int
    hash: str


@dataclass(frozen=True, slots=True)
class Head:
    """Tells kinds by one embedder's vectors.

    kinds: "other" is one of them. kinds_version: of the tenant's kinds that it learned. weights: [kinds, dimensions];
    bias: [kinds]; temperature: above 0, it divides what they give.
    """

    kinds: tuple[str, ...]
    kinds_version: int
    embedder: Embedder
    weights: Matrix = field(repr=False)
    bias: Matrix = field(repr=False)
    temperature: float = 1.0

    def probabilities(self, vector: NDArray[np.floating]) -> Matrix:
        """How likely a question is of each kind, [kinds]; its vector need not have length 1."""
        unit = np.asarray(vector, dtype=np.float64) / (float(np.linalg.norm(vector)) or 1.0)
        # Not a BLAS product: from some twenty kinds on that wakes threads, which are slower, and wait for busy cores.
        logits = (np.einsum("kd,d->k", self.weights, unit) + self.bias) / self.temperature
        raised = np.exp(logits - logits.max())
        shares: Matrix = raised / raised.sum()
        return shares


def write_head(head: Head, folder: Path) -> None:
    """Writes both files into a folder that is there; the numbers as float32."""
    labels = json.dumps(
        {
            "kinds": list(head.kinds),
            "kinds_version": head.kinds_version,
            "embedder": {
                "name": head.embedder.name,
                "dimensions": head.embedder.dimensions,
                "hash": head.embedder.hash,
            },
        },
        indent=2,
    ).encode()
    tensors = {
        "weights": head.weights.astype(np.float32),
        "bias": head.bias.astype(np.float32),
        "temperature": np.array([head.temperature], dtype=np.float32),
    }
    (folder / LABELS).write_bytes(labels)
    save_file(tensors, folder / WEIGHTS, metadata={LABELS: hashlib.sha256(labels).hexdigest()})


def read_head(folder: Path) -> Head:
    """Reads it back. Raises UnusableHead for anything that is no head, whole and of its own numbers."""
    try:
        if any((folder / name).stat().st_size > MOST_BYTES for name in (WEIGHTS, LABELS)):
            raise UnusableHead("too large")
        labels = (folder / LABELS).read_bytes()
        with safe_open(folder / WEIGHTS, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: np.asarray(file.get_tensor(name), np.float64) for name in _TENSORS}
    except (OSError, SafetensorError, ValueError, TypeError):
        raise UnusableHead("files") from None
    if metadata.get(LABELS) != hashlib.sha256(labels).hexdigest():
        raise UnusableHead("labels of other numbers")
    return _checked(_labelled(labels, tensors))


def _labelled(labels: bytes, tensors: dict[str, Matrix]) -> Head:
    try:
        said: dict[str, Any] = json.loads(labels)
        embedder = said["embedder"]
        return Head(
            kinds=tuple(map(str, said["kinds"])),
            kinds_version=int(said["kinds_version"]),
            embedder=Embedder(str(embedder["name"]), int(embedder["dimensions"]), str(embedder["hash"])),
            weights=tensors["weights"],
            bias=tensors["bias"],
            temperature=float(tensors["temperature"][0]),
        )
    except (ValueError, KeyError, TypeError, IndexError):
        raise UnusableHead("labels") from None


def _checked(head: Head) -> Head:
    kinds, size = len(head.kinds), head.embedder.dimensions
    if not 2 <= kinds <= MOST_KINDS or len(set(head.kinds)) != kinds or OTHER not in head.kinds:
        raise UnusableHead("kinds")
    if not all(_NAME.fullmatch(kind) for kind in head.kinds):
        raise UnusableHead("kinds")
    if head.weights.shape != (kinds, size) or head.bias.shape != (kinds,):
        raise UnusableHead("shapes")
    numbers = (head.weights, head.bias, np.array([head.temperature]))
    if not all(np.isfinite(one).all() for one in numbers) or head.temperature <= 0:
        raise UnusableHead("numbers")
    return head
