"""What the tour knows from step to step, in a file: so that it goes on where it was left, or begins another round."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from headrace_embedded.demo.loop.plan import STEPS
from headrace_embedded.errors import NotReady
from headrace_embedded.state import write_json

FILE = "demo-loop.json"


@dataclass(frozen=True, slots=True)
class Memory:
    """One round. took: seconds of the steps that are done. facts: what they found, as JSON, under their names."""

    round: int = 1
    took: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_over(self) -> bool:
        """Whether the last step is done."""
        return STEPS[-1].name in self.took

    def after(self, step: str, facts: Mapping[str, Any], *, seconds: float) -> Memory:
        """What is known once a step is done."""
        return replace(self, took={**self.took, step: seconds}, facts={**self.facts, step: dict(facts)})

    def next_round(self) -> Memory:
        """The same tour anew, of which nothing is done."""
        return Memory(round=self.round + 1)

    def known(self, step: str, fact: str) -> Any:
        """What an earlier step found."""
        return self.facts[step][fact]


def recall(home: Path) -> Memory:
    """The round to go on with: the one that was left, or a new one after one that is over. Raises NotReady."""
    try:
        memory = Memory(**json.loads((home / FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return Memory()
    except (ValueError, TypeError) as error:
        raise NotReady(f"{home / FILE} cannot be read. Delete it, and the tour begins anew.") from error
    return memory.next_round() if memory.is_over else memory


def remember(home: Path, memory: Memory) -> None:
    """Keeps it: whole, or as it was."""
    write_json(home / FILE, asdict(memory))
