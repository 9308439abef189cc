"""The embedder beside sentence-transformers, on the same weights and threads; OpenVINO in bf16 is shown beside.

Tokens per second are over texts of mixed lengths: pieces of Python's language reference, log-normal in length (median
20 words), as questions and passages are mixed. Vectors are compared text by text; the smallest cosine has its own row.
"""

from __future__ import annotations

import importlib.util
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics
from statistics import median
from typing import Any

import numpy as np
import torch
from headrace_models.embedding import find_bundled, read_folder
from headrace_models.embedding.encoder import Encoder, load_encoder
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from bench.harness import Budget, Row, paired

GROUP = "embedder"
THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
BATCH_TOKENS = 640
QUESTIONS = [
    "What does the nonlocal statement do?",
    "How do I catch an exception?",
    "Which operators bind most tightly?",
    "When is a generator closed?",
]

Encode = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Texts:
    """What is encoded, and how many tokens the model reads of it."""

    texts: list[str]
    tokens: int


def rows(budget: Budget) -> list[Row]:
    """Throughput, latency and agreement."""
    torch.set_num_threads(THREADS)
    folder = find_bundled()
    encoder = load_encoder(read_folder(folder), threads=THREADS)
    reference = SentenceTransformer(str(folder), device="cpu")
    texts = mixed(encoder, budget.pick(quick=60, full=400))
    ours: Encode = lambda batch: encoder.encode(batch, batch_tokens=BATCH_TOKENS)  # noqa: E731
    peer: Encode = lambda batch: _with_threads(reference, batch)  # noqa: E731
    found = [
        _throughput("tokens/s on mixed lengths, beside sentence-transformers", ours, peer, texts, budget, goal=2.0),
        _latency("one question, beside sentence-transformers", ours, peer, budget),
        _agreement(ours, peer, texts),
    ]
    return found + _beside_openvino(ours, peer, reference, texts, budget)


def mixed(encoder: Encoder, count: int) -> Texts:
    """Always the same texts."""
    chance = random.Random(7)
    words = " ".join(topics.values()).split()
    lengths = [min(200, max(3, int(chance.lognormvariate(3.0, 0.9)))) for _ in range(count)]
    texts = [" ".join(words[start : start + n]) for n in lengths for start in [chance.randrange(len(words) - n)]]
    return Texts(texts, sum(map(len, encoder.tokenize(texts))))


def _with_threads(reference: SentenceTransformer, batch: Sequence[str]) -> NDArray[np.float32]:
    """Our encoder takes one thread for a short batch; the peer always gets all."""
    torch.set_num_threads(THREADS)
    vectors: NDArray[np.float32] = reference.encode(list(batch), show_progress_bar=False)
    return vectors


def _throughput(
    name: str, ours: Encode, peer: Encode, texts: Texts, budget: Budget, *, goal: float | None = None
) -> Row:
    result = paired(_rate(ours, texts), _rate(peer, texts), budget.repeats)
    extra = result.extra | {"texts": len(texts.texts), "tokens": texts.tokens, "threads": THREADS}
    return Row(GROUP, name, result.ours, result.peer, "tokens/s", result.ratio, goal=goal, extra=extra)


def _rate(encode: Encode, texts: Texts) -> Callable[[], float]:
    def measured() -> float:
        start = time.perf_counter()
        encode(texts.texts)
        return texts.tokens / (time.perf_counter() - start)

    return measured


def _latency(name: str, ours: Encode, peer: Encode, budget: Budget, *, goal: float | None = 6.0) -> Row:
    calls = budget.pick(quick=20, full=100)
    result = paired(_milliseconds(ours, calls), _milliseconds(peer, calls), budget.repeats)
    return Row(
        GROUP, name, result.ours, result.peer, "ms p50", result.ratio, goal=goal, higher_is_better=False,
        goal_of="ours", extra=result.extra | {"calls": calls},
    )  # fmt: skip


def _milliseconds(encode: Encode, calls: int) -> Callable[[], float]:
    def measured() -> float:
        return 1e3 * median(_seconds(encode, QUESTIONS[call % len(QUESTIONS)]) for call in range(calls))

    return measured


def _seconds(encode: Encode, question: str) -> float:
    start = time.perf_counter()
    encode([question])
    return time.perf_counter() - start


def _agreement(ours: Encode, peer: Encode, texts: Texts) -> Row:
    cosines = (ours(texts.texts) * peer(texts.texts)).sum(axis=1)
    return Row(
        GROUP, "smallest cosine to sentence-transformers", float(cosines.min()), None, "cosine", None, goal=0.999,
        goal_of="ours", note=f"over {len(cosines)} texts, sentence-transformers in fp32",
        extra={"mean": float(cosines.mean())},
    )  # fmt: skip


def _beside_openvino(
    ours: Encode, peer: Encode, reference: SentenceTransformer, texts: Texts, budget: Budget
) -> list[Row]:
    """A reference without a goal: the same weights in the fastest runtime that we know of for this CPU."""
    name = "tokens/s on mixed lengths, beside OpenVINO bf16"
    if importlib.util.find_spec("openvino") is None:
        return [Row(GROUP, name, 0.0, None, "tokens/s", None, note="skipped: openvino is not installed")]
    openvino = _openvino(reference)
    return [
        _throughput(name, ours, openvino, texts, budget),
        _latency("one question, beside OpenVINO bf16", ours, openvino, budget, goal=None),
        _replace_name(_agreement(openvino, peer, texts), "smallest cosine of OpenVINO bf16"),
    ]


def _replace_name(row: Row, name: str) -> Row:
    return Row(row.group, name, row.ours, None, row.unit, None, note=row.note, extra=row.extra)


class _Hidden(torch.nn.Module):
    """The transformer alone, as OpenVINO is given it."""

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.transformer(input_ids=input_ids, attention_mask=attention_mask)[0]
        return hidden


def _openvino(reference: SentenceTransformer) -> Encode:
    """Sorted by length, 32 texts a batch, as sentence-transformers does it; pooling in numpy."""
    import openvino as ov  # noqa: PLC0415 - an optional peer

    core = ov.Core()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.xml")
        ov.save_model(_convert(ov, reference), path, compress_to_fp16=False)
        compiled = core.compile_model(
            path, "CPU", {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": THREADS}
        )
    tokenizer = reference.tokenizer

    def batch(texts: Sequence[str]) -> NDArray[np.float32]:
        made = tokenizer(list(texts), padding=True, truncation=True, max_length=256, return_tensors="np")
        mask = made["attention_mask"]
        hidden = compiled([made["input_ids"], mask])[0].astype(np.float32)
        pooled = (hidden * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        vectors: NDArray[np.float32] = pooled / np.linalg.norm(pooled, axis=1, keepdims=True)
        return vectors

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]))
        vectors = np.empty((len(texts), 384), dtype=np.float32)
        for start in range(0, len(order), 32):
            chosen = order[start : start + 32]
            vectors[chosen] = batch([texts[index] for index in chosen])
        return vectors

    return encode


def _convert(ov: Any, reference: SentenceTransformer) -> Any:
    transformer = reference[0].auto_model
    example = {"input_ids": torch.ones(2, 8, dtype=torch.int64), "attention_mask": torch.ones(2, 8, dtype=torch.int64)}
    with torch.inference_mode():
        return ov.convert_model(_Hidden(transformer).eval(), example_input=example)
