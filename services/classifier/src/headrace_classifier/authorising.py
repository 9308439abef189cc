"""Whether records may be used: the policy's ruling, a grant where it asks for one, and the audit log, at one moment.

Nothing is kept from one question to the next: what was allowed a moment ago may be revoked.
"""

from __future__ import annotations

from datetime import datetime

from headrace_privacy import Tier
from headrace_privacy.policy import Policy, Purpose, Ruling, RulingKind

from headrace_classifier.approvals import Answer, Scope, Use, best_cover
from headrace_classifier.audit import Entry
from headrace_classifier.registry import Register

#: Reads for these are recorded whatever the tier: a person reads, a model learns, or the records leave.
_ALWAYS_RECORDED = frozenset({Purpose.REVIEW, Purpose.TRAIN, Purpose.SHARE})
#: Who a product asks for is an end user. The log outlives an erasure, so it does not name them: the record's id does.
_END_USER = "an end user"


async def authorize(use: Use, register: Register, *, policy: Policy, now: datetime, trace_id: str) -> Answer:
    """Decides, and records every refusal, and every read of TIER_2 or for review, training or sharing."""
    ruling = ruling_on(use, policy)
    answer = Answer(ruling.kind is RulingKind.ALLOW, ruling.reason)
    if ruling.kind is RulingKind.GRANT:
        answer = await _by_grant(use.scope, ruling, register, now=now)
    if not _is_recorded(use, answer):
        return answer
    entry = _entry(use, answer, policy=policy, now=now, trace_id=trace_id)
    return Answer(answer.allowed, answer.reason, answer.grant_id, sequence=await register.record(entry))


def ruling_on(use: Use, policy: Policy) -> Ruling:
    """What the policy says: the stricter of what holds for the role and for where the records would go."""
    ruling = policy.ruling(use.scope.purpose, use.scope.tier, use.role)
    return ruling & policy.backend_ruling(use.backend, use.scope.tier) if use.backend else ruling


async def _by_grant(wanted: Scope, ruling: Ruling, register: Register, *, now: datetime) -> Answer:
    # A revocation about to commit holds the log. It is waited for, so that no read stands after it there.
    await register.hold_log()
    grant = best_cover(await register.approved(wanted.tenant, wanted.purpose), wanted, now=now)
    if grant is None:
        return Answer(False, f"no live grant covers it: {ruling.reason}")
    return Answer(True, f"grant {grant.grant_id} covers it", grant_id=str(grant.grant_id))


def _is_recorded(use: Use, answer: Answer) -> bool:
    return not answer.allowed or use.scope.tier is Tier.TIER_2 or use.scope.purpose in _ALWAYS_RECORDED


def _entry(use: Use, answer: Answer, *, policy: Policy, now: datetime, trace_id: str) -> Entry:
    return Entry(
        recorded_at=now,
        action="read.allowed" if answer.allowed else "read.denied",
        role=use.role,
        actor=_END_USER if use.role == "product" else use.subject,
        tenant=use.scope.tenant,
        purpose=use.scope.purpose,
        tier=use.scope.tier,
        object=answer.grant_id,
        records=use.records,
        reason=f"{answer.reason}; sent to {use.backend}" if use.backend else answer.reason,
        policy_version=policy.version,
        trace_id=trace_id,
    )
