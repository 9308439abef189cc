"""The privacy tiers as people write them."""

from __future__ import annotations

from headrace.privacy.v1.privacy_pb2 import TIER_1, TIER_2, TIER_PUBLIC, TIER_UNSPECIFIED, Tier

#: From the strict end: what nobody stated is decided by the server, and unknown counts as tier-2.
WORDS: dict[str, Tier.ValueType] = {"": TIER_UNSPECIFIED, "public": TIER_PUBLIC, "tier-1": TIER_1, "tier-2": TIER_2}

_NAMES = {tier: word for word, tier in WORDS.items()}


def tier_word(tier: Tier.ValueType) -> str:
    """ "public", "tier-1" or "tier-2"; "" when not stated. A tier that this client does not know is the strictest."""
    return _NAMES.get(tier, "tier-2")
