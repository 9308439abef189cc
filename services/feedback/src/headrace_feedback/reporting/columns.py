"""Live answers as columns of numbers, and what each measure makes of them. Pure.

An answer is its place in the columns. A hundred thousand take some megabytes, and adding them up takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace_feedback.reporting.contrasts import summed
from headrace_feedback.reporting.measures import Key
from headrace_feedback.reporting.reports import Counts, Floats, Seen, Sums

Places = NDArray[np.int64]

#: As `side` has them; 0 is an answer that has gone since.
A, B = 1, 2
#: As `grounding` has them; 0 is one that nobody checked.
GROUNDED, EXTRACTED, REFUSED = 1, 2, 3


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Columns of one length. kind: a place in `kinds`. seconds: not a number where nobody took the time."""

    kinds: Sequence[str]
    side: NDArray[np.int64]
    kind: NDArray[np.int64]
    conversation: NDArray[np.int64]
    grounding: NDArray[np.int64]
    cost: Floats
    seconds: Floats

    @property
    def size(self) -> int:
        """How many."""
        return int(self.side.size)


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One measure's values, and which answers they are of; an answer may have several, and need not have any."""

    key: Key
    places: Places
    values: Floats
    decides: bool = True


def told_by(answers: Answers) -> Iterator[Column]:
    """What answers tell by themselves, one value each."""
    spoken = np.flatnonzero((answers.grounding == GROUNDED) | (answers.grounding == EXTRACTED))
    yield Column(Key("grounded"), spoken, (answers.grounding[spoken] == GROUNDED).astype(float))
    checked = np.flatnonzero(answers.grounding != 0)
    yield Column(Key("refused"), checked, (answers.grounding[checked] == REFUSED).astype(float))
    timed = np.flatnonzero(~np.isnan(answers.seconds))
    yield Column(Key("latency"), timed, answers.seconds[timed])
    yield Column(Key("cost"), np.arange(answers.size), answers.cost)


def acted(name: str, places: Places, answers: Answers) -> Column:
    """With how many answers somebody did something: each has a value, 1 where at least one person did."""
    values = np.zeros(answers.size)
    values[places] = 1.0
    return Column(Key(name), np.arange(answers.size), values)


def seen_in(column: Column, answers: Answers) -> Iterator[Seen]:
    """A measure of both sides, all together and kind by kind, where either has something."""
    alone = column.key.evaluator in {"latency", "cost"}
    groups = np.arange(column.places.size) if alone else answers.conversation[column.places]
    sides, kinds = answers.side[column.places], answers.kind[column.places]
    for kind, name in ((None, ""), *enumerate(answers.kinds)):
        of_kind = np.ones(kinds.size, dtype=bool) if kind is None else kinds == kind
        a, b = (_sums(column.values, groups, of_kind & (sides == side)) for side in (A, B))
        if a or b:
            yield Seen(column.key, name, (a, b), column.decides)


def _sums(values: Floats, groups: Places, chosen: NDArray[np.bool_]) -> Sums | None:
    return summed(values[chosen], groups[chosen]) if chosen.any() else None


def counts_of(answers: Answers, stale: Places) -> dict[str, Counts]:
    """How many answers there are, all together (kind '') and kind by kind."""
    is_stale = np.zeros(answers.size, dtype=bool)
    is_stale[stale] = True
    found = {}
    for kind, name in ((None, ""), *enumerate(answers.kinds)):
        of_kind = np.ones(answers.size, dtype=bool) if kind is None else answers.kind == kind
        a, b = (of_kind & (answers.side == side) for side in (A, B))
        of_a, of_b, stale_a, stale_b = (int(each.sum()) for each in (a, b, a & is_stale, b & is_stale))
        found[name] = Counts(name, of_a, of_b, stale_a=stale_a, stale_b=stale_b)
    return found
