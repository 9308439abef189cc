"""Where a tenant's prompts, labels and variants are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from headrace_inference.variant_records import LabelMove, PromptRecord, VariantRecord

#: The version that each label names, by prompt and label. A label that was taken away is not in it.
Labels = Mapping[tuple[str, str], int]


class VariantBook(Protocol):
    """A tenant's prompts, labels and variants, inside one transaction."""

    async def hold(self) -> None:
        """Lets nobody else change this tenant's until the transaction ends."""

    async def prompt(self, name: str, version: int) -> PromptRecord | None:
        """One version."""

    async def prompts(self, name: str) -> Sequence[PromptRecord]:
        """Every version of a name, newest first."""

    async def newest_prompts(self) -> Sequence[PromptRecord]:
        """The newest version of each name, by name."""

    async def add_prompt(self, record: PromptRecord) -> None:
        """Stores a version."""

    async def labels(self) -> Labels:
        """What each label names now."""

    async def move_label(self, move: LabelMove) -> None:
        """Moves a label; what it named before stays written."""

    async def variant(self, name: str, version: int) -> VariantRecord | None:
        """One version."""

    async def variants(self, name: str) -> Sequence[VariantRecord]:
        """Every version of a name, newest first."""

    async def newest_variants(self) -> Sequence[VariantRecord]:
        """The newest version of each name, by name."""

    async def add_variant(self, record: VariantRecord) -> None:
        """Stores a version."""

    def emit(self, event: Any) -> None:
        """Has an event published if, and only if, the transaction commits."""


class VariantBooks(Protocol):
    """The books of all tenants."""

    def open(self, tenant: str) -> AbstractAsyncContextManager[VariantBook]:
        """Opens a transaction of a tenant. Raises Unavailable."""
