"""What reports need of the world."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol
from uuid import UUID

from headrace_privacy import Tier

from headrace_feedback.reporting.prompts import PromptFigures, PromptRequest
from headrace_feedback.reporting.reports import Batch, Evidence, Request
from headrace_feedback.running.runs import Run


class Books(Protocol):
    """Where figures rest. Each call is a transaction of its own."""

    async def run(self, tenant: str, run_id: str) -> Run | None:
        """A run; None where this tenant has none such."""

    async def has_shadow(self, tenant: str, run_id: str) -> bool:
        """Whether this tenant's kind was ever shadowed."""

    async def batches(self, request: Request, *, apart: Collection[Tier]) -> Sequence[Batch]:
        """What would be measured, without a figure of it: by tier, and those of the tiers `apart` by sources too. The
        tier is the strictest of an answer and of all that its model had. Of live traffic answers, of a run cases."""

    async def evidence(self, request: Request, ids: Sequence[UUID | str], *, clearance: Tier) -> Evidence:
        """What these answers, or cases, come to, as far as the clearance goes."""

    async def prompts(self, request: PromptRequest, *, tiers: Collection[Tier]) -> Sequence[PromptFigures]:
        """What each version of prompts came to, of answers of these tiers alone."""
