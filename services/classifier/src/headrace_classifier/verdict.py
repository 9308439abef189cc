"""What the classifier says of a text."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from headrace_privacy import Text, Tier


class FindingKind(IntEnum):
    """What a finding is. The numbers are those of headrace.privacy.v1.FindingKind."""

    PERSONAL_DATA = 1
    SECRET = 2
    UNSURE = 3
    CUSTOMER_CODE = 4
    IDENTIFIER = 5


class TierReason(IntEnum):
    """Where a tier came from. The numbers are those of headrace.privacy.v1.TierReason."""

    DECLARED = 1
    PROVENANCE = 2
    DETECTED = 3
    UNKNOWN = 4
    DETECTION_FAILED = 5
    DECIDED = 6


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """How often one rule fired on a text. Never the text that it fired on."""

    rule: str
    kind: FindingKind
    count: int


@dataclass(frozen=True, slots=True, repr=False)
class Masked:
    """A text whose secrets are replaced by placeholders, and which secrets those were."""

    text: str
    findings: tuple[Finding, ...] = ()

    def __repr__(self) -> str:
        return f"<masked {len(self.text)} chars, {len(self.findings)} findings>"


@dataclass(frozen=True, slots=True)
class Decision:
    """A tier and what decided it."""

    tier: Tier
    reason: TierReason


@dataclass(frozen=True, slots=True)
class Verdict:
    """All that the classifier says of one text: its tier, why, what fired, and the text and its labels masked."""

    tier: Tier
    reason: TierReason
    findings: tuple[Finding, ...]
    text: Text
    policy_version: str
    labels: tuple[Text, ...] = ()
