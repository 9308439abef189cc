"""What is different about each target: how its candidates are judged, and how its models come into service.

Office, judging and conducting know no target by name: they ask the one that is at hand. What serves a target is said
in one place, app.py.

    target      judged by                                   comes into service
    generator   generators.py: answers to held-out rows      canaries.py: a share of the routes first
    embedder    embedders.py: ranks of supporting passages   switching.py: all at once, by the tenant's index
    kinds       kinds.py: kinds that people stated           switching.py: all at once, at the registry's own word
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from headrace_runtime.errors import Conflict

from headrace_trainer.registry.models import Doing, GateLine, Model
from headrace_trainer.registry.ports import Loaded
from headrace_trainer.running.rules import Rules
from headrace_trainer.running.runs import Run, Target


@dataclass(frozen=True, slots=True)
class Examined:
    """What the gate's rules say of a candidate, line by line. champion: what it was held against, as a model where it
    is one that was trained."""

    lines: Sequence[GateLine]
    champion: str


class Examiner(Protocol):
    """Has the candidates of one target measured, and holds them to the rules.

    It takes minutes, may be killed at any moment and is called again: what it began elsewhere it finds again. Both may
    raise Unavailable, to be called again.
    """

    async def tried(self, model: Model) -> Loaded:
        """Waits until the candidate can be tried ("up"), or has failed for long enough."""

    async def examined(self, run: Run, model: Model) -> Examined:
        """Measures it beside the champion. What could not be measured is a line that does not hold."""


class Way(Protocol):
    """How the models of one target come into service, and leave it.

    A step is written down before `go_on` is called, and may have been carried out already, or half: whoever did so was
    killed. Everything may raise Unavailable, and Conflict for what is not taken now.
    """

    @property
    def begins(self) -> Doing:
        """The first step of one that may answer: a share as a canary, or everything."""

    def begins_by_itself(self, rules: Rules) -> bool:
        """Whether that step is taken as soon as the gate has let a model through, or a person takes it."""

    async def loaded(self, model: Model) -> Loaded:
        """Whether it could answer now: "up", else how it stands."""

    async def go_on(self, model: Model) -> datetime:
        """Carries out its step, or looks at it while it is a canary; returns when to come again."""

    async def stand_down(self, model: Model) -> None:
        """Takes one that stands by away from where it would stand in for the live one."""


@dataclass(frozen=True, slots=True)
class Handling:
    """All that is different about a target."""

    examiner: Examiner
    way: Way


@dataclass(frozen=True, slots=True)
class Targets:
    """What serves each target."""

    handlings: Mapping[Target, Handling]

    def of(self, model: Model) -> Handling:
        """Raises Conflict for a target that nobody serves."""
        found = self.handlings.get(model.target)
        if found is None:
            raise Conflict(f"{model.model} cannot be served: nobody serves a target {model.target.label}")
        return found
