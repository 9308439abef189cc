"""The part of the composition root that governs: grants, decisions on tiers, the policy and the audit log."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from uuid import uuid4

from headrace.privacy.v1.approvals_pb2_grpc import add_ApprovalServiceServicer_to_server
from headrace.privacy.v1.audit_pb2_grpc import add_AuditServiceServicer_to_server
from headrace.privacy.v1.policy_pb2_grpc import add_PolicyServiceServicer_to_server
from headrace_database import Database
from headrace_identity import (
    EVERYBODY,
    PrivateKey,
    UnusableKey,
    current_principal,
    read_private_key,
)
from headrace_privacy import Vault
from headrace_privacy.policy import Policy
from headrace_runtime.admission import open_believed
from headrace_runtime.denials import Send
from headrace_runtime.errors import Conflict
from headrace_runtime.grpc_server import Servicer
from headrace_runtime.settings import variable
from headrace_stream import Ledger
from headrace_telemetry.tracing import trace_id

from headrace_classifier.adapters.audit_key import read_audit_key
from headrace_classifier.adapters.checkpoint_folder import CheckpointFolder
from headrace_classifier.adapters.live import LiveDecisions, LiveDictionaries, following
from headrace_classifier.adapters.postgres_audit import PostgresAudit, PostgresAuditReader
from headrace_classifier.adapters.postgres_denials import DenialLog
from headrace_classifier.adapters.postgres_registry import PostgresRegistry
from headrace_classifier.adapters.sealing_rows import Sealer
from headrace_classifier.adapters.signing_checkpoints import Checkpoints, Evidences, keeping
from headrace_classifier.approval_servicer import ApprovalServicer
from headrace_classifier.audit_servicer import AuditServicer
from headrace_classifier.deciding import record_rotation
from headrace_classifier.dictionaries import UnreadableDictionary
from headrace_classifier.dictionary import EMPTY, Dictionary
from headrace_classifier.grant_ends import GrantEnds
from headrace_classifier.keys import Rotation
from headrace_classifier.policy_servicer import PolicyServicer
from headrace_classifier.registry import Registry
from headrace_classifier.settings import Settings


@dataclass(frozen=True, slots=True)
class Governance:
    """What the rest of the classifier needs of it."""

    servicers: Sequence[Servicer]
    registry: Registry
    policy: Policy
    checkpoints: Checkpoints
    decisions: LiveDecisions
    dictionaries: LiveDictionaries[Dictionary]
    record_denials: Send

    def recorded_rotation(self, rotate: Callable[[], Awaitable[Rotation]]) -> Callable[[], Awaitable[Rotation]]:
        """Replaces the master key as `rotate` does, and records who did: afterwards, since it is many transactions."""

        async def recorded() -> Rotation:
            rotation, by = await rotate(), current_principal()
            async with self.registry.open(EVERYBODY) as register:
                await record_rotation(
                    rotation, register, by=by, policy_version=self.policy.version, trace_id=trace_id()
                )
            return rotation

        return recorded


@asynccontextmanager
async def open_governance(
    database: Database, policy: Policy, audit: PostgresAudit, *, ledger: Ledger, vault: Vault, settings: Settings
) -> AsyncIterator[Governance]:
    """Records that the policy is in force, and opens what serves it.

    Raises Unavailable; Conflict when the log's checkpoints cannot be signed, kept or verified here.
    """
    folder = CheckpointFolder(settings.checkpoints)
    folder.prepare()
    async with database.transaction() as connection:
        noted = await audit.note_policy(connection, policy, now=_now())
    await audit.seal(noted)
    registry = PostgresRegistry(database, audit)
    decisions = LiveDecisions(registry, clock=time.monotonic)
    dictionaries = LiveDictionaries(
        registry, vault, compile_=Dictionary.of, empty=EMPTY, unreadable=UnreadableDictionary()
    )

    async def refresh() -> None:
        await decisions.refresh()
        await dictionaries.refresh()

    reader = PostgresAuditReader(database)
    checkpoints = Checkpoints(database, audit, folder, own_key(settings), _now)
    ends = GrantEnds(ledger, _now)
    approvals = ApprovalServicer(registry, policy, caller=current_principal, now=_now, new_id=uuid4, ended=ends.wake)
    policies = PolicyServicer(registry, policy, vault, refresh=refresh, caller=current_principal, now=_now)
    async with (
        open_believed(settings) as identities,
        keeping(checkpoints),
        ends.announcing(),
        following(database, refresh),
    ):
        evidence = Evidences(reader, folder, identities).read
        denials = DenialLog(database, audit, policy.version, _now)
        log = AuditServicer(reader, audit.key, evidence=evidence, record=denials.record, caller=current_principal)
        yield Governance(
            servicers=[
                Servicer(add_ApprovalServiceServicer_to_server, approvals, "headrace.privacy.v1.ApprovalService"),
                Servicer(add_PolicyServiceServicer_to_server, policies, "headrace.privacy.v1.PolicyService"),
                Servicer(add_AuditServiceServicer_to_server, log, "headrace.privacy.v1.AuditService"),
            ],
            registry=registry,
            policy=policy,
            checkpoints=checkpoints,
            decisions=decisions,
            dictionaries=dictionaries,
            record_denials=partial(denials.record, edge="classifier"),
        )


def open_audit(settings: Settings) -> PostgresAudit:
    """The log, with its key and what seals it outside the database. Raises Conflict."""
    sealer = Sealer(
        CheckpointFolder(settings.checkpoints), own_key(settings), now=_now, new_name=lambda: uuid4().hex[:12]
    )
    return PostgresAudit(read_audit_key(settings.audit_key), sealer)


def own_key(settings: Settings) -> PrivateKey:
    """Reads what signs checkpoints and receipts. Raises Conflict."""
    if settings.service_key is None:
        raise Conflict(f"{variable(settings, 'service_key')} is not set: it signs the audit log's checkpoints")
    try:
        return read_private_key(settings.service_key)
    except UnusableKey as error:
        raise Conflict(str(error)) from None


def _now() -> datetime:
    return datetime.now(UTC)
