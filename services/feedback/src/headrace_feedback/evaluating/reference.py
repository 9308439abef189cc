"""How near an answer comes to a reference whose right outcome is known. Pure; every score lies in 0..1.

A score is None where it has no meaning (no facts to find, nothing cited), so that an average cannot count it as 0 or 1.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

_ARTICLES = frozenset({"a", "an", "the"})
_MARKER = re.compile(r"\[\d+\]")
_PUNCTUATION = str.maketrans("", "", string.punctuation + "“”‘’…–—")
_WORD = re.compile(r"\w+")
_FACT_WORD = re.compile(r"\w+\*?")


@dataclass(frozen=True, slots=True)
class Reference:
    """What is known of a question before it is asked.

    facts: see `key_fact_recall`. documents: ids of those that answer it. answerable: whether the sources say.
    """

    answer: str = field(repr=False)
    facts: tuple[str, ...] = field(repr=False)
    documents: frozenset[str]
    answerable: bool


@dataclass(frozen=True, slots=True)
class Given:
    """What came back. documents: ids of those cited. refused: the answer says that the sources don't."""

    answer: str = field(repr=False)
    documents: frozenset[str]
    refused: bool


@dataclass(frozen=True, slots=True)
class Scores:
    """All reference metrics of one answer. The first five are None for what the sources don't say."""

    key_facts: float | None
    token_f1: float | None
    rouge_l: float | None
    citation_precision: float | None
    citation_recall: float | None
    refusal: float


def score(given: Given, reference: Reference) -> Scores:
    """All metrics. A refusal of what could be answered states no facts and cites nothing."""
    refusal = refusal_correctness(answerable=reference.answerable, refused=given.refused)
    if not reference.answerable:
        return Scores(None, None, None, None, None, refusal)
    said = "" if given.refused else given.answer
    cited = frozenset[str]() if given.refused else given.documents
    return Scores(
        key_facts=key_fact_recall(said, reference.facts),
        token_f1=token_f1(said, reference.answer),
        rouge_l=rouge_l(said, reference.answer),
        citation_precision=citation_precision(cited, reference.documents),
        citation_recall=citation_recall(cited, reference.documents),
        refusal=refusal,
    )


def key_fact_recall(answer: str, facts: Sequence[str]) -> float | None:
    """The share of the facts that the answer states; None without facts.

    facts: phrases as `states` reads them.
    """
    return sum(states(answer, fact) for fact in facts) / len(facts) if facts else None


def states(text: str, fact: str) -> bool:
    """Whether a text holds a phrase, or one of several with "|" between.

    A phrase is a run of words; case and punctuation do not count, and a word that ends with "*" stands for all that
    begin so ("evaluat*"). No regular expression: those of a stranger can take for ever.
    """
    words = _WORD.findall(_MARKER.sub(" ", text).lower())
    return any(_holds(words, _FACT_WORD.findall(phrase.lower())) for phrase in fact.split("|"))


def _holds(words: Sequence[str], phrase: Sequence[str]) -> bool:
    if not phrase:
        return False
    starts = range(len(words) - len(phrase) + 1)
    return any(all(map(_is_word, words[start:], phrase)) for start in starts)


def _is_word(word: str, wanted: str) -> bool:
    return word.startswith(wanted[:-1]) if wanted.endswith("*") else word == wanted


def normalised(text: str) -> list[str]:
    """The words of a text as SQuAD compares them: lower case, no punctuation, no articles; citation marks are gone too.

    Rajpurkar et al. 2016, "SQuAD: 100,000+ Questions for Machine Comprehension of Text", and its evaluation script.
    """
    words = _MARKER.sub(" ", text).lower().translate(_PUNCTUATION).split()
    return [word for word in words if word not in _ARTICLES]


def token_f1(answer: str, reference: str) -> float:
    """Harmonic mean of precision and recall over the bags of words (Rajpurkar et al. 2016); 1 when both are empty."""
    said, wanted = normalised(answer), normalised(reference)
    return _f1((Counter(said) & Counter(wanted)).total(), said, wanted)


def rouge_l(answer: str, reference: str) -> float:
    """ROUGE-L's F with precision and recall weighing the same (Lin 2004, "ROUGE", section 3.1; beta 1).

    Over the whole text as one sequence; words as `normalised` gives them, so without stemming.
    """
    said, wanted = normalised(answer), normalised(reference)
    return _f1(_common_subsequence(said, wanted), said, wanted)


def _f1(common: int, said: Sequence[str], wanted: Sequence[str]) -> float:
    if not said or not wanted:
        return float(said == wanted)
    # 2pr/(p+r) with p = common/len(said) and r = common/len(wanted)
    return 2 * common / (len(said) + len(wanted))


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    row = [0] * (len(second) + 1)
    for word in first:
        before = 0
        for j, other in enumerate(second, start=1):
            before, row[j] = row[j], before + 1 if word == other else max(row[j], row[j - 1])
    return row[-1]


def citation_precision(cited: Collection[str], expected: Collection[str]) -> float | None:
    """The share of the cited documents that are expected; None when nothing is cited. Each document counts once."""
    return len(set(cited) & set(expected)) / len(set(cited)) if cited else None


def citation_recall(cited: Collection[str], expected: Collection[str]) -> float | None:
    """The share of the expected documents that are cited; None when none is expected. Each document counts once."""
    return len(set(cited) & set(expected)) / len(set(expected)) if expected else None


def refusal_correctness(*, answerable: bool, refused: bool) -> float:
    """1 when what the sources say is answered and what they don't is refused, else 0."""
    return float(answerable != refused)
