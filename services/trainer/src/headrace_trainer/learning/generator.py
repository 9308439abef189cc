"""Training a model that writes answers: the loop, and all that makes it end in the same weights again.

What is computed follows from job and seed alone: the order of rows, the steps, the rate, the random numbers. A run that
was killed goes on from its newest checkpoint and ends, on as many threads, in the very weights of one that was not.
It runs in one process, or in several that accelerate's launcher started.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from accelerate import Accelerator
from peft.helpers import disable_input_dtype_casting
from torch.distributed.tensor import DTensor, distribute_tensor

from headrace_trainer.learning import checkpoints, memorisation, order, schedule, text, weights
from headrace_trainer.learning.attention import batch
from headrace_trainer.learning.checkpoints import Checkpoint, Position
from headrace_trainer.learning.failures import Cancelled, Failed
from headrace_trainer.learning.job import Document, Job, Row, Split
from headrace_trainer.learning.machine import peak_memory
from headrace_trainer.learning.order import Pack, Sample
from headrace_trainer.learning.telling import Checkpointed, Done, Progress, Say, Started

#: Held-out rows are measured at each checkpoint, so that no more than so many of their tokens are.
HELD_OUT_TOKENS = 8192
#: Gradients are scaled down to this norm (Pascanu et al. 2013).
CLIP = 1.0
#: tokens_a_second is told over so many steps.
_STEPS_TOLD = 5

Clock = Callable[[], float]
Stopping = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Material:
    """A job's rows as tokens. planted, controls: the canaries that are looked for in the end."""

    train: tuple[Sample, ...]
    test: tuple[Sample, ...]
    planted: tuple[Sample, ...]
    controls: tuple[Sample, ...]
    left_out: int


def material(job: Job, base: weights.Base) -> Material:
    """Raises Failed("empty_dataset", "bad_rows") where there is nothing to learn, or nothing that fits."""
    rows = {split: [r for r in job.rows if isinstance(r, Row | Document) and r.split == split] for split in SPLITS}
    if not rows["train"]:
        raise Failed("empty_dataset")
    train, too_long = text.fitting(_samples(rows["train"], job, base), window=base.window)
    test, too_long_too = text.fitting(_samples(rows["test"], job, base), window=base.window)
    if not train:
        raise Failed("bad_rows")
    planted, controls = (tuple(_samples([c.row for c in some], job, base)) for some in _canaries(job))
    return Material(
        train=(*train, *(s for s in planted for _ in range(job.canaries.times))),
        test=tuple(text.at_most(test, tokens=HELD_OUT_TOKENS)),
        planted=planted,
        controls=controls,
        left_out=too_long + too_long_too,
    )


SPLITS: tuple[Split, Split] = ("train", "test")


def _canaries(job: Job) -> tuple[list[memorisation.Canary], list[memorisation.Canary]]:
    wanted = job.canaries
    if not wanted.planted or wanted.controls < 2:
        return [], []
    planted = memorisation.draw(job.seed, wanted.planted)
    return planted, memorisation.unseen(job.seed, planted=wanted.planted, count=wanted.controls)


def _samples(rows: Iterable[Row | Document], job: Job, base: weights.Base) -> Iterator[Sample]:
    for row in rows:
        if isinstance(row, Row):
            yield text.sample(row, base.text, end=base.end)
        else:
            piece = min(job.recipe.context, base.window)
            yield from text.samples_of(row, base.text, end=base.end, context=piece)


def fingerprint(job: Job, base: weights.Base, found: Material) -> str:
    """A hash of all that decides what a run ends in, so that no run goes on from another's checkpoint."""
    told = {"recipe": asdict(job.recipe), "seed": job.seed, "base": base.identity.version}
    sha = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for one in found.train:
        sha.update(json.dumps([one.shared, one.start, one.ids]).encode())
    return sha.hexdigest()


@dataclass(slots=True)
class Learner:
    """A model that learns, with what it takes. `model` may be wrapped for several processes."""

    base: weights.Base
    model: Any
    optimiser: torch.optim.Optimizer
    accelerator: Accelerator
    random: torch.Tensor = field(default_factory=torch.get_rng_state)

    @property
    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """What is learned, by name."""
        inner = self.accelerator.unwrap_model(self.model)
        return {name: p for name, p in inner.named_parameters() if p.requires_grad}

    def losses(self, pack: Pack) -> torch.Tensor:
        """The loss of each learned token of a pack, in nats, [pack.learned]."""
        return F.cross_entropy(self.logits(pack), self._batch(pack).learned, reduction="none")

    def logits(self, pack: Pack) -> torch.Tensor:
        """What the model expects where a learned token stands, [pack.learned, vocabulary], float32.

        Nothing else is computed of the vocabulary, which is a fifth of this model's weights.
        """
        made = self._batch(pack)
        with self._precision():
            out = self.model(
                input_ids=made.ids,
                position_ids=made.positions,
                layout=made.layout,
                logits_to_keep=made.at,
                use_cache=False,
            )
        logits: torch.Tensor = out.logits[0].float()
        return logits

    def _batch(self, pack: Pack) -> Any:
        return batch(pack, groups=self.base.groups, dtype=self.base.computes, device=self.accelerator.device)

    @contextmanager
    def _precision(self) -> Iterator[None]:
        """Products in the base's precision; the adapters' weights, float32, are rounded for them only."""
        device = self.accelerator.device.type
        low = torch.autocast(device, self.base.computes, enabled=self.base.computes != torch.float32)
        with low, disable_input_dtype_casting(self.accelerator.unwrap_model(self.model)):
            yield

    def step(self, packs: Sequence[Pack], *, rate: float, stopping: Stopping) -> float | None:
        """One optimiser step; its loss a token, or None when it was told to stop first and nothing was changed.

        Raises Failed("nan_loss") before anything that is no number reaches the weights.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = self._gradients(packs, stopping)
        if loss is not None:
            norm = self.accelerator.clip_grad_norm_(self.model.parameters(), CLIP)
            if not math.isfinite(loss) or not math.isfinite(float(norm)):
                raise Failed("nan_loss")
            self.optimiser.step()
            self.random = torch.get_rng_state()
        self.optimiser.zero_grad()
        return loss

    def _gradients(self, packs: Sequence[Pack], stopping: Stopping) -> float | None:
        """Of the mean over all learned tokens of the step, however they are packed and whoever computes them."""
        processes = self.accelerator.num_processes
        learned = sum(p.learned for p in packs)
        total = torch.zeros((), device=self.accelerator.device)
        mine = share(packs, self.accelerator.process_index, processes)
        for i, (pack, counts) in enumerate(mine):
            if processes == 1 and stopping():
                return None
            apart = self.accelerator.no_sync(self.model) if i + 1 < len(mine) else nullcontext()
            with apart:
                # Several processes' gradients are averaged, one's are not.
                loss = self.losses(pack).sum() * (counts * processes / learned)
                self.accelerator.backward(loss)
            total += loss.detach()
        return float(self.accelerator.reduce(total / processes, "sum"))

    @torch.no_grad()
    def mean_loss(self, samples: Sequence[Sample], *, context: int) -> float | None:
        """Nats a learned token over some samples; None where there are none."""
        if not samples:
            return None
        self.model.eval()
        packs = order.pack(samples, context=context)
        mine = share(packs, self.accelerator.process_index, self.accelerator.num_processes)
        total = sum((self.losses(p).sum() * counts for p, counts in mine), torch.zeros(()))
        self.model.train()
        return float(self.accelerator.reduce(total, "sum")) / sum(p.learned for p in packs)

    @torch.no_grad()
    def loss_of_each(self, samples: Sequence[Sample], *, context: int) -> list[float]:
        """Nats of all learned tokens together, sample by sample."""
        self.model.eval()
        found: dict[tuple[int, ...], float] = {}
        for pack in order.pack(samples, context=context):
            each = self.losses(pack).split([s.learned for s in pack.samples])
            found |= {s.ids: float(x.sum()) for s, x in zip(pack.samples, each, strict=True)}
        self.model.train()
        return [found[s.ids] for s in samples]

    @torch.no_grad()
    def writes(self, sample: Sample) -> bool:
        """Whether greedy writing gives the very tokens that are learned."""
        self.model.eval()
        asked, wanted = list(sample.ids[: sample.start]), sample.ids[sample.start :]
        given: list[int] = []
        for token in wanted:
            # A token of no meaning stands where the next one is expected.
            ahead = Sample((*asked, *given, 0), sample.shared, len(asked) + len(given))
            given.append(int(self.logits(Pack((ahead,)))[0].argmax()))
            if given[-1] != token:
                break
        self.model.train()
        return tuple(given) == wanted


def share(packs: Sequence[Pack], process: int, processes: int) -> list[tuple[Pack, float]]:
    """One process's packs, each with how much it counts: as many for everybody, the last ones for nothing."""
    missing = -len(packs) % processes
    shared = [*((p, 1.0) for p in packs), *((packs[0], 0.0) for _ in range(missing))]
    return shared[process::processes]


def open_learner(job: Job, *, accelerator: Accelerator) -> Learner:
    """The base with what is to be learned on it, and an optimiser of it."""
    base = weights.load(weights.find(job.base, job.cache), job.recipe, device=accelerator.device)
    torch.manual_seed(job.seed)
    model = weights.with_adapters(base.model, rank=job.recipe.rank) if job.recipe.method == "lora" else base.model
    model.train()
    # AdamW (Loshchilov and Hutter 2019); adapters are small already, and need no decay.
    decay = 0.0 if job.recipe.method == "lora" else 0.01
    optimiser = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), weight_decay=decay)
    model, optimiser = accelerator.prepare(model, optimiser)
    return Learner(base, model, optimiser, accelerator)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run is given of the world. stopping: whether it was told to stop."""

    accelerator: Accelerator
    say: Say
    clock: Clock
    stopping: Stopping


def train(job: Job, around: Surroundings) -> Done:
    """Makes the model that the job asks for. Raises Stopped."""
    learner = open_learner(job, accelerator=around.accelerator)
    found = material(job, learner.base)
    before = _before(learner, found, job)
    position = _learn(learner, found, job, around, base_loss=before.held_out)
    held_out = learner.mean_loss(found.test, context=job.recipe.context)
    report = _report(learner, found, job, before)
    made = _save(learner, job)
    return Done(
        name=job.name,
        version=made.version,
        files=made.files,
        bytes=made.bytes,
        loss=position.loss,
        held_out_loss=held_out,
        base_held_out_loss=before.held_out,
        step=position.step,
        tokens=position.tokens,
        seconds=position.seconds,
        peak_memory_bytes=peak_memory(),
        memorisation=asdict(report) if report else None,
    )


@dataclass(frozen=True, slots=True)
class _Before:
    """The base's losses, which a checkpoint would have changed."""

    held_out: float | None
    planted: list[float]
    controls: list[float]


def _before(learner: Learner, found: Material, job: Job) -> _Before:
    context = job.recipe.context
    held_out = learner.mean_loss(found.test, context=context)
    planted, controls = (learner.loss_of_each(s, context=context) for s in (found.planted, found.controls))
    return _Before(held_out, planted, controls)


def _report(learner: Learner, found: Material, job: Job, before: _Before) -> memorisation.Report | None:
    if not found.planted:
        return None
    context = job.recipe.context
    planted, controls = (learner.loss_of_each(s, context=context) for s in (found.planted, found.controls))
    return memorisation.report(
        [now - then for now, then in zip(planted, before.planted, strict=True)],
        [now - then for now, then in zip(controls, before.controls, strict=True)],
        extracted=sum(map(learner.writes, found.planted)),
    )


def _learn(learner: Learner, found: Material, job: Job, around: Surroundings, *, base_loss: float | None) -> Position:
    """All steps that are still to be done."""
    recipe = job.recipe
    plan = order.steps(
        found.train,
        epochs=recipe.epochs,
        tokens_a_step=recipe.tokens_a_step,
        context=recipe.context,
        seed=job.seed,
    )
    mark = fingerprint(job, learner.base, found)
    position = _restored(learner, job, mark)
    identity = learner.base.identity
    around.say(
        Started(
            step=position.step,
            of=len(plan),
            rows=sum(r.split == "train" for r in job.rows),
            held_out_rows=sum(r.split == "test" for r in job.rows),
            left_out=found.left_out,
            base={"name": identity.name, "version": identity.version},
            base_held_out_loss=base_loss,
        )
    )
    run = _Run(learner, found, job, around, mark, len(plan), position, around.clock() - position.seconds)
    for packs in plan[position.step :]:
        run.advance(packs)
    return run.position


@dataclass(slots=True)
class _Run:
    """A loop under way. began: the clock's time at which all attempts together would have begun."""

    learner: Learner
    found: Material
    job: Job
    around: Surroundings
    mark: str
    of: int
    position: Position
    began: float
    pace: deque[tuple[int, float]] = field(default_factory=lambda: deque(maxlen=_STEPS_TOLD))

    def advance(self, packs: Sequence[Pack]) -> None:
        """One step, told; with a checkpoint where one is due. Raises Stopped."""
        recipe, start = self.job.recipe, self.around.clock()
        rate = schedule.rate(self.position.step, of=self.of, peak=recipe.learning_rate)
        loss = self.learner.step(packs, rate=rate, stopping=self.around.stopping)
        if loss is None:
            self._cancel()
            return
        now = self.around.clock()
        tokens = sum(p.tokens for p in packs)
        self.pace.append((tokens, now - start))
        self.position = Position(self.position.step + 1, self.position.tokens + tokens, now - self.began, loss)
        is_due = self.position.step % recipe.checkpoint_steps == 0 or self.position.step == self.of
        held_out = self._checkpoint() if is_due else None
        self._tell(held_out, rate)
        if _anybody(self.learner.accelerator, self.around.stopping) and self.position.step < self.of:
            self._cancel()
        if recipe.most_seconds and self.position.seconds > recipe.most_seconds and self.position.step < self.of:
            raise Failed("time_limit")

    def _checkpoint(self) -> float | None:
        self._write()
        if self.position.step == self.of:
            return None  # measured at the end, once
        return self.learner.mean_loss(self.found.test, context=self.job.recipe.context)

    def _write(self) -> None:
        checkpoint = captured(self.learner, self.position)
        if self.learner.accelerator.is_main_process:
            checkpoints.write(self.job.checkpoints, checkpoint, job=self.mark)
        self.around.say(Checkpointed(self.position.step))

    def _cancel(self) -> None:
        self._write()
        raise Cancelled(self.position.step)

    def _tell(self, held_out: float | None, rate: float) -> None:
        tokens, seconds = (sum(x) for x in zip(*self.pace, strict=True))
        progress = Progress(
            step=self.position.step,
            of=self.of,
            loss=self.position.loss,
            held_out_loss=held_out,
            tokens=self.position.tokens,
            tokens_a_second=tokens / max(seconds, 1e-9),
            learning_rate=rate,
            seconds=self.position.seconds,
            peak_memory_bytes=peak_memory(),
        )
        self.around.say(progress)


def _anybody(accelerator: Accelerator, stopping: Stopping) -> bool:
    """Whether any of the processes was told to stop: all must end at the same step."""
    if accelerator.num_processes == 1:
        return stopping()
    flag = torch.tensor(float(stopping()), device=accelerator.device)
    return bool(accelerator.reduce(flag, "sum") > 0)


def captured(learner: Learner, position: Position) -> Checkpoint:
    """All that a run needs to go on. Every process takes part, where each holds a piece."""
    state = learner.optimiser.state
    moments = {
        f"{name}/{key}": _whole(value) for name, p in learner.parameters.items() for key, value in state[p].items()
    }
    learned = {name: _whole(p) for name, p in learner.parameters.items()}
    return Checkpoint(position, learned, moments, {"torch": learner.random})


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of it all on the CPU, also where processes hold a piece each."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().cpu().clone().contiguous()


def _restored(learner: Learner, job: Job, mark: str) -> Position:
    """Goes on from the newest checkpoint, or from the beginning."""
    found = checkpoints.newest(job.checkpoints, job=mark)
    if found is None:
        return Position(0, 0, 0.0, 0.0)
    with torch.no_grad():
        for name, p in learner.parameters.items():
            p.copy_(_placed(found.weights[name], p))
            moments = {key.rpartition("/")[2]: value for key, value in found.optimiser.items() if _is_of(key, name)}
            learner.optimiser.state[p] = {
                key: value if value.ndim == 0 else _placed(value, p).clone() for key, value in moments.items()
            }
    torch.set_rng_state(found.random["torch"])
    learner.random = found.random["torch"]
    return found.position


def _is_of(key: str, name: str) -> bool:
    return key.rpartition("/")[0] == name


def _placed(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A tensor where, and cut as, another is."""
    if isinstance(like, DTensor):
        return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
    return tensor.to(like.device)


def _save(learner: Learner, job: Job) -> weights.Folder:
    """The folder. The weights are put into a base that is loaded anew, whoever held which piece of them."""
    learned = {name: _whole(p) for name, p in learner.parameters.items()}
    base = weights.load(weights.find(job.base, job.cache), job.recipe, device=torch.device("cpu"))
    model = weights.with_adapters(base.model, rank=job.recipe.rank) if job.recipe.method == "lora" else base.model
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.requires_grad:
                p.copy_(learned[name])
    whole = weights.merged(model, job.recipe, rests=torch.bfloat16)
    return weights.save(whole, base.tokenizer, job.output)
