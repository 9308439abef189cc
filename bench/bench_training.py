"""Training: tokens a second of a LoRA step, beside a plain peft loop and beside trl's trainer.

Rows are what a tenant's are: the house's prompt with two passages of Python's reference, and a sentence of theirs as
the answer. All train the same model with the same adapters on the same threads: forward, backward, optimiser. The plain
loop takes one row at a time, as peft's own examples do, which spares it padding; trl's trainer takes two, padded, since
its packing lets rows see each other where there is no GPU. Tokens are those of the rows, each counted as if it stood
alone, however they are computed.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the worker sets it; before torch is loaded

import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import cycle, islice, pairwise
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import peft
import torch
from accelerate import Accelerator
from headrace_inference.adapters.catalogue import DEFAULT, read_catalogue
from headrace_models.prompting import conversation, readable
from headrace_models.prompting import sentences as cutting
from headrace_trainer.learning import generator, order, weights
from headrace_trainer.learning.job import Job, Recipe, Row, Turn, defaults
from headrace_trainer.learning.machine import peak_memory
from headrace_trainer.learning.order import Sample
from transformers import AutoModelForCausalLM

from bench import harness
from bench.harness import Budget, Paired, paired

GROUP = "training"
CACHE = Path(__file__).parents[1] / "build" / "models"
THREADS = 2
ROWS = 24
PASSAGE_WORDS = 110
GOAL = 2.0


def rows(budget: Budget) -> list[harness.Row]:
    """Measures ours beside a plain loop in float32, the same in our precision, and trl. The goal is of the first: it
    counts what packing and precision bring together."""
    torch.set_num_threads(THREADS)
    job = _job()
    base = weights.load(weights.find(job.base, job.cache), job.recipe, device=torch.device("cpu"))
    found = generator.material(job, base)
    ours = _ours(job, base, found, budget.pick(quick=1, full=4))
    plain = partial(_plain, found.train, count=budget.pick(quick=2, full=6))
    low = paired(ours, plain(base.computes), budget.repeats)
    full = paired(ours, plain(torch.float32), min(budget.repeats, 3))
    trl = paired(ours, partial(_trl, found.train, count=budget.pick(quick=4, full=12)), min(budget.repeats, 3))
    note = f"LoRA of rank {job.recipe.rank}, {THREADS} threads, SmolLM2-135M, rows of {_mean(found.train):.0f} tokens"
    return [
        _row("LoRA, beside a plain peft loop, neither packed nor in bfloat16", full, note, goal=GOAL),
        _row(f"LoRA, beside the same in {str(base.computes).removeprefix('torch.')}", low, note, goal=None),
        _row("LoRA, beside trl's SFTTrainer in bfloat16", trl, note, goal=None),
    ]


def _row(name: str, measured: Paired, note: str, *, goal: float | None) -> harness.Row:
    return harness.Row(
        GROUP,
        name,
        measured.ours,
        measured.peer,
        "tokens/s",
        measured.ratio,
        goal=goal,
        note=note,
        extra={**measured.extra, "peak_memory_bytes": peak_memory()},
    )


def _mean(samples: Sequence[Sample]) -> float:
    return sum(len(s.ids) for s in samples) / len(samples)


def _job() -> Job:
    nowhere = Path("/nonexistent")
    recipe = defaults(Recipe(), "generator")
    return Job("generator", nowhere, nowhere, CACHE, recipe=recipe, threads=THREADS, rows=tuple(_rows()))


def _rows() -> Iterator[Row]:
    prompt = read_catalogue().variant(DEFAULT).prompt
    for number, (first, second) in enumerate(islice(pairwise(_passages()), ROWS)):
        answer = next((s for s in cutting.split(second) if cutting.is_prose(s)), second)
        turns = conversation(f"What does passage {number} say?", [first, second], prompt)
        said = f"{answer.rstrip('.')} [2]."
        yield Row(f"{number}", "train", "", tuple(Turn(t.role, t.text, t.fixed) for t in turns), said)


def _passages() -> Iterator[str]:
    """A passage of each topic that has enough to say."""
    for _, text in sorted(topics.items()):
        words = readable(text).split()
        if len(words) >= 2 * PASSAGE_WORDS:
            yield " ".join(words[PASSAGE_WORDS : 2 * PASSAGE_WORDS])


def _ours(job: Job, base: weights.Base, found: generator.Material, steps: int) -> Callable[[], float]:
    writer = generator.open_writer(job, base, found, accelerator=Accelerator(mixed_precision="no"))
    recipe = job.recipe
    plan = order.steps(found.train, epochs=1, tokens_a_step=recipe.tokens_a_step, context=recipe.context, seed=job.seed)
    waiting = cycle(plan)

    def measure() -> float:
        chosen = list(islice(waiting, steps))
        start = time.perf_counter()
        for packs in chosen:
            writer.step(packs, rate=1e-4, stopping=_never)
        return sum(writer.tokens(packs) for packs in chosen) / (time.perf_counter() - start)

    return measure


def _never() -> bool:
    return False


def _plain(samples: Sequence[Sample], dtype: torch.dtype, *, count: int) -> Callable[[], float]:
    """What peft's documentation does: the labels' loss by the model itself, row by row."""
    folder = weights.find("", CACHE).folder
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    config = peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, config)
    optimiser = torch.optim.AdamW(p for p in model.parameters() if p.requires_grad)
    waiting = cycle(samples)

    def measure() -> float:
        chosen = list(islice(waiting, count))
        start = time.perf_counter()
        for sample in chosen:
            ids = torch.tensor([sample.ids])
            labels = ids.clone()
            labels[:, : sample.start] = -100
            model(input_ids=ids, labels=labels).loss.backward()
            optimiser.step()
            optimiser.zero_grad()
        return sum(len(s.ids) for s in chosen) / (time.perf_counter() - start)

    return measure


def _trl(samples: Sequence[Sample], *, count: int) -> float:
    """trl's trainer for a few rows, two of them a batch; its own start is not counted."""
    from datasets import Dataset  # noqa: PLC0415 - seconds to import, for one row of the table
    from transformers import AutoTokenizer, TrainerCallback  # noqa: PLC0415
    from trl.trainer.sft_config import SFTConfig  # noqa: PLC0415
    from trl.trainer.sft_trainer import SFTTrainer  # noqa: PLC0415

    class Watch(TrainerCallback):
        began = ended = 0.0

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = self.began or time.perf_counter()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.ended = time.perf_counter()

    chosen, watch, folder = samples[:count], Watch(), weights.find("", CACHE).folder
    rows = [_marked(sample) for sample in chosen]
    with tempfile.TemporaryDirectory() as nowhere, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16),
            processing_class=AutoTokenizer.from_pretrained(folder),
            args=SFTConfig(
                output_dir=nowhere,
                use_cpu=True,
                bf16=True,
                per_device_train_batch_size=2,
                max_steps=len(rows) // 2,
                max_length=None,
                gradient_checkpointing=False,
                report_to=[],
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=Dataset.from_list(rows),
            peft_config=peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
            callbacks=[watch],
        )
        trainer.train()
    return sum(len(s.ids) for s in chosen) / (watch.ended - watch.began)


def _marked(sample: Sample) -> dict[str, list[int]]:
    """A row as trl takes it: which of its tokens are learned."""
    learned = [int(place >= sample.start) for place in range(len(sample.ids))]
    return {"input_ids": list(sample.ids), "completion_mask": learned}
