"""What one event says, already without text.

A query is seen several times: when its vector is made, when it is answered, when somebody judges it. Each time is an
observation of its own, which says what that event knows and leaves the rest out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from headrace_privacy import Tier
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Question:
    """A question's features. None of them can be turned back into its text.

    `words`: keyed 64-bit hashes of its words, in their order. `grams`: bins of its word pairs and letter triples,
    `0 <= bin < layout.GRAMS`. `sentences`: words in each sentence. `characters`: of the text as it came.
    """

    words: NDArray[np.uint64]
    grams: NDArray[np.uint16]
    sentences: tuple[int, ...]
    characters: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a query.

    `is_grounded`: in the model's own supported words. `is_refused`: the sources don't say. `seconds`: to the answer, 0
    or more. `nearest`: the cosine of the nearest passage, -1 to 1; None where nothing was searched or found at all.
    `model`, `prompt`: name and version in one word each, as "SmolLM2@1a2b"; empty where unknown.
    """

    is_grounded: bool
    is_refused: bool
    seconds: float
    cost_micro_usd: int = 0
    nearest: float | None = None
    model: str = ""
    prompt: str = ""


@dataclass(frozen=True, slots=True)
class Score:
    """An evaluator's or a calibrated judge's score, 0 to 1."""

    evaluator: str
    value: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What one event says of one query.

    `conversation`: a keyed 64-bit hash of what its queries have in common: the conversation, else the subject, else the
    query itself (`features.Hashing.conversation`). Queries of one conversation are not independent, and whoever counts
    them as if they were alarms at nothing. `kind`: empty while unknown. `vector`: of any fixed length, normalised.
    `trace_parent`: as in W3C's header, so that an example can be followed.
    """

    query_id: str
    conversation: int
    tier: Tier
    kind: str = ""
    question: Question | None = None
    answer: Answer | None = None
    vector: NDArray[np.float32] | None = None
    thumb_up: bool | None = None
    scores: tuple[Score, ...] = ()
    trace_parent: str = ""
