"""Whether passages are about a question, whether they support a sentence, and what they say themselves. Pure.

A sentence is supported when one sentence of a passage says it in nearly the same words, with the same numbers and
names, as affirmed or denied, and no more strongly. (Joined from two, a small model keeps the words and loses the
sense.) That refuses fair paraphrases too; what is refused is answered in the sources' own sentences, so the price of
strictness is style and never truth.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from headrace_models.prompting import sentences as cutting
from headrace_models.prompting import without_markers

from headrace_inference.terms import (
    GENERIC,
    STOP_WORDS,
    STRONG,
    content,
    identifiers,
    negated,
    numbers,
    stem,
    tokens,
)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Chosen on Python's language reference with 30 questions that it answers and 36 that it does not."""

    # A best passage less similar than this is about something else, whatever words it shares.
    similarity: float = 0.30
    # The share of the question's own words that one passage must have.
    question_words: float = 0.6
    # The weighted share of a sentence's words that its source must have.
    coverage: float = 0.9
    # The share of a sentence's words that its source has in the same order.
    order: float = 0.85
    # The share of a sentence's neighbouring words that are near each other in its source too.
    pairs: float = 0.9
    # The share of its source that a sentence must keep: half a sentence often means the opposite of the whole.
    kept: float = 0.5
    # The weighted share of the question's own words in an answer's first sentence.
    to_the_point: float = 0.5


THRESHOLDS = Thresholds()


@dataclass(frozen=True)
class Source:
    """A passage as grounding sees it.

    `about` is its title and headings, `collection` the name of the source that it belongs to, `similarity` the
    question's cosine to it.
    """

    text: str = field(repr=False)
    about: str = field(repr=False)
    similarity: float
    collection: str = ""

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """Its sentences, prose or not."""
        return tuple(cutting.split(without_markers(self.text)))

    @cached_property
    def stems(self) -> frozenset[str]:
        """The stems of all its words, title and headings included, stop words too: a name may be one."""
        return _stems(f"{self.collection} {self.about} {self.text}")

    @cached_property
    def plain(self) -> str:
        """All of it in lower case, for names."""
        return " ".join(f"{self.about}\n{self.text}".lower().split())


# "the nonlocal statement": what stands before one of these is a thing's name.
_KINDS = (
    "statement|keyword|operator|method|function|expression|loop|block|clause|decorator|modifier|module|library|package|"
    "attribute|exception|framework|command|hook|directive|macro|annotation|server|protocol|command"
)
_NAMED = re.compile(
    rf"\b(?:the|an?|python'?s?|this)\s+((?:[\w`-]+\s+){{0,2}})([\w`.=-]+)\s+({_KINDS})s?\b", re.IGNORECASE
)


def keys(question: str) -> tuple[str, ...]:
    """The stems of the words that say what a question is about, each once."""
    generic = {stem(w) for w in GENERIC}
    found = [s for s in content(question) if s not in generic]
    return tuple(dict.fromkeys(found or content(question)))


def is_answerable(question: str, sources: Sequence[Source], *, limits: Thresholds = THRESHOLDS) -> bool:
    """Whether the passages are about the question: close to it in meaning, holding its words, and every name in it."""
    return bool(about(question, sources, limits=limits))


def about(question: str, sources: Sequence[Source], *, limits: Thresholds = THRESHOLDS) -> tuple[Source, ...]:
    """The passages that a question can be answered from, in their order; none when the sources don't say."""
    if max((s.similarity for s in sources), default=0.0) < limits.similarity:
        return ()
    if not all(any(_has_name(s, named) for s in sources) for named in _names(question)):
        return ()
    if not _proper_nouns(question) <= frozenset().union(*(s.stems for s in sources)):
        return ()
    # "… in Python?", asked of Python's reference, tells no passage from another.
    collections = _stems(" ".join(s.collection for s in sources))
    asked = [key for key in keys(question) if key not in collections]
    return tuple(s for s in sources if _share(asked, s.stems) >= limits.question_words)


def _share(asked: Sequence[str], stems: frozenset[str]) -> float:
    return sum(key in stems for key in asked) / len(asked) if asked else 0.0


def _stems(text: str) -> frozenset[str]:
    """All words, those within hyphens too."""
    return frozenset(stem(part) for t in tokens(text) for part in (t, *t.split("-")))


@dataclass(frozen=True, slots=True)
class _Name:
    """A thing that a question names: "the sealed class decorator" is a `kind` of decorator, `qualified` by "sealed"."""

    name: str
    kind: str = ""
    qualified: frozenset[str] = frozenset()


def _names(question: str) -> Iterator[_Name]:
    for match in _NAMED.finditer(question):
        qualified = frozenset(content(match[1]))
        yield _Name(match[2].strip("`").lower(), match[3].lower(), qualified)
    for name in identifiers(question):
        yield _Name(name)


def _has_name(source: Source, named: _Name) -> bool:
    """Whether a passage names a thing: as a title's word, marked as code or in quotes, or followed by its kind.

    A mere word of running text is no name: "unless" occurs in every manual that has no unless statement.
    """
    quoted = re.escape(named.name)
    if not named.kind:
        return re.search(rf"(?<!\w){quoted}(?!\w)", source.plain) is not None
    if not named.qualified <= source.stems:
        return False
    marked = rf"[\"'`*]{quoted}[\"'`*(]|(?<!\w){quoted}[\"'`*]*\s+(?:\w+\s+)?{named.kind}"
    return stem(named.name) in map(stem, tokens(source.about)) or re.search(marked, source.plain) is not None


def _proper_nouns(question: str) -> frozenset[str]:
    """Capitalised words that do not begin the question: products, places, people."""
    words = re.findall(r"(?<=\s)[A-Z]\w+", question)
    return frozenset(stem(w.lower()) for w in words if w.lower() not in STOP_WORDS)


@dataclass(frozen=True, slots=True)
class Claim:
    """A sentence taken apart."""

    words: tuple[str, ...]
    numbers: frozenset[str]
    identifiers: frozenset[str]
    strong: frozenset[str]
    is_negated: bool

    @classmethod
    def of(cls, sentence: str) -> Claim:
        """Take a sentence apart; citation marks do not count."""
        bare = without_markers(sentence)
        words = tokens(bare)
        return cls(
            words=tuple(content(bare)),
            numbers=numbers(bare),
            identifiers=identifiers(bare),
            strong=frozenset(words) & STRONG,
            is_negated=negated(words),
        )


class Checker:
    """Checks sentences against the passages of one question."""

    def __init__(self, question: str, sources: Sequence[Source], *, limits: Thresholds = THRESHOLDS) -> None:
        self._limits = limits
        self._keys = keys(question)
        self._question = Claim.of(question)
        self._sources = [(i, s) for i, s in enumerate(sources)]
        self._relevant = {id(s) for s in about(question, sources, limits=limits)}
        counted = Counter(w for _, s in self._sources for sentence in s.sentences for w in set(content(sentence)))
        total = sum(len(s.sentences) for _, s in self._sources) or 1
        self._weight = {word: math.log(1 + total / n) for word, n in counted.items()}
        self._unseen = math.log(1 + total)

    @property
    def is_answerable(self) -> bool:
        """As `is_answerable`."""
        return bool(self._relevant)

    def support(self, sentence: str) -> int | None:
        """The index of the passage that says this sentence best; None when none does."""
        claim = Claim.of(sentence)
        if not self._claims_something(claim):
            return None
        scored = [
            (self._coverage(claim, said), -index)
            for index, source in self._sources
            if id(source) in self._relevant
            for said in source.sentences
            if self._agrees(claim, said)
        ]
        best = max(scored, default=(0.0, 0))
        return -best[1] if best[0] >= self._limits.coverage else None

    def _claims_something(self, claim: Claim) -> bool:
        """A sentence of the question's own words says nothing, however well they occur in the sources."""
        return len(claim.words) >= 3 and not set(claim.words) <= set(self._question.words)

    def _agrees(self, claim: Claim, sentence: str) -> bool:
        said = Claim.of(sentence)
        return (
            claim.numbers <= said.numbers
            and claim.identifiers <= {*tokens(sentence), *said.identifiers}
            and claim.strong <= said.strong
            and claim.is_negated == said.is_negated
            and _in_order(claim.words, said.words) >= self._limits.order
            and _paired(claim.words, said.words) >= self._limits.pairs
            and len(claim.words) >= self._limits.kept * len(said.words)
        )

    def _coverage(self, claim: Claim, sentence: str) -> float:
        said = set(content(sentence))
        weights = [(self._weight.get(w, self._unseen), w in said) for w in set(claim.words)]
        return sum(weight for weight, there in weights if there) / sum(weight for weight, _ in weights)

    def is_to_the_point(self, sentence: str) -> bool:
        """Whether a sentence speaks of what was asked, so that an answer may begin with it."""
        words = set(content(sentence))
        weights = [(self._weight.get(k, self._unseen), k in words) for k in self._keys]
        there = sum(weight for weight, found in weights if found)
        return there >= self._limits.to_the_point * sum(weight for weight, _ in weights)

    def extract(self, *, most: int = 2) -> list[tuple[str, int]]:
        """The sources' own sentences that answer best, each with its passage's index; none when nothing fits.

        The best one, and after it what follows it in its passage or says as much elsewhere.
        """
        candidates = sorted(self._candidates(), key=lambda c: -c.score)
        if not candidates:
            return []
        best = candidates[0]
        chosen = [best]
        for other in candidates[1:]:
            if len(chosen) < most and other.score >= 0.75 * best.score and not _repeats(other, chosen):
                chosen.append(other)
        chosen.sort(key=lambda c: (c.source != best.source, c.source, c.place))
        return [(c.sentence, c.source) for c in chosen]

    def _candidates(self) -> Iterator[_Candidate]:
        for index, source in self._sources:
            if id(source) not in self._relevant:
                continue
            titled = set(content(source.about))
            for place, sentence in enumerate(source.sentences):
                score = self._score(sentence, titled, source.similarity)
                if score > 0 and cutting.is_prose(sentence):
                    yield _Candidate(sentence, index, place, score)

    def _score(self, sentence: str, titled: set[str], similarity: float) -> float:
        """How well a source's sentence answers: the question's words in it, those of its title for half, an early
        mention of its subject, and the passage's similarity. 0 when it has none of the words itself."""
        words = content(sentence)
        own = sum(self._weight.get(k, self._unseen) for k in self._keys if k in words)
        if not own:
            return 0.0
        by_title = sum(0.5 * self._weight.get(k, self._unseen) for k in self._keys if k in titled and k not in words)
        everything = sum(self._weight.get(k, self._unseen) for k in self._keys)
        defines = 0.2 if words[:2] and set(words[:2]) & set(self._keys) else 0.0
        return (own + by_title) / everything + defines + 0.5 * similarity


@dataclass(frozen=True, slots=True)
class _Candidate:
    sentence: str = field(repr=False)
    source: int
    place: int
    score: float


def _repeats(candidate: _Candidate, chosen: Sequence[_Candidate]) -> bool:
    words = set(content(candidate.sentence))
    return any(len(words & set(content(c.sentence))) > 0.7 * len(words) for c in chosen)


def _in_order(words: Sequence[str], source: Sequence[str]) -> float:
    """The longest common subsequence as a share of `words`: who does what to whom is in the order."""
    if not words:
        return 0.0
    row = [0] * (len(source) + 1)
    for word in words:
        before = 0
        for j, other in enumerate(source, start=1):
            before, row[j] = row[j], before + 1 if word == other else max(row[j], row[j - 1])
    return row[-1] / len(words)


# Articles and the like are gone already, so two words on is still the same clause.
_NEAR = 2


def _paired(words: Sequence[str], source: Sequence[str]) -> float:
    """The share of neighbours in `words` that stand in this order and near each other in the source.

    "A break statement terminates the loop" and "The break statement is executed when the loop terminates" have the same
    words in almost the same order.
    """
    near = {(a, b) for i, a in enumerate(source) for b in source[i + 1 : i + 1 + _NEAR]}
    neighbours = list(itertools.pairwise(words))
    return sum(pair in near for pair in neighbours) / len(neighbours) if neighbours else 0.0
