"""How the loop decides for one tenant: the rules, with their defaults filled in."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from headrace_trainer.running.runs import Recipe

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
    subject. version 0: nobody stored any."""

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
    version: int = 0
    changed_by: str = ""
    changed_at: datetime | None = None
