"""Folders of small models as the trainer leaves them, and records that name them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from headrace_inference.trained_records import TrainedRecord
from headrace_privacy import Tier

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
_SIZES = {
    "vocab_size": 300,
    "hidden_size": 48,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 2048,
    "initializer_range": 0.3,
}


@cache
def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)} | {"<|end|>": 299}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|end|>")


def make_folder(folder: Path, *, seed: int = 7) -> Path:
    """A Llama of some thousand random weights with a byte tokenizer: what it writes is no language."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(**_SIZES, tie_word_embeddings=True, eos_token_id=299)).save_pretrained(folder)
    _tokenizer().save_pretrained(folder)
    return folder


def hashes_of(folder: Path) -> dict[str, str]:
    """SHA-256 by name."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def record(version: str = "aa", **more: Any) -> TrainedRecord:
    """A candidate of the tenant demo, as it was registered."""
    common: Mapping[str, Any] = {
        "tenant": "demo", "name": "tuned", "version": version, "tier": Tier.TIER_1, "standing": "candidate",
        "changed_at": NOW, "address": f"memory://models/{version}", "files": {"model.safetensors": "0" * 64},
    }  # fmt: skip
    return TrainedRecord(**{**common, **more})


def record_of(folder: Path, version: str = "aa", **more: Any) -> TrainedRecord:
    """The record of a folder."""
    return record(version, **{"address": str(folder), "files": hashes_of(folder), **more})
