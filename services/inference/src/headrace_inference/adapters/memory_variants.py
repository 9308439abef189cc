"""Prompts, labels and variants in memory, for tests: the same behaviour, and nothing survives."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from headrace_inference.variant_catalogue import newest_first
from headrace_inference.variant_ports import Labels
from headrace_inference.variant_records import LabelMove, PromptRecord, VariantRecord


@dataclass(slots=True)
class MemoryVariantBook:
    """See variant_ports.VariantBook."""

    stored_prompts: dict[tuple[str, int], PromptRecord] = field(default_factory=dict)
    stored_variants: dict[tuple[str, int], VariantRecord] = field(default_factory=dict)
    moves: list[LabelMove] = field(default_factory=list)
    emitted: list[Any] = field(default_factory=list)

    async def hold(self) -> None:
        """See variant_ports.VariantBook.hold."""

    async def prompt(self, name: str, version: int) -> PromptRecord | None:
        """See variant_ports.VariantBook.prompt."""
        return self.stored_prompts.get((name, version))

    async def prompts(self, name: str) -> Sequence[PromptRecord]:
        """See variant_ports.VariantBook.prompts."""
        return newest_first([r for (n, _), r in self.stored_prompts.items() if n == name])

    async def newest_prompts(self) -> Sequence[PromptRecord]:
        """See variant_ports.VariantBook.newest_prompts."""
        return [(await self.prompts(name))[0] for name in sorted({name for name, _ in self.stored_prompts})]

    async def add_prompt(self, record: PromptRecord) -> None:
        """See variant_ports.VariantBook.add_prompt."""
        self.stored_prompts[record.prompt.name, record.number] = record

    async def labels(self) -> Labels:
        """See variant_ports.VariantBook.labels."""
        named = {(m.name, m.label): m.version for m in self.moves}
        return {key: version for key, version in named.items() if version}

    async def move_label(self, move: LabelMove) -> None:
        """See variant_ports.VariantBook.move_label."""
        self.moves.append(move)

    async def variant(self, name: str, version: int) -> VariantRecord | None:
        """See variant_ports.VariantBook.variant."""
        return self.stored_variants.get((name, version))

    async def variants(self, name: str) -> Sequence[VariantRecord]:
        """See variant_ports.VariantBook.variants."""
        return newest_first([r for (n, _), r in self.stored_variants.items() if n == name])

    async def newest_variants(self) -> Sequence[VariantRecord]:
        """See variant_ports.VariantBook.newest_variants."""
        return [(await self.variants(name))[0] for name in sorted({name for name, _ in self.stored_variants})]

    async def add_variant(self, record: VariantRecord) -> None:
        """See variant_ports.VariantBook.add_variant."""
        self.stored_variants[record.key.name, record.number] = record

    def emit(self, event: Any) -> None:
        """See variant_ports.VariantBook.emit."""
        self.emitted.append(event)


@dataclass(slots=True)
class MemoryVariantBooks:
    """See variant_ports.VariantBooks. opened: how often, of which tenant."""

    books: defaultdict[str, MemoryVariantBook] = field(default_factory=lambda: defaultdict(MemoryVariantBook))
    opened: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def open(self, tenant: str) -> AsyncIterator[MemoryVariantBook]:
        """See variant_ports.VariantBooks.open."""
        self.opened.append(tenant)
        yield self.books[tenant]
