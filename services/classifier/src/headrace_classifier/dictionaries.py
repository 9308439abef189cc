"""A tenant's own identifiers: names of customers and projects, numbers of contracts. What holds one of them is TIER_2.

They rest sealed, and are in the clear in memory only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from headrace_classifier.dictionary import Dictionary

#: As the contract has it.
MOST_IDENTIFIERS = 100_000
SHORTEST, LONGEST = 3, 128


@dataclass(frozen=True, slots=True)
class StoredDictionary:
    """A dictionary as it rests. sealed: headrace.privacy.v1.SealedBytes, of `pack`."""

    tenant: str
    identifiers: int
    sealed: bytes = field(repr=False)
    changed_by: str
    changed_at: datetime


def pack(identifiers: Collection[str]) -> bytes:
    """What is sealed: one identifier a line. None of them holds a line break."""
    return "\n".join(identifiers).encode()


def unpack(content: bytes) -> tuple[str, ...]:
    """What was packed."""
    return tuple(content.decode().split("\n")) if content else ()


class Unreadable(Exception):
    """A tenant has a dictionary that nobody here can open: whether a text holds one of its words is not known."""


class UnreadableDictionary(Dictionary):
    """Stands for one that cannot be opened. Whoever looks for its words is told that it does not know."""

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        """Raises Unreadable."""
        del text
        raise Unreadable("the dictionary cannot be opened")
