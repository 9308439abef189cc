"""What runs need of the world, and the seam between runs and the registry.

`Registry` is what runs ask of the registry; `Loop` is what the registry asks of runs. Only app.py knows both sides.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID

from headrace_models.prompting import Layout
from headrace_stream import Unit

from headrace_trainer.running.rules import Rules, Used
from headrace_trainer.running.runs import Base, Cause, Made, Memorisation, Point, Progress, Run, Snapshot, State, Target


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate said. failure: empty when it passed, else the fixed word that the run ends with as REFUSED:
    "gate_refused", "not_loaded", …"""

    passed: bool
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """Which models answer for a tenant, by target, and which is a canary; what is not there is the house's own."""

    live: Mapping[Target, str] = field(default_factory=dict)
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


@dataclass(frozen=True, slots=True)
class Noted:
    """A cause as it is stored. run_id: None while it is held until something else starts a run."""

    cause_id: UUID
    target: Target
    cause: Cause
    because: tuple[str, ...]
    traceparent: str
    added_at: datetime
    run_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Who paused the loop, when, and why, in their words. everybody: not this tenant's alone."""

    by: str
    at: datetime
    because: str = ""
    everybody: bool = False


class Books(Protocol):
    """The books of runs, inside one transaction of one tenant. All times are the database's."""

    async def hold(self, tenant: str) -> None:
        """Has everybody else who adds causes, begins runs or changes rules of the tenant wait until it ends."""

    async def now(self) -> datetime:
        """The database's time."""

    async def rules(self, tenant: str) -> Rules:
        """The rules in force; the defaults where nobody stored any."""

    async def put_rules(self, tenant: str, rules: Rules) -> None:
        """Stores a version of them, and when the schedule starts the next run."""

    async def pause_of(self, tenant: str) -> Pause | None:
        """Its own pause, else everybody's."""

    async def pause(self, tenant: str, pause: Pause) -> None:
        """Pauses it, or everybody where the tenant is ''."""

    async def resume(self, tenant: str) -> None:
        """Takes that very pause away, and has what waits be looked at."""

    async def used(self, tenant: str) -> Used:
        """See Used. Runs of people do not count as runs, but for what they compute."""

    async def add_cause(self, tenant: str, noted: Noted) -> bool:
        """Stores a cause; says no where it was there before."""

    async def drop_held(self, tenant: str, cause_id: UUID) -> None:
        """Forgets a cause that is held."""

    async def held(self, tenant: str, target: Target) -> Sequence[Noted]:
        """The causes that are held, oldest first."""

    async def attach(self, tenant: str, cause_ids: Sequence[UUID], run_id: UUID) -> None:
        """Gives causes to a run."""

    async def waiting(self, tenant: str, target: Target) -> Run | None:
        """The run that waits; there is one at most."""

    async def under_way(self, tenant: str, target: Target) -> UUID | None:
        """The run that somebody works on; there is one at most."""

    async def add(self, run: Run) -> None:
        """Stores a run that waits; nobody takes it before its time."""

    async def fold(self, run: Run) -> None:
        """Stores what causes, wishes and beginning of a run that waits are now."""

    async def get(self, tenant: str, run_id: UUID) -> Run | None:
        """The run as it stands, with its curve."""

    async def newest(self, tenant: str, most: int) -> Sequence[Run]:
        """The runs, newest first."""

    async def of_dataset(self, tenant: str, dataset_id: str) -> Sequence[Run]:
        """Those that learn from a snapshot, newest first."""

    async def move(self, run: Run, state: State) -> bool:
        """Moves a run on; says no where it is not in the state that `run` says. Out of WAITING, it begins."""

    async def set_snapshot(self, run: Run, snapshot: Snapshot) -> None:
        """Stores what it learns from."""

    async def count_attempt(self, run: Run) -> int:
        """Counts one more beginning of training, and returns how many there are."""

    async def uncount_attempt(self, run: Run) -> None:
        """Takes one back: it was ended for a reason that is not the run's."""

    async def set_progress(self, run: Run, progress: Progress, points: Sequence[Point]) -> None:
        """Stores how far it is."""

    async def set_made(self, run: Run, made: Made) -> None:
        """Stores what training made."""

    async def set_model(self, run: Run, model: str) -> None:
        """Stores the name that the registry gave it."""

    async def end(self, run: Run, state: State, *, failure: str = "") -> Run | None:
        """Ends a run that goes on, and its turn; returns it as it ended. None where it had ended before."""


class Turns(Protocol):
    """Who conducts which run. Inside a transaction of no tenant."""

    async def take(self, holder: UUID, *, seconds: float) -> tuple[str, UUID] | None:
        """Takes a run that nobody holds and whose time has come, for so long: its tenant and id."""

    async def keep(self, holder: UUID, run_id: UUID, *, seconds: float) -> bool:
        """Holds it for so long from now on; says no when it is somebody else's, or has ended."""

    async def pass_on(self, holder: UUID, run_id: UUID, *, seconds: float) -> None:
        """Gives it up; nobody takes it before so many seconds have passed."""

    async def going_on(self, run_ids: Collection[UUID]) -> Collection[UUID]:
        """Those of these that have not ended, of any tenant."""

    async def everybody(self) -> Sequence[tuple[str, UUID]]:
        """Every run that has not ended: its tenant and id."""

    async def scheduled(self) -> str | None:
        """A tenant whose schedule's time has come; nobody else is told so until the transaction ends."""

    async def schedule_again(self, tenant: str, *, seconds: float) -> None:
        """Sets when its schedule's time comes next; 0: never."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row to learn from, in the clear: never stored, never logged. headings: what stands before each passage in the
    index. text: of a document's row alone, which has no question and no answer."""

    row_id: str
    question: str
    answer: str
    passages: tuple[str, ...]
    text: str
    kind: str
    held_out: bool
    corrected: bool = False
    kind_stated: bool = False
    headings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return "<row>"


class Datasets(Protocol):
    """The feedback logger's snapshots. What cannot be had raises failures.Stopped, what may come yet Unavailable."""

    async def build(self, run: Run) -> Snapshot:
        """Builds a run's snapshot by its query, for training; the same again where nothing has changed."""

    async def find(self, tenant: str, dataset: str) -> Snapshot:
        """A snapshot that may be learned from. Raises NotFound, and Conflict for one that is not usable."""

    def read(self, run: Run) -> AsyncIterator[Row]:
        """Its rows, authorized batch by batch."""


#: Asks how inference makes a conversation of a question, for the run at hand. Raises failures.Stopped, and Unavailable.
Laying = Callable[[], Awaitable[Layout]]


class Layouts(Protocol):
    """How inference makes a conversation of a question."""

    async def layout(self, tenant: str, variant: str) -> Layout:
        """The layout of a variant; of what answers "*" when it is ''. Raises failures.Stopped, and Unavailable."""


class Shelf(Protocol):
    """Where models rest."""

    async def put(self, folder: Path, *, model: str, files: Mapping[str, str]) -> str:
        """Copies a folder's files there, reads back that they are what they were, and returns the address. Raises
        failures.Stopped where they are not, and Unavailable."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """Training goes on. progress.compute_seconds is the conductor's to count."""

    progress: Progress
    points: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Trained:
    """Training has ended well. folder: where the weights lie; version, files, losses: see Made."""

    folder: Path
    version: str
    files: Mapping[str, str]
    base: Base
    held_out_loss: float = 0.0
    base_held_out_loss: float = 0.0
    memorisation: Memorisation | None = None
    bytes: int = 0


class Worker(Protocol):
    """The process that trains."""

    @property
    def targets(self) -> Collection[Target]:
        """What it can train."""

    def train(self, run: Run, laying: Laying, rows: AsyncIterator[Row]) -> AsyncGenerator[Stepped | Trained, None]:
        """Feeds it rows and yields what it says; it ends with the iterator, and with this process. It goes on from the
        run's last checkpoint, if there is one. Raises failures.Stopped where it says that it cannot go on,
        failures.Died where it says nothing more, and what `rows` raises."""

    def base_of(self, name: str) -> str:
        """The folder of a base by its name; "" for what comes with Headrace. Raises failures.Stopped."""

    async def forget(self, run_id: UUID) -> None:
        """Deletes a run's checkpoints."""

    async def remembered(self) -> Collection[UUID]:
        """The runs that have checkpoints on this machine."""
