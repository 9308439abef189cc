"""The part of the composition root that governs: grants, decisions on tiers, the policy and the audit log."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from headrace.privacy.v1.approvals_pb2_grpc import add_ApprovalServiceServicer_to_server
from headrace.privacy.v1.policy_pb2_grpc import add_PolicyServiceServicer_to_server
from headrace_database import Database
from headrace_identity import current_principal
from headrace_privacy import Vault
from headrace_privacy.policy import Policy
from headrace_runtime.grpc_server import Servicer

from headrace_classifier.adapters.live import LiveDecisions, LiveDictionaries, following
from headrace_classifier.adapters.postgres_audit import PostgresAudit
from headrace_classifier.adapters.postgres_registry import PostgresRegistry
from headrace_classifier.approval_servicer import ApprovalServicer
from headrace_classifier.policy_servicer import PolicyServicer


@dataclass(frozen=True, slots=True)
class Governance:
    """What the rest of the classifier needs of it."""

    servicers: Sequence[Servicer]
    decisions: LiveDecisions
    dictionaries: LiveDictionaries[tuple[str, ...]]


@asynccontextmanager
async def open_governance(
    database: Database, policy: Policy, audit: PostgresAudit, *, vault: Vault
) -> AsyncIterator[Governance]:
    """Records that the policy is in force, and opens what serves it. Raises Unavailable."""
    async with database.transaction() as connection:
        await audit.note_policy(connection, policy, now=_now())
    registry = PostgresRegistry(database, audit)
    decisions = LiveDecisions(registry, clock=time.monotonic)
    dictionaries = LiveDictionaries(registry, vault, compile_=tuple)

    async def refresh() -> None:
        await decisions.refresh()
        await dictionaries.refresh()

    approvals = ApprovalServicer(registry, policy, caller=current_principal, now=_now, new_id=uuid4)
    policies = PolicyServicer(registry, policy, vault, refresh=refresh, caller=current_principal, now=_now)
    async with following(database, refresh):
        yield Governance(
            servicers=[
                Servicer(add_ApprovalServiceServicer_to_server, approvals, "headrace.privacy.v1.ApprovalService"),
                Servicer(add_PolicyServiceServicer_to_server, policies, "headrace.privacy.v1.PolicyService"),
            ],
            decisions=decisions,
            dictionaries=dictionaries,
        )


def _now() -> datetime:
    return datetime.now(UTC)
