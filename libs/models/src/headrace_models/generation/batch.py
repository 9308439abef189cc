"""Continuous batching: which tokens of which sequences the next step holds.

Every step carries one token of each sequence that is being written, and as many prompt tokens as the chunk allows of
those that are being read, first come, first served. So a long prompt costs the others a longer step now and then
instead of a halt, and a sequence joins or leaves at any step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from headrace_models.generation.lookup import Lookup
from headrace_models.generation.prefix import PrefixCache
from headrace_models.generation.request import FinishReason, Request, Usage
from headrace_models.generation.sampling import Chooser, chooser
from headrace_models.generation.stepper import Segment, Stepper


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """How steps are filled."""

    # Prompt tokens a step while others are being written: 128 take about as long as five steps of 16 writers.
    chunk: int = 128
    # Prompt tokens a step while nobody waits for his next token.
    idle_chunk: int = 512
    # Tokens a step that are written or guessed. A step of 16 costs hardly more than one of 4, so while fewer are
    # being written the rest may be guesses.
    written: int = 16
    # At most so many guesses a sequence; 0 turns prompt lookup off.
    guesses: int = 8


@dataclass(eq=False, slots=True)
class Running:
    """One request on its way through the batch."""

    request: Request
    slot: int
    stop: frozenset[int]
    filled: int = 0  # positions of the slot that hold this sequence
    cached: int = 0
    output: list[int] = field(default_factory=list)
    reason: FinishReason | None = None
    choose: Chooser = field(init=False)
    lookup: Lookup | None = field(init=False)

    def __post_init__(self) -> None:
        self.choose = chooser(self.request.sampling)
        self.lookup = Lookup(self.request.prompt) if self.request.sampling.greedy else None

    @property
    def reading(self) -> bool:
        """Whether some of the prompt is still to be read."""
        return self.filled < len(self.request.prompt)

    @property
    def shared(self) -> Sequence[int]:
        """The tokens that other requests may have in common."""
        return self.request.prompt[: self.request.shared]

    def usage(self) -> Usage:
        """Tokens so far."""
        return Usage(len(self.request.prompt), self.cached, len(self.output))

    def accept(self, token: int) -> None:
        """The model chose this token."""
        if token in self.stop:
            self.reason = "stop"
            return
        self.output.append(token)
        if self.lookup is not None:
            self.lookup.append(token)
        if len(self.output) == self.request.max_output_tokens:
            self.reason = "length"


class Batch:
    """The sequences in a stepper's slots."""

    def __init__(self, stepper: Stepper, prefixes: PrefixCache, settings: BatchSettings) -> None:
        self._stepper = stepper
        self._prefixes = prefixes
        self._settings = settings
        self._free = list(range(stepper.slots))
        self._running: list[Running] = []

    @property
    def full(self) -> bool:
        """Whether no slot is free."""
        return not self._free

    def __len__(self) -> int:
        return len(self._running)

    def admit(self, request: Request, stop: frozenset[int]) -> Running:
        """Give a request the lowest free slot: attention then spans as few slots as can be."""
        slot = min(self._free)
        self._free.remove(slot)
        sequence = Running(request, slot, stop)
        self._running.append(sequence)
        return sequence

    def release(self, sequence: Running) -> None:
        """Take a sequence out, finished or not."""
        self._running.remove(sequence)
        self._free.append(sequence.slot)

    def step(self) -> list[tuple[Running, list[int]]]:
        """Run one step. Each sequence that got on, with its new tokens; the finished ones have left."""
        writing = [(s, self._written(s)) for s in self._running if not s.reading]
        segments = [segment for _, segment in writing]
        reading = list(self._reading(self._settings.chunk if writing else self._settings.idle_chunk))
        segments += [segment for _, segment in reading]
        picks = _Picks(self._stepper.step(segments))
        news = [(s, self._write(s, segment, picks)) for s, segment in writing]
        news += [(s, self._read(s, segment, picks)) for s, segment in reading]
        for sequence in [s for s in self._running if s.reason]:
            self.release(sequence)
        return [(s, tokens) for s, tokens in news if tokens or s.reason]

    def _written(self, sequence: Running) -> Segment:
        last = sequence.output[-1]
        tokens = [last, *self._guesses(sequence)]
        return Segment(sequence.slot, sequence.filled, tokens, wanted=len(tokens))

    def _guesses(self, sequence: Running) -> list[int]:
        writers = sum(not s.reading for s in self._running)
        left = sequence.request.max_output_tokens - len(sequence.output) - 1
        most = min(self._settings.guesses, self._settings.written // writers - 1, left)
        return sequence.lookup.guess(most) if sequence.lookup and most > 0 else []

    def _reading(self, budget: int) -> Iterator[tuple[Running, Segment]]:
        ahead: list[Running] = []
        for sequence in [s for s in self._running if s.reading]:
            if budget <= 0:
                return
            if not sequence.filled and not self._reuse(sequence, ahead):
                continue
            ahead.append(sequence)
            tokens = sequence.request.prompt[sequence.filled : sequence.filled + budget]
            budget -= len(tokens)
            ends = sequence.filled + len(tokens) == len(sequence.request.prompt)
            yield sequence, Segment(sequence.slot, sequence.filled, tokens, wanted=int(ends))

    def _reuse(self, sequence: Running, ahead: Sequence[Running]) -> bool:
        """Start behind a prefix that was computed before. False: somebody ahead is computing it, so wait a step."""
        saved = self._prefixes.find(sequence.shared)
        if saved is None:
            worth = self._prefixes.worth(sequence.shared)
            return not (worth and any(s.shared == sequence.shared for s in ahead))
        self._stepper.restore(sequence.slot, saved)
        # The prompt's last token is always read, since its logits choose the first one written.
        sequence.filled = sequence.cached = min(len(sequence.shared), len(sequence.request.prompt) - 1)
        return True

    def _read(self, sequence: Running, segment: Segment, picks: "_Picks") -> list[int]:
        sequence.filled = segment.end
        if sequence.filled >= len(sequence.shared) and self._prefixes.worth(sequence.shared):
            self._prefixes.put(sequence.shared, self._stepper.save(sequence.slot, len(sequence.shared)))
        if not segment.wanted:
            return []
        return self._accept(sequence, [], picks)

    def _write(self, sequence: Running, segment: Segment, picks: "_Picks") -> list[int]:
        before = len(sequence.output)
        self._accept(sequence, segment.tokens[1:], picks)
        # A guess that was refused lies behind `filled`: the next step overwrites it.
        sequence.filled += max(1, len(sequence.output) - before)
        return sequence.output[before:]

    def _accept(self, sequence: Running, guesses: Sequence[int], picks: "_Picks") -> list[int]:
        """Take the tokens that the model chose for as long as the guesses were right."""
        before = len(sequence.output)
        rows = picks.take(len(guesses) + 1)
        for row, guess in zip(rows, [*guesses, None], strict=True):
            token = picks.choose(row, sequence)
            sequence.accept(token)
            if sequence.reason or token != guess:
                break
        return sequence.output[before:]


class _Picks:
    """The logits of a step, handed out row by row."""

    def __init__(self, logits: torch.Tensor) -> None:
        self._logits = logits
        self._likeliest: list[int] = logits.argmax(-1).tolist() if len(logits) else []
        self._next = 0

    def take(self, rows: int) -> range:
        self._next += rows
        return range(self._next - rows, self._next)

    def choose(self, row: int, sequence: Running) -> int:
        return self._likeliest[row] if sequence.request.sampling.greedy else sequence.choose(self._logits[row])
