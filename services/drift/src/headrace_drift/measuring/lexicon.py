"""The words that many people say, in the clear: the only place of the drift monitor that holds any.

A word gets in once it was said in enough questions of enough conversations, of at most TIER_1, so that it tells of
nobody (k-anonymity; L. Sweeney, International Journal of Uncertainty, Fuzziness and Knowledge-Based Systems 10 (2002)
557-570). Until then there is a count under a keyed hash. Words of TIER_2 never come here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from headrace_privacy import Tier
from numpy.typing import NDArray

from headrace_drift.measuring import encoding, layout
from headrace_drift.measuring.errors import Broken
from headrace_drift.measuring.sketch import group_of
from headrace_drift.measuring.tables import Words, bins_of, rows_of

MAGIC = b"HRDL"
#: A word is shown once so many questions held it,
QUESTIONS = 5
#: of so many different groups of conversations, and so of at least so many conversations or people.
CONVERSATIONS = 3
#: What is longer is no word but a token, a path or an id.
LONGEST_WORD = 40
#: The most words in the clear: those with the smallest hashes stay, and the others go by hash.
MOST_WORDS = 16_384


@dataclass(slots=True)
class Lexicon:
    """Counts of words by keyed hash, and the clear words of those that many say. Bounded as a sketch is."""

    # It is put in order often, for a word gets in by what is in order.
    _counted: Words = field(default_factory=lambda: Words(patience=0))
    _clear: dict[int, str] = field(default_factory=dict)

    def add(self, words: Mapping[int, str], *, tier: Tier, conversation: int, before: Lexicon | None = None) -> None:
        """Takes the different words of one question (`Reader.words`). Of TIER_2, it takes nothing.

        `before`: what is known already, from earlier days for example; a word's uses there count towards its threshold.
        """
        if tier >= Tier.TIER_2 or not words:
            return
        hashes = np.fromiter(words, np.uint64, len(words))
        self._counted.add(rows_of(hashes, layout.WORDS, group=group_of(conversation), tier=int(tier)))
        for tag in self._said_by_many(hashes, before).tolist():
            if len(words[tag]) <= LONGEST_WORD:
                self._clear[tag] = words[tag]
        self._bound()

    @classmethod
    def merged(cls, lexicons: Iterable[Lexicon]) -> Lexicon:
        """All of them in one; none of them is changed. Commutative and associative."""
        made, others = cls(), list(lexicons)
        made._counted.merge(other._counted for other in others)
        stand = frozenset(made._counted.rows["tag"].tolist())
        for other in others:
            made._clear.update((tag, word) for tag, word in other._clear.items() if tag in stand)
        made._bound()
        return made

    def word(self, tag: int) -> str:
        """The word of a hash; empty where too few said it, or only in TIER_2."""
        return self._clear.get(tag, "")

    def __len__(self) -> int:
        return len(self._clear)

    def __repr__(self) -> str:
        return f"<Lexicon of {len(self)} words>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lexicon) and self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]  # it changes with each question

    def to_bytes(self) -> bytes:
        """The lexicon as bytes; equal lexicons give equal bytes."""
        self._counted.settle()
        clear = json.dumps(sorted(self._clear.items()), separators=(",", ":"), ensure_ascii=True)
        return encoding.pack(MAGIC, [self._counted.rows.tobytes(), clear.encode()])

    @classmethod
    def from_bytes(cls, data: bytes) -> Lexicon:
        """Reads what `to_bytes` wrote. Raises Broken."""
        rows, clear = encoding.unpack(data, MAGIC, count=2)
        return cls(Words(encoding.read_rows(rows, limit=layout.WORDS), patience=0), _clear_words(clear))

    def _said_by_many(self, hashes: NDArray[np.uint64], before: Lexicon | None) -> NDArray[np.uint64]:
        """Those of the hashes that are in enough questions and conversations, here and before together."""
        bins = bins_of(hashes, layout.WORDS)
        questions, groups, stands = np.zeros(bins.size, np.int64), np.zeros(bins.size, np.uint32), bins >= 0
        for lexicon in (self, before):
            if lexicon is not None and lexicon._counted.rows.size:
                rows = lexicon._counted.rows
                at = np.minimum(np.searchsorted(rows["bin"], bins), rows.size - 1)
                found = rows["bin"][at] == bins
                questions += np.where(found, rows["count"][at], 0)
                groups |= np.where(found, rows["groups"][at], np.uint32(0))
                stands &= ~found | (rows["tag"][at] == hashes)
        enough = (questions >= QUESTIONS) & (np.bitwise_count(groups) >= CONVERSATIONS)
        return hashes[enough & stands]

    def _bound(self) -> None:
        for tag in sorted(self._clear)[MOST_WORDS:]:
            del self._clear[tag]


def _clear_words(section: bytes) -> dict[int, str]:
    try:
        found = json.loads(section)
    except ValueError:
        raise Broken("a list is none") from None
    if not isinstance(found, list) or len(found) > MOST_WORDS:
        raise Broken("a list of words is none")
    for pair in found:
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], int) or not isinstance(pair[1], str):
            raise Broken("a word is none")
    return dict(found)
