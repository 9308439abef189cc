"""Texts to vectors with a loaded model, on one thread's behalf."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from headrace_models.embedding.folder import Identity, ModelFolder
from headrace_models.embedding.network import Network, best_dtype, load_network
from headrace_models.embedding.packing import pack, take_batch
from headrace_models.embedding.tokens import Tokens, WindowTokenizer, load_tokenizer

#: Up to so many tokens one thread is as good as two (3.0 against 2.2 ms alone), and it never waits at a barrier for a
#: thread that another process has pushed off its core, which costs tens of milliseconds on a busy machine.
ONE_THREAD_TOKENS = 64


class Encoder:
    """Runs a model. Use it from one thread at a time. threads: the most that a batch may take."""

    def __init__(self, network: Network, tokenizer: WindowTokenizer, *, identity: Identity, threads: int) -> None:
        self.identity = identity
        self._network = network
        self._tokenizer = tokenizer
        self._threads = threads

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Returns each text's token ids, cut off at the window."""
        return self._tokenizer.tokenize(texts)

    def run(self, rows: Sequence[Tokens]) -> NDArray[np.float32]:
        """Returns unit vectors [rows, dimensions] of rows that are sorted by length, in one batch."""
        packed = pack(rows)
        torch.set_num_threads(1 if len(packed.ids) <= ONE_THREAD_TOKENS else self._threads)
        vectors: NDArray[np.float32] = self._network.vectors(packed).numpy()
        return vectors

    def encode(self, texts: Sequence[str], *, batch_tokens: int) -> NDArray[np.float32]:
        """Returns unit vectors [texts, dimensions] in the texts' order, for those who have many texts and no hurry."""
        rows = self.tokenize(texts)
        waiting = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        vectors = np.empty((len(rows), self.identity.dimensions), dtype=np.float32)
        while waiting:
            batch = take_batch(waiting, lambda index: len(rows[index]), budget=batch_tokens)
            vectors[batch] = self.run([rows[index] for index in batch])
        return vectors


def load_encoder(folder: ModelFolder, *, threads: int, dtype: torch.dtype | None = None) -> Encoder:
    """Loads weights and tokenizer. dtype: what suits the CPU when None."""
    tokenizer = WindowTokenizer(load_tokenizer(folder.tokenizer), window=folder.window)
    network = load_network(folder, dtype or best_dtype())
    return Encoder(network, tokenizer, identity=folder.identity, threads=threads)
