"""Decisions of the privacy team on the tier of a source or a product: the one way in which a tier falls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Protocol

from headrace_privacy import Tier

from headrace_classifier.submission import Provenance


class DecisionKind(IntEnum):
    """What a decision is about. The numbers are those of headrace.privacy.v1.TierDecisionKind."""

    SOURCE = 1
    PRODUCT = 2


@dataclass(frozen=True, slots=True)
class About:
    """A source or a product of a tenant's."""

    tenant: str
    kind: DecisionKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.name.lower()} {self.name}"


@dataclass(frozen=True, slots=True)
class TierDecision:
    """What holds for its records from then on."""

    about: About
    tier: Tier
    reason: str
    decided_by: str
    decided_at: datetime


class Decisions(Protocol):
    """The decisions in force, at hand."""

    def tier_of(self, provenance: Provenance) -> Tier | None:
        """The tier that was decided for where a text comes from; None when none was, or when nobody can be sure."""


class NoDecisions:
    """Where nothing was ever decided."""

    def tier_of(self, provenance: Provenance) -> Tier | None:
        """None."""


def decided_tier(decisions: Mapping[About, Tier], provenance: Provenance) -> Tier | None:
    """The strictest of what was decided for a text's product and source; None unless it was for each that it has."""
    named = [
        About(provenance.tenant, kind, name)
        for kind, name in ((DecisionKind.SOURCE, provenance.source), (DecisionKind.PRODUCT, provenance.product))
        if name
    ]
    found = [decisions.get(about) for about in named]
    decided = [tier for tier in found if tier is not None]
    return max(decided) if decided and len(decided) == len(named) else None
