"""From what is known of a text to its tier. Pure; the tier never falls when any of the inputs rises.

A decision of the privacy team sets the tier whatever the other inputs say, with one exception: where detection failed,
nobody knows what was decided about.
"""

from __future__ import annotations

from collections.abc import Iterable

from headrace_privacy import Tier

from headrace_classifier.verdict import Decision, Finding, FindingKind, TierReason

#: What a finding of each kind asks for. A secret asks for nothing: it is masked, and what is left is judged.
_FLOOR = {
    FindingKind.PERSONAL_DATA: Tier.TIER_2,
    FindingKind.UNSURE: Tier.TIER_2,
    FindingKind.IDENTIFIER: Tier.TIER_2,
}


def code_floor(policy: Tier | None) -> Tier:
    """Returns what code in a text asks for: what the policy says of where it comes from, TIER_2 where it says nothing.

    Code carries no mark of its owner, so only its origin can tell a language's reference from a customer's program. A
    publisher's declaration alone is not enough: whoever sends the text in does not decide whose code it is.
    """
    return Tier.TIER_2 if policy is None else policy


def provenance_tier(*, declared: Tier | None, policy: Tier | None) -> Decision:
    """Decides without looking at the text: the stricter of the two; the strictest when neither says anything.

    Where both say the same, the declaration is named as the reason.
    """
    if declared is None and policy is None:
        return Decision(Tier.TIER_2, TierReason.UNKNOWN)
    if policy is None or (declared is not None and declared >= policy):
        return Decision(declared or Tier.TIER_2, TierReason.DECLARED)
    return Decision(policy, TierReason.PROVENANCE)


def by_decision(base: Decision, decided: Tier | None) -> Decision:
    """What holds without a look at the text, once the privacy team has had its say; None: it has said nothing."""
    return base if decided is None else Decision(decided, TierReason.DECIDED)


def decide(base: Decision, findings: Iterable[Finding], *, code: Tier = Tier.TIER_2) -> Decision:
    """Raises the decision by what was found, never lowers it. What the privacy team decided is not raised, either.

    A detection that failed is always named as the reason, even where the tier was TIER_2 anyway: the findings of such
    a verdict are not complete, and its reader must know.
    """
    kinds = {finding.kind for finding in findings}
    if FindingKind.UNSURE in kinds:
        return Decision(Tier.TIER_2, TierReason.DETECTION_FAILED)
    if base.reason is TierReason.DECIDED:
        return base
    floors = {**_FLOOR, FindingKind.CUSTOMER_CODE: code}
    floor = max((floors[kind] for kind in kinds if kind in floors), default=Tier.PUBLIC)
    return Decision(floor, TierReason.DETECTED) if floor > base.tier else base
