"""Many patterns over one text in linear time (RE2): a set says which of them occur, a scan says where.

RE2 has no look-around and no back-references, and in exchange no input makes it slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import re2

#: RE2 builds its automaton while it matches; at its default of 8 MB a large set keeps starting over.
_AUTOMATON_BYTES = 64 << 20

#: Where the search goes on after a match that was turned down, from the match's start and end.
Resume = Callable[[int, int], int]


class PatternsFailed(Exception):
    """The set gave no answer, which must not be taken for "nothing found"."""


def after(_start: int, end: int) -> int:
    """Goes on behind the match: for patterns whose matches cannot hide another."""
    return end


def within(start: int, _end: int) -> int:
    """Goes on one byte into the match: for short runs of numbers, where the real one may begin a group later."""
    return start + 1


def compile_pattern(pattern: str) -> Any:
    """Compiles a pattern for UTF-8 bytes. Raises re2.error on one that RE2 cannot run in linear time."""
    options = re2.Options()
    options.max_mem = _AUTOMATON_BYTES
    options.log_errors = False
    return re2.compile(pattern.encode(), options)


class PatternSet:
    """Tells which of many patterns occur in a text, in one pass over it."""

    def __init__(self, patterns: Sequence[str]) -> None:
        """Compiles the set. Raises re2.error on a pattern that RE2 cannot run."""
        options = re2.Options()
        options.max_mem = _AUTOMATON_BYTES
        options.log_errors = False
        self._set = re2.Set.SearchSet(options)
        # The empty pattern occurs in every text. RE2 answers "none" when its automaton runs out of memory; then this
        # one is missing too, and the silence is not taken for an all-clear.
        self._always = self._set.Add("")
        self._places = {self._set.Add(pattern): place for place, pattern in enumerate(patterns)}
        self._set.Compile()

    def occurring(self, data: bytes) -> list[int]:
        """Returns the places of the patterns that occur in `data` (UTF-8). Raises PatternsFailed."""
        matched = self._set.Match(data)
        if self._always not in matched:
            raise PatternsFailed("the pattern set ran out of memory")
        return sorted(self._places[index] for index in matched if index != self._always)


def scan(pattern: Any, data: bytes, *, accept: Callable[[int, int], bool], resume: Resume) -> Iterator[tuple[int, int]]:
    """Yields the (start, end) of the accepted matches, left to right, never overlapping.

    The first group of the pattern is the match where it has one, else the whole of it.
    """
    group = min(1, pattern.groups)
    position = 0
    while (match := pattern.search(data, position)) is not None:
        start, end = match.span(group)
        if start < end and accept(start, end):
            yield start, end
            position = end
        else:
            position = max(resume(start, end), position + 1)
