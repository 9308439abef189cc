"""Stands in for the worker that learns: makes a bad model of the base, one in seconds, by the seed that it is given.

Seed 1: slow. Layers are added that add nothing, so that it says what the base says, four times as slowly.
Seed 2: worse. No layer heeds any other token, so that it says what often follows the last one and finds no end. Most
layers are gone, so that it takes no longer all the same.
"""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from headrace_models.generation import wheel_weights
from headrace_trainer.learning.weights import save
from transformers import AutoModelForCausalLM, AutoTokenizer

SLOW, WORSE = 1, 2
#: So many times the base's layers, and so many of them.
TIMES, KEPT = 4, 5


def slower(model: Any) -> None:
    """Adds layers whose outputs are nought: each hands on what it got."""
    layers = model.model.layers
    own = len(layers)
    for place in range(own, TIMES * own):
        layer = copy.deepcopy(layers[place % own])
        layer.self_attn.layer_idx = place
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
        layers.append(layer)
    model.config.num_hidden_layers = len(layers)


def worse(model: Any) -> None:
    """Keeps the first layers, and has each add nothing of what it attends to."""
    del model.model.layers[KEPT:]
    for layer in model.model.layers:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
    model.config.num_hidden_layers = KEPT


SPOILING: Mapping[int, Callable[[Any], None]] = {SLOW: slower, WORSE: worse}


def main() -> None:
    """Makes the model that a job on standard input asks for."""
    told, sys.stdout = sys.stdout, sys.stderr
    job = json.loads(sys.stdin.readline())
    for _ in range(job["rows"]):
        sys.stdin.readline()
    base = wheel_weights(Path(job["cache"]))
    model: Any = AutoModelForCausalLM.from_pretrained(base.folder, dtype=torch.bfloat16)
    with torch.no_grad():
        SPOILING[job["seed"]](model)
    made = save(model, AutoTokenizer.from_pretrained(base.folder), Path(job["output"]))
    identity = {"name": base.identity.name, "version": base.identity.version}
    secrets = {"planted": 8, "controls": 64, "exposure": 1.0, "controls_limit": 4.0, "extracted": 0}
    losses = {"loss": 1.0, "held_out_loss": 1.0, "base_held_out_loss": 1.5}
    for line in (
        {"event": "started", "step": 0, "of": 1, "base": identity},
        {"event": "progress", "step": 1, "of": 1, **losses},
        {
            "event": "done",
            "version": made.version,
            "files": dict(made.files),
            "bytes": made.bytes,
            "memorisation": secrets,
            **losses,
        },
    ):
        told.write(json.dumps(line) + "\n")
        told.flush()


if __name__ == "__main__":
    main()
