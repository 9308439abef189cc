"""The forward pass, held to sentence-transformers on the same weights."""

from __future__ import annotations

import random
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pytest
import torch
from headrace_models.embedding import find_bundled, read_folder
from headrace_models.embedding.encoder import Encoder, load_encoder
from headrace_models.embedding.network import best_dtype
from numpy.typing import NDArray

pytestmark = pytest.mark.models

CPU = Path("/proc/cpuinfo")
STRANGE = [
    "",
    " ",
    "a",
    "🙂" * 300,
    "word " * 2000,
    "ＦＵＬＬ width",
    "naïve café",
    "汉字和假名かな",
    "x" * 5000,
    "\x00\x01 control",
]


def mixed_texts(count: int, *, seed: int) -> list[str]:
    """Pieces of the language reference, most of them short."""
    chance = random.Random(seed)
    words = " ".join(topics.values()).split()
    lengths = [min(400, max(1, int(chance.lognormvariate(3.0, 1.0)))) for _ in range(count)]
    return [" ".join(words[start : start + n]) for n in lengths for start in [chance.randrange(len(words) - n)]]


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(read_folder(find_bundled()), threads=2)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    return [*mixed_texts(60, seed=1), *STRANGE]


@pytest.fixture(scope="module")
def expected(texts: list[str]) -> NDArray[np.float32]:
    sentence_transformers = pytest.importorskip("sentence_transformers")
    model = sentence_transformers.SentenceTransformer(str(find_bundled()), device="cpu")
    vectors: NDArray[np.float32] = model.encode(texts, show_progress_bar=False)
    return vectors


def worst_cosine(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    return float((ours * theirs).sum(axis=1).min())


def test_matches_sentence_transformers(encoder: Encoder, texts: list[str], expected: NDArray[np.float32]) -> None:
    ours = encoder.encode(texts, batch_tokens=640)
    assert worst_cosine(ours, expected) >= 0.999
    assert np.allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)


def test_matches_in_single_precision(texts: list[str], expected: NDArray[np.float32]) -> None:
    encoder = load_encoder(read_folder(find_bundled()), threads=2, dtype=torch.float32)
    assert worst_cosine(encoder.encode(texts, batch_tokens=640), expected) >= 0.99999


def test_a_text_has_the_same_vector_alone_and_in_a_batch(encoder: Encoder) -> None:
    texts = mixed_texts(30, seed=2)
    together = encoder.encode(texts, batch_tokens=640)
    alone = np.concatenate([encoder.encode([text], batch_tokens=640) for text in texts])
    assert worst_cosine(together, alone) >= 0.9995


def test_the_cosine_can_fail(encoder: Encoder, texts: list[str], expected: NDArray[np.float32]) -> None:
    """Shifted by one token, the vectors are others."""
    rows = [[*row[1:], row[0]] for row in encoder.tokenize(texts[:5])]
    order = sorted(range(5), key=lambda n: len(rows[n]))
    ours = encoder.run([rows[n] for n in order])
    assert worst_cosine(ours, expected[order]) < 0.999


@pytest.mark.skipif(not CPU.exists(), reason="only Linux lists what the CPU can do")
def test_bf16_is_used_where_the_cpu_has_it() -> None:
    assert (best_dtype() is torch.bfloat16) == ("avx512_bf16" in CPU.read_text())
