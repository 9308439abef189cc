"""What the engine is asked for and what it gives back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. A temperature of 0 is greedy; then `top_p` and `seed` mean nothing."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError("temperature: at least 0 expected")
        if not 0 < self.top_p <= 1:
            raise ValueError("top_p: a share in (0, 1] expected")

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token always wins."""
        return self.temperature == 0


@dataclass(frozen=True, slots=True)
class Request:
    """One completion. `prompt` is a sequence of token ids, repr'd by its length alone since it is somebody's text.

    The first `shared` tokens hold nothing of the user's: other requests with the same ones may reuse their work.
    """

    prompt: Sequence[int] = field(repr=False)
    max_output_tokens: int
    sampling: Sampling = Sampling()
    shared: int = 0

    def __post_init__(self) -> None:
        if not self.prompt:
            raise ValueError("prompt: at least one token expected")
        if self.max_output_tokens < 1:
            raise ValueError("max_output_tokens: at least 1 expected")
        if not 0 <= self.shared <= len(self.prompt):
            raise ValueError("shared: a length within the prompt expected")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens read, of these from the prefix cache, and written (the stop token is not counted)."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a completion; always the last event. Times are in seconds."""

    reason: FinishReason
    usage: Usage
    queued_seconds: float
    time_to_first_token: float


Event = str | Finished
