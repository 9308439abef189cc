"""semantic-text-splitter (Rust), which cuts Markdown at its elements, then sentences, then words.

It lets go of the interpreter's lock while it works, so a thread of its own is enough to keep the event loop free.
Making a splitter copies the tokenizer (30 ms), so there is one for all documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

from headrace_models.embedding.tokens import load_tokenizer
from headrace_runtime.errors import Conflict
from semantic_text_splitter import MarkdownSplitter
from tokenizers import Tokenizer

from headrace_embedder.chunking import MARKS, DocumentChunker
from headrace_embedder.domain import Chunk, Passage


class MarkdownPieces:
    """Cuts Markdown into pieces of at most `tokens` tokens."""

    def __init__(self, tokenizer: Tokenizer, *, tokens: int) -> None:
        self._splitter = MarkdownSplitter.from_huggingface_tokenizer(tokenizer, tokens, trim=False)

    def split(self, text: str) -> Sequence[str]:
        """As ports.Splitter."""
        pieces: Sequence[str] = self._splitter.chunks(text)
        return pieces


class TokenizerCounter:
    """Counts with the model's own tokenizer."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def count(self, texts: Sequence[str]) -> Sequence[int]:
        """As ports.TokenCounter."""
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding) for encoding in encodings]


class ThreadedChunker:
    """Cuts one document at a time, beside the event loop."""

    def __init__(self, chunker: DocumentChunker, executor: ThreadPoolExecutor) -> None:
        self._chunker = chunker
        self._executor = executor

    async def chunk(self, title: str, markdown: str) -> Sequence[Chunk]:
        """As ports.Chunker."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._chunker.chunks, title, markdown)

    async def embedded_texts(self, passages: Sequence[Passage]) -> Sequence[str]:
        """As ports.Chunker. A question waits for no document."""
        if all(not passage.title and not passage.headings for passage in passages):
            return [passage.text for passage in passages]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._chunker.embedded_texts, passages)


@asynccontextmanager
async def open_chunker(tokenizer: Path, *, chunk_tokens: int, window: int) -> AsyncIterator[ThreadedChunker]:
    """Opens a chunker for a model that reads `window` tokens. Raises Conflict when a chunk would not fit."""
    chunker = make_chunker(load_tokenizer(tokenizer), chunk_tokens=chunk_tokens, window=window)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="chunker") as executor:
        yield ThreadedChunker(chunker, executor)


def make_chunker(tokenizer: Tokenizer, *, chunk_tokens: int, window: int) -> DocumentChunker:
    """Makes a chunker; title and headings get what a full chunk leaves of the window."""
    if chunk_tokens + MARKS > window:
        raise Conflict(f"chunks of {chunk_tokens} tokens do not fit the model's window of {window}")
    pieces = MarkdownPieces(tokenizer, tokens=chunk_tokens)
    return DocumentChunker(
        pieces,
        TokenizerCounter(tokenizer),
        chunk_tokens=chunk_tokens,
        context_tokens=window - MARKS - chunk_tokens,
    )
