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
    """Finds identifiers whatever their case, as whole words. Time grows with the text, hardly with the entries."""

    entries: Mapping[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, identifiers: Iterable[str]) -> Dictionary:
        """Makes one. What holds no letter or digit, or more than LONGEST characters, is left out."""
        entries: dict[str, set[tuple[str, int]]] = {}
        for identifier in identifiers:
            whole = _lowered(" ".join(identifier.split()))
            first = _WORD.search(whole)
            if first is not None and len(whole) <= LONGEST:
                entries.setdefault(first.group(), set()).add((whole, first.start()))
        return cls({word: tuple(sorted(found, key=lambda e: (-len(e[0]), e))) for word, found in entries.items()})

    def __len__(self) -> int:
        return sum(map(len, self.entries.values()))

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
        for whole, before in self.entries.get(word.group(), ()):
            start = word.start() - before
            end = start + len(whole)
            if start >= 0 and read.startswith(whole, start) and not _within_word(read, end):
                return start, end
        return None


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
