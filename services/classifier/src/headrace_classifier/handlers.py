"""What the classifier does with a text: mask it, look into it, decide."""

from __future__ import annotations

from collections import Counter

from headrace_privacy import Text, Tier
from headrace_privacy.policy import Policy

from headrace_classifier.ports import Dictionaries, Inspector, NoDictionaries
from headrace_classifier.submission import Provenance, Submission
from headrace_classifier.tier_decisions import Decisions, NoDecisions
from headrace_classifier.tiering import by_decision, code_floor, decide, provenance_tier
from headrace_classifier.verdict import Decision, Finding, FindingKind, Verdict

NO_DECISIONS = NoDecisions()
NO_DICTIONARIES = NoDictionaries()


async def classify(
    submission: Submission,
    *,
    policy: Policy,
    inspector: Inspector,
    decisions: Decisions = NO_DECISIONS,
    dictionaries: Dictionaries = NO_DICTIONARIES,
) -> Verdict:
    """Masks the text and its labels, looks for data of persons and customers, and decides the tier.

    Detection that fails or takes too long makes the tier TIER_2, and the text comes out masked all the same. Masking
    that fails raises: nothing may be passed on.
    """
    masked = [await inspector.mask(text) for text in (submission.text, *submission.labels)]
    dictionary = await dictionaries.of(submission.provenance.tenant)
    found = await inspector.detect("\n".join(part.text for part in masked), dictionary)
    findings = _add_up([finding for part in masked for finding in part.findings] + list(found))
    base = tier_by_provenance(submission.provenance, policy=policy, decisions=decisions)
    decision = decide(base, findings, code=code_floor(_said_by(policy, submission.provenance)))
    text, *labels = (Text(part.text, decision.tier) for part in masked)
    return Verdict(
        tier=decision.tier,
        reason=decision.reason,
        findings=findings,
        text=text,
        labels=tuple(labels),
        policy_version=policy.version,
    )


def tier_by_provenance(provenance: Provenance, *, policy: Policy, decisions: Decisions = NO_DECISIONS) -> Decision:
    """Decides by where a text comes from alone: all that there is to a deletion."""
    base = provenance_tier(declared=provenance.declared, policy=_said_by(policy, provenance))
    return by_decision(base, decisions.tier_of(provenance))


def _said_by(policy: Policy, provenance: Provenance) -> Tier | None:
    """The stricter of what the policy says of the product and of the source; None when it names neither."""
    said = [policy.tier_of_product(provenance.product), policy.tier_of_source(provenance.tenant, provenance.source)]
    return max((tier for tier in said if tier is not None), default=None)


def _add_up(findings: list[Finding]) -> tuple[Finding, ...]:
    """One finding for each rule, the counts added, in the order of the rules' names."""
    counts: Counter[tuple[str, FindingKind]] = Counter()
    for finding in findings:
        counts[finding.rule, finding.kind] += finding.count
    return tuple(Finding(rule, kind, count) for (rule, kind), count in sorted(counts.items()))
