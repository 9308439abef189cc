"""Tiers, and text that never prints itself."""

from headrace_privacy.text import Text
from headrace_privacy.tier import Tier, strictest
from headrace_privacy.wire import Sealed, protect, protect_vector, reveal, reveal_vector

__all__ = ["Sealed", "Text", "Tier", "protect", "protect_vector", "reveal", "reveal_vector", "strictest"]
