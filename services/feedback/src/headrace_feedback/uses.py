"""What somebody would do with interactions, and whether they may."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from headrace_privacy import Tier
from headrace_privacy.policy import Purpose

#: Why an interaction is not part of an export.
Reason = Literal["denied_by_policy", "no_grant", "other_source", "erased"]


@dataclass(frozen=True, slots=True)
class Use:
    """Who would use what for what. records: queries' ids, for the audit log, at most 1,000."""

    role: str
    subject: str
    tenant: str
    purpose: Purpose
    tier: Tier
    sources: tuple[str, ...] = ()
    records: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether it may be. grant_id: the grant that allowed it; empty where the policy alone did."""

    allowed: bool
    reason: str
    grant_id: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """The interactions completed from `since` on and before `until`; None: without that bound."""

    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """An export: whose interactions, for what, grounded in these sources alone (none: in whichever), and when."""

    tenant: str
    purpose: Purpose
    sources: frozenset[str] = frozenset()
    span: Span = Span()
