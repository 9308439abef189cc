"""Training the embedder: a question shall lie nearer to the passage that its answer cited than to the step's others.

Multiple negatives ranking (Henderson et al. 2017, "Efficient Natural Language Response Suggestion", section 4.4), as
sentence-transformers trains, both ways round. A passage that occurs twice in a step, or that another row of the same
question cited, is nobody's wrong answer.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from headrace_models.embedding import ModelFolder, UnsupportedModel, find_bundled, read_folder
from headrace_models.embedding.folder import TOKENIZER
from headrace_models.embedding.folder import WEIGHTS as WEIGHTS_FILE
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoModel

from headrace_trainer.learning import weights
from headrace_trainer.learning.failures import Failed
from headrace_trainer.learning.job import Job, Pair, Split
from headrace_trainer.learning.loop import Loop, Stopping, Student, Surroundings, in_one_piece
from headrace_trainer.learning.machine import peak_memory
from headrace_trainer.learning.telling import Done, Started

#: Cosines are multiplied by this before they are compared, as sentence-transformers does.
SCALE = 20.0
#: Held-out pairs are measured in groups of so many, each question against the group's passages.
GROUP = 64
#: What a folder needs beside the weights; anything else in a base's folder tells of the base.
_KEPT = ("*.json", "vocab.txt", "*_Pooling/config.json", "*_Normalize/config.json")
_LEFT = "data_config.json"


@dataclass(frozen=True, slots=True)
class Tokens:
    """A pair as tokens, cut to the model's window."""

    question: tuple[int, ...]
    passage: tuple[int, ...]

    @property
    def count(self) -> int:
        """Of both."""
        return len(self.question) + len(self.passage)


@dataclass(slots=True)
class Matcher(Student[Sequence[Tokens]]):
    """An embedder that learns."""

    folder: ModelFolder
    held_out: Sequence[Tokens]

    def tokens(self, work: Sequence[Tokens]) -> int:
        """See Student.tokens."""
        return sum(one.count for one in work)

    def gradients(self, work: Sequence[Tokens], stopping: Stopping) -> float | None:
        """See Student.gradients. A question is told apart from all passages of a step, which is computed at once."""
        if stopping():
            return None
        loss = contrast(self._vectors([w.question for w in work]), self._vectors([w.passage for w in work]), same(work))
        self.accelerator.backward(loss)
        return float(loss.detach())

    def held_out_loss(self) -> float | None:
        """See Student.held_out_loss."""
        return self.measures()["held_out_loss"] if self.held_out else None

    @torch.no_grad()
    def measures(self) -> dict[str, float]:
        """The loss over the held-out pairs, and how often a question's own passage comes first."""
        self.model.eval()
        groups = [self.held_out[i : i + GROUP] for i in range(0, len(self.held_out), GROUP)]
        scored = [self._scored(group) for group in groups]
        self.model.train()
        pairs = len(self.held_out)
        loss, first = (sum(x) / pairs for x in zip(*scored, strict=True))
        return {"held_out_loss": loss, "first": first}

    def _scored(self, group: Sequence[Tokens]) -> tuple[float, float]:
        questions = self._vectors([one.question for one in group])
        passages = self._vectors([one.passage for one in group])
        alike = same(group)
        loss = float(contrast(questions, passages, alike)) * len(group)
        nearest = (questions @ passages.T).argmax(1)
        return loss, float(alike[torch.arange(len(group)), nearest].sum())

    def _vectors(self, texts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Of length 1, [texts, dimensions]."""
        longest = max(map(len, texts))
        ids = torch.tensor([[*t, *[0] * (longest - len(t))] for t in texts])
        mask = torch.tensor([[1] * len(t) + [0] * (longest - len(t)) for t in texts])
        states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.folder.pooling == "cls":
            return F.normalize(states[:, 0], dim=-1)
        weight = mask[..., None].to(states.dtype)
        return F.normalize((states * weight).sum(1) / weight.sum(1), dim=-1)


def contrast(questions: torch.Tensor, passages: torch.Tensor, alike: torch.Tensor) -> torch.Tensor:
    """The mean loss of telling each question's passage, and each passage's question, from the others.

    questions, passages: [pairs, dimensions], of length 1. alike: [pairs, pairs], which are no wrong answers.
    """
    right = torch.eye(len(questions), dtype=torch.bool)
    scores = (SCALE * questions @ passages.T).masked_fill(alike & ~right, -torch.inf)
    target = torch.arange(len(questions))
    return (F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)) / 2


def same(pairs: Sequence[Tokens]) -> torch.Tensor:
    """Which rows share a question or a passage, [pairs, pairs]."""
    return torch.tensor([[a.question == b.question or a.passage == b.passage for b in pairs] for a in pairs])


def steps(pairs: Sequence[Tokens], *, epochs: float, tokens_a_step: int, seed: int) -> list[list[Tokens]]:
    """What each step computes: at least two pairs, for one has nothing to be told apart from."""
    plan: list[list[Tokens]] = [[]]
    for epoch in range(max(1, round(epochs))):
        shuffled = list(pairs)
        random.Random(f"{seed} {epoch}").shuffle(shuffled)  # noqa: S311 - an order to repeat, no secret
        for one in shuffled:
            if len(plan[-1]) > 1 and sum(p.count for p in plan[-1]) + one.count > tokens_a_step:
                plan.append([])
            plan[-1].append(one)
    return [step for step in plan if len(step) > 1]


def train(job: Job, around: Surroundings) -> Done:
    """Makes the embedder that the job asks for, in one process. Raises Stopped."""
    if around.accelerator.num_processes > 1:
        raise Failed("unsupported")
    folder = _find(job.base)
    found = {split: _tokens(job, split, folder) for split in ("train", "test")}
    if len(found["train"]) < 2:
        raise Failed("empty_dataset")
    matcher = _open(job, folder, found["test"], around)
    before = matcher.measures() if matcher.held_out else {}
    plan = steps(found["train"], epochs=job.recipe.epochs, tokens_a_step=job.recipe.tokens_a_step, seed=job.seed)
    loop: Loop[Sequence[Tokens]] = Loop(matcher, plan, job, around, _fingerprint(job, folder, found["train"]))
    base = {"name": folder.identity.name, "version": folder.identity.hash}
    of, rows, held_out = len(plan), len(found["train"]), len(found["test"])
    around.say(Started(loop.resume().step, of, rows, held_out, 0, base, before.get("held_out_loss")))
    position = loop.run()
    after = matcher.measures() if matcher.held_out else {}
    made = _saved(matcher, job)
    return Done(
        name=job.name,
        version=made.version,
        files=made.files,
        bytes=made.bytes,
        loss=position.loss,
        held_out_loss=after.get("held_out_loss"),
        base_held_out_loss=before.get("held_out_loss"),
        step=position.step,
        tokens=position.tokens,
        seconds=around.clock() - loop.began,
        peak_memory_bytes=peak_memory(),
        measures={**after, **{f"base_{name}": value for name, value in before.items()}},
    )


def _find(base: str) -> ModelFolder:
    try:
        return read_folder(Path(base) if base else find_bundled())
    except UnsupportedModel:
        raise Failed("no_such_base") from None


def _tokens(job: Job, split: Split, folder: ModelFolder) -> list[Tokens]:
    tokenizer = Tokenizer.from_file(str(folder.tokenizer))
    tokenizer.no_padding()
    tokenizer.enable_truncation(folder.window)
    rows = [row for row in job.rows if isinstance(row, Pair) and row.split == split]
    return [Tokens(tuple(tokenizer.encode(r.question).ids), tuple(tokenizer.encode(r.passage).ids)) for r in rows]


def _open(job: Job, folder: ModelFolder, held_out: Sequence[Tokens], around: Surroundings) -> Matcher:
    torch.manual_seed(job.seed)
    try:
        model: Any = AutoModel.from_pretrained(
            folder.path, dtype=torch.float32, trust_remote_code=False, use_safetensors=True, add_pooling_layer=False
        )
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError):
        raise Failed("corrupt_base") from None
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    return Matcher(model, optimiser, around.accelerator, folder=folder, held_out=held_out)


def _fingerprint(job: Job, folder: ModelFolder, pairs: Sequence[Tokens]) -> str:
    told = {"recipe": asdict(job.recipe), "seed": job.seed, "base": folder.identity.hash}
    sha = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for one in pairs:
        sha.update(json.dumps([one.question, one.passage]).encode())
    return sha.hexdigest()


def _saved(matcher: Matcher, job: Job) -> weights.Folder:
    """A sentence-transformers folder: the base's own files, its weights under the same names and in the same type."""
    learned = {name: in_one_piece(p) for name, p in matcher.parameters.items()}
    with weights.whole(job.output) as making:
        for kept in sorted({file for pattern in _KEPT for file in matcher.folder.path.glob(pattern)}):
            if kept.name != _LEFT:
                _copy(kept, making / kept.relative_to(matcher.folder.path))
        _copy(matcher.folder.tokenizer, making / TOKENIZER)
        old = load_file(matcher.folder.weights)
        new = {name: learned[bare(name)].to(t.dtype) if bare(name) in learned else t for name, t in old.items()}
        save_file(new, making / WEIGHTS_FILE, metadata={"format": "pt"})
    return weights.described(job.output)


def bare(name: str) -> str:
    """A weight's name within the encoder: some files put the encoder's own before it."""
    return name.removeprefix("bert.")


def _copy(file: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(file, target)
