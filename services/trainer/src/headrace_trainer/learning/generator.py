"""Training a model that writes answers, in one process or in several that accelerate's launcher started."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from accelerate import Accelerator
from peft.helpers import disable_input_dtype_casting

from headrace_trainer.learning import memorisation, order, text, weights
from headrace_trainer.learning.attention import Batch, batch
from headrace_trainer.learning.failures import Failed
from headrace_trainer.learning.job import Document, Job, Row, Split
from headrace_trainer.learning.loop import Loop, Stopping, Student, Surroundings, in_one_piece
from headrace_trainer.learning.machine import peak_memory
from headrace_trainer.learning.order import Pack, Sample
from headrace_trainer.learning.processes import is_sharded
from headrace_trainer.learning.telling import Done, Started

#: Held-out rows are measured at each checkpoint, so that no more than so many of their tokens are.
HELD_OUT_TOKENS = 4096


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
    train, too_long = text.fitting(_samples(_of(job, "train"), job, base), window=base.window)
    test, too_long_too = text.fitting(_samples(_of(job, "test"), job, base), window=base.window)
    if not train:
        raise Failed("bad_rows" if too_long else "empty_dataset")
    planted, controls = (tuple(_samples([c.row for c in some], job, base)) for some in _canaries(job))
    return Material(
        train=(*train, *(s for s in planted for _ in range(job.canaries.times))),
        test=tuple(text.at_most(test, tokens=HELD_OUT_TOKENS)),
        planted=planted,
        controls=controls,
        left_out=too_long + too_long_too,
    )


def _of(job: Job, split: Split) -> list[Row | Document]:
    return [row for row in job.rows if isinstance(row, Row | Document) and row.split == split]


def _canaries(job: Job) -> tuple[list[memorisation.Canary], list[memorisation.Canary]]:
    wanted = job.canaries
    if not wanted.planted or wanted.controls < memorisation.LEAST_CONTROLS:
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
class Writer(Student[Sequence[Pack]]):
    """A model that learns to write. A step is a few packs."""

    base: weights.Base
    held_out: Sequence[Sample]
    context: int

    def tokens(self, work: Sequence[Pack]) -> int:
        """See Student.tokens."""
        return sum(p.tokens for p in work)

    def gradients(self, work: Sequence[Pack], stopping: Stopping) -> float | None:
        """Of the mean over all learned tokens of the step, however they are packed and whoever computes them."""
        processes = self.accelerator.num_processes
        learned = sum(p.learned for p in work)
        total = torch.zeros((), device=self.accelerator.device)
        mine = self._mine(work)
        for i, (pack, counts) in enumerate(mine):
            if processes == 1 and stopping():
                return None
            with self.accelerator.no_sync(self.model) if i + 1 < len(mine) else nullcontext():
                # Several processes' gradients are averaged, one's are not.
                loss = self.losses(pack).sum() * (counts * processes / learned)
                self.accelerator.backward(loss)
            total += loss.detach()
        return float(self.accelerator.reduce(total / processes, "sum"))

    def _mine(self, packs: Sequence[Pack]) -> list[tuple[Pack, float]]:
        """What this process computes of some packs, and how much each counts."""
        hands = order.deal(packs, hands=self.accelerator.num_processes, context=self.context)
        return hands[self.accelerator.process_index]

    def losses(self, pack: Pack) -> torch.Tensor:
        """The loss of each learned token of a pack, in nats, [pack.learned]."""
        made = self._batch(pack)
        return F.cross_entropy(self._logits(made), made.learned, reduction="none")

    def _logits(self, made: Batch) -> torch.Tensor:
        """What the model expects where a learned token stands, [learned, vocabulary], float32.

        Nothing else is computed of the vocabulary, whose matrix is a fifth of a small model's weights.
        """
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

    def _batch(self, pack: Pack) -> Batch:
        return batch(pack, groups=self.base.groups, dtype=self.base.computes, device=self.accelerator.device)

    @contextmanager
    def _precision(self) -> Iterator[None]:
        """Products in the base's precision; the adapters' weights, float32, are rounded for them only."""
        low = torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=self.base.is_low)
        with low, disable_input_dtype_casting(self.accelerator.unwrap_model(self.model)):
            yield

    def held_out_loss(self) -> float | None:
        """Nats a learned token over the held-out samples."""
        return self.mean_loss(self.held_out) if self.held_out else None

    @torch.no_grad()
    def mean_loss(self, samples: Sequence[Sample]) -> float:
        """Nats a learned token over some samples; every process takes part."""
        self.model.eval()
        packs = order.pack(samples, context=self.context)
        total = torch.zeros((), device=self.accelerator.device)
        for pack, counts in self._mine(packs):
            total += self.losses(pack).sum() * counts
        self.model.train()
        return float(self.accelerator.reduce(total, "sum")) / sum(p.learned for p in packs)

    @torch.no_grad()
    def loss_of_each(self, samples: Sequence[Sample]) -> list[float]:
        """Nats of all learned tokens together, sample by sample; every process takes part. No two may be the same."""
        if not samples:
            return []
        self.model.eval()
        place = {s.ids: i for i, s in enumerate(samples)}
        found = torch.zeros(len(samples), device=self.accelerator.device)
        for pack, counts in self._mine(order.pack(samples, context=self.context)):
            each = torch.split(self.losses(pack), [s.learned for s in pack.samples])
            for sample, losses in zip(pack.samples, each, strict=True):
                found[place[sample.ids]] += losses.sum() * counts
        self.model.train()
        return [float(loss) for loss in self.accelerator.reduce(found, "sum")]

    @torch.no_grad()
    def gives_away(self, sample: Sample) -> bool:
        """Whether greedy writing, begun where what is learned begins, gives all of it."""
        self.model.eval()
        given = all(self._next(sample, place) == sample.ids[place] for place in range(sample.start, len(sample.ids)))
        self.model.train()
        return given

    def _next(self, sample: Sample, place: int) -> int:
        """The token that is likeliest at a place of a sample. One of no meaning stands there meanwhile."""
        ahead = Pack((Sample((*sample.ids[:place], 0), sample.shared, place),))
        return int(self._logits(self._batch(ahead))[0].argmax())


def open_writer(job: Job, base: weights.Base, found: Material, *, accelerator: Accelerator) -> Writer:
    """The base with what is to be learned on it, and an optimiser of that."""
    torch.manual_seed(job.seed)
    model = weights.to_learn(base.model, job.recipe)
    model.train()
    # AdamW (Loshchilov and Hutter 2019); adapters are small already, and need no decay.
    decay = 0.0 if job.recipe.method == "lora" else 0.01
    optimiser = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), weight_decay=decay)
    model, optimiser = accelerator.prepare(model, optimiser)
    return Writer(model, optimiser, accelerator, base=base, held_out=found.test, context=job.recipe.context)


def train(job: Job, around: Surroundings) -> Done:
    """Makes the model that the job asks for. Raises Stopped."""
    base = weights.load(weights.find(job.base, job.cache), job.recipe, device=around.accelerator.device)
    found = material(job, base)
    writer = open_writer(job, base, found, accelerator=around.accelerator)
    before = _before(writer, found)
    plan = order.steps(
        found.train,
        epochs=job.recipe.epochs,
        tokens_a_step=job.recipe.tokens_a_step,
        context=job.recipe.context,
        seed=job.seed,
    )
    loop = Loop(writer, plan, job, around, fingerprint(job, base, found))
    started = _started(loop.resume().step, len(plan), job=job, base=base, found=found, before=before)
    around.say(replace(started, processes=around.accelerator.num_processes, sharded=is_sharded(around.accelerator)))
    position = loop.run()
    held_out = writer.held_out_loss()
    report = _report(writer, found, before)
    made = _saved(writer, job)
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
        seconds=around.clock() - loop.began,
        peak_memory_bytes=peak_memory(),
        memorisation=asdict(report) if report else None,
    )


def _started(step: int, of: int, *, job: Job, base: weights.Base, found: Material, before: _Before) -> Started:
    return Started(
        step=step,
        of=of,
        rows=len(_of(job, "train")),
        held_out_rows=len(_of(job, "test")),
        left_out=found.left_out,
        base={"name": base.identity.name, "version": base.identity.version},
        base_held_out_loss=before.held_out,
    )


@dataclass(frozen=True, slots=True)
class _Before:
    """The base's losses, measured before a checkpoint changes it."""

    held_out: float | None
    planted: list[float]
    controls: list[float]


def _before(writer: Writer, found: Material) -> _Before:
    planted, controls = (writer.loss_of_each(some) for some in (found.planted, found.controls))
    return _Before(writer.held_out_loss(), planted, controls)


def _report(writer: Writer, found: Material, before: _Before) -> memorisation.Report | None:
    if not found.planted:
        return None
    planted, controls = (writer.loss_of_each(some) for some in (found.planted, found.controls))
    return memorisation.report(
        [now - then for now, then in zip(planted, before.planted, strict=True)],
        [now - then for now, then in zip(controls, before.controls, strict=True)],
        extracted=sum(map(writer.gives_away, found.planted)),
    )


def _saved(writer: Writer, job: Job) -> weights.Folder:
    """The folder. The weights are put into a base that is loaded anew, whoever held which piece of them."""
    learned = {name: in_one_piece(p) for name, p in writer.parameters.items()}
    if writer.accelerator.is_main_process:
        base = weights.load(weights.find(job.base, job.cache), job.recipe, device=torch.device("cpu"))
        model = weights.to_learn(base.model, job.recipe)
        with torch.no_grad():
            for name, p in model.named_parameters():
                if p.requires_grad:
                    p.copy_(learned[name])
        weights.save(weights.merged(model, job.recipe), base.tokenizer, job.output)
    writer.accelerator.wait_for_everyone()
    return weights.described(job.output)
