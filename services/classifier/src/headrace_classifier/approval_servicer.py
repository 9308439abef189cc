"""The gRPC edge of approvals. Who may call what is decided before, by headrace.access."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from grpc.aio import ServicerContext
from headrace.privacy.v1 import approvals_pb2
from headrace.privacy.v1.approvals_pb2_grpc import ApprovalServiceServicer
from headrace_identity import Principal
from headrace_privacy.policy import Policy
from headrace_runtime.errors import Denied, NotFound
from headrace_telemetry.tracing import trace_id

from headrace_classifier import approval_translate as translate
from headrace_classifier.authorising import authorize
from headrace_classifier.granting import decide_grant, propose, request_grant, revoke_grant
from headrace_classifier.registry import Registry

Context = ServicerContext[Any, Any]

#: As the contract has it.
MOST_LISTED = 1_000
#: So many of the newest requests are looked through for those in one state.
MOST_LOOKED_AT = 10_000


class ApprovalServicer(ApprovalServiceServicer):
    """Serves headrace.privacy.v1.ApprovalService. `caller`, `now` and `new_id` say who asks, when, and name grants.

    ended: to be called once a grant has been revoked.
    """

    def __init__(
        self,
        registry: Registry,
        policy: Policy,
        *,
        caller: Callable[[], Principal],
        now: Callable[[], datetime],
        new_id: Callable[[], UUID],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._registry = registry
        self._policy = policy
        self._caller = caller
        self._now = now
        self._new_id = new_id
        self._ended = ended

    async def RequestGrant(
        self, request: approvals_pb2.RequestGrantRequest, context: Context
    ) -> approvals_pb2.RequestGrantResponse:
        """Raises Rejected, Conflict."""
        now, by = self._now(), self._caller()
        scope = translate.read_request(request, now=now, longest_days=self._policy.longest_grant_days)
        grant = propose(
            scope,
            request.reason.strip(),
            expires_at=request.expires_at.ToDatetime(tzinfo=UTC),
            grant_id=self._new_id(),
            by=by,
            policy=self._policy,
            now=now,
        )
        async with self._registry.open(scope.tenant) as register:
            await request_grant(grant, register, by=by, trace_id=trace_id())
        return approvals_pb2.RequestGrantResponse(grant=translate.to_grant(grant, now=now))

    async def DecideGrant(
        self, request: approvals_pb2.DecideGrantRequest, context: Context
    ) -> approvals_pb2.DecideGrantResponse:
        """Raises Rejected, NotFound, Denied, Conflict."""
        now, by = self._now(), self._caller()
        grant_id, note = translate.read_grant_id(request.grant_id), translate.read_note(request.note)
        async with self._registry.open(by.tenant) as register:
            outcome = await decide_grant(
                grant_id,
                register,
                approve=request.approve,
                note=note,
                by=by,
                policy=self._policy,
                now=now,
                trace_id=trace_id(),
            )
        if isinstance(outcome, Denied):  # raised here, so that the log's row is committed
            raise outcome
        return approvals_pb2.DecideGrantResponse(grant=translate.to_grant(outcome, now=now))

    async def RevokeGrant(
        self, request: approvals_pb2.RevokeGrantRequest, context: Context
    ) -> approvals_pb2.RevokeGrantResponse:
        """Raises Rejected, NotFound, Conflict."""
        now, by = self._now(), self._caller()
        grant_id, note = translate.read_grant_id(request.grant_id), translate.read_note(request.note)
        async with self._registry.open(by.tenant) as register:
            grant = await revoke_grant(grant_id, register, note=note, by=by, now=now, trace_id=trace_id())
        self._ended()
        return approvals_pb2.RevokeGrantResponse(grant=translate.to_grant(grant, now=now))

    async def GetGrant(
        self, request: approvals_pb2.GetGrantRequest, context: Context
    ) -> approvals_pb2.GetGrantResponse:
        """Raises Rejected, NotFound."""
        grant_id = translate.read_grant_id(request.grant_id)
        async with self._registry.open(self._caller().tenant) as register:
            grant = await register.grant(grant_id)
        if grant is None:
            raise NotFound("grant", str(grant_id))
        return approvals_pb2.GetGrantResponse(grant=translate.to_grant(grant, now=self._now()))

    async def ListGrants(
        self, request: approvals_pb2.ListGrantsRequest, context: Context
    ) -> approvals_pb2.ListGrantsResponse:
        """Raises Rejected."""
        now, by, state = self._now(), self._caller(), translate.wanted_state(request.state)
        async with self._registry.open(request.tenant or by.tenant) as register:
            grants = await register.grants(most=MOST_LOOKED_AT)
        wanted = [grant for grant in grants if state in (None, grant.state(now))]
        return approvals_pb2.ListGrantsResponse(
            grants=[translate.to_grant(grant, now=now) for grant in wanted[:MOST_LISTED]]
        )

    async def Authorize(
        self, request: approvals_pb2.AuthorizeRequest, context: Context
    ) -> approvals_pb2.AuthorizeResponse:
        """Raises Rejected. A refusal is an answer, not an error."""
        use = translate.read_use(request)
        async with self._registry.open(use.scope.tenant) as register:
            answer = await authorize(use, register, policy=self._policy, now=self._now(), trace_id=trace_id())
        return translate.to_answer(answer, policy_version=self._policy.version)
