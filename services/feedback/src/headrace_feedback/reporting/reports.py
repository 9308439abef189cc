"""A comparison: what is asked, what was seen, and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

import numpy as np
from headrace_privacy import Tier
from numpy.typing import NDArray

from headrace_feedback.interaction import Versioned
from headrace_feedback.reporting.measures import Key, Measure
from headrace_feedback.running.runs import Setting

Floats = NDArray[np.float64]
Letter = Literal["a", "b"]
Better = Literal["a", "b", "same", "unknown"]

#: Of a shadow's run the id begins so; the route's kind follows.
SHADOW = "shadow:"


@dataclass(frozen=True, slots=True)
class Side:
    """One side. An empty version: all of them; an empty variant: the answers that were given to users then."""

    variant: Versioned
    setting: Setting = Setting.WHOLE

    def holds(self, variant: Versioned, setting: Setting = Setting.WHOLE) -> bool:
        """Whether what answered so is on this side."""
        version = self.variant.version in {"", variant.version}
        return self.variant.name == variant.name and version and self.setting is setting


@dataclass(frozen=True, slots=True)
class Request:
    """What is compared with what. run_id: empty for live traffic; of a shadow "shadow:" and the route's kind."""

    tenant: str
    a: Side
    b: Side
    run_id: str = ""
    kind: str = ""
    since: datetime | None = None
    until: datetime | None = None
    product: str = ""
    measures: frozenset[str] = frozenset()
    least: float = 0.02
    seed: int = 0

    @property
    def is_shadow(self) -> bool:
        """Whether answers that nobody saw are compared with those that were given."""
        return self.run_id.startswith(SHADOW)


@dataclass(frozen=True, slots=True)
class Batch:
    """Answers, or cases of a run, of one tier; where a grant may be needed, of one set of sources too."""

    tier: Tier
    sources: tuple[str, ...]
    ids: tuple[UUID | str, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Answers, or cases, that may not be measured for whoever asks."""

    tier: Tier
    number: int
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """What one side has of one measure, summed by conversation. Three arrays of one length."""

    sums: Floats
    sizes: Floats
    squares: Floats

    @property
    def n(self) -> int:
        """How many values."""
        return int(self.sizes.sum())

    @property
    def is_single(self) -> bool:
        """Whether no conversation has two values, so that all are independent."""
        return bool((self.sizes <= 1).all())

    @property
    def is_binary(self) -> bool:
        """Whether every value is 0 or 1. (A value between loses by being squared.)"""
        return bool(np.allclose(self.sums, self.squares, rtol=0, atol=1e-9) and (self.sums >= 0).all())


@dataclass(frozen=True, slots=True, eq=False)
class Paired:
    """What both sides have of one measure on the same questions. groups: the conversation of each, by any number."""

    a: Floats
    b: Floats
    groups: NDArray[np.int64]

    @property
    def n(self) -> int:
        """How many pairs."""
        return int(self.a.size)


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What there is of one measure in one kind; `kind` is empty for all together.

    seen: both sides, either None where it has nothing; or pairs. decides: false where a judge was not calibrated.
    """

    key: Key
    kind: str
    seen: tuple[Sums | None, Sums | None] | Paired
    decides: bool = True


@dataclass(frozen=True, slots=True)
class Counts:
    """How many answers there are in one kind; `kind` is empty for all together. stale: made of what has changed since.
    conversations: of the side that has fewer."""

    kind: str
    a: int
    b: int
    pairs: int = 0
    stale_a: int = 0
    stale_b: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Lengths:
    """A judge's comparisons of all kinds: how far each prefers B, 0 to 1, and by how much B's answer is longer."""

    key: Key
    preferences: Floats
    extra: Floats


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that was seen."""

    seen: Sequence[Seen]
    counts: Mapping[str, Counts]
    lengths: Sequence[Lengths] = ()


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval, which spans all that is possible where nothing is known."""

    value: float
    low: float
    high: float
    answers: int


@dataclass(frozen=True, slots=True)
class Line:
    """One measure of one kind. more: so many more answers of each side would tell; 0 where one can. lost: pairs in
    which B does worse than A."""

    kind: str
    measure: Measure
    a: Estimate
    b: Estimate
    difference: Estimate
    better: Better
    more: int
    sentence: str
    decides: bool
    method: str
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """What comes of it."""

    lines: Sequence[Line]
    counts: Counts
    verdict: str
    notes: Sequence[str]
