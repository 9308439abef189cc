"""The real tokenizer, which loads in 30 ms, and the chunker of the default settings."""

from __future__ import annotations

import pytest
from headrace_embedder.adapters.splitter import make_chunker
from headrace_embedder.chunking import DocumentChunker
from headrace_models.embedding import find_bundled
from headrace_models.embedding.tokens import load_tokenizer
from tokenizers import Tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return load_tokenizer(find_bundled() / "tokenizer.json")


@pytest.fixture(scope="session")
def chunker(tokenizer: Tokenizer) -> DocumentChunker:
    return make_chunker(tokenizer, chunk_tokens=200, window=256)
