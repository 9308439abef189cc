"""Vectors of texts that were seen before. It holds no text: the key is a hash."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Embedded:
    """One text's vector (unit length, read-only) and how many tokens the model read."""

    vector: NDArray[np.float32]
    tokens: int


def key_of(text: str) -> bytes:
    """Returns the text's key, 16 bytes; two texts that share one are not to be expected before 2^64 of them."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


class VectorCache:
    """The latest `capacity` vectors that were used; 0 keeps none. 4,096 of 384 dimensions take about 8 MB."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[bytes, Embedded] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Drops every vector."""
        self._entries.clear()

    def get(self, key: bytes) -> Embedded | None:
        """Returns what is kept under the key, and counts it as used."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: bytes, embedded: Embedded) -> None:
        """Keeps a vector; the one that was longest unused goes."""
        self._entries[key] = embedded
        self._entries.move_to_end(key)
        while len(self._entries) > self._capacity:
            self._entries.popitem(last=False)
