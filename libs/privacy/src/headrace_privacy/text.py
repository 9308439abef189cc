"""User text that never prints itself."""

from __future__ import annotations

from dataclasses import dataclass

from headrace_privacy.tier import Tier


@dataclass(frozen=True, slots=True, repr=False)
class Text:
    """Text of a user with its tier. Logging, formatting or raising it shows its length and tier only."""

    _value: str
    tier: Tier

    def reveal(self) -> str:
        """Returns the text itself, for those who work on it."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __repr__(self) -> str:
        return f"<text {len(self._value)} chars {self.tier.label}>"

    __str__ = __repr__

    def __format__(self, format_spec: str) -> str:
        return format(repr(self), format_spec)
