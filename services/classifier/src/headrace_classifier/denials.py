"""What the edges of services refused, as rows of the audit log. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from headrace_identity import EVERYBODY
from headrace_runtime.denials import Denial, Reason, Report

from headrace_classifier.audit import Entry

#: Stands for the method where refusals could not be told apart.
SEVERAL = "several"
#: As in what is read for an end user: the log outlives an erasure, so it does not name them.
_END_USER = "an end user"
_WHY: dict[Reason, str] = {
    "role": "the role may not call it",
    "tenant": "it asked for another tenant",
    "subject": "it asked as another subject",
}


def entries_of(report: Report, *, edge: str, now: datetime, policy_version: str) -> Iterator[Entry]:
    """The rows of a report. edge: the service whose edge refused, "ingest"."""
    for denial in report.denials:
        yield _entry(denial, now=now, policy_version=policy_version)
    if report.untold:
        yield Entry(
            recorded_at=now,
            action="access.denied",
            role=f"service:{edge}",
            actor=edge,
            object=SEVERAL,
            reason=f"{report.untold} calls more than it could tell apart",
            policy_version=policy_version,
        )


def _entry(denial: Denial, *, now: datetime, policy_version: str) -> Entry:
    refused = denial.refused
    return Entry(
        recorded_at=now,
        action="access.denied",
        role=refused.role,
        actor=_END_USER if refused.role == "product" else refused.name,
        tenant="" if refused.tenant == EVERYBODY else refused.tenant,
        object=refused.method,
        reason=_WHY[refused.reason] + _often(denial),
        policy_version=policy_version,
        trace_id=denial.trace_id,
    )


def _often(denial: Denial) -> str:
    return f"; {denial.times} times since {denial.first_at:%Y-%m-%d %H:%M:%S}" if denial.times > 1 else ""
