"""What a policy says, cell by cell, as the contract has it: the same from the service and from a file."""

from __future__ import annotations

from itertools import product

from headrace.privacy.v1 import policy_pb2, privacy_pb2

from headrace_privacy.policy import ROLES, Policy, Purpose, RulingKind
from headrace_privacy.tier import Tier


def explain(
    policy: Policy, *, purpose: Purpose | None = None, tier: Tier | None = None, role: str = ""
) -> policy_pb2.ExplainResponse:
    """What holds for a purpose, a tier and a role; for every one where none is named."""
    purposes = list(Purpose) if purpose is None else [purpose]
    tiers = list(Tier) if tier is None else [tier]
    roles = [role] if role else list(ROLES)
    return policy_pb2.ExplainResponse(
        policy_version=policy.version,
        sha256=policy.sha256,
        lines=[_line(policy, *one) for one in product(purposes, tiers, roles)],
        backends=[_backend(policy, *one) for one in product(policy.backends, tiers)],
        retention=[policy_pb2.RetentionLine(tier=_tier(one), days=policy.retention(one)) for one in tiers],
    )


def _line(policy: Policy, purpose: Purpose, tier: Tier, role: str) -> policy_pb2.RulingLine:
    ruling = policy.ruling(purpose, tier, role)
    return policy_pb2.RulingLine(
        purpose=privacy_pb2.Purpose.ValueType(purpose),
        tier=_tier(tier),
        role=role,
        ruling=_ruling(ruling.kind),
        reason=ruling.reason,
    )


def _backend(policy: Policy, name: str, tier: Tier) -> policy_pb2.BackendLine:
    kind = policy.backend_ruling(name, tier).kind
    return policy_pb2.BackendLine(backend=name, tier=_tier(tier), ruling=_ruling(kind))


def _tier(tier: Tier) -> privacy_pb2.Tier.ValueType:
    return privacy_pb2.Tier.ValueType(tier)


def _ruling(kind: RulingKind) -> policy_pb2.Ruling.ValueType:
    return policy_pb2.Ruling.ValueType(kind)
