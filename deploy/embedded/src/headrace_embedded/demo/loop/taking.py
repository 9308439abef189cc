"""The steps in their order, each with what it does; and taking those that are left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from headrace_embedded.demo.loop import forgetting, learning, steps
from headrace_embedded.demo.loop.memory import Memory, remember
from headrace_embedded.demo.loop.plan import Step, remaining
from headrace_embedded.demo.loop.stage import Stage, Take

#: Said before a step is taken.
Headline = Callable[[str], None]


def takes(home: Path) -> Mapping[str, Take]:
    """What each step does, by name. All but the first, which brings everything up."""
    return {
        "prepare": steps.prepare,
        "baseline": steps.baseline,
        "shift": steps.shift,
        "drift": steps.drift,
        "refresh": steps.refresh,
        "again": steps.again,
        "training": learning.training,
        "rollout": learning.rollout,
        "measure": partial(learning.measure, home=home),
        "erasure": forgetting.erasure,
        "relearning": forgetting.relearning,
        "trace": forgetting.trace,
    }


async def take_all(
    stage: Stage, home: Path, *, headline: Headline, clock: Callable[[], float], by_name: Mapping[str, Take]
) -> Memory:
    """Takes what is left of the tour, and remembers each step as it is done."""
    for step in remaining(stage.memory.took):
        headline(step.title)
        began = clock()
        facts = await by_name[step.name](stage)
        stage = stage.with_memory(stage.memory.after(step.name, facts, seconds=clock() - began))
        remember(home, stage.memory)
        _tell(stage, step)
    return stage.memory


def _tell(stage: Stage, step: Step) -> None:
    took = stage.memory.took[step.name]
    over = f", {took - step.seconds:.0f} s more than planned" if took > step.seconds else ""
    stage.say(f"({took:.0f} s{over})")
