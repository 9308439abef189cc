"""From a request to a grant, to its end: each step by one person, on the audit log in the same transaction."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from headrace_identity import Principal
from headrace_privacy.policy import Policy, RulingKind
from headrace_runtime.errors import Conflict, Denied, NotFound

from headrace_classifier.approvals import Decision, Grant, GrantState, Revocation, Scope, is_same_person
from headrace_classifier.audit import Action, Entry
from headrace_classifier.registry import Register


def propose(
    scope: Scope, reason: str, *, expires_at: datetime, grant_id: UUID, by: Principal, policy: Policy, now: datetime
) -> Grant:
    """The request as it would be stored. Raises Conflict where the policy leaves nothing to grant."""
    check_named(by)
    ruling = policy.grantable(scope.purpose, scope.tier)
    if ruling.kind is not RulingKind.GRANT:
        raise Conflict(f"there is nothing to grant: {ruling.reason}")
    return Grant(
        grant_id=grant_id,
        scope=scope,
        reason=reason,
        requested_by=by.subject,
        requested_at=now,
        expires_at=expires_at,
        longest_days=policy.longest_grant_days,
        policy_version=policy.version,
    )


async def request_grant(grant: Grant, register: Register, *, by: Principal, trace_id: str) -> None:
    """Stores a request."""
    await register.add_grant(grant)
    await register.record(_entry("grant.requested", grant, by=by, now=grant.requested_at, trace_id=trace_id))


async def decide_grant(
    grant_id: UUID,
    register: Register,
    *,
    approve: bool,
    note: str,
    by: Principal,
    policy: Policy,
    now: datetime,
    trace_id: str,
) -> Grant | Denied:
    """Approves or refuses a request. Returns Denied, which is to be raised once it is on the log, for the requester.

    Raises NotFound; Conflict when it is not open, or the policy has changed so that there is nothing to approve.
    """
    check_named(by)
    grant = await _held(grant_id, register)
    _expect(grant, GrantState.REQUESTED, now=now)
    if is_same_person(grant.requested_by, by.subject):
        await register.record(_entry("access.denied", grant, by=by, now=now, trace_id=trace_id, reason=_FOUR_EYES))
        return Denied(_FOUR_EYES)
    ruling = policy.grantable(grant.scope.purpose, grant.scope.tier)
    if approve and ruling.kind is not RulingKind.GRANT:
        raise Conflict(f"there is nothing to grant any more: {ruling.reason}")
    decision = Decision(approve, by=by.subject, at=now)
    decided = grant.decided(decision, note=note, policy_version=policy.version)
    await register.change_grant(decided)
    action: Action = "grant.approved" if approve else "grant.refused"
    await register.record(_entry(action, decided, by=by, now=now, trace_id=trace_id))
    return decided


async def revoke_grant(
    grant_id: UUID, register: Register, *, note: str, by: Principal, now: datetime, trace_id: str
) -> Grant:
    """Ends a grant at once. Raises NotFound; Conflict when it is not live."""
    check_named(by)
    grant = await _held(grant_id, register)
    _expect(grant, GrantState.LIVE, now=now)
    revoked = grant.revoked(Revocation(by.subject, now), note=note)
    await register.change_grant(revoked)
    await register.record(_entry("grant.revoked", revoked, by=by, now=now, trace_id=trace_id))
    return revoked


_FOUR_EYES = "a request is decided by another person than the one who made it"


def check_named(by: Principal) -> None:
    """Raises Denied for a token that names nobody: a decision is a person's."""
    if not by.subject.strip():
        raise Denied("the token names nobody: it needs a subject, the person who decides")


async def _held(grant_id: UUID, register: Register) -> Grant:
    grant = await register.hold_grant(grant_id)
    if grant is None:
        raise NotFound("grant", str(grant_id))
    return grant


def _expect(grant: Grant, state: GrantState, *, now: datetime) -> None:
    found = grant.state(now)
    if found is not state:
        raise Conflict(f"grant {grant.grant_id} is {found.name.lower()}, not {state.name.lower()}")


def _entry(action: Action, grant: Grant, *, by: Principal, now: datetime, trace_id: str, reason: str = "") -> Entry:
    scope = grant.scope
    return Entry(
        recorded_at=now,
        action=action,
        role=by.role,
        actor=by.subject,
        tenant=scope.tenant,
        purpose=scope.purpose,
        tier=scope.tier,
        object=str(grant.grant_id),
        reason=reason or _said(grant),
        policy_version=grant.policy_version,
        trace_id=trace_id,
    )


def _said(grant: Grant) -> str:
    """The scope and the end, in fixed words. What people wrote stays with the grant."""
    where = f"of {', '.join(grant.scope.sources)} " if grant.scope.sources else ""
    return f"{where}until {grant.expires_at.isoformat(timespec='minutes')}"
