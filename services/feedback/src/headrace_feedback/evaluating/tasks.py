"""What is to be measured: one answer, or two that are compared."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID, uuid5

from headrace_feedback.evaluating.sampling import drawn

# The namespace of tasks' ids: whoever has the parts can make the id again.
_TASKS = UUID("2f0a4c63-7b55-5d0f-9a0e-6b7a5a1f4c18")

#: After so many attempts in vain a task is taken after all others, and by itself: it may be what ends the process.
SUSPECTED_FROM = 2


class Depth(IntEnum):
    """How far an answer is looked into. COUNTS needs none of its words, and nobody's leave."""

    COUNTS = 1
    WORDS = 2


@dataclass(frozen=True, slots=True)
class Task:
    """One answer to be measured, or, with `against`, two to be compared: `query_id` is the baseline then.

    Ids are those under which the answers rest, in the log or among the trials' answers; the answer of then is the live
    query's. run_id: the run's, or "shadow:" and the route's kind; empty for live traffic. judges: by name.
    """

    tenant: str
    query_id: UUID
    run_id: str = ""
    case_id: str = ""
    depth: Depth = Depth.WORDS
    judges: tuple[str, ...] = ()
    against: UUID | None = None

    @property
    def task_id(self) -> UUID:
        """Made of what it is about, so that it is put once."""
        return uuid5(_TASKS, "\x1f".join((self.tenant, self.run_id, str(self.query_id), str(self.against or ""))))


@dataclass(frozen=True, slots=True)
class Held:
    """A task that an instance works at. attempts: this one included."""

    task: Task
    attempts: int


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which share of live answers is measured by its words, and of these which share by which judges."""

    share: float = 0.0
    judges: tuple[str, ...] = ()
    judged_share: float = 0.0


def live_task(tenant: str, query_id: UUID, sampling: Sampling) -> Task:
    """Returns what is to be measured of a live answer, as its query's hash draws it; see `drawn`."""
    if drawn("evaluate", tenant, str(query_id)) >= sampling.share:
        return Task(tenant, query_id, depth=Depth.COUNTS)
    is_judged = drawn("judge", tenant, str(query_id)) < sampling.judged_share
    return Task(tenant, query_id, judges=sampling.judges if is_judged else ())
