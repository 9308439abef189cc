"""The base that is learned upon, what is learned on it, and the folder that comes of it."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peft
import torch
from headrace_models import generation
from headrace_models.generation.loading import digest
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from headrace_trainer.learning import attention
from headrace_trainer.learning.failures import Failed
from headrace_trainer.learning.job import Recipe

#: LoRA's output is scaled by alpha / rank; twice the rank is what its peers use.
_ALPHA = 2


@dataclass(frozen=True, slots=True)
class Base:
    """A base, loaded. groups: how many queries share a key. window: the most tokens of a row."""

    identity: generation.ModelIdentity
    model: Any
    tokenizer: Any
    text: generation.ChatText
    end: int
    groups: int
    window: int
    computes: torch.dtype

    @property
    def is_low(self) -> bool:
        """Whether it is computed in less than float32."""
        return self.computes != torch.float32


def find(folder: str, cache: Path) -> generation.Weights:
    """The weights in a folder, or the bundled ones where it is "". Raises Failed("no_such_base")."""
    try:
        return generation.folder_weights(Path(folder)) if folder else generation.wheel_weights(cache)
    except (generation.UnsupportedModel, FileNotFoundError, NotADirectoryError):
        raise Failed("no_such_base") from None


def load(found: generation.Weights, recipe: Recipe, *, device: torch.device) -> Base:
    """The base on `device`, ready to be trained as the recipe says. Raises Failed("corrupt_base", "unsupported").

    LoRA keeps the base as it is computed, in bfloat16 where that is multiplied; what learns all weights keeps them in
    float32, for a step would often be lost in rounding.
    """
    attention.register()
    computes = torch.bfloat16 if device.type == "cuda" else generation.best_dtype()
    rests = computes if recipe.method == "lora" else torch.float32
    try:
        tokenizer = AutoTokenizer.from_pretrained(found.folder, trust_remote_code=False)
        model: Any = AutoModelForCausalLM.from_pretrained(
            found.folder,
            dtype=rests,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation=attention.NAME,
        )
    except (OSError, ValueError, KeyError, SafetensorError, RuntimeError):
        raise Failed("corrupt_base") from None
    _refuse_other_attention(model.config.get_text_config())
    return Base(
        identity=found.identity,
        model=model.to(device),
        tokenizer=tokenizer,
        text=generation.ChatText(tokenizer),
        end=tokenizer.eos_token_id,
        groups=_groups(model.config.get_text_config()),
        window=model.config.get_text_config().max_position_embeddings,
        computes=computes,
    )


def _groups(config: Any) -> int:
    return int(config.num_attention_heads // (getattr(config, "num_key_value_heads", None) or 1))


def _refuse_other_attention(config: Any) -> None:
    """Only layers that attend to the whole past are computed block by block; a window that hides nothing is none."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    caps = getattr(config, "attn_logit_softcapping", None)
    if kinds != {"full_attention"} or caps or (window and window < config.max_position_embeddings):
        raise Failed("unsupported")


def to_learn(model: Any, recipe: Recipe) -> Any:
    """The model with what the recipe learns of it wanting gradients.

    LoRA (Hu et al. 2021) is put on every linear layer but the last, as Dettmers et al. 2023 found best. The adapters
    are float32; B begins as zeros, so the model says what it said.
    """
    if recipe.method != "lora":
        return model.requires_grad_(True)
    rank = recipe.rank
    config = peft.LoraConfig(r=rank, lora_alpha=_ALPHA * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    return peft.get_peft_model(model, config)


def merged(model: Any, recipe: Recipe) -> Any:
    """One model without adapters, its weights rounded once, to bfloat16, as models are published."""
    if recipe.method == "lora":
        model = model.float().merge_and_unload()
    return model.to(torch.bfloat16)


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder that was made. files: SHA-256 by name. version: as headrace_models.generation tells folders apart."""

    version: str
    files: Mapping[str, str]
    bytes: int


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A folder beside `target` to write in, which takes its place when the context ends well, and is gone otherwise.

    Everything in it is on disk before it has its name.
    """
    making = target.parent / f".{target.name}.{os.getpid()}"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    try:
        yield making
        for path in sorted(making.rglob("*")):
            _sync(path)
        _sync(making)
        shutil.rmtree(target, ignore_errors=True)
        making.replace(target)
        _sync(target.parent)
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def save(model: Any, tokenizer: Any, target: Path) -> Folder:
    """A Hugging Face folder: configuration, safetensors, tokenizer; nothing that can run code."""
    with whole(target) as making:
        model.config._attn_implementation = "sdpa"
        model.save_pretrained(making)
        tokenizer.save_pretrained(making)
    return described(target)


def described(folder: Path) -> Folder:
    """What a folder holds."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    weights = [p for p in files if p.suffix == ".safetensors"]
    hashes = {p.relative_to(folder).as_posix(): sha256(p) for p in files}
    return Folder(digest(weights), hashes, sum(p.stat().st_size for p in files))


def sha256(file: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
