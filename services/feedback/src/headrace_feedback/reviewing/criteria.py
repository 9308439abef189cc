"""A rubric: what an answer is held against. A version of it never changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from headrace_runtime.errors import Rejected, Violation

#: Cohen's kappa that a judge must reach where a criterion names none: what Landis and Koch (1977) call substantial.
LEAST_KAPPA = 0.6
PASS_OR_FAIL = ("fail", "pass")
#: The rubric that is used where nobody named one; it comes with Headrace.
DEFAULT_RUBRIC = "answer-quality"


@dataclass(frozen=True, slots=True)
class Criterion:
    """One question about an answer. labels: worst first. ordered: a near miss counts as half right."""

    name: str
    question: str = field(repr=False)
    labels: tuple[str, ...] = PASS_OR_FAIL
    ordered: bool = False
    least_kappa: float = LEAST_KAPPA


@dataclass(frozen=True, slots=True)
class Rubric:
    """A version of a rubric. content: instructions and criteria as they are stored; sha256: of these, 32 bytes."""

    name: str
    version: int
    instructions: str = field(repr=False)
    criteria: tuple[Criterion, ...]
    created_by: str = ""
    created_at: datetime | None = None
    built_in: bool = False

    def check_labels(self, labels: Mapping[str, str]) -> None:
        """Raises Rejected for a criterion that is missing, unknown, or has a label that it does not know."""
        known = {criterion.name: criterion for criterion in self.criteria}
        wrong = [
            Violation(f"labels.{name}", "missing", f"One of {', '.join(criterion.labels)}.")
            for name, criterion in known.items()
            if labels.get(name) not in criterion.labels
        ]
        # A stranger's word is not repeated.
        if labels.keys() - known.keys():
            wrong.append(Violation("labels", "unknown_value", f"The rubric asks for {', '.join(known)}."))
        if wrong:
            raise Rejected(*wrong)
