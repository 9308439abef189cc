"""Terms that a natural-language parser loses: identifiers, operators and keywords that look like stop words.

Postgres' English parser takes `__init__` apart, and drops the `with` of `async with`. So a chunk's marked spans
(`code` or "quoted") and identifiers are indexed whole, beside its English words, each behind a backtick that no English
word begins with: the `with` statement is never confused with any old with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

MARK = "`"
#: Longer spans are sentences, not terms.
LONGEST_TERM = 64
#: A tsvector holds positions up to 16,383 and a megabyte in all; a chunk of a few hundred tokens has some dozens.
MOST_TERMS = 256
#: A question of 8,000 characters has more terms than any ranking needs.
MOST_ASKED = 16
MOST_PHRASES = 64
#: "async with", "yield from", "is not in": how many words of a question may make up one term.
LONGEST_PHRASE = 3

_SPAN = re.compile(r"``([^`\n]+)``|`([^`\n]+)`|\"([^\"\n]{1,64})\"|“([^”\n]{1,64})”")
_WORD = re.compile(r"\w+(?:\.\w+)*")
# os.path, __init__, camelCase, utf8. Looked for within one word at a time, so that no text makes it slow.
_IDENTIFIER = re.compile(r"[._]|[a-z][A-Z]|[A-Za-z]\d")


def chunk_terms(text: str) -> list[str]:
    """Returns the terms to index a chunk by, in order of appearance, repeated as often as they appear."""
    return list(_cut(_marked(text), MOST_TERMS))


def question_terms(text: str) -> list[str]:
    """Returns the terms to look up for a question, each once, as for a chunk."""
    return list(dict.fromkeys(_cut(_marked(text), MOST_ASKED)))


def question_phrases(text: str) -> list[str]:
    """Returns the terms that neighbouring words of a question may make up, each once; most of them nowhere exist."""
    return list(dict.fromkeys(_cut(_phrases(text), MOST_PHRASES)))


def _marked(text: str) -> Iterator[str]:
    for match in _SPAN.finditer(text):
        yield next(group for group in match.groups() if group)
    for match in _WORD.finditer(text):
        if _IDENTIFIER.search(match[0]):
            yield match[0]


def _phrases(text: str) -> Iterator[str]:
    words = _WORD.findall(text)[:MOST_PHRASES]
    for length in range(2, LONGEST_PHRASE + 1):
        for start in range(len(words) - length + 1):
            yield " ".join(words[start : start + length])


def _cut(spans: Iterable[str], most: int) -> Iterator[str]:
    count = 0
    for span in spans:
        term = " ".join(span.lower().split())
        if 0 < len(term) <= LONGEST_TERM and count < most:
            count += 1
            yield MARK + term


def as_tsvector(terms: Iterable[str]) -> str:
    """Writes terms as the text of a tsvector, each at its place, with the weight B."""
    return " ".join(f"{_quoted(term)}:{place}B" for place, term in enumerate(terms, start=1))


def _quoted(term: str) -> str:
    escaped = term.replace("\\", "\\\\").replace("'", "''")
    return f"'{escaped}'"
