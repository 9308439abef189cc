"""What the classifier needs of others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from headrace_classifier.dictionary import EMPTY, Dictionary
from headrace_classifier.verdict import Finding, Masked


@dataclass(frozen=True, slots=True)
class Hit:
    """Where a recogniser fired in the text that it was given, in characters, and how sure it is (0 to 1)."""

    start: int
    end: int
    score: float


class Recogniser(Protocol):
    """Knows one kind of personal data by its form and check digits."""

    def find(self, text: str) -> Iterable[Hit]:
        """Returns the places. The text is a candidate of at most a few hundred characters."""


class Masker(Protocol):
    """Replaces secrets. Blocking."""

    def mask(self, text: str) -> Masked:
        """Returns the text masked; raises rather than return a text that may still hold a secret."""


class PersonModel(Protocol):
    """A language model that finds the names of persons in sentences. Blocking; keeps nothing of what it read."""

    def persons(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """Returns for each text where names are, in characters, end exclusive."""


class Dictionaries(Protocol):
    """Knows each tenant's own identifiers."""

    async def of(self, tenant: str) -> Dictionary:
        """Returns the tenant's dictionary, an empty one where it has none; one that cannot be opened raises in use."""


class NoDictionaries:
    """Nobody has one."""

    async def of(self, tenant: str) -> Dictionary:  # noqa: ARG002 - whoever it is
        """Returns an empty one."""
        return EMPTY


class Detector(Protocol):
    """Finds personal data, code and a tenant's identifiers in a masked text. Blocking."""

    def detect(self, text: str, dictionary: Dictionary) -> tuple[Finding, ...]:
        """Returns what it finds, once for each rule. Whatever it raises means that it does not know."""


class Inspector(Protocol):
    """Masks and detects without blocking the caller, within a time that fits the text's length."""

    async def mask(self, text: str) -> Masked:
        """As Masker.mask."""

    async def detect(self, text: str, dictionary: Dictionary) -> tuple[Finding, ...]:
        """As Detector.detect; what fails or takes too long is a finding of the kind UNSURE, never an exception."""
