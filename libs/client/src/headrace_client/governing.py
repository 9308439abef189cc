"""The part of the client that governs: grants, the policy and what is decided beside it, the audit log, the keys."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import TYPE_CHECKING

from headrace.privacy.v1 import approvals_pb2, audit_pb2, keys_pb2, policy_pb2
from headrace.privacy.v1.approvals_pb2_grpc import ApprovalServiceStub
from headrace.privacy.v1.audit_pb2_grpc import AuditServiceStub
from headrace.privacy.v1.keys_pb2_grpc import KeyServiceStub
from headrace.privacy.v1.policy_pb2_grpc import PolicyServiceStub
from headrace.privacy.v1.privacy_pb2 import PURPOSE_UNSPECIFIED, TIER_UNSPECIFIED, Purpose, Tier

from headrace_client.calls import Callee, Channels

if TYPE_CHECKING:
    from headrace.privacy.v1.approvals_pb2_grpc import ApprovalServiceAsyncStub
    from headrace.privacy.v1.audit_pb2_grpc import AuditServiceAsyncStub
    from headrace.privacy.v1.policy_pb2_grpc import PolicyServiceAsyncStub

#: Seconds that a call may take, and that going through the whole audit log, or all keys, may.
_CALL_TIMEOUT = 30.0
_LOG_TIMEOUT = 600.0


class Governing:
    """Methods of `headrace_client.Client`. Each raises the errors of `headrace_client.errors`."""

    _channels: Channels

    # Grants

    async def request_grant(
        self,
        *,
        tenant: str,
        purpose: Purpose.ValueType,
        reason: str,
        expires_at: datetime,
        sources: Sequence[str] = (),
        tier: Tier.ValueType = TIER_UNSPECIFIED,
        timeout: float = _CALL_TIMEOUT,
    ) -> approvals_pb2.Grant:
        """Asks for a grant; TIER_2 where no tier is named. `expires_at` is aware of its time zone."""
        callee, stub = self._approvals()
        request = approvals_pb2.RequestGrantRequest(
            tenant=tenant, purpose=purpose, reason=reason, sources=sources, tier=tier
        )
        request.expires_at.FromDatetime(expires_at)
        return (await callee.unary(stub.RequestGrant, request, name="RequestGrant", timeout=timeout)).grant

    async def decide_grant(
        self, grant_id: str, *, approve: bool, note: str = "", timeout: float = _CALL_TIMEOUT
    ) -> approvals_pb2.Grant:
        """Approves or refuses a request of somebody else's."""
        callee, stub = self._approvals()
        request = approvals_pb2.DecideGrantRequest(grant_id=grant_id, approve=approve, note=note)
        return (await callee.unary(stub.DecideGrant, request, name="DecideGrant", timeout=timeout)).grant

    async def revoke_grant(
        self, grant_id: str, *, note: str = "", timeout: float = _CALL_TIMEOUT
    ) -> approvals_pb2.Grant:
        """Ends a grant at once."""
        callee, stub = self._approvals()
        request = approvals_pb2.RevokeGrantRequest(grant_id=grant_id, note=note)
        return (await callee.unary(stub.RevokeGrant, request, name="RevokeGrant", timeout=timeout)).grant

    async def grant(self, grant_id: str, *, timeout: float = _CALL_TIMEOUT) -> approvals_pb2.Grant:
        """One grant."""
        callee, stub = self._approvals()
        request = approvals_pb2.GetGrantRequest(grant_id=grant_id)
        return (await callee.unary(stub.GetGrant, request, name="GetGrant", timeout=timeout)).grant

    async def grants(
        self,
        *,
        tenant: str = "",
        state: approvals_pb2.GrantState.ValueType = approvals_pb2.GRANT_STATE_UNSPECIFIED,
        timeout: float = _CALL_TIMEOUT,
    ) -> list[approvals_pb2.Grant]:
        """Grants of a tenant, or of all that the caller may see, newest first."""
        callee, stub = self._approvals()
        request = approvals_pb2.ListGrantsRequest(tenant=tenant, state=state)
        return list((await callee.unary(stub.ListGrants, request, name="ListGrants", timeout=timeout)).grants)

    # The policy, and what is decided beside it

    async def explain_policy(
        self,
        *,
        purpose: Purpose.ValueType = PURPOSE_UNSPECIFIED,
        tier: Tier.ValueType = TIER_UNSPECIFIED,
        role: str = "",
        timeout: float = _CALL_TIMEOUT,
    ) -> policy_pb2.ExplainResponse:
        """What holds, and why; for every purpose, tier or role that is not named."""
        callee, stub = self._policy()
        request = policy_pb2.ExplainRequest(purpose=purpose, tier=tier, role=role)
        return await callee.unary(stub.Explain, request, name="Explain", timeout=timeout)

    async def decide_tier(
        self,
        *,
        tenant: str,
        kind: policy_pb2.TierDecisionKind.ValueType,
        name: str,
        reason: str,
        tier: Tier.ValueType = TIER_UNSPECIFIED,
        timeout: float = _CALL_TIMEOUT,
    ) -> policy_pb2.TierDecision:
        """Sets the tier of a source or a product; without one takes the decision back."""
        callee, stub = self._policy()
        request = policy_pb2.DecideTierRequest(tenant=tenant, kind=kind, name=name, tier=tier, reason=reason)
        return (await callee.unary(stub.DecideTier, request, name="DecideTier", timeout=timeout)).decision

    async def tier_decisions(
        self, *, tenant: str = "", timeout: float = _CALL_TIMEOUT
    ) -> list[policy_pb2.TierDecision]:
        """The decisions in force."""
        callee, stub = self._policy()
        request = policy_pb2.ListTierDecisionsRequest(tenant=tenant)
        response = await callee.unary(stub.ListTierDecisions, request, name="ListTierDecisions", timeout=timeout)
        return list(response.decisions)

    async def put_dictionary(self, identifiers: Sequence[str], *, tenant: str, timeout: float = _CALL_TIMEOUT) -> int:
        """Replaces a tenant's dictionary of identifiers; returns how many it now has."""
        callee, stub = self._policy()
        request = policy_pb2.PutDictionaryRequest(tenant=tenant, identifiers=identifiers)
        return (await callee.unary(stub.PutDictionary, request, name="PutDictionary", timeout=timeout)).identifiers

    async def dictionary(self, *, tenant: str, timeout: float = _CALL_TIMEOUT) -> policy_pb2.GetDictionaryResponse:
        """How large a tenant's dictionary is, and since when."""
        callee, stub = self._policy()
        request = policy_pb2.GetDictionaryRequest(tenant=tenant)
        return await callee.unary(stub.GetDictionary, request, name="GetDictionary", timeout=timeout)

    # The audit log

    async def audit_entries(
        self, *, tenant: str = "", after_sequence: int = 0, last: int = 0, timeout: float = _LOG_TIMEOUT
    ) -> AsyncGenerator[audit_pb2.AuditEntry, None]:
        """Yields rows oldest first: those about a tenant, or all; only the newest `last` unless that is 0."""
        callee, stub = self._audit()
        request = audit_pb2.ListEntriesRequest(tenant=tenant, after_sequence=after_sequence, last=last)
        async with aclosing(callee.stream(stub.ListEntries, request, name="ListEntries", timeout=timeout)) as responses:
            async for response in responses:
                for entry in response.entries:
                    yield entry

    async def verify_audit(self, *, timeout: float = _LOG_TIMEOUT) -> audit_pb2.VerifyEntriesResponse:
        """Reads the whole log against its hashes and checkpoints."""
        callee, stub = self._audit()
        request = audit_pb2.VerifyEntriesRequest()
        return await callee.unary(stub.VerifyEntries, request, name="VerifyEntries", timeout=timeout)

    # Keys

    async def rotate_keys(self, *, timeout: float = _LOG_TIMEOUT) -> keys_pb2.RotateResponse:
        """Wraps every data key anew under a fresh master key, and destroys the one before where that can be done."""
        callee = self._channels.callee("classifier", "headrace.privacy.v1.KeyService")
        stub = KeyServiceStub(callee.channel)
        return await callee.unary(stub.Rotate, keys_pb2.RotateRequest(), name="Rotate", timeout=timeout)

    def _approvals(self) -> tuple[Callee, ApprovalServiceAsyncStub]:
        callee = self._channels.callee("classifier", "headrace.privacy.v1.ApprovalService")
        return callee, ApprovalServiceStub(callee.channel)

    def _policy(self) -> tuple[Callee, PolicyServiceAsyncStub]:
        callee = self._channels.callee("classifier", "headrace.privacy.v1.PolicyService")
        return callee, PolicyServiceStub(callee.channel)

    def _audit(self) -> tuple[Callee, AuditServiceAsyncStub]:
        callee = self._channels.callee("classifier", "headrace.privacy.v1.AuditService")
        return callee, AuditServiceStub(callee.channel)
