"""The seam between scheduling and arithmetic: one step of a model over several sequences at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive tokens of the sequence in one slot, at positions `start`, `start + 1`, …

    The slot's positions below `start` must have been stepped before; what it holds from `start` on is overwritten.
    Logits are wanted for the last `wanted` of the tokens.
    """

    slot: int
    start: int
    tokens: Sequence[int]
    wanted: int

    @property
    def end(self) -> int:
        """How many positions the slot holds after the step."""
        return self.start + len(self.tokens)


class Stepper(Protocol):
    """A model with a key-value cache of `slots` sequences of at most `context` tokens each."""

    slots: int
    context: int

    def step(self, segments: Sequence[Segment]) -> torch.Tensor:
        """Run the segments, at most one a slot; their wanted logits in order, [sum of wanted, vocabulary]."""
        ...

    def save(self, slot: int, length: int) -> Any:
        """A copy of the slot's first `length` positions."""
        ...

    def restore(self, slot: int, saved: Any) -> None:
        """Put a copy in place of the slot's first positions."""
        ...
