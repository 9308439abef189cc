"""Refusals into the audit log, each report once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from headrace_database import Database
from headrace_runtime.denials import Report

from headrace_classifier.adapters.postgres_audit import PostgresAudit
from headrace_classifier.denials import entries_of

#: Where the inbox remembers reports, as it does the events of a topic.
_INBOX = "AuditService/ReportDenials"


@dataclass(frozen=True, slots=True)
class DenialLog:
    """Records what edges refused, under the policy that is in force."""

    database: Database
    audit: PostgresAudit
    policy_version: str
    now: Callable[[], datetime]

    async def record(self, report: Report, *, edge: str) -> None:
        """Adds a row for each line, unless the report was taken before. Raises Unavailable."""
        entries = [*entries_of(report, edge=edge, now=self.now(), policy_version=self.policy_version)]
        if not entries:
            return
        async with self.database.transaction() as connection:
            is_new = await connection.fetchval(
                "INSERT INTO inbox (topic, event_id) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true",
                _INBOX,
                report.report_id,
            )
            rows = await self.audit.append_all(connection, entries) if is_new else []
        await self.audit.seal(rows[-1] if rows else None)
