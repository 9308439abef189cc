"""What a model may see: the policy says it. Where a grant is needed, or TIER_2 would leave the house, the classifier
decides and keeps the decision on the audit log."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import grpc
from headrace.privacy.v1 import approvals_pb2, privacy_pb2
from headrace_privacy import Tier
from headrace_privacy.policy import LOCAL_BACKEND, Policy, RulingKind
from headrace_runtime.errors import Unavailable

from headrace_inference.domain import Sending

if TYPE_CHECKING:
    from headrace.privacy.v1.approvals_pb2_grpc import ApprovalServiceAsyncStub

#: How long the classifier may take to decide, in seconds.
DECISION_SECONDS = 5.0


def backend_of(url: str) -> str:
    """Returns what the policy calls the model's server: "local" on this machine, else its host without the port."""
    host = (urlsplit(url).hostname or "").lower()
    return LOCAL_BACKEND if not url or _is_loopback(host) else host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class PolicyGate:
    """See ports.Gate. backend: see backend_of."""

    policy: Policy
    backend: str
    approvals: ApprovalServiceAsyncStub

    def forbids(self, tier: Tier) -> bool:
        """Whether no grant lets the model see text of a tier: known without asking anybody."""
        return self.policy.backend_ruling(self.backend, tier).kind is RulingKind.DENY

    @property
    def max_tier(self) -> Tier | None:
        """The strictest tier that needs no grant; None when there is none."""
        allowed = [t for t in Tier if self.policy.backend_ruling(self.backend, t).kind is RulingKind.ALLOW]
        return max(allowed, default=None)

    async def admits(self, sending: Sending) -> bool:
        """See ports.Gate.admits."""
        ruling = self.policy.backend_ruling(self.backend, sending.tier)
        if ruling.kind is RulingKind.DENY:
            return False
        stays = self.backend == LOCAL_BACKEND or sending.tier is not Tier.TIER_2
        if ruling.kind is RulingKind.ALLOW and stays:
            return True
        return await self._is_authorized(sending)

    async def _is_authorized(self, sending: Sending) -> bool:
        request = approvals_pb2.AuthorizeRequest(
            role=sending.role,
            subject=sending.subject,
            tenant=sending.tenant,
            purpose=privacy_pb2.PURPOSE_ANSWER,
            tier=privacy_pb2.Tier.ValueType(sending.tier),
            sources=sending.sources,
            records=sending.records,
            backend=self.backend,
        )
        try:
            response = await self.approvals.Authorize(request, timeout=DECISION_SECONDS)
        except grpc.aio.AioRpcError as error:  # whatever it is: without a decision nothing leaves
            raise Unavailable("the classifier") from error
        return response.allowed
