"""How the loop decides for one tenant: the rules, with their defaults filled in, and when a run may begin."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from headrace_trainer.running.runs import Recipe, Target

#: What 0 stands for in the contract.
DEBOUNCE_SECONDS = 600
RUNS_A_DAY = 4
COMPUTE_SECONDS_A_DAY = 14_400
CANARY_SHARE = 0.1
CANARY_LEAST_ANSWERS = 50
CANARY_MOST_SECONDS = 86_400
CANARY_MARGIN = 0.05
ERASURE_SECONDS = 604_800
GATE_CASES = 100


@dataclass(frozen=True, slots=True)
class Rules:
    """headrace.training.v1.LoopRules, all numbers filled in. query: the contract's DatasetQuery as bytes; it names no
    subject. targets: what drift and the schedule have trained. version 0: nobody stored any."""

    automatic: bool = False
    debounce_seconds: int = DEBOUNCE_SECONDS
    runs_a_day: int = RUNS_A_DAY
    compute_seconds_a_day: int = COMPUTE_SECONDS_A_DAY
    schedule_seconds: int = 0
    query: bytes = b""
    recipe: Recipe = field(default_factory=Recipe)
    base: str = ""
    canary_share: float = CANARY_SHARE
    canary_kinds: tuple[str, ...] = ()
    canary_least_answers: int = CANARY_LEAST_ANSWERS
    canary_most_seconds: int = CANARY_MOST_SECONDS
    canary_margin: float = CANARY_MARGIN
    promote_by_itself: bool = False
    erasure_seconds: int = ERASURE_SECONDS
    must_pass: str = ""
    champion_variant: str = ""
    gate_cases: int = GATE_CASES
    targets: tuple[Target, ...] = (Target.GENERATOR,)
    version: int = 0
    changed_by: str = ""
    changed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Used:
    """What a tenant used of its budget in the last 24 hours, by the database's clock. Runs of people do not count as
    runs, but for what they compute."""

    runs: int = 0
    compute_seconds: float = 0.0


#: Why a run that waits may not begin yet.
Hindrance = Literal["", "early", "paused", "under_way", "runs", "compute"]


@dataclass(frozen=True, slots=True)
class Moment:
    """What decides whether a run may begin now. early: seconds until its first cause has waited long enough."""

    early: float
    is_paused: bool
    is_under_way: bool
    used: Used


def hindrance(rules: Rules, moment: Moment, *, by_person: bool) -> Hindrance:
    """Says what keeps a run from beginning; "" when nothing does. A person waits for no causes, and for no budget."""
    if moment.is_paused:
        return "paused"
    if moment.is_under_way:
        return "under_way"
    if by_person:
        return ""
    if moment.early > 0:
        return "early"
    if moment.used.runs >= rules.runs_a_day:
        return "runs"
    return "compute" if moment.used.compute_seconds >= rules.compute_seconds_a_day else ""
