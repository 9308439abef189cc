"""The highest of policy, declaration and findings wins, and nothing that rises lowers the result."""

from __future__ import annotations

import pytest
from headrace_classifier.submission import Provenance
from headrace_classifier.tier_decisions import About, DecisionKind, decided_tier
from headrace_classifier.tiering import by_decision, code_floor, decide, provenance_tier
from headrace_classifier.verdict import Finding, FindingKind, TierReason
from headrace_privacy import Tier
from hypothesis import given
from hypothesis import strategies as st

PUBLIC, TIER_1, TIER_2 = Tier
KNOWN = st.sampled_from(Tier)
MAYBE = st.none() | KNOWN
FINDINGS = st.lists(st.builds(Finding, st.just("rule"), st.sampled_from(FindingKind), st.integers(1, 9)))


def _tier(declared: Tier | None, policy: Tier | None, findings: list[Finding]) -> Tier:
    return decide(provenance_tier(declared=declared, policy=policy), findings).tier


@pytest.mark.parametrize(
    ("declared", "policy", "tier", "reason"),
    [
        (None, None, TIER_2, TierReason.UNKNOWN),
        (PUBLIC, None, PUBLIC, TierReason.DECLARED),
        (None, PUBLIC, PUBLIC, TierReason.PROVENANCE),
        (PUBLIC, PUBLIC, PUBLIC, TierReason.DECLARED),
        (PUBLIC, TIER_1, TIER_1, TierReason.PROVENANCE),
        (TIER_2, PUBLIC, TIER_2, TierReason.DECLARED),
    ],
)
def test_provenance(declared: Tier | None, policy: Tier | None, tier: Tier, reason: TierReason) -> None:
    decision = provenance_tier(declared=declared, policy=policy)
    assert (decision.tier, decision.reason) == (tier, reason)


@pytest.mark.parametrize(
    ("base", "kind", "tier", "reason"),
    [
        (PUBLIC, FindingKind.PERSONAL_DATA, TIER_2, TierReason.DETECTED),
        (PUBLIC, FindingKind.CUSTOMER_CODE, TIER_2, TierReason.DETECTED),
        (TIER_1, FindingKind.IDENTIFIER, TIER_2, TierReason.DETECTED),
        (PUBLIC, FindingKind.SECRET, PUBLIC, TierReason.DECLARED),
        (PUBLIC, FindingKind.UNSURE, TIER_2, TierReason.DETECTION_FAILED),
        (TIER_2, FindingKind.PERSONAL_DATA, TIER_2, TierReason.DECLARED),
        (TIER_2, FindingKind.UNSURE, TIER_2, TierReason.DETECTION_FAILED),
    ],
)
def test_findings(base: Tier, kind: FindingKind, tier: Tier, reason: TierReason) -> None:
    decision = decide(provenance_tier(declared=base, policy=None), [Finding("rule", kind, 1)])
    assert (decision.tier, decision.reason) == (tier, reason)


@given(KNOWN, KNOWN, MAYBE, FINDINGS)
def test_never_falls_when_the_declaration_rises(a: Tier, b: Tier, policy: Tier | None, found: list[Finding]) -> None:
    assert _tier(max(a, b), policy, found) >= _tier(min(a, b), policy, found)


@given(KNOWN, KNOWN, MAYBE, FINDINGS)
def test_never_falls_when_the_policy_rises(a: Tier, b: Tier, declared: Tier | None, found: list[Finding]) -> None:
    assert _tier(declared, max(a, b), found) >= _tier(declared, min(a, b), found)


@given(MAYBE, MAYBE, FINDINGS, FINDINGS)
def test_never_falls_when_more_is_found(
    declared: Tier | None, policy: Tier | None, found: list[Finding], more: list[Finding]
) -> None:
    assert _tier(declared, policy, [*found, *more]) >= _tier(declared, policy, found)


@given(MAYBE, MAYBE, FINDINGS)
def test_is_at_least_each_of_its_inputs(declared: Tier | None, policy: Tier | None, found: list[Finding]) -> None:
    assert _tier(declared, policy, found) >= max(declared or PUBLIC, policy or PUBLIC)


@pytest.mark.parametrize("decided", Tier)
@given(MAYBE, MAYBE, FINDINGS)
def test_a_decision_sets_the_tier_unless_detection_failed(
    decided: Tier, declared: Tier | None, policy: Tier | None, found: list[Finding]
) -> None:
    base = by_decision(provenance_tier(declared=declared, policy=policy), decided)
    failed = any(finding.kind is FindingKind.UNSURE for finding in found)
    outcome = decide(base, found)
    assert (outcome.tier, outcome.reason) == (
        (TIER_2, TierReason.DETECTION_FAILED) if failed else (decided, TierReason.DECIDED)
    )


WIKI, SHOP = About("acme", DecisionKind.SOURCE, "wiki"), About("acme", DecisionKind.PRODUCT, "shop")


@pytest.mark.parametrize(
    ("provenance", "tier"),
    [
        (Provenance("acme", source="wiki"), PUBLIC),
        (Provenance("acme", product="shop"), TIER_1),
        (Provenance("acme", product="shop", source="wiki"), TIER_1),
        (Provenance("acme", product="crm", source="wiki"), None),
        (Provenance("acme", product="wiki"), None),
        (Provenance("other", source="wiki"), None),
        (Provenance("acme"), None),
    ],
)
def test_a_decision_is_about_one_tenants_source_or_product(provenance: Provenance, tier: Tier | None) -> None:
    assert decided_tier({WIKI: PUBLIC, SHOP: TIER_1}, provenance) is tier


@pytest.mark.parametrize(
    ("policy", "declared", "tier"),
    [
        (PUBLIC, None, PUBLIC),  # a language's reference: its source is public by policy, examples and all
        (TIER_1, None, TIER_1),
        (None, PUBLIC, TIER_2),  # a publisher's word does not make a customer's code public
        (None, TIER_1, TIER_2),
        (None, None, TIER_2),
    ],
)
def test_code_asks_for_what_the_policy_says_of_its_origin(
    policy: Tier | None, declared: Tier | None, tier: Tier
) -> None:
    base = provenance_tier(declared=declared, policy=policy)
    assert decide(base, [Finding("patch", FindingKind.CUSTOMER_CODE, 1)], code=code_floor(policy)).tier == tier
