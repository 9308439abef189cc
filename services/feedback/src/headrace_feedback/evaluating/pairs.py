"""Two answers to one question, compared by a judge that saw them both ways round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headrace_statistics import Winner
from headrace_statistics.judging import Judged

Outcome = Literal["a", "b", "same"]

_OUTCOMES: dict[Winner, Outcome] = {Winner.A: "a", Winner.B: "b", Winner.SAME: "same"}


@dataclass(frozen=True, slots=True)
class PairScore:
    """One criterion of one comparison.

    lengths: characters of A's answer and of B's, so that reports can control for them. decides: whether the judge was
    calibrated well enough. unread: votes that could not be read.
    """

    judge: str
    version: int
    rubric: str
    rubric_version: int
    criterion: str
    judged: Judged
    lengths: tuple[int, int]
    decides: bool
    unread: int

    @property
    def outcome(self) -> Outcome:
        """Who won; what does not survive the swap is "same"."""
        return _OUTCOMES[self.judged.outcome]
