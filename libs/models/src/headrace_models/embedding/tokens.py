"""Texts to tokens, as the model reads them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

Tokens = list[int]


def load_tokenizer(path: Path) -> Tokenizer:
    """Loads a tokenizer.json that neither pads nor cuts, whatever the file says."""
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


class WindowTokenizer:
    """Cuts every text off at the model's window."""

    def __init__(self, tokenizer: Tokenizer, *, window: int) -> None:
        tokenizer.enable_truncation(window)
        self._tokenizer = tokenizer

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Returns each text's token ids, [CLS] and [SEP] included, at most `window` of them."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
