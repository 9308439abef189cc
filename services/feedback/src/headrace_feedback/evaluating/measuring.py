"""What is measured, and the numbers that come of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from uuid import UUID

from headrace_privacy import Tier

from headrace_feedback.evaluating.reference import Reference
from headrace_feedback.evaluating.support import Evidence
from headrace_feedback.interaction import Interaction

#: The grounding of an answer that says that the sources don't.
REFUSED = "not_in_sources"


@dataclass(frozen=True, slots=True)
class Score:
    """One number about one answer; see headrace.feedback.v1.Score. votes, unread: a judge's, readable or not."""

    evaluator: str
    version: str
    value: float
    label: str = ""
    rubric: str = ""
    rubric_version: int = 0
    criterion: str = ""
    decides: bool = True
    votes: int = 0
    unread: int = 0


@dataclass(frozen=True, slots=True)
class Scored:
    """A score as it rests."""

    score: Score
    run_id: str
    scored_at: datetime


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage that a model had, as far as it is still indexed. numbers: as which it is cited; none: it is not."""

    text: str = field(repr=False)
    numbers: tuple[int, ...] = ()


@dataclass(frozen=True)
class Words:
    """An answer with its words, masked. similarity: cosine of question and answer, -1 to 1; None where nobody took it.

    passages: None where nobody was there to fetch them. reference: the row that it was asked for, if any.
    """

    question: str = field(repr=False)
    answer: str = field(repr=False)
    passages: tuple[Passage, ...] | None = field(default=None, repr=False)
    similarity: float | None = None
    reference: Reference | None = field(default=None, repr=False)

    @cached_property
    def evidence(self) -> Evidence:
        """The passages taken apart, once for all who measure by them."""
        return Evidence([passage.text for passage in self.passages or ()])


@dataclass(frozen=True, slots=True)
class Counts:
    """What of an answer can be told without a word of it."""

    grounding: str
    finish_reason: str
    characters: int
    citations: Sequence[int]
    resolved: Sequence[bool]
    documents: frozenset[str]
    timings_ms: Mapping[str, float]
    cost_micro_usd: int

    @property
    def refused(self) -> bool:
        """Whether it says that the sources don't."""
        return self.grounding == REFUSED


@dataclass(frozen=True, slots=True)
class Subject:
    """An answer to be measured, as it rests. reference: a DatasetRow as SealedBytes; None without one.

    tier: the strictest of what would be read: the answer's, and that of every chunk that its model had. sources: those
    of the chunks.
    """

    interaction: Interaction
    counts: Counts
    reference: bytes | None = field(default=None, repr=False)

    @property
    def query_id(self) -> UUID:
        """Under which it rests."""
        return self.interaction.query_id

    @property
    def tier(self) -> Tier:
        """See the class."""
        return max([self.interaction.tier, *(chunk.tier for chunk in self.interaction.chunks)])

    @property
    def sources(self) -> tuple[str, ...]:
        """See the class."""
        return tuple(sorted({chunk.source for chunk in self.interaction.chunks}))


def counts_of(interaction: Interaction, *, characters: int, citations: Sequence[tuple[int, str]]) -> Counts:
    """Counts an answer. citations: each number with the chunk's id, as the answer has them."""
    retrieved = {chunk.chunk_id for chunk in interaction.chunks if chunk.rank > 0}
    return Counts(
        grounding=interaction.grounding,
        finish_reason=interaction.finish_reason,
        characters=characters,
        citations=tuple(number for number, _ in citations),
        resolved=tuple(chunk in retrieved for _, chunk in citations),
        documents=frozenset(f"{c.source}/{c.document_id}" for c in interaction.chunks if c.citation),
        timings_ms=interaction.timings_ms,
        cost_micro_usd=interaction.usage.cost_micro_usd,
    )
