"""What the privacy team decides beside the policy: tiers of sources and products, and tenants' dictionaries.

Each is on the audit log in the same transaction.
"""

from __future__ import annotations

from datetime import datetime

from headrace_identity import Principal
from headrace_privacy import Tier
from headrace_runtime.errors import NotFound

from headrace_classifier.audit import Entry
from headrace_classifier.dictionaries import StoredDictionary
from headrace_classifier.granting import check_named
from headrace_classifier.keys import Rotation
from headrace_classifier.registry import Register
from headrace_classifier.tier_decisions import About, TierDecision


async def decide_tier(
    about: About,
    tier: Tier,
    register: Register,
    *,
    reason: str,
    by: Principal,
    policy_version: str,
    now: datetime,
    trace_id: str,
) -> TierDecision:
    """Stores a decision in place of the one before."""
    check_named(by)
    decision = TierDecision(about, tier, reason, decided_by=by.subject, decided_at=now)
    await register.put_tier_decision(decision)
    said = f"{about} is {tier.label}"
    entry = _entry(about, by=by, tier=tier, said=said, policy_version=policy_version, now=now, trace_id=trace_id)
    await register.record(entry)
    return decision


async def take_back(
    about: About, register: Register, *, by: Principal, policy_version: str, now: datetime, trace_id: str
) -> None:
    """Ends a decision: what held without it holds again. Raises NotFound when there is none."""
    check_named(by)
    if not await register.remove_tier_decision(about):
        raise NotFound("decision", str(about))
    said = f"the decision on {about} is taken back"
    entry = _entry(about, by=by, tier=None, said=said, policy_version=policy_version, now=now, trace_id=trace_id)
    await register.record(entry)


def _entry(
    about: About, *, by: Principal, tier: Tier | None, said: str, policy_version: str, now: datetime, trace_id: str
) -> Entry:
    return Entry(
        recorded_at=now,
        action="tier.decided",
        role=by.role,
        actor=by.subject,
        tenant=about.tenant,
        tier=tier,
        object=f"{about.kind.name.lower()}/{about.name}",
        reason=said,
        policy_version=policy_version,
        trace_id=trace_id,
    )


async def put_dictionary(
    dictionary: StoredDictionary, register: Register, *, by: Principal, policy_version: str, trace_id: str
) -> None:
    """Replaces a tenant's dictionary."""
    check_named(by)
    await register.put_dictionary(dictionary)
    entry = Entry(
        recorded_at=dictionary.changed_at,
        action="dictionary.changed",
        role=by.role,
        actor=by.subject,
        tenant=dictionary.tenant,
        reason=f"{dictionary.identifiers} identifiers",
        policy_version=policy_version,
        trace_id=trace_id,
    )
    await register.record(entry)


async def record_rotation(
    rotation: Rotation, register: Register, *, by: Principal, policy_version: str, trace_id: str
) -> None:
    """Records that the master key was replaced."""
    before = "destroyed" if rotation.destroyed else "to be destroyed by whoever keeps it"
    entry = Entry(
        recorded_at=rotation.rotated_at,
        action="key.rotated",
        role=by.role,
        actor=by.subject,
        object=rotation.version,
        reason=f"{rotation.keys} keys wrapped anew, the one before {before}",
        policy_version=policy_version,
        trace_id=trace_id,
    )
    await register.record(entry)
