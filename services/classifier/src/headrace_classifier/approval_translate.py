"""Between the contract of approvals and the domain. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from headrace.privacy.v1 import approvals_pb2, privacy_pb2
from headrace_privacy import Tier
from headrace_privacy.policy import Purpose
from headrace_runtime.errors import Rejected, Violation

from headrace_classifier.approvals import Answer, Grant, GrantState, Scope, Use

#: As the contract has it.
MOST_SOURCES = 32
MOST_CHARACTERS = 1_000
MOST_RECORDS = 1_000
_NAME = re.compile(r"[a-z0-9_-]{1,64}")
_PURPOSES = frozenset(int(purpose) for purpose in Purpose)
_TIERS = frozenset(int(tier) for tier in Tier)


def read_request(request: approvals_pb2.RequestGrantRequest, *, now: datetime, longest_days: int) -> Scope:
    """What is asked for. Raises Rejected with every field that is wrong."""
    wrong = [
        *check_tenant(request.tenant),
        *_check_purpose(request.purpose),
        *_check_sources(request.sources),
        *_check_tier(request.tier),
        *check_words("reason", request.reason.strip(), least=1),
        *_check_end(request, now=now, longest_days=longest_days),
    ]
    if wrong:
        raise Rejected(*wrong)
    tier = Tier.of(request.tier)  # unspecified is the strictest
    return Scope(request.tenant, Purpose(request.purpose), tier, tuple(sorted(set(request.sources))))


def read_grant_id(text: str) -> UUID:
    """Which grant. Raises Rejected."""
    try:
        return UUID(text)
    except ValueError:
        raise Rejected(Violation("grant_id", "not_a_uuid" if text else "missing", "A grant's id is a UUID.")) from None


def read_note(note: str) -> str:
    """What was written about a decision. Raises Rejected."""
    if wrong := list(check_words("note", note, least=0)):
        raise Rejected(*wrong)
    return note.strip()


def read_use(request: approvals_pb2.AuthorizeRequest) -> Use:
    """What a service is about to do. Raises Rejected with every field that is wrong."""
    wrong = [
        *check_tenant(request.tenant),
        *_check_purpose(request.purpose),
        *_check_role(request.role),
        *_check_records(request.records),
    ]
    if wrong:
        raise Rejected(*wrong)
    # A tier that was left out, or that this version does not know, is the strictest.
    scope = Scope(request.tenant, Purpose(request.purpose), Tier.of(request.tier), tuple(request.sources))
    return Use(request.role, request.subject, scope, tuple(request.records), request.backend)


def check_tenant(tenant: str) -> Iterator[Violation]:
    """A tenant by name."""
    if not tenant:
        yield Violation("tenant", "missing", "Say whose records.")
    elif not _NAME.fullmatch(tenant):
        yield Violation("tenant", "malformed", "A tenant's name has 1 to 64 of a-z, 0-9, _ and -.")


def check_words(field: str, words: str, *, least: int) -> Iterator[Violation]:
    """What people write, for people."""
    if len(words) < least:
        yield Violation(field, "empty", "Say why, in a few words.")
    if len(words) > MOST_CHARACTERS:
        yield Violation(field, "too_long", f"At most {MOST_CHARACTERS} characters.")
    if "\x00" in words:
        yield Violation(field, "has_nul", "No NUL characters.")


def _check_purpose(purpose: int) -> Iterator[Violation]:
    if not purpose:
        yield Violation("purpose", "missing", "Say for what.")
    elif purpose not in _PURPOSES:
        yield Violation("purpose", "unknown_value", "This version does not know the purpose.")


def _check_tier(tier: int) -> Iterator[Violation]:
    if tier and tier not in _TIERS:
        yield Violation("tier", "unknown_value", "This version does not know the tier.")


def _check_sources(sources: Sequence[str]) -> Iterator[Violation]:
    if len(sources) > MOST_SOURCES:
        yield Violation("sources", "too_long", f"At most {MOST_SOURCES} sources; leave them out for all.")
    for place, source in enumerate(sources[:MOST_SOURCES]):
        if not _NAME.fullmatch(source):
            yield Violation(f"sources[{place}]", "malformed", "A source's name has 1 to 64 of a-z, 0-9, _ and -.")


def _check_role(role: str) -> Iterator[Violation]:
    if not role:
        yield Violation("role", "missing", "Say for whom, by role.")


def _check_records(records: Sequence[str]) -> Iterator[Violation]:
    if len(records) > MOST_RECORDS:
        yield Violation("records", "too_long", f"At most {MOST_RECORDS} at a time.")
    for place, record in enumerate(records):
        if not 0 < len(record) <= MOST_CHARACTERS or "\x00" in record:
            yield Violation(f"records[{place}]", "malformed", "A record's id has 1 to 1,000 characters.")
            return


def _check_end(request: approvals_pb2.RequestGrantRequest, *, now: datetime, longest_days: int) -> Iterator[Violation]:
    if not request.HasField("expires_at"):
        yield Violation("expires_at", "missing", "Say when it ends.")
        return
    try:
        end = request.expires_at.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        yield Violation("expires_at", "malformed", "No such time.")
        return
    if end <= now:
        yield Violation("expires_at", "out_of_range", "It must end in the future.")
    if end > now + timedelta(days=longest_days):
        yield Violation("expires_at", "out_of_range", f"The policy allows at most {longest_days} days.")


def to_grant(grant: Grant, *, now: datetime) -> approvals_pb2.Grant:
    """A grant for a caller."""
    decision, revocation = grant.decision, grant.revocation
    return approvals_pb2.Grant(
        grant_id=str(grant.grant_id),
        purpose=privacy_pb2.Purpose.ValueType(grant.scope.purpose),
        tenant=grant.scope.tenant,
        sources=grant.scope.sources,
        tier=privacy_pb2.Tier.ValueType(grant.scope.tier),
        reason=grant.reason,
        expires_at=to_timestamp(grant.expires_at),
        state=approvals_pb2.GrantState.ValueType(grant.state(now)),
        requested_by=grant.requested_by,
        requested_at=to_timestamp(grant.requested_at),
        decided_by=decision.by if decision else "",
        decided_at=to_timestamp(decision.at) if decision else None,
        note=grant.note,
        revoked_by=revocation.by if revocation else "",
        revoked_at=to_timestamp(revocation.at) if revocation else None,
        policy_version=grant.policy_version,
    )


def wanted_state(number: int) -> GrantState | None:
    """Which state a list is limited to. Raises Rejected for one that this version does not know."""
    if not number:
        return None
    if number not in {int(state) for state in GrantState}:
        raise Rejected(Violation("state", "unknown_value", "This version does not know the state."))
    return GrantState(number)


def to_answer(answer: Answer, *, policy_version: str) -> approvals_pb2.AuthorizeResponse:
    """The decision for a service."""
    return approvals_pb2.AuthorizeResponse(
        allowed=answer.allowed,
        reason=answer.reason,
        grant_id=answer.grant_id,
        policy_version=policy_version,
        audit_sequence=answer.sequence,
    )


def to_timestamp(moment: datetime) -> Timestamp:
    """A moment on the wire."""
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
