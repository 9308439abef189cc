"""What developers changed in how queries are answered, as rows of the audit log. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from headrace_classifier.audit import Action, Entry


@dataclass(frozen=True, slots=True)
class Change:
    """A change: what, by name; its version from now on and before, 0 for none; and who did it."""

    action: Action
    tenant: str
    name: str
    version: int
    previous: int
    label: str
    role: str
    changed_by: str


def entry_of(change: Change, *, now: datetime, policy_version: str, trace_id: str) -> Entry:
    """The row of a change: names and versions, never what a prompt says."""
    return Entry(
        recorded_at=now,
        action=change.action,
        role=change.role,
        actor=change.changed_by,
        tenant=change.tenant,
        object=change.name,
        reason=_what(change),
        policy_version=policy_version,
        trace_id=trace_id,
    )


def _what(change: Change) -> str:
    label = f"label {change.label}: " if change.label else ""
    now = f"version {change.version}" if change.version else "taken away"
    before = f", before it version {change.previous}" if change.previous else ""
    return f"{label}{now}{before}"
