"""The privacy tiers as people and machines write them."""

from __future__ import annotations

from headrace.privacy.v1.privacy_pb2 import TIER_1, TIER_2, TIER_PUBLIC, TIER_UNSPECIFIED, Tier

_WORDS: dict[Tier.ValueType, str] = {TIER_UNSPECIFIED: "", TIER_PUBLIC: "public", TIER_1: "tier-1", TIER_2: "tier-2"}

_TIERS = {word: tier for tier, word in _WORDS.items()}

#: What a command line takes; "tier_1" too.
CHOICES = ("public", "tier-1", "tier-2")


def tier_word(tier: Tier.ValueType) -> str:
    """For people: "public", "tier-1" or "tier-2"; "" when not stated. An unknown one is the strictest."""
    return _WORDS.get(tier, "tier-2")


def tier_label(tier: Tier.ValueType) -> str:
    """For headers and JSON: "public", "tier_1" or "tier_2"; "" when not stated."""
    return tier_word(tier).replace("-", "_")


def parse_tier(word: str) -> Tier.ValueType:
    """Reads either spelling; "" is not stated. Raises ValueError."""
    try:
        return _TIERS[word.lower().replace("_", "-")]
    except KeyError:
        raise ValueError(f"{word!r} is not a tier; say {', '.join(CHOICES[:-1])} or {CHOICES[-1]}") from None
