"""The tier of a record: who may see it and what it may be used for."""

from __future__ import annotations

from enum import IntEnum


class Tier(IntEnum):
    """Ordered: a higher number is stricter. The numbers are those of headrace.privacy.v1.Tier."""

    PUBLIC = 1
    TIER_1 = 2
    TIER_2 = 3

    @property
    def label(self) -> str:
        """How the tier is written in headers, spans and on the command line: "public", "tier_1", "tier_2"."""
        return self.name.lower()

    @classmethod
    def of(cls, number: int) -> Tier:
        """Reads a wire value. Unspecified, and any value that this version does not know, is the strictest."""
        return cls(number) if number in _KNOWN else cls.TIER_2

    @classmethod
    def from_label(cls, label: str) -> Tier:
        """Reads a header. A label that this version does not know is the strictest."""
        return _BY_LABEL.get(label, cls.TIER_2)


_KNOWN = frozenset(int(tier) for tier in Tier)
_BY_LABEL = {tier.label: tier for tier in Tier}


def strictest(*tiers: Tier) -> Tier:
    """Returns the highest of the tiers, TIER_2 when there are none: what nobody knows is the strictest."""
    return max(tiers, default=Tier.TIER_2)
