"""How much a word looks like part of a person's name: its letters' n-grams, weighed by a table.

The table ships with the package. It is learned (`python -m bench.privacy.learn_names`) from names of many countries
against words of texts, products and towns, and holds sums over hashed n-grams, no list of names.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from zlib import crc32

from headrace_classifier.name_words import folded

#: The table's file and its size: n-grams share a place where their hashes meet.
TABLE = "name_shapes.bin"
PLACES = 1 << 15

#: A place holds a signed byte: so many steps are 1.0.
SCALE = 32

#: A longer word is cut: no name is that long.
_LONGEST_WORD = 24


def features(word: str) -> Iterator[int]:
    """The places of a word's n-grams of two to five letters, of its whole, and of whether it has an accent."""
    plain = folded(word[:_LONGEST_WORD])
    framed = f"^{plain}$"
    yield crc32(f"={plain}".encode()) % PLACES
    yield crc32(b"accented" if not word.isascii() else b"plain") % PLACES
    for size in (2, 3, 4, 5):
        for place in range(len(framed) - size + 1):
            yield crc32(framed[place : place + size].encode()) % PLACES


class NameShapes:
    """Weighs words. Pure; keeps nothing of a word."""

    def __init__(self, table: bytes) -> None:
        """Takes the table: PLACES signed bytes."""
        self._weights = memoryview(table).cast("b")

    def weigh(self, word: str) -> float:
        """Log odds that a capitalised word, taken for itself, is part of a name; of parts with a hyphen the mean."""
        parts = [part for part in word.replace("'", "-").replace("’", "-").split("-") if part]
        return sum(map(self._weigh, parts)) / len(parts) if parts else 0.0

    def _weigh(self, word: str) -> float:
        return sum(self._weights[place] for place in features(word)) / SCALE


def load_name_shapes() -> NameShapes:
    """Reads the table that is shipped with the package."""
    return NameShapes(files("headrace_classifier").joinpath(TABLE).read_bytes())
