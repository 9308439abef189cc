"""What becomes of a trial's answer: stored, measured, and compared once its case is settled."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from headrace_feedback.running.ports import Evaluations, Runs
from headrace_feedback.running.runs import (
    Ask,
    Kind,
    Reason,
    Run,
    Standing,
    State,
    TrialAnswer,
    pairs_of,
)

#: What inference says of a trial that it could not answer.
UNANSWERED: dict[str, Reason] = {"failed": "failed", "withheld": "withheld"}


async def settle(answer: TrialAnswer, runs: Runs, evaluations: Evaluations, *, now: datetime) -> None:
    """Stores what came back, unless nobody waits for it: its run has ended, or it was erased."""
    if answer.kind is Kind.SHADOW:
        await _keep(answer, runs, evaluations, now=now)
        return
    tenant, query_id = answer.interaction.tenant, answer.interaction.query_id
    ask = await runs.find(tenant, query_id)
    run = await runs.get(tenant, ask.run_id) if ask else None
    if ask is None or run is None or not _is_awaited(ask, run):
        return
    if (reason := UNANSWERED.get(answer.interaction.finish_reason)) is not None:
        await runs.settle(tenant, ask, Standing.FAILED, reason)
    elif await _keep(answer, runs, evaluations, now=now, run=run):
        await runs.settle(tenant, ask, Standing.ANSWERED)
    await put_pairs(run, ask.case_id, runs, evaluations)


def _is_awaited(ask: Ask, run: Run) -> bool:
    """One that was given up on is welcome while its run goes on."""
    return run.state is State.RUNNING and (ask.standing is Standing.ASKED or ask.reason == "timed_out")


async def _keep(
    answer: TrialAnswer, runs: Runs, evaluations: Evaluations, *, now: datetime, run: Run | None = None
) -> bool:
    """Stores it and has it measured, once; says whether it is new."""
    case = await runs.case(run, answer.case_id) if run else None
    stored = of_kind(answer, case.kind) if case else answer
    if not await runs.add_answer(stored, stored_at=now):
        return False
    await evaluations.put_answer(stored, judges=run.judges if run else ())
    return True


def of_kind(answer: TrialAnswer, kind: str) -> TrialAnswer:
    """The answer under its case's kind, so that both sides of a comparison have the same."""
    interaction = answer.interaction
    return replace(answer, interaction=replace(interaction, routed=replace(interaction.routed, kind=kind)))


async def put_pairs(run: Run, case_id: str, runs: Runs, evaluations: Evaluations) -> None:
    """Has a case's answers compared, once each arm was asked and none is under way."""
    standings = await runs.standings(run, case_id)
    if len(standings) < len(run.arms) or Standing.ASKED in standings.values():
        return
    answered = [arm for arm, standing in standings.items() if standing is Standing.ANSWERED]
    if answered and run.kind is Kind.REPLAY:
        await evaluations.put_baseline(run, case_id)
    for pair in pairs_of(run, case_id, answered):
        await evaluations.put_pair(pair)
