"""The loop: steps, checkpoints, progress, and going on where a killed process was.

What is computed follows from job and seed alone: the order of rows, the steps, the rate, the random numbers. A run that
was killed goes on from its newest checkpoint and ends, on as many threads, in the very weights of one that was not.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import torch
from accelerate import Accelerator
from torch.distributed.tensor import DTensor, distribute_tensor

from headrace_trainer.learning import checkpoints, schedule
from headrace_trainer.learning.checkpoints import Checkpoint, Position
from headrace_trainer.learning.failures import Cancelled, Failed
from headrace_trainer.learning.job import Job
from headrace_trainer.learning.machine import peak_memory
from headrace_trainer.learning.telling import Checkpointed, Progress, Say

#: Gradients are scaled down to this norm (Pascanu et al. 2013).
CLIP = 1.0
#: tokens_a_second is told over so many steps.
_STEPS_TOLD = 5

Work = TypeVar("Work")
#: Where a run begins.
START = Position(0, 0, 0.0, 0.0)

Clock = Callable[[], float]
Stopping = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run is given of the world. stopping: whether it was told to stop."""

    accelerator: Accelerator
    say: Say
    clock: Clock
    stopping: Stopping


@dataclass(slots=True)
class Student(Generic[Work]):
    """A model that learns, with what it takes; `model` may be wrapped for several processes.

    random: the state of the random numbers after the last whole step.
    """

    model: Any
    optimiser: torch.optim.Optimizer
    accelerator: Accelerator
    random: torch.Tensor = field(default_factory=torch.get_rng_state, kw_only=True)

    @property
    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """What is learned, by name."""
        inner = self.accelerator.unwrap_model(self.model)
        return {name: p for name, p in inner.named_parameters() if p.requires_grad}

    def gradients(self, work: Work, stopping: Stopping) -> float | None:
        """Adds a step's gradients; its loss, or None when it was told to stop meanwhile."""
        raise NotImplementedError

    def held_out_loss(self) -> float | None:
        """The loss on held-out rows; None where there are none."""
        raise NotImplementedError

    def tokens(self, work: Work) -> int:
        """Tokens of a step's rows."""
        raise NotImplementedError

    def step(self, work: Work, *, rate: float, stopping: Stopping) -> float | None:
        """One optimiser step; its loss, or None when it was told to stop first and nothing was changed.

        Raises Failed("nan_loss") before anything that is no number reaches the weights.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = self.gradients(work, stopping)
        if loss is not None:
            norm = self.accelerator.clip_grad_norm_(self.model.parameters(), CLIP)
            if not math.isfinite(loss) or not math.isfinite(float(norm)):
                raise Failed("nan_loss")
            self.optimiser.step()
            self.random = torch.get_rng_state()
        self.optimiser.zero_grad()
        return loss


def captured(student: Student[Any], position: Position) -> Checkpoint:
    """All that a run needs to go on. Every process takes part, where each holds a piece."""
    state = student.optimiser.state
    moments = {
        f"{name}/{key}": in_one_piece(value)
        for name, p in student.parameters.items()
        for key, value in state[p].items()
    }
    learned = {name: in_one_piece(p) for name, p in student.parameters.items()}
    return Checkpoint(position, learned, moments, {"torch": student.random})


def in_one_piece(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of it all on the CPU, also where processes hold a piece each."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu().clone().contiguous()


def restored(student: Student[Any], found: Checkpoint | None) -> Position:
    """Goes on from a checkpoint; from the beginning where there is none."""
    if found is None:
        return START
    with torch.no_grad():
        for name, p in student.parameters.items():
            p.copy_(_placed(found.weights[name], p))
            moments = {k.rpartition("/")[2]: v for k, v in found.optimiser.items() if k.rpartition("/")[0] == name}
            student.optimiser.state[p] = {k: v if v.ndim == 0 else _placed(v, p) for k, v in moments.items()}
    torch.set_rng_state(found.random["torch"])
    student.random = found.random["torch"]
    return found.position


def _placed(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A tensor where, and cut as, another is."""
    if isinstance(like, DTensor):
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return tensor.to(like.device)


@dataclass(slots=True)
class Loop(Generic[Work]):
    """A run under way. mark: the job's fingerprint. began: when all attempts together would have begun."""

    student: Student[Work]
    plan: Sequence[Work]
    job: Job
    around: Surroundings
    mark: str
    position: Position = START
    began: float = 0.0
    pace: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=_STEPS_TOLD))

    def resume(self) -> Position:
        """Takes up the newest checkpoint; how far that is."""
        self.position = restored(self.student, checkpoints.newest(self.job.checkpoints, job=self.mark))
        self.began = self.around.clock() - self.position.seconds
        return self.position

    def run(self) -> Position:
        """Does all steps that are still to be done. Raises Stopped."""
        for work in self.plan[self.position.step :]:
            self._advance(work)
        return self.position

    def _advance(self, work: Work) -> None:
        start = self.around.clock()
        rate = schedule.rate(self.position.step, of=len(self.plan), peak=self.job.recipe.learning_rate)
        loss = self.student.step(work, rate=rate, stopping=self.around.stopping)
        if loss is None:
            self._cancel()
        else:
            self._count(self.student.tokens(work), loss, start)
            self._tell(self._checkpoint_when_due(), rate)
            self._stop_when_asked()

    def _count(self, tokens: int, loss: float, start: float) -> None:
        now = self.around.clock()
        self.pace.append((tokens, now - start))
        self.position = Position(self.position.step + 1, self.position.tokens + tokens, now - self.began, loss)

    def _checkpoint_when_due(self) -> float | None:
        """Writes one, and measures; the last step's measure is its caller's, who has more to measure."""
        if self._is_last():
            self._checkpoint()
        elif self.position.step % self.job.recipe.checkpoint_steps == 0:
            self._checkpoint()
            return self.student.held_out_loss()
        return None

    def _stop_when_asked(self) -> None:
        """The last step is not stopped after: all that is left is to save what was made."""
        limit = self.job.recipe.most_seconds
        if anybody(self.student.accelerator, self.around.stopping) and not self._is_last():
            self._cancel()
        if limit and self.position.seconds > limit and not self._is_last():
            raise Failed("time_limit")

    def _is_last(self) -> bool:
        return self.position.step == len(self.plan)

    def _cancel(self) -> None:
        self._checkpoint()
        raise Cancelled(self.position.step)

    def _checkpoint(self) -> None:
        if not self.position.step:
            return  # there is nothing to keep yet
        checkpoint = captured(self.student, self.position)
        if self.student.accelerator.is_main_process:
            checkpoints.write(self.job.checkpoints, checkpoint, job=self.mark)
        self.around.say(Checkpointed(self.position.step))

    def _tell(self, held_out: float | None, rate: float) -> None:
        tokens, seconds = (sum(x) for x in zip(*self.pace, strict=True))
        progress = Progress(
            step=self.position.step,
            of=len(self.plan),
            loss=self.position.loss,
            held_out_loss=held_out,
            tokens=self.position.tokens,
            tokens_a_second=tokens / max(seconds, 1e-9),
            learning_rate=rate,
            seconds=self.position.seconds,
            peak_memory_bytes=peak_memory(),
        )
        self.around.say(progress)


def anybody(accelerator: Accelerator, stopping: Stopping) -> bool:
    """Whether any of the processes was told to stop: all must end at the same step."""
    if accelerator.num_processes == 1:
        return stopping()
    flag = torch.tensor(float(stopping()), device=accelerator.device)
    return bool(accelerator.reduce(flag, "sum") > 0)
