"""Cutting text into sentences, of passages and of a text that is still being written."""

from __future__ import annotations

import re

# A stop, closing marks or a citation, then white space. What follows decides whether it was the end.
_STOP = re.compile(r"[.!?][\"'”’)]*(?:\s*\[\d+(?:\s*,\s*\d+)*\]\.?)*(?=\s|$)")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|resp|Fig|No|Dr|Mr|Mrs|St)|\b[A-Z])\.$")
_BLANK = re.compile(r"\n\s*\n")
_BULLET = re.compile(r"^\s*(?:[*\-•+]|\d+[.)])\s+")
_NOT_PROSE = re.compile(r"::=|>>>|[{}\\|]|^\s*#|=\s*\w+\(|\w+ = \w|__+$")

_SHORTEST_WORDS = 5


def split(text: str) -> list[str]:
    """The sentences of a text. Blank lines end one too; line breaks within it do not."""
    return [s for paragraph in _BLANK.split(text) for s in _sentences(_joined(paragraph))]


def _joined(paragraph: str) -> str:
    return _BULLET.sub("", " ".join(paragraph.split()))


def _sentences(text: str) -> list[str]:
    found, rest = [], text
    while (end := _end_of_first(rest)) is not None:
        found.append(rest[:end].strip())
        rest = rest[end:]
    return [s for s in (*found, rest.strip()) if s]


def _end_of_first(text: str) -> int | None:
    """Where the first sentence ends, when something that can begin another follows."""
    for stop in _STOP.finditer(text):
        after = text[stop.end() :].lstrip()
        head = text[: stop.start() + 1]
        if after and not after[0].islower() and not _ABBREVIATION.search(head):
            return stop.end()
    return None


def take_first(text: str) -> tuple[str, str] | None:
    """The first sentence of a text that may go on, and the rest; None while its end is not certain.

    A line break ends a sentence here: small models start lists.
    """
    line, newline, rest = text.lstrip().partition("\n")
    end = _end_of_first(line)
    if end is not None:
        return line[:end].strip(), line[end:] + newline + rest
    return (line.strip(), rest) if newline and line.strip() else None


def is_sentence(text: str) -> bool:
    """Whether it was finished: a model that ran out of tokens leaves half of one."""
    return bool(text) and text[-1] in ".!?" and not _NOT_PROSE.search(text)


def is_prose(sentence: str) -> bool:
    """Whether it is a whole sentence in words: not code, grammar, a heading or a table's row."""
    words = sentence.split()
    letters = sum(c.isalpha() or c.isspace() for c in sentence)
    return (
        len(words) >= _SHORTEST_WORDS
        and sentence[-1] in ".!?)\"'”"
        and (sentence[0].isupper() or sentence[0] in "\"'`“*_")
        and letters >= 0.75 * len(sentence)
        and not sentence.startswith("**")  # "**PEP 3104** - Access to Names": a reference
        and not _NOT_PROSE.search(sentence)
    )
