"""Runs in words, tables and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.feedback.v1 import runs_pb2
from headrace.feedback.v1.reports_pb2 import Estimate, ReportLine, Side
from headrace.query.v1 import query_pb2

from headrace_client.cli.governance import json_moment, moment
from headrace_client.tiers import tier_word

STATES = {
    runs_pb2.RUN_STATE_RUNNING: "running",
    runs_pb2.RUN_STATE_DONE: "done",
    runs_pb2.RUN_STATE_CANCELLED: "cancelled",
    runs_pb2.RUN_STATE_FAILED: "failed",
}
KINDS = {query_pb2.TRIAL_KIND_REPLAY: "replay", query_pb2.TRIAL_KIND_EVALUATION: "evaluation"}
SETTINGS = {
    "zero-shot": query_pb2.TRIAL_SETTING_ZERO_SHOT,
    "closed-book": query_pb2.TRIAL_SETTING_CLOSED_BOOK,
    "unchecked": query_pb2.TRIAL_SETTING_UNCHECKED,
}
_SETTING_WORDS = {number: word for word, number in SETTINGS.items()}
_FAILURES = {
    "grant_ended": "a grant that it read under has ended",
    "denied_by_policy": "the policy no longer allows to read what it asks",
}
_REASONS = {
    "no_grant": "there is no grant to evaluate them",
    "denied_by_policy": "the policy does not allow to evaluate them",
    "erased": "they are erased",
}


def arm_word(arm: runs_pb2.RunArm) -> str:
    """ "shorter 2, zero-shot"."""
    setting = _SETTING_WORDS.get(arm.setting, "")
    return f"{arm.variant.name} {arm.variant.version}".strip() + (f", {setting}" if setting else "")


def side_of(arm: runs_pb2.RunArm) -> Side:
    """The arm as a side of a comparison."""
    return Side(variant=arm.variant, setting=arm.setting)


def run_lines(run: runs_pb2.Run) -> list[str]:
    """What there is to say of a run."""
    state = STATES.get(run.state, "")
    why = f": {_FAILURES.get(run.failure, run.failure)}" if run.failure else ""
    lines = [
        f"{KINDS.get(run.kind, 'run').capitalize()} {run.run_id}: {state}{why}",
        f"  {run.cases} cases, asked of {'; '.join(map(arm_word, run.arms))}",
        f"  {run.answered} of {run.total} answered, {run.failed} will not be, {run.evaluated} measured",
        f"  started {moment(run.created_at)} UTC by {run.created_by}",
    ]
    return lines + exclusion_lines(run)


def exclusion_lines(run: runs_pb2.Run) -> list[str]:
    """What was left out, and why."""
    return [
        f"  {one.cases} cases of {tier_word(one.tier)} were left out: {_REASONS.get(one.reason, one.reason)}"
        for one in run.exclusions
    ]


def run_row(run: runs_pb2.Run) -> list[str]:
    """A run as a row under RUN_COLUMNS."""
    arms = "; ".join(map(arm_word, run.arms))
    progress = f"{run.answered} of {run.total}"
    return [run.run_id, KINDS.get(run.kind, ""), arms, STATES.get(run.state, ""), progress, moment(run.created_at)]


RUN_COLUMNS = ["Run", "Kind", "Asked of", "State", "Answered", "Started (UTC)"]


def run_json(run: runs_pb2.Run) -> dict[str, Any]:
    """A run for programs."""
    return {
        "run_id": run.run_id,
        "tenant": run.tenant,
        "kind": KINDS.get(run.kind, ""),
        "dataset_id": run.dataset_id,
        "arms": [_arm_json(arm) for arm in run.arms],
        "state": STATES.get(run.state, ""),
        "failure": run.failure,
        "cases": run.cases,
        "total": run.total,
        "answered": run.answered,
        "failed": run.failed,
        "evaluated": run.evaluated,
        "exclusions": [{"reason": e.reason, "tier": tier_word(e.tier), "cases": e.cases} for e in run.exclusions],
        "created_by": run.created_by,
        "created_at": json_moment(run.created_at),
        "ended_at": json_moment(run.ended_at),
        "seed": run.seed,
    }


def _arm_json(arm: runs_pb2.RunArm) -> dict[str, Any]:
    setting = _SETTING_WORDS.get(arm.setting, "")
    return {"variant": arm.variant.name, "version": arm.variant.version, "setting": setting}


#: Each compared arm by its word, with the lines of its comparison with the first.
Measures = Mapping[str, Sequence[ReportLine]]


def measure_table(base: str, measures: Measures) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: a measure each, of the first and of every other, with its interval."""
    others = [arm for arm in measures if arm != base]
    names = list(dict.fromkeys(line.measure for lines in measures.values() for line in lines))
    by_arm = {arm: {line.measure: line for line in lines} for arm, lines in measures.items()}
    rows = []
    for name in names:
        first = next(by_arm[arm][name] for arm in measures if name in by_arm[arm])
        cells = [_cell(by_arm[arm][name].b, first.unit) if name in by_arm[arm] else "" for arm in others]
        rows.append([name, _cell(first.a, first.unit), *cells])
    return ["", base, *others], rows


def verdict_lines(measures: Measures) -> list[str]:
    """What each comparison says, in words."""
    return [
        f"{arm}, {line.measure}: {line.sentence}" for arm, lines in measures.items() for line in lines if line.sentence
    ]


def _cell(estimate: Estimate, unit: str) -> str:
    if not estimate.answers:
        return "-"
    return f"{_number(estimate.value, unit)} ({_number(estimate.low, unit)} to {_number(estimate.high, unit)})"


def _number(value: float, unit: str) -> str:
    match unit:
        case "share":
            return f"{100 * value:.0f} %"
        case "seconds":
            return f"{value:.2f} s"
        case "micro_usd":
            return f"${value / 1e6:.6f}"
        case _:
            return f"{value:.2f}"


def measures_json(measures: Measures) -> list[dict[str, Any]]:
    """The comparisons for programs."""
    return [
        {
            "arm": arm,
            "measure": line.measure,
            "unit": line.unit,
            "first": _estimate_json(line.a),
            "arm_value": _estimate_json(line.b),
            "difference": _estimate_json(line.difference),
            "better": line.better,
            "decides": line.decides,
            "sentence": line.sentence,
        }
        for arm, lines in measures.items()
        for line in lines
    ]


def _estimate_json(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "answers": estimate.answers}


def stale_row(answer: runs_pb2.StaleAnswer) -> list[str]:
    """A stale answer as a row under STALE_COLUMNS."""
    return [answer.query_id, moment(answer.completed_at), "; ".join(map(_stale_word, answer.documents))]


STALE_COLUMNS = ["Query", "Answered (UTC)", "What changed"]


def _stale_word(document: runs_pb2.StaleDocument) -> str:
    what = "deleted" if document.deleted else f"version {document.version}, now {document.current_version}"
    return f"{document.source}/{document.document_id} ({what}{', cited' if document.cited else ''})"


def stale_json(answer: runs_pb2.StaleAnswer) -> dict[str, Any]:
    """A stale answer for programs."""
    documents = [
        {
            "source": one.source,
            "document_id": one.document_id,
            "version": one.version,
            "current_version": one.current_version,
            "deleted": one.deleted,
            "cited": one.cited,
        }
        for one in answer.documents
    ]
    when, tier = json_moment(answer.completed_at), tier_word(answer.tier)
    return {"query_id": answer.query_id, "completed_at": when, "tier": tier, "documents": documents}
