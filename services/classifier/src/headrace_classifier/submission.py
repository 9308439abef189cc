"""What is classified: a text, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass

from headrace_privacy import Tier


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a text comes from. Empty: not from any product, or not from any source. None: nothing was declared."""

    tenant: str
    product: str = ""
    source: str = ""
    declared: Tier | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Submission:
    """A text to classify, with the labels that travel beside it, for example its title. All of it is a user's."""

    provenance: Provenance
    text: str
    labels: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<submission of {len(self.text)} chars>"
