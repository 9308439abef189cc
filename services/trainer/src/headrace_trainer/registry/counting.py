"""From events to what is seen of a canary. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from headrace_trainer.registry.evidence import Answer, Side
from headrace_trainer.registry.models import Model, Variant

Grounding = Literal["", "grounded", "extracted", "not_in_sources"]

#: Why a variant was passed over, where that is its own doing.
_FAILED = ("failed", "broken")
_SLOW = ("latency",)


@dataclass(frozen=True, slots=True)
class Answered:
    """What an answer's event says of who was to write it, who did, and how it went. passed_over: variant and reason, in
    order. service_ms: of the model's service. tokens: that a model read and wrote for it; 0 where none was asked.
    """

    tenant: str
    query_id: UUID
    variant: Variant | None
    route: str
    grounding: Grounding
    finish_reason: str
    passed_over: tuple[tuple[Variant, str], ...] = ()
    service_ms: float | None = None
    tokens: int = 0

    @property
    def has_failed(self) -> bool:
        """Whether nobody could answer it."""
        return self.finish_reason in ("failed", "error")

    @property
    def tells(self) -> bool:
        """Whether it says something of whoever answered."""
        return self.has_failed or (self.tokens > 0 and self.finish_reason != "withheld")


def count(answered: Answered, canary: Model) -> Answer | None:
    """What it says of a canary or of the champion beside it; None where it says nothing of either.

    It belongs to the first of the two that the query was given to. What was passed over for its tier, its price or its
    rate was not given the query. What was refused before any model was asked, since nothing that was found is near the
    question, is the same with every model: a canary that is proven by such answers is proven by nothing.
    """
    rollout = canary.rollout
    if rollout is None or canary.variant is None:
        return None
    if not any(touched.kind == answered.route and not touched.given_way for touched in rollout.routes):
        return None
    sides: dict[Variant, Side] = {canary.variant: "canary", rollout.champion: "champion"}
    for variant, reason in answered.passed_over:
        if variant in sides and reason in _FAILED:
            return Answer(sides[variant], failed=True)
        if variant in sides and reason in _SLOW:
            return Answer(sides[variant], too_slow=True)
    if answered.variant is None or answered.variant not in sides or not answered.tells:
        return None
    failed = answered.has_failed
    return Answer(
        sides[answered.variant],
        failed=failed,
        grounded=answered.grounding == "grounded",
        refused=answered.grounding == "not_in_sources",
        latency_ms=None if failed else answered.service_ms,
    )
