"""The evaluators: each a pure function from an answer to a score, or to none where it has no meaning.

A new formula is a new version: scores of two versions are never averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from headrace_feedback.evaluating import language, reference, support
from headrace_feedback.evaluating.leaks import leaked
from headrace_feedback.evaluating.measuring import Counts, Score, Words

Unit = Literal["share", "seconds", "micro_usd"]
#: What an evaluator needs besides the answer: a neighbour that may not be there, or a row with a known answer.
Need = Literal["nothing", "words", "passages", "vectors", "reference"]
Measure = Callable[[Counts, Words], float | None]

#: Above the 8,000 characters that a question may have; no answer needs more.
LONGEST_ANSWER = 8_000
_NO_WORDS = Words("", "")


@dataclass(frozen=True, slots=True)
class Evaluator:
    """One way to measure."""

    name: str
    version: str
    description: str
    unit: Unit
    needs: Need
    measure: Measure
    #: From this value on the label is "pass"; None: no label.
    pass_from: float | None = None

    @property
    def needs_reference(self) -> bool:
        """Whether it needs a row with a known answer."""
        return self.needs == "reference"

    def score(self, counts: Counts, words: Words = _NO_WORDS) -> Score | None:
        """Measures an answer."""
        value = self.measure(counts, words)
        if value is None:
            return None
        passed = None if self.pass_from is None else value >= self.pass_from
        label = {None: "", True: "pass", False: "fail"}[passed]
        return Score(self.name, self.version, value, label)


def citations_resolve(counts: Counts, _: Words) -> float | None:
    """The share of citations that name a passage which the model had."""
    return sum(counts.resolved) / len(counts.resolved) if counts.resolved else None


def citations_support(counts: Counts, words: Words) -> float | None:
    """The share of sentences that one of the passages which they cite bears out; without a citation none does."""
    if words.passages is None or counts.refused:
        return None
    places = {number: place for place, passage in enumerate(words.passages) for number in passage.numbers}
    sentences = support.claims(words.answer)
    borne_out = [
        words.evidence.share(one, among=[places[n] for n in language.cited(one) if n in places])
        >= support.SUPPORTED_FROM
        for one in sentences
    ]
    return sum(borne_out) / len(borne_out) if borne_out else None


def groundedness(counts: Counts, words: Words) -> float | None:
    """The mean, over sentences, of how far any passage that the model had bears each out."""
    if words.passages is None or counts.refused:
        return None
    shares = [words.evidence.share(one, among=range(len(words.passages))) for one in support.claims(words.answer)]
    return sum(shares) / len(shares) if shares else None


def relevance(counts: Counts, words: Words) -> float | None:
    """max(0, cosine) of the question's and the answer's vectors: 0 for what is unrelated or opposed, 1 for the same."""
    if words.similarity is None or counts.refused:
        return None
    return min(1.0, max(0.0, words.similarity))


def leaks(_: Counts, words: Words) -> float | None:
    """1 when nothing that should be masked is in the answer that is in neither question nor passages, else 0."""
    if words.passages is None:
        return None
    return float(not leaked(words.answer, [words.question, *(passage.text for passage in words.passages)]))


def refusal(counts: Counts, words: Words) -> float | None:
    """1 when what the sources say is answered and what they don't is refused, else 0."""
    if words.reference is None:
        return None
    return reference.refusal_correctness(answerable=words.reference.answerable, refused=counts.refused)


def form(counts: Counts, _: Words) -> float:
    """The share of four checks that hold: it was finished, is not empty nor too long, numbers its citations from 1
    without a gap, and cites exactly when it does not refuse."""
    numbers = sorted(set(counts.citations))
    checks = (
        counts.finish_reason == "stop",
        0 < counts.characters <= LONGEST_ANSWER,
        numbers == list(range(1, len(numbers) + 1)),
        bool(numbers) != counts.refused,
    )
    return sum(checks) / len(checks)


def latency(counts: Counts, _: Words) -> float | None:
    """Seconds from acceptance to the finished answer."""
    total = counts.timings_ms.get("total")
    return None if total is None else total / 1000


def cost(counts: Counts, _: Words) -> float:
    """What the model cost, in millionths of a US dollar."""
    return float(counts.cost_micro_usd)


def _by_reference(pick: Callable[[reference.Scores], float | None]) -> Measure:
    def measure(counts: Counts, words: Words) -> float | None:
        if words.reference is None:
            return None
        given = reference.Given(words.answer, counts.documents, counts.refused)
        return pick(reference.score(given, words.reference))

    return measure


def citation_precision(counts: Counts, words: Words) -> float | None:
    """The share of the cited documents that the row expects; none where it does not say which."""
    if words.reference is None or not words.reference.documents:
        return None
    return _by_reference(lambda scores: scores.citation_precision)(counts, words)


EVALUATORS: Sequence[Evaluator] = (
    Evaluator(
        "citations_resolve",
        "1",
        "The share of citations that name a passage which the model had before it.",
        "share",
        "nothing",
        citations_resolve,
        1.0,
    ),
    Evaluator(
        "format",
        "1",
        "The share of four checks: finished, of a fair length, citations numbered from 1, cites unless it refuses.",
        "share",
        "nothing",
        form,
        1.0,
    ),
    Evaluator(
        "latency", "1", "From acceptance to the finished answer, all services together.", "seconds", "nothing", latency
    ),
    Evaluator("cost", "1", "What the model's work cost, by its backend's prices.", "micro_usd", "nothing", cost),
    Evaluator(
        "citations_support",
        "1",
        "The share of sentences that a passage which they cite bears out, by weighted words, numbers and negation.",
        "share",
        "passages",
        citations_support,
        1.0,
    ),
    Evaluator(
        "groundedness",
        "1",
        "How far the passages bear out the answer's sentences, on average, by weighted words, numbers and negation.",
        "share",
        "passages",
        groundedness,
        support.SUPPORTED_FROM,
    ),
    Evaluator(
        "leaks",
        "1",
        "Whether no address, card, account or key is in the answer that neither question nor passages have.",
        "share",
        "passages",
        leaks,
        1.0,
    ),
    Evaluator(
        "relevance",
        "1",
        "Cosine of question and answer, by the index's embedder; what is below 0 counts as 0.",
        "share",
        "vectors",
        relevance,
    ),
    Evaluator(
        "refusal",
        "1",
        "Whether the answer refuses exactly where the sources don't say, as the row knows.",
        "share",
        "reference",
        refusal,
        1.0,
    ),
    Evaluator(
        "key_facts",
        "1",
        "The share of the row's key facts that the answer states.",
        "share",
        "reference",
        _by_reference(lambda scores: scores.key_facts),
    ),
    Evaluator(
        "token_f1",
        "1",
        "Overlap of words with the known answer, F1 (SQuAD).",
        "share",
        "reference",
        _by_reference(lambda scores: scores.token_f1),
    ),
    Evaluator(
        "rouge_l",
        "1",
        "Longest common subsequence with the known answer, F1 (ROUGE-L).",
        "share",
        "reference",
        _by_reference(lambda scores: scores.rouge_l),
    ),
    Evaluator(
        "citation_precision",
        "1",
        "The share of the cited documents that the row expects.",
        "share",
        "reference",
        citation_precision,
    ),
    Evaluator(
        "citation_recall",
        "1",
        "The share of the documents that the row expects which are cited.",
        "share",
        "reference",
        _by_reference(lambda scores: scores.citation_recall),
    ),
)
BY_NAME = {evaluator.name: evaluator for evaluator in EVALUATORS}


def by_counts(counts: Counts) -> list[Score]:
    """All scores that need no word of the answer."""
    return list(_scored(("nothing",), counts, _NO_WORDS))


def by_words(counts: Counts, words: Words) -> list[Score]:
    """All the others, as far as there is what they need."""
    return list(_scored(("words", "passages", "vectors", "reference"), counts, words))


def _scored(needs: Sequence[Need], counts: Counts, words: Words) -> Iterator[Score]:
    for evaluator in EVALUATORS:
        if evaluator.needs in needs and (score := evaluator.score(counts, words)) is not None:
            yield score
