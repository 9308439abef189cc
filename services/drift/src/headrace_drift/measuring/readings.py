"""What is measured, where, and what came out: the words in which results are handed out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Literal

EffectKind = Literal["cohen_h", "cliff_delta", "js_bits", "mmd", "cramer_v"]


class Measure(IntEnum):
    """The numbers are those of headrace.drift.v1.Measure."""

    VOCABULARY = 1
    NGRAMS = 2
    SENTENCE_LENGTH = 3
    QUERY_LENGTH = 4
    EMBEDDINGS = 5
    KINDS = 6
    TIERS = 7
    GROUNDED = 8
    REFUSED = 9
    THUMBS = 10
    SCORES = 11
    LATENCY = 12
    COST = 13
    NEAREST_PASSAGE = 14


@dataclass(frozen=True, slots=True, order=True)
class Slice:
    """Part of the traffic. An empty product or kind stands for all."""

    tenant: str
    product: str = ""
    kind: str = ""

    def contains(self, other: Slice) -> bool:
        """Whether whatever is in the other is in this one. A slice contains itself."""
        return self.tenant == other.tenant and self.product in {"", other.product} and self.kind in {"", other.kind}


@dataclass(frozen=True, slots=True)
class Reading:
    """One measure of one slice: the window against the baseline.

    `baseline`, `window`: a share (vocabulary: of words unknown to the baseline), a median (lengths, seconds, millionths
    of a dollar, cosine), a mean (scores), or 0 and the distance itself (n-grams: bits; embeddings; kinds; tiers).
    `effect`: how large the change is; signed (rises are above 0) where the measure has a direction, else at least 0.
    `p_value`: two-sided, before correction, with queries of a conversation taken together; 1 where there are fewer
    unknown words than before.
    Samples count what the measure is about: queries, words, answers, thumbs.
    """

    slice: Slice
    measure: Measure
    baseline: float
    window: float
    effect: float
    effect_kind: EffectKind
    p_value: float
    baseline_samples: int
    window_samples: int
    evaluator: str = ""
    drifted: bool = False

    @property
    def key(self) -> tuple[Slice, Measure, str]:
        """What the reading is of, from look to look."""
        return self.slice, self.measure, self.evaluator


@dataclass(frozen=True, slots=True)
class Look:
    """All readings of one tenant's slices at one time."""

    at: datetime
    window_from: datetime
    readings: tuple[Reading, ...]
