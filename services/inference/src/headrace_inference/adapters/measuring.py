"""Whether records may be used to measure: the policy says it, and where a grant is needed the classifier decides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
from headrace.privacy.v1 import approvals_pb2, privacy_pb2
from headrace_privacy import Tier
from headrace_privacy.policy import Policy, Purpose, RulingKind
from headrace_runtime.errors import Unavailable

from headrace_inference.adapters.gate import DECISION_SECONDS
from headrace_inference.domain import Sending

if TYPE_CHECKING:
    from headrace.privacy.v1.approvals_pb2_grpc import ApprovalServiceAsyncStub

#: How long nobody asks again after a refusal, in seconds: each would be a row of the audit log. Leave is never
#: remembered.
REFUSED_SECONDS = 60.0
_MOST_REFUSALS = 10_000

_Refusal = tuple[str, Tier, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class EvaluationGate:
    """See ports.Gate. clock: seconds that never go back."""

    policy: Policy
    approvals: ApprovalServiceAsyncStub
    clock: Callable[[], float]
    _refused: dict[_Refusal, float] = field(default_factory=dict)

    async def admits(self, sending: Sending) -> bool:
        """See ports.Gate.admits."""
        ruling = self.policy.ruling(Purpose.EVALUATE, sending.tier, sending.role)
        if ruling.kind is not RulingKind.GRANT:
            return ruling.kind is RulingKind.ALLOW
        about = (sending.tenant, sending.tier, tuple(sending.sources))
        if self.clock() < self._refused.get(about, 0.0):
            return False
        if await self._is_granted(sending):
            return True
        if len(self._refused) >= _MOST_REFUSALS:
            self._refused.clear()
        self._refused[about] = self.clock() + REFUSED_SECONDS
        return False

    async def _is_granted(self, sending: Sending) -> bool:
        request = approvals_pb2.AuthorizeRequest(
            role=sending.role,
            subject=sending.subject,
            tenant=sending.tenant,
            purpose=privacy_pb2.PURPOSE_EVALUATE,
            tier=privacy_pb2.Tier.ValueType(sending.tier),
            sources=sending.sources,
            records=sending.records,
        )
        try:
            response = await self.approvals.Authorize(request, timeout=DECISION_SECONDS)
        except grpc.aio.AioRpcError as error:  # whatever it is: without a decision nothing is measured
            raise Unavailable("the classifier") from error
        return response.allowed
