"""A sketch: all that is kept of a slice's traffic in a bucket of time. Bounded, mergeable, and without text.

Everything is counted by group of conversations, so that whoever compares two sketches knows what chance does. All
counts are whole numbers, so sketches may be put together in any order and come out the same to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property

import numpy as np
from headrace_privacy import Tier
from headrace_statistics.clustered import Sums
from numpy.typing import NDArray

from headrace_drift.measuring import encoding, layout, waves
from headrace_drift.measuring.errors import Incompatible
from headrace_drift.measuring.examples import Example, Examples
from headrace_drift.measuring.names import Names
from headrace_drift.measuring.observation import Answer, Observation, Question
from headrace_drift.measuring.scales import Scale, bin_of
from headrace_drift.measuring.tables import Counts, Words, rows_of
from headrace_drift.measuring.vocabulary import Known

Floats = NDArray[np.float64]


class Tally(IntEnum):
    """What is simply counted by group. The numbers are part of the format."""

    EVENTS = 0
    QUESTIONS = 1
    WORDS = 2
    ANSWERS = 3
    GROUNDED = 4
    REFUSED = 5
    THUMBS = 6
    THUMBS_UP = 7
    VECTORS = 8
    PUBLIC = 9
    TIER_1 = 10
    TIER_2 = 11


class OfKind(IntEnum):
    """What is counted of each kind, by group."""

    QUERIES = 0
    ANSWERS = 1
    GROUNDED = 2


_TIERS = {Tier.PUBLIC: Tally.PUBLIC, Tier.TIER_1: Tally.TIER_1, Tier.TIER_2: Tally.TIER_2}


@dataclass(slots=True)
class Parts:
    """What a sketch is made of; `encoding` writes and reads it."""

    tallies: NDArray[np.int64] = field(default_factory=lambda: np.zeros((layout.GROUPS, len(Tally)), np.int64))
    grams: Counts = field(default_factory=lambda: Counts(layout.GROUPS * layout.GRAMS))
    scales: Counts = field(default_factory=lambda: Counts(len(Scale) * layout.GROUPS * layout.BINS))
    words: Words = field(default_factory=Words)
    kinds: Names = field(default_factory=lambda: Names(layout.KINDS, len(OfKind)))
    scores: Names = field(default_factory=lambda: Names(layout.EVALUATORS, layout.SCORE_BINS))
    models: Names = field(default_factory=lambda: Names(layout.VERSIONS, 1))
    prompts: Names = field(default_factory=lambda: Names(layout.VERSIONS, 1))
    examples: Examples = field(default_factory=Examples)
    dimensions: int = 0
    waves: NDArray[np.int64] = field(default_factory=lambda: np.zeros((layout.GROUPS, 2 * layout.WAVES), np.int64))


class Sketch:
    """Counts observations. At most `layout.LARGEST` bytes, in memory and encoded, whatever it has seen."""

    def __init__(self) -> None:
        self._parts = Parts()
        self._measured: Measured | None = None

    # Writing

    def add(self, observation: Observation) -> None:
        """Takes what an event says.

        Raises Incompatible for a vector of another length than those before, or not of numbers; nothing counts then.
        """
        if observation.vector is not None:
            self._check_vector(observation.vector)
        self._measured = None
        parts, group = self._parts, group_of(observation.conversation)
        parts.tallies[group, Tally.EVENTS] += 1
        spans: list[tuple[Scale, float]] = []
        if observation.question is not None:
            spans += self._ask(observation, observation.question, group)
        if observation.answer is not None:
            spans += self._answer(observation.answer, group)
        if observation.kind and (observation.question is not None or observation.answer is not None):
            self._count_kind(observation, group)
        if spans:
            keys = [(scale * layout.GROUPS + group) * layout.BINS + bin_of(scale, value) for scale, value in spans]
            parts.scales.add(np.array(keys, np.uint32))
        self._judge(observation, group)

    @classmethod
    def merged(cls, sketches: Iterable[Sketch]) -> Sketch:
        """All of them in one; none of them is changed. Commutative and associative. Of none: an empty sketch.

        Raises Incompatible where their vectors have different lengths.
        """
        made, others = cls(), [sketch._parts for sketch in sketches]
        parts = made._parts
        for dimensions in {other.dimensions for other in others} - {0}:
            made._take_dimensions(dimensions)
        for other in others:
            parts.tallies += other.tallies
            parts.waves += other.waves
        parts.grams.merge(other.grams for other in others)
        parts.scales.merge(other.scales for other in others)
        parts.words.merge(other.words for other in others)
        parts.kinds.merge(other.kinds for other in others)
        parts.scores.merge(other.scores for other in others)
        parts.models.merge(other.models for other in others)
        parts.prompts.merge(other.prompts for other in others)
        parts.examples.merge(other.examples for other in others)
        return made

    def without_examples(self, query_ids: Collection[str]) -> Sketch:
        """The same, with these queries' ids forgotten, for an erasure; they still count."""
        made = Sketch.merged([self])
        made._parts.examples = made._parts.examples.without(query_ids)
        return made

    # Keeping

    def to_bytes(self) -> bytes:
        """The sketch as bytes; equal sketches give equal bytes."""
        return encoding.write(self._parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> Sketch:
        """Reads what `to_bytes` wrote. Raises Broken."""
        made = cls()
        encoding.read(data, into=made._parts)
        return made

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sketch) and self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]  # it changes with each event

    def __repr__(self) -> str:
        return f"<Sketch of {self.events} events, {self.queries} queries>"

    # Reading

    @property
    def events(self) -> int:
        """Observations taken."""
        return int(self._parts.tallies[:, Tally.EVENTS].sum())

    @property
    def queries(self) -> int:
        """Questions among them."""
        return int(self._parts.tallies[:, Tally.QUESTIONS].sum())

    @property
    def strictest(self) -> Tier | None:
        """The strictest tier of the questions; None of no questions."""
        found = [tier for tier, tally in _TIERS.items() if self._parts.tallies[:, tally].any()]
        return max(found, default=None)

    @property
    def models(self) -> dict[str, int]:
        """Answers by model; under "" those of models that there was no room for."""
        return self._parts.models.totals()

    @property
    def prompts(self) -> dict[str, int]:
        """Answers by prompt; under "" those of prompts that there was no room for."""
        return self._parts.prompts.totals()

    @property
    def examples(self) -> tuple[Example, ...]:
        """A sample of the queries, by id."""
        return tuple(self._parts.examples.found)

    @property
    def size(self) -> int:
        """Bytes in memory, of its arrays."""
        return encoding.size(self._parts)

    def measured(self) -> Measured:
        """The sketch as arrays, for whoever compares; kept until the next observation."""
        if self._measured is None:
            self._measured = Measured(self._parts)
        return self._measured

    # Each part of an observation

    def _ask(self, observation: Observation, question: Question, group: int) -> list[tuple[Scale, float]]:
        parts, tallies = self._parts, self._parts.tallies[group]
        tallies[Tally.QUESTIONS] += 1
        tallies[Tally.WORDS] += question.words.size
        tallies[_TIERS[observation.tier]] += 1
        if question.words.size:
            parts.words.add(rows_of(question.words, layout.WORDS, group=group, tier=int(observation.tier)))
        if question.grams.size:
            parts.grams.add(question.grams.astype(np.uint32) + np.uint32(group * layout.GRAMS))
        parts.examples.add(observation)
        lengths: list[tuple[Scale, float]] = [(Scale.SENTENCE_LENGTH, words) for words in question.sentences[:100]]
        return [*lengths, (Scale.QUERY_LENGTH, question.characters)]

    def _answer(self, answer: Answer, group: int) -> list[tuple[Scale, float]]:
        tallies = self._parts.tallies[group]
        tallies[Tally.ANSWERS] += 1
        tallies[Tally.GROUNDED] += answer.is_grounded
        tallies[Tally.REFUSED] += answer.is_refused
        if answer.model:
            self._parts.models.of(answer.model)[group, 0] += 1
        if answer.prompt:
            self._parts.prompts.of(answer.prompt)[group, 0] += 1
        spans: list[tuple[Scale, float]] = [(Scale.SECONDS, answer.seconds), (Scale.COST, answer.cost_micro_usd)]
        return spans if answer.nearest is None else [*spans, (Scale.NEAREST, answer.nearest)]

    def _count_kind(self, observation: Observation, group: int) -> None:
        counts = self._parts.kinds.of(observation.kind)[group]
        counts[OfKind.QUERIES] += 1
        if observation.answer is not None:
            counts[OfKind.ANSWERS] += 1
            counts[OfKind.GROUNDED] += observation.answer.is_grounded

    def _judge(self, observation: Observation, group: int) -> None:
        tallies = self._parts.tallies[group]
        if observation.thumb_up is not None:
            tallies[Tally.THUMBS] += 1
            tallies[Tally.THUMBS_UP] += observation.thumb_up
        for score in (score for score in observation.scores if math.isfinite(score.value)):
            place = min(layout.SCORE_BINS - 1, max(0, int(score.value * layout.SCORE_BINS)))
            self._parts.scores.of(score.evaluator)[group, place] += 1
        if observation.vector is not None:
            tallies[Tally.VECTORS] += 1
            self._parts.waves[group] += waves.features(observation.vector)

    def _check_vector(self, vector: NDArray[np.float32]) -> None:
        if not np.isfinite(vector).all():
            raise Incompatible("a vector is not of numbers alone")
        self._take_dimensions(vector.size)

    def _take_dimensions(self, dimensions: int) -> None:
        if self._parts.dimensions not in {0, dimensions}:
            raise Incompatible(f"vectors of {dimensions} numbers among vectors of {self._parts.dimensions}")
        self._parts.dimensions = dimensions


def group_of(conversation: int) -> int:
    """The group of a conversation: the upper bits of its hash."""
    return conversation >> (64 - (layout.GROUPS.bit_length() - 1))


@dataclass(frozen=True)
class Measured:
    """A sketch as arrays, by group. Nobody adds to the sketch while this is read."""

    parts: Parts

    def tally(self, tally: Tally) -> Floats:
        """One count, by group."""
        return self.parts.tallies[:, tally].astype(np.float64)

    @cached_property
    def tiers(self) -> Floats:
        """Groups × tiers."""
        return self.parts.tallies[:, list(_TIERS.values())].astype(np.float64)

    @cached_property
    def grams(self) -> tuple[Sums, Sums]:
        """Groups × bins: of the word pairs, and of the letter triples."""
        bins = self.parts.grams.dense().reshape(layout.GROUPS, layout.GRAMS)
        pairs, triples = bins[:, : layout.PAIRS], bins[:, layout.PAIRS :]
        return Sums(pairs, pairs.sum(axis=1)), Sums(triples, triples.sum(axis=1))

    @cached_property
    def _scales(self) -> Floats:
        return self.parts.scales.dense().reshape(len(Scale), layout.GROUPS, layout.BINS)

    def scale(self, scale: Scale) -> Floats:
        """Groups × bins of a distribution."""
        return np.asarray(self._scales[scale])

    @cached_property
    def waves(self) -> Sums:
        """Groups × features, summed over the group's vectors."""
        return Sums(waves.means(self.parts.waves.astype(np.float64)), self.tally(Tally.VECTORS))

    @cached_property
    def known(self) -> Known:
        """The vocabulary."""
        return Known.of(self.words)

    @cached_property
    def words(self) -> NDArray[np.void]:
        """The words' rows, by bin."""
        self.parts.words.settle()
        return self.parts.words.rows

    @property
    def kinds(self) -> dict[str, Floats]:
        """By kind, groups × `OfKind`."""
        return {name: counts.astype(np.float64) for name, counts in sorted(self.parts.kinds.found.items())}

    @property
    def scores(self) -> dict[str, Floats]:
        """By evaluator, groups × bins; those that there was no room for are left out, for they are not one scale."""
        return {name: counts.astype(np.float64) for name, counts in sorted(self.parts.scores.found.items()) if name}
