"""What can be wrong with a token, a signature or a key. No message holds any of them."""

from __future__ import annotations

from typing import Literal

Flaw = Literal[
    "malformed",
    "unsigned",
    "unknown_key",
    "wrong_algorithm",
    "wrong_signature",
    "wrong_issuer",
    "wrong_audience",
    "expired",
    "not_yet_valid",
    "missing_claim",
    "unknown_role",
    "beyond_its_key",
    "wrong_digest",
    "wrong_topic",
]


class Unproven(Exception):
    """It does not prove who made it; `flaw` is the reason in one fixed word."""

    def __init__(self, flaw: Flaw) -> None:
        super().__init__(flaw)
        self.flaw = flaw


class UnusableKey(Exception):
    """A key or a set of keys that cannot be used; the text says which file or address, and the mend."""
