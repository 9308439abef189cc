"""One function per call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from headrace_identity import Principal
from headrace_privacy import Tier
from headrace_runtime.errors import NotFound, Rejected, Violation

from headrace_feedback.reporting.leave import Gate
from headrace_feedback.reporting.ports import Books
from headrace_feedback.reporting.prompts import PromptFigures, PromptRequest
from headrace_feedback.reporting.reports import Report, Request, Side
from headrace_feedback.reporting.verdicts import report
from headrace_feedback.running.runs import Kind, Run


@dataclass(frozen=True, slots=True)
class Desk:
    """Where reports are made."""

    books: Books
    gate: Gate


async def compare(request: Request, desk: Desk, *, by: Principal) -> Report:
    """Compares two variants.

    Raises NotFound for a run that this tenant does not have, Rejected for a side that was not asked in it.
    """
    await _check_run(request, desk.books)
    batches = await desk.books.batches(request, apart=desk.gate.apart(by))
    leave = await desk.gate.ask(batches, tenant=request.tenant, by=by)
    evidence = await desk.books.evidence(request, leave.ids, clearance=leave.tier)
    # Seconds of arithmetic: the loop has others to serve.
    return await asyncio.to_thread(report, request, evidence, leave.left_out)


async def _check_run(request: Request, books: Books) -> None:
    if not request.run_id:
        return
    if request.is_shadow:
        if not await books.has_shadow(request.tenant, request.run_id):
            raise NotFound("run", request.run_id)
        return
    run = await books.run(request.tenant, request.run_id)
    if run is None:
        raise NotFound("run", request.run_id)
    violations = [*_check_side("a", request.a, run), *_check_side("b", request.b, run)]
    if violations:
        raise Rejected(*violations)


def _check_side(name: str, side: Side, run: Run) -> list[Violation]:
    if not side.variant.name and run.kind is Kind.REPLAY:
        return []
    if any(side.holds(arm.variant, arm.setting) for arm in run.arms):
        return []
    return [Violation(f"{name}.variant", "unknown_value", "The run asked no such variant in this setting.")]


async def summarise_prompts(request: PromptRequest, desk: Desk, *, by: Principal) -> Sequence[PromptFigures]:
    """What each version of prompts came to, of the tiers that the caller may measure without a grant."""
    tiers = await desk.gate.tiers(tuple(Tier), tenant=request.tenant, by=by)
    return await desk.books.prompts(request, tiers=tiers) if tiers else []
