"""What inference works with. No repr of it shows user text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from headrace_models import prompting
from headrace_models.prompting import Layout
from headrace_privacy import Tier


@dataclass(frozen=True, slots=True)
class Identity:
    """Which weights, and who runs them. version: 16 hex digits of their SHA-256, or what the server reports."""

    name: str
    version: str
    provider: str


@dataclass(frozen=True, slots=True)
class Versioned:
    """A name with a version."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Decoding:
    """How text is sampled; a temperature of 0 is greedy."""

    max_output_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Spent:
    """What a completion took so far. reason: "stop" or "length"; "stop" too when we had read enough; "withheld" when
    the policy let the model see nothing.

    time_to_first_token: seconds from the model's start.
    """

    reason: str = "stop"
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    cost_micro_usd: int = 0
    time_to_first_token: float = 0.0


#: The reason of a completion that never was.
WITHHELD = "withheld"
#: And of a trial whose variant could not answer.
FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Sending:
    """What a model would be given: whose records, for whom, of which tier at most, from which sources.

    role and subject: for whom we act, a person or a product. records: ids of what it is, for the audit log.
    """

    role: str
    subject: str
    tenant: str
    tier: Tier
    sources: Sequence[str] = ()
    records: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Passage:
    """A retrieved chunk. index: its place among the retrieved. similarity: cosine to the question.

    vector_rank, text_rank: its places in the two searches that were fused, from 1; 0 where one did not find it.
    """

    index: int
    text: str = field(repr=False)
    about: str = field(repr=False)
    collection: str
    similarity: float
    tier: Tier
    vector_rank: int = 0
    text_rank: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """A question with what may ground its answer, best first."""

    text: str = field(repr=False)
    tier: Tier
    passages: Sequence[Passage] = field(repr=False)


class Grounding(Enum):
    """Whether the passages support an answer."""

    GROUNDED = "grounded"
    EXTRACTED = "extracted"
    NOT_IN_SOURCES = "not_in_sources"
    UNCHECKED = "unchecked"  # only ever in a trial: what the model says by itself, or nothing


@dataclass(frozen=True, slots=True)
class Cited:
    """One numbered reference: the number in the text, and the passage's index."""

    number: int
    passage: int


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, checked. tier: the strictest of the question, what is cited, and what its model learned from."""

    text: str = field(repr=False)
    grounding: Grounding
    citations: tuple[Cited, ...]
    tier: Tier
    spent: Spent


@dataclass(frozen=True, slots=True)
class Prompt(prompting.Prompt):
    """A version of a prompt, with the key that it is found by."""

    @property
    def key(self) -> Versioned:
        """Its name and version."""
        return Versioned(self.name, self.version)


@dataclass(frozen=True, slots=True)
class Variant:
    """A version of a way to answer: which prompt, how it is sampled, what it reads. It never changes.

    passages, passage_tokens: at most so much is read. minimum_similarity: nothing less similar to the question.
    vector_weight, text_weight: how much each rank counts when they are fused anew; None as retrieved.
    """

    name: str
    version: str
    prompt: Prompt
    decoding: Decoding
    passages: int
    passage_tokens: int
    minimum_similarity: float = -1.0
    vector_weight: float | None = None
    text_weight: float | None = None

    @property
    def key(self) -> Versioned:
        """Its name and version."""
        return Versioned(self.name, self.version)

    @property
    def layout(self) -> Layout:
        """How its conversations are laid out."""
        return Layout(self.prompt, self.passages, self.passage_tokens, self.decoding.max_output_tokens)
