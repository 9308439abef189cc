"""Sentences and the words in them, as support is measured. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

# A stop, closing marks, citations, then white space and something that can begin a sentence.
_END = re.compile(r"(?<=[.!?])[\"'”’)]*(?P<marks>(?:\s*\[\d+(?:\s*,\s*\d+)*\])*)\.?\s+(?=[\"'“‘(`*]*[A-Z0-9`\"'“])")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|Fig|No|Dr|Mr|Mrs|St)|\b[A-Z])\.$")
_BREAK = re.compile(r"\n\s*(?:\n|(?=[*\-•+]\s|\d+[.)]\s))")
_MARKER = re.compile(r"\[(\d+(?:\s*,\s*\d+)*)\]")
_WORD = re.compile(r"\w+(?:[.’'_-]\w+)*|[-+*/%@&|^<>=!~]=?")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")

#: Words that carry no claim of their own.
STOP_WORDS = frozenset(
    """a about after all also am an and any are as at be because been before being between both but by can could did do
    does doing during each for from further had has have having he her here him his how i if in into is it its itself
    may me might more most must my of off on once only or other our out over own same shall she should so some such than
    that the their them then there these they this those through to too under until up upon very was we were what when
    where which while who whom why will with would you your""".split()  # noqa: SIM905 - a table of words
)
NEGATIONS = frozenset(
    """not no never none nothing neither nor cannot can't don't doesn't didn't isn't aren't wasn't won't without
    unable impossible""".split()  # noqa: SIM905 - a table of words
)
_SUFFIXES = ("ations", "ation", "ings", "ing", "ions", "ion", "edly", "ed", "es", "ly", "s", "e")


def sentences(text: str) -> list[str]:
    """The sentences of a text, each with the citations that stand in or right after it.

    A blank line or a list's next item ends one too.
    """
    return [one for part in _BREAK.split(text) for one in _of_paragraph(" ".join(part.split()))]


def _of_paragraph(text: str) -> list[str]:
    found, start = [], 0
    for end in _END.finditer(text):
        head = text[start : end.start()]
        if not _ABBREVIATION.search(head):
            found.append(text[start : end.end()].strip())
            start = end.end()
    return [one for one in (*found, text[start:].strip()) if one]


def cited(sentence: str) -> tuple[int, ...]:
    """The numbers that a sentence cites, in order: of "as said [1, 3]" 1 and 3."""
    return tuple(int(number) for group in _MARKER.findall(sentence) for number in group.split(","))


def without_marks(text: str) -> str:
    """A text without its citations."""
    return _MARKER.sub(" ", text)


def words(text: str) -> list[str]:
    """All words, numbers and operators, in lower case."""
    return [word.lower() for word in _WORD.findall(text.replace("’", "'"))]


def claimed(said: Sequence[str]) -> list[str]:
    """The stems of those of a text's words that claim something, in order."""
    return [stem(word) for word in said if word not in STOP_WORDS and word not in NEGATIONS]


def numbers(text: str) -> frozenset[str]:
    """All numbers, as they are written."""
    return frozenset(_NUMBER.findall(text))


def is_denied(said: Sequence[str]) -> bool:
    """Whether a text's words deny something."""
    return any(word in NEGATIONS or word.endswith("n't") for word in said)


@lru_cache(maxsize=16_384)
def stem(word: str) -> str:
    """A word without its commonest endings. Coarse on purpose: both sides of a comparison go through it."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 3 and not (suffix == "s" and word.endswith("ss")):
            word = word[: -len(suffix)]
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "sl":
        word = word[:-1]
    return f"{word[:-1]}y" if word.endswith("i") and len(word) > 3 else word
