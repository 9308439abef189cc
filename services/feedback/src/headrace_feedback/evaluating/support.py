"""Whether a passage bears a sentence out, measured by its words. Pure.

It is not the check that inference answers by: that one must never let a sentence pass wrongly, refuses fair paraphrases
for it, and decides. This one measures, also what other models wrote; an answer that was made to pass a check would get
full marks of the same check. So the two share no code.

    share(sentence, window) = sum of idf(w) over the sentence's claiming words w that the window has
                              / sum of idf(w) over all of its claiming words
    idf(w) = ln(1 + S / n(w)),   S sentences in all passages of the answer, n(w) of them with w; 1/2 where none has it

A window is two neighbouring sentences of a passage. It counts only where it has every number of the sentence, and where
one of its sentences denies something exactly when the sentence does. The share without weights is K-Precision, which
of the measures by words agreed best with people about faithfulness: V. Adlakha and others, Evaluating correctness and
faithfulness of instruction-following models for question answering, TACL 12 (2024). The weights: K. Spärck Jones,
Journal of Documentation 28 (1972).
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from headrace_feedback.evaluating import language

#: From this share on a sentence counts as borne out.
SUPPORTED_FROM = 0.7
#: A sentence of fewer claiming words says nothing that could be wrong.
FEWEST_WORDS = 2


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence taken apart, without its citations."""

    stems: frozenset[str] = field(repr=False)
    numbers: frozenset[str] = field(repr=False)
    is_denied: bool

    @classmethod
    def of(cls, sentence: str) -> Statement:
        """Takes it apart."""
        bare = language.without_marks(sentence)
        words = language.words(bare)
        return cls(frozenset(language.claimed(words)), language.numbers(bare), language.is_denied(words))


@dataclass(frozen=True, slots=True)
class Window:
    """Neighbouring sentences of a passage, taken apart."""

    stems: frozenset[str] = field(repr=False)
    numbers: frozenset[str] = field(repr=False)
    denials: frozenset[bool]


class Evidence:
    """The passages of one answer, taken apart once."""

    def __init__(self, passages: Sequence[str]) -> None:
        cut = [[Statement.of(one) for one in language.sentences(passage)] for passage in passages]
        self._windows = [tuple(_windows(statements)) for statements in cut]
        seen = Counter(word for statements in cut for one in statements for word in one.stems)
        total = sum(map(len, cut)) or 1
        self._weight = {word: math.log(1 + total / n) for word, n in seen.items()}
        self._unseen = math.log(1 + 2 * total)

    def share(self, sentence: str, *, among: Iterable[int]) -> float:
        """How far the best window of these passages bears a sentence out, 0 to 1. among: their places."""
        said = Statement.of(sentence)
        claim = said.stems
        whole = sum(map(self._weigh, claim))
        if not whole:
            return 0.0
        fitting = (
            window
            for place in among
            for window in self._windows[place]
            if said.numbers <= window.numbers and said.is_denied in window.denials
        )
        return max((sum(map(self._weigh, claim & window.stems)) / whole for window in fitting), default=0.0)

    def _weigh(self, word: str) -> float:
        return self._weight.get(word, self._unseen)


def claims(answer: str) -> list[str]:
    """The sentences of an answer that claim something, with their citations."""
    return [
        one
        for one in language.sentences(answer)
        if len(language.claimed(language.words(language.without_marks(one)))) >= FEWEST_WORDS
    ]


def _windows(statements: Sequence[Statement]) -> Iterable[Window]:
    pairs = itertools.pairwise(statements) if len(statements) > 1 else [tuple(statements)] if statements else []
    for pair in pairs:
        yield Window(
            stems=frozenset().union(*(one.stems for one in pair)),
            numbers=frozenset().union(*(one.numbers for one in pair)),
            denials=frozenset(one.is_denied for one in pair),
        )
