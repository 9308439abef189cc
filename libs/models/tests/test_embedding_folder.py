"""What is read of a folder, and what is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from headrace_models.embedding import UnsupportedModel, find_bundled, read_folder

MODULES = [
    {"path": "", "type": "sentence_transformers.models.Transformer"},
    {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_size": 64,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 512,
}
FILES: dict[str, Any] = {
    "modules.json": MODULES,
    "config.json": CONFIG,
    "1_Pooling/config.json": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
    "sentence_bert_config.json": {"max_seq_length": 256, "do_lower_case": False},
    "model.safetensors": "weights",
    "tokenizer.json": "tokenizer",
}


def make_folder(path: Path, **changed: Any) -> Path:
    """Writes a folder; a changed file is named with dots for slashes and underscores as they are."""
    for name, content in (FILES | {key.replace("__", "/"): value for key, value in changed.items()}).items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_reads_a_folder(tmp_path: Path) -> None:
    folder = read_folder(make_folder(tmp_path / "tiny"))
    assert folder.identity.name == "tiny"
    assert folder.identity.dimensions == 64
    assert folder.identity.hash == "93efb697c593c322"  # printf weightstokenizer | sha256sum | cut -c1-16
    assert folder.pooling == "mean"
    assert folder.window == 256


def test_hash_changes_with_weights_and_with_tokenizer(tmp_path: Path) -> None:
    hashes = {
        read_folder(make_folder(tmp_path / "a")).identity.hash,
        read_folder(make_folder(tmp_path / "b", **{"model.safetensors": "other"})).identity.hash,
        read_folder(make_folder(tmp_path / "c", **{"tokenizer.json": "other"})).identity.hash,
    }
    assert len(hashes) == 3


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
        ({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode": "mean", "embedding_dimension": 64, "include_prompt": True}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
    ],
)
def test_reads_both_forms_of_pooling(tmp_path: Path, config: dict[str, Any], pooling: str) -> None:
    assert read_folder(make_folder(tmp_path, **{"1_Pooling/config.json": config})).pooling == pooling


def test_reads_the_window_of_a_newer_folder(tmp_path: Path) -> None:
    changed = {
        "sentence_bert_config.json": {"transformer_task": "feature-extraction"},
        "tokenizer_config.json": {"model_max_length": 128},
    }
    assert read_folder(make_folder(tmp_path, **changed)).window == 128


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"config.json": CONFIG | {"model_type": "roberta"}}, "model_type 'roberta'"),
        ({"config.json": CONFIG | {"hidden_act": "relu"}}, "hidden_act 'relu'"),
        ({"config.json": CONFIG | {"position_embedding_type": "relative_key"}}, "position_embedding_type"),
        ({"modules.json": MODULES[:2]}, "modules.json: the modules Transformer, Pooling are"),
        ({"modules.json": [*MODULES[:2], {"path": "2_Dense", "type": "x.Dense"}, MODULES[2]]}, "Dense"),
        ({"1_Pooling/config.json": {"pooling_mode_max_tokens": True}}, "pooling_mode_max_tokens"),
        ({"1_Pooling/config.json": {"pooling_mode": "lasttoken"}}, "lasttoken"),
        (
            {"1_Pooling/config.json": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}},
            "pooling_mode_mean_tokens, pooling_mode_cls_token",
        ),
        ({"sentence_bert_config.json": {"do_lower_case": True}}, "do_lower_case"),
        ({"config_sentence_transformers.json": {"default_prompt_name": "query"}}, "default_prompt_name"),
        ({"modules.json": "not json"}, "is not JSON"),
    ],
)
def test_refuses_by_name_what_it_cannot_run(tmp_path: Path, changed: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedModel, match=named.replace("(", r"\(")):
        read_folder(make_folder(tmp_path, **changed))


@pytest.mark.parametrize("missing", ["modules.json", "config.json", "model.safetensors", "tokenizer.json"])
def test_refuses_a_folder_that_lacks_a_file(tmp_path: Path, missing: str) -> None:
    make_folder(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(UnsupportedModel, match=missing):
        read_folder(tmp_path)


def test_finds_the_bundled_model() -> None:
    folder = read_folder(find_bundled(), name="all-MiniLM-L6-v2")
    assert (folder.identity.name, folder.identity.dimensions, folder.window) == ("all-MiniLM-L6-v2", 384, 256)
