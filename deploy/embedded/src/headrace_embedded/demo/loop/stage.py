"""What every step of the tour is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from headrace_client.client import Client
from headrace_client.endpoints import Endpoints

from headrace_embedded.demo.loop.asking import Advance
from headrace_embedded.demo.loop.memory import Memory

Say = Callable[..., None]
#: Counts up to a total; what is counted is said before.
Bar = Callable[[str, int], AbstractContextManager[Advance]]
Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """The services, what is known by now, and how it is told."""

    client: Client
    endpoints: Endpoints
    memory: Memory
    say: Say
    bar: Bar
    now: Callable[[], datetime]

    def with_memory(self, memory: Memory) -> Stage:
        """The same stage, one step on."""
        return replace(self, memory=memory)

    def known(self, step: str, fact: str) -> Any:
        """What an earlier step found."""
        return self.memory.known(step, fact)

    @property
    def round(self) -> int:
        """Which round of the tour it is."""
        return self.memory.round


#: Takes the step, tells of it, and returns what later steps need. Taken twice it does nothing twice.
Take = Callable[[Stage], Awaitable[Facts]]
