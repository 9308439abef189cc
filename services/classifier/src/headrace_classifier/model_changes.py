"""What became of models, as rows of the audit log. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from headrace_privacy import Tier

from headrace_classifier.audit import Action, Entry


@dataclass(frozen=True, slots=True)
class ModelChange:
    """A model came to another state. because: a fixed word; replaced_by: what took its place, "" where nothing did.

    erasures: those that it must be retired for.
    """

    action: Action
    tenant: str
    model: str
    tier: Tier
    because: str
    replaced_by: str
    erasures: tuple[str, ...]
    role: str
    changed_by: str
    changed_at: datetime


_WHY = {
    "gate": "the gate let it through",
    "person": "a person said so",
    "evidence": "what was seen of it decided",
    "time_limit": "its time was up",
    "failing": "it failed",
    "erasure": "something that it learned from was erased",
    "replaced": "another one took its place",
    "run": "a run made it",
}


def entry_of(change: ModelChange, *, now: datetime, policy_version: str, trace_id: str) -> Entry:
    """The row of a change: names and fixed words."""
    return Entry(
        recorded_at=now,
        action=change.action,
        role=change.role,
        actor=change.changed_by or change.role.removeprefix("service:"),
        tenant=change.tenant,
        tier=change.tier,
        object=change.model,
        records=change.erasures,
        reason=_what(change),
        policy_version=policy_version,
        trace_id=trace_id,
    )


def _what(change: ModelChange) -> str:
    why = _WHY.get(change.because, "for a reason that this version does not know")
    return f"{why}; {change.replaced_by} answers in its place" if change.replaced_by else why
