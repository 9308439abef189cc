"""`headrace demo loop`: from a shift in what users ask to a better model in service, and what an erasure asks of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace_client.cli.console import say, say_json, say_table
from headrace_client.client import Client
from headrace_client.endpoints import Endpoints, read_endpoints

from headrace_embedded import state
from headrace_embedded.cli import up
from headrace_embedded.cli.running import DONE, FAILED
from headrace_embedded.cli.telling import bar, headline
from headrace_embedded.demo.loop import plan, words
from headrace_embedded.demo.loop.environment import ENVIRONMENT
from headrace_embedded.demo.loop.memory import Memory, recall, remember
from headrace_embedded.demo.loop.stage import Stage
from headrace_embedded.demo.loop.taking import take_all, takes
from headrace_embedded.errors import InUse


def close_the_loop(*, quiet: bool, anew: bool) -> int:
    """Takes the tour, or goes on with it. Returns the exit code."""
    home = state.find_home(os.environ, Path.cwd())
    if state.is_running(home):
        raise InUse(
            "Headrace is up, and looks for drift over days. The tour looks over minutes, so it brings Headrace up "
            f"itself: end the one that runs with {up.command()} down."
        )
    memory = recall(home)
    if anew and memory.took:
        memory = memory.next_round()
    # What is read by a program has standard output to itself.
    with contextlib.redirect_stdout(sys.stderr) if quiet else contextlib.nullcontext():
        memory, remaining = _taken(home, memory)
    if quiet:
        say_json(_json(memory, remaining))
    return FAILED if remaining else DONE


def _taken(home: Path, memory: Memory) -> tuple[Memory, list[int]]:
    if memory.took:
        say(f"Going on with round {memory.round}, which was left after the step {list(memory.took)[-1]}.")
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    headline(plan.step("up").title)
    began = time.monotonic()
    up.bring_up(home, {})
    memory = memory.after("up", {}, seconds=time.monotonic() - began)
    remember(home, memory)
    try:
        memory = asyncio.run(_tour(read_endpoints(home / "endpoints.json"), home, memory))
    finally:
        headline("Taking everything down")
        remaining = up.take_down(home).remaining
    _sum_up(memory.facts, memory.took)
    return memory, remaining


async def _tour(endpoints: Endpoints, home: Path, memory: Memory) -> Memory:
    async with Client.connect(endpoints) as client:
        stage = Stage(client, endpoints, memory, say=say, bar=bar, now=lambda: datetime.now(UTC))
        return await take_all(stage, home, headline=headline, clock=time.monotonic, by_name=takes(home))


def _sum_up(facts: Mapping[str, Any], took: Mapping[str, float]) -> None:
    headline("Summary")
    say_table(["Step", "took", "planned"], [list(row) for row in plan.rows(took)])
    said = {name: words.duration(facts[name]["seconds"]) for name in ("rollout", "relearning")}
    say(
        *_gain(facts["measure"]["gains"]),
        f"From the steward's change to the live model: {said['rollout']}.",
        f"From the request to be forgotten to the end of what learned from them: {said['relearning']}.",
        f"Nothing is left running; what was stored stays. To look around: {up.command()} up",
    )


def _gain(gains: Mapping[str, Mapping[str, float]]) -> list[str]:
    gain = gains.get("key_facts")
    if not gain:
        return []
    difference, low, high = (f"{100 * gain[name]:+.0f}" for name in ("gain", "low", "high"))
    shares = f"{gain['before']:.0%} → {gain['after']:.0%}"
    return [f"Key facts in held-out answers: {shares}, {difference} points (95 % interval {low} to {high})."]


def _json(memory: Memory, remaining: list[int]) -> dict[str, Any]:
    return {"round": memory.round, "seconds": dict(memory.took), "steps": dict(memory.facts), "remaining": remaining}
