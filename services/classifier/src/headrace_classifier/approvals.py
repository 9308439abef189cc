"""Grants: leave for one purpose, on one tenant's records, until a day, by two people. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from headrace_privacy import Tier
from headrace_privacy.policy import Purpose


class GrantState(IntEnum):
    """Where a grant stands. The numbers are those of headrace.privacy.v1.GrantState."""

    REQUESTED = 1
    LIVE = 2
    REFUSED = 3
    EXPIRED = 4
    REVOKED = 5


@dataclass(frozen=True, slots=True)
class Scope:
    """What a grant is for: up to `tier`, and all of the tenant's records where it names no sources."""

    tenant: str
    purpose: Purpose
    tier: Tier
    sources: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a request."""

    approved: bool
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Revocation:
    """The end of a grant before its time."""

    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Grant:
    """A request, and what became of it. longest_days: how far one might reach when it was asked for."""

    grant_id: UUID
    scope: Scope
    reason: str
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    longest_days: int
    policy_version: str
    note: str = ""
    decision: Decision | None = None
    revocation: Revocation | None = None

    def state(self, now: datetime) -> GrantState:
        """Where it stands. Follows from the time alone: what has expired is over without anybody saying so."""
        if self.revocation is not None:
            return GrantState.REVOKED
        if self.decision is not None and not self.decision.approved:
            return GrantState.REFUSED
        if now >= self.expires_at:
            return GrantState.EXPIRED
        return GrantState.REQUESTED if self.decision is None else GrantState.LIVE

    def covers(self, wanted: Scope, now: datetime) -> bool:
        """Says whether it is in force and its scope holds all of `wanted`.

        A grant for some sources covers a record only when all that the record belongs to are among them; a record of
        which no source is known is covered by no such grant.
        """
        mine = self.scope
        if self.state(now) is not GrantState.LIVE or (mine.tenant, mine.purpose) != (wanted.tenant, wanted.purpose):
            return False
        known = bool(wanted.sources) and set(wanted.sources) <= set(mine.sources)
        return wanted.tier <= mine.tier and (not mine.sources or known)

    def decided(self, decision: Decision, *, note: str, policy_version: str) -> Grant:
        """The grant with a decision."""
        return replace(self, decision=decision, note=note, policy_version=policy_version)

    def revoked(self, revocation: Revocation, *, note: str) -> Grant:
        """The grant, ended. What the decision said is kept where the revocation says nothing."""
        return replace(self, revocation=revocation, note=note or self.note)


@dataclass(frozen=True, slots=True)
class Use:
    """What a service is about to do, and for whom. backend: where it would send the records; "" nowhere outside."""

    role: str
    subject: str
    scope: Scope
    records: tuple[str, ...] = ()
    backend: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether it may. sequence: the audit log's row, 0 when the log need not know."""

    allowed: bool
    reason: str
    grant_id: str = ""
    sequence: int = 0


def is_same_person(one: str, other: str) -> bool:
    """Says whether two names are one person's: "Maria " is maria. The database's constraint compares so, too."""
    return one.strip().lower() == other.strip().lower()


def best_cover(grants: Iterable[Grant], wanted: Scope, *, now: datetime) -> Grant | None:
    """The grant that covers what is wanted for longest, None when none does."""
    covering = [grant for grant in grants if grant.covers(wanted, now)]
    return max(covering, key=lambda grant: (grant.expires_at, str(grant.grant_id)), default=None)
