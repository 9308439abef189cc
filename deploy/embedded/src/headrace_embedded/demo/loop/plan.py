"""The steps of the tour in their order, and how long each may take. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

#: What the whole tour may take on two quiet cores, in seconds.
MOST_SECONDS = 15 * 60


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its name in what is stored, what is said of it, and the seconds that it may take."""

    name: str
    title: str
    seconds: int


#: The budget of the time, step by step; what starts the servers is the first line.
STEPS = (
    Step("up", "Bringing up Kafka, PostgreSQL and the services", 55),
    Step("prepare", "Loading Python's language reference; one variant answers, and the loop's rules are told", 30),
    Step("baseline", "Users ask about Python: what later windows are measured against", 45),
    Step("shift", "Their questions turn to SQL, which no document here speaks of", 10),
    Step("drift", "The drift monitor looks at the window", 25),
    Step("refresh", "The steward puts what is missing, and asks for a model that knows it", 5),
    Step("again", "Users ask again, and now the sources know", 60),
    Step("training", "A run begins by itself: always from the base, on what was asked, answered and approved", 230),
    Step("rollout", "The gate let it through; a share of the traffic goes to it, until it has proven itself", 45),
    Step("measure", "Questions that nobody asked before, to the old model and to the new", 105),
    Step("erasure", "A user whose questions were learned from asks to be forgotten", 5),
    Step("relearning", "What learned from them is trained anew without them, and goes", 275),
    Step("trace", "From the first drifting question to the first answer of the new model", 10),
)


def remaining(done: Collection[str]) -> tuple[Step, ...]:
    """The steps that are still to be taken: all from the first that is not done, since each stands on those before."""
    first = next((place for place, step in enumerate(STEPS) if step.name not in done), len(STEPS))
    return STEPS[first:]


def step(name: str) -> Step:
    """The step of that name."""
    return next(step for step in STEPS if step.name == name)


def rows(took: Mapping[str, float]) -> Iterator[tuple[str, str, str]]:
    """The table of the times: each step that was taken, its seconds and its budget; and the sum of both."""
    taken = [step for step in STEPS if step.name in took]
    for one in taken:
        yield one.name, f"{took[one.name]:,.0f} s", f"{one.seconds} s"
    yield "in all", f"{sum(took[one.name] for one in taken):,.0f} s", f"{sum(one.seconds for one in taken)} s"
