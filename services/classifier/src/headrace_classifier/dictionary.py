"""A tenant's own identifiers, found in a text: project names, machine names, customers' numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

#: The rule's name in findings.
RULE = "dictionary"

#: An identifier has at most so many characters; a longer one is a text, not a name.
LONGEST = 256

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, repr=False)
class Dictionary:
    """Finds identifiers whatever their case, as whole words. Time grows with the text, hardly with the entries.

    entries: by the first word, the lengths that begin with it, where in them it stands, and the wholes.
    """

    entries: Mapping[str, tuple[tuple[int, int, frozenset[str]], ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, identifiers: Iterable[str]) -> Dictionary:
        """Makes one. What holds no letter or digit, or more than LONGEST characters, is left out."""
        entries: dict[str, dict[tuple[int, int], set[str]]] = {}
        for identifier in identifiers:
            whole = _lowered(" ".join(identifier.split()))
            first = _WORD.search(whole)
            if first is not None and len(whole) <= LONGEST:
                shape = len(whole), first.start()
                entries.setdefault(first.group(), {}).setdefault(shape, set()).add(whole)
        return cls({word: _longest_first(shapes) for word, shapes in entries.items()})

    def __len__(self) -> int:
        return sum(len(wholes) for shapes in self.entries.values() for _, _, wholes in shapes)

    def __repr__(self) -> str:
        return f"<dictionary of {len(self)} identifiers>"

    def places(self, text: str) -> Iterator[tuple[int, int]]:
        """Yields (start, end) in characters of each identifier, left to right; of several at a place the longest."""
        if not self.entries:
            return
        read = _lowered(text)
        position = 0
        for word in _WORD.finditer(read):
            if word.start() >= position and (found := self._at(read, word)) is not None:
                yield found
                position = found[1]

    def _at(self, read: str, word: re.Match[str]) -> tuple[int, int] | None:
        for length, before, wholes in self.entries.get(word.group(), ()):
            start = word.start() - before
            end = start + length
            if start >= 0 and read[start:end] in wholes and not _within_word(read, end):
                return start, end
        return None


def _longest_first(shapes: Mapping[tuple[int, int], set[str]]) -> tuple[tuple[int, int, frozenset[str]], ...]:
    """The entries that begin with one word, by their length and the place of that word in them."""
    return tuple((length, before, frozenset(shapes[length, before])) for length, before in sorted(shapes, reverse=True))


def _within_word(read: str, place: int) -> bool:
    """Says whether a word goes on over this place."""
    return 0 < place < len(read) and _is_word(read[place - 1]) and _is_word(read[place])


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _lowered(text: str) -> str:
    """Lower case, as many characters as before: the few whose lower case is longer stay, every blank is a space."""
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    return lowered.translate(_BLANKS)


_BLANKS = {9: " ", 10: " ", 13: " ", 0xA0: " "}

#: Where no tenant has one.
EMPTY = Dictionary()
