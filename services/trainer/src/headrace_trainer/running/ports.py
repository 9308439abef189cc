"""What runs need of the world, and the seam between runs and the registry.

`Registry` is what runs ask of the registry; `Loop` is what the registry asks of runs. Only app.py knows both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from headrace_stream import Unit

from headrace_trainer.running.rules import Rules
from headrace_trainer.running.runs import Cause, Made, Run, Target


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate said. failure: empty when it passed, else the fixed word that the run ends with as REFUSED:
    "gate_refused", "not_loaded", …"""

    passed: bool
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """Which models answer for a tenant; empty: the base, or no canary."""

    live: str = ""
    canary: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """A snapshot that may no longer be used: dataset.ended. erased: what was in it is gone; else a grant has ended.
    by: "erasure ID" or "grant ID"."""

    tenant: str
    dataset_id: str
    erased: bool
    by: str
    ended_at: datetime


class Registry(Protocol):
    """What becomes of what a run has made.

    `register`, `judge` and `roll_out` are called in this order by the one conductor that holds the run's turn, inside a
    span in the run's own trace, and called again from the beginning after a SIGKILL or Unavailable: each of them knows
    by run and model what it did before. They may be cancelled at any await: the run was stopped. Any of them may raise
    Unavailable, which has them called again; another Failure ends the run as failed.
    """

    async def register(self, run: Run, made: Made) -> str:
        """Stores what a run has made, once for each run, says so (model.changed), and returns its name."""

    async def judge(self, run: Run, model: str) -> Verdict:
        """Asks the gate. May take minutes. The run's snapshot is in `run.snapshot`."""

    async def roll_out(self, run: Run, model: str) -> None:
        """Begins its canary, and returns; what comes of it is the registry's own to watch. While the loop is paused
        the model stays a candidate."""

    async def take_out(self, tenant: str) -> Sequence[str]:
        """Takes canaries out at once, of everybody when the tenant is ''; returns their names."""

    async def standing(self, unit: Unit, tenant: str) -> Standing:
        """Which models answer."""

    async def dataset_ended(self, unit: Unit, ended: Ended) -> None:
        """Does what follows for models that learned from it, in the transaction in which the event takes effect."""


class Loop(Protocol):
    """What the registry may ask of runs, inside a transaction of the tenant."""

    async def rules_of(self, unit: Unit, tenant: str) -> Rules:
        """The rules in force, with the defaults where nobody stored any."""

    async def is_paused(self, unit: Unit, tenant: str) -> bool:
        """Whether nothing may start or go further for the tenant: by its own word, or by everybody's."""

    async def add_cause(
        self, unit: Unit, tenant: str, target: Target, cause: Cause, *, because: Sequence[str], cause_id: UUID
    ) -> UUID | None:
        """Has a run start, or folds the cause into the one that waits; returns that run's id. None where the rules
        are not automatic, or the cause came before. cause_id: the same for the same cause. The trace is the current
        span's."""

    async def runs_of(self, unit: Unit, tenant: str, dataset_id: str) -> Sequence[Run]:
        """The runs that learned, or learn, from a snapshot, newest first."""

    async def run_of(self, unit: Unit, tenant: str, run_id: UUID) -> Run | None:
        """One run, with its curve; None when there is none."""
