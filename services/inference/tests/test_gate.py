"""What a model may see, by the policy and, where that is not enough, by the classifier."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from headrace.privacy.v1 import approvals_pb2, privacy_pb2
from headrace_inference.adapters.gate import PolicyGate, backend_of
from headrace_inference.domain import Sending
from headrace_privacy import Tier
from headrace_privacy.policy import Policy, RulingKind
from headrace_runtime.errors import Unavailable

ALLOW, DENY, GRANT = RulingKind.ALLOW, RulingKind.DENY, RulingKind.GRANT
POLICY = Policy(
    "7",
    backends={
        "local": {Tier.PUBLIC: ALLOW, Tier.TIER_1: ALLOW, Tier.TIER_2: ALLOW},
        "trusted.example": {Tier.PUBLIC: ALLOW, Tier.TIER_1: ALLOW, Tier.TIER_2: ALLOW},
        "*": {Tier.PUBLIC: ALLOW, Tier.TIER_1: GRANT, Tier.TIER_2: DENY},
    },
)


class Approvals:
    """The classifier's answer, and what it was asked."""

    def __init__(self, answer: bool | grpc.StatusCode) -> None:
        self.answer = answer
        self.asked: list[Any] = []

    async def Authorize(self, request: Any, timeout: float) -> approvals_pb2.AuthorizeResponse:  # noqa: N802
        self.asked.append(request)
        if isinstance(self.answer, grpc.StatusCode):
            raise grpc.aio.AioRpcError(self.answer, grpc.aio.Metadata(), grpc.aio.Metadata())
        return approvals_pb2.AuthorizeResponse(allowed=self.answer)


def sending(tier: Tier) -> Sending:
    return Sending("product", "docs", "demo", tier, sources=["wiki"], records=["q-1"])


@pytest.mark.parametrize(
    ("backend", "tier", "granted", "admitted", "asked"),
    [
        ("local", Tier.TIER_2, False, True, 0),
        ("api.example.com", Tier.PUBLIC, False, True, 0),
        ("api.example.com", Tier.TIER_1, False, False, 1),
        ("api.example.com", Tier.TIER_1, True, True, 1),
        ("api.example.com", Tier.TIER_2, True, False, 0),
        ("trusted.example", Tier.TIER_1, False, True, 0),
        ("trusted.example", Tier.TIER_2, True, True, 1),
        ("trusted.example", Tier.TIER_2, False, False, 1),
    ],
)
async def test_the_policy_decides_and_the_classifier_where_it_must(
    backend: str, tier: Tier, granted: bool, admitted: bool, asked: int
) -> None:
    approvals: Any = Approvals(granted)
    assert await PolicyGate(POLICY, backend, approvals).admits(sending(tier)) is admitted
    assert len(approvals.asked) == asked


async def test_the_classifier_is_told_for_whom_and_where_to() -> None:
    approvals: Any = Approvals(True)
    await PolicyGate(POLICY, "api.example.com", approvals).admits(sending(Tier.TIER_1))
    (asked,) = approvals.asked
    assert (asked.role, asked.subject, asked.tenant, asked.backend) == ("product", "docs", "demo", "api.example.com")
    assert (asked.purpose, asked.tier) == (privacy_pb2.PURPOSE_ANSWER, privacy_pb2.TIER_1)
    assert (list(asked.sources), list(asked.records)) == (["wiki"], ["q-1"])


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.PERMISSION_DENIED])
async def test_without_a_decision_nothing_leaves(code: grpc.StatusCode) -> None:
    approvals: Any = Approvals(code)
    with pytest.raises(Unavailable):
        await PolicyGate(POLICY, "trusted.example", approvals).admits(sending(Tier.TIER_2))


@pytest.mark.parametrize(
    ("url", "backend"),
    [
        ("", "local"),
        ("http://127.0.0.1:8000/v1", "local"),
        ("http://localhost:8000/v1", "local"),
        ("http://[::1]:8000/v1", "local"),
        ("https://API.example.com:443/v1", "api.example.com"),
        ("http://10.0.0.7:8000/v1", "10.0.0.7"),
        ("http://localhost.evil.example/v1", "localhost.evil.example"),
        ("http://127.0.0.1.evil.example/v1", "127.0.0.1.evil.example"),
    ],
)
def test_only_this_machine_is_local(url: str, backend: str) -> None:
    assert backend_of(url) == backend
