"""Which prompts and variants there are, in memory: the house's own, and what of the tenants' has been asked for.

A version never changes, so it is read once. Only what a label names can change: that is read at a tenant's first query,
again at the word of a change, and every minute in case a word was lost, beside the queries that it goes on to serve.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog
from headrace_runtime.errors import Unavailable

from headrace_inference.domain import Prompt, Variant, Versioned
from headrace_inference.route_choosing import Broken
from headrace_inference.variant_ports import Labels, VariantBook, VariantBooks
from headrace_inference.variant_records import PromptRecord, VariantRecord

log = structlog.get_logger()

R = TypeVar("R", PromptRecord, VariantRecord)
V = TypeVar("V")

#: How long what the labels name serves before it is read again.
FRESH_SECONDS = 60.0
#: How long nobody tries again to read it, after that failed.
PAUSE_SECONDS = 10.0
#: So many tenants' labels, and so many versions, are held. A prompt has at most some hundred kilobytes.
MOST_TENANTS = 10_000
MOST_VERSIONS = 1_000


@dataclass(frozen=True, slots=True)
class House:
    """What comes with Headrace, for all tenants."""

    prompts: Mapping[Versioned, PromptRecord]
    variants: Mapping[Versioned, VariantRecord]

    def prompts_of(self, name: str) -> list[PromptRecord]:
        """Every version of a name, newest first."""
        return newest_first([r for r in self.prompts.values() if r.prompt.name == name])

    def variants_of(self, name: str) -> list[VariantRecord]:
        """Every version of a name, newest first."""
        return newest_first([r for r in self.variants.values() if r.key.name == name])


def newest_first(records: Sequence[R]) -> list[R]:
    """By version, the highest first."""
    return sorted(records, key=lambda record: -record.number)


@dataclass(frozen=True, slots=True)
class Resolved:
    """A variant with the prompt that it is answered with now, and where its model is."""

    variant: Variant
    record: VariantRecord


@dataclass(slots=True)
class _Held(Generic[V]):
    """Versions that were read, the longest unused let go first."""

    most: int
    values: dict[tuple[str, Versioned], V] = field(default_factory=dict)

    def get(self, tenant: str, key: Versioned) -> V | None:
        if (found := self.values.pop((tenant, key), None)) is not None:
            self.values[tenant, key] = found
        return found

    def put(self, tenant: str, key: Versioned, value: V) -> V:
        if len(self.values) >= self.most:
            self.values.pop(next(iter(self.values)))
        self.values[tenant, key] = value
        return value


@dataclass(slots=True)
class Catalogue:
    """Open it with open_catalogue. clock: seconds that never go back."""

    house: House
    books: VariantBooks
    clock: Callable[[], float]
    _labels: dict[str, tuple[float, Labels]] = field(default_factory=dict)
    _prompts: _Held[PromptRecord] = field(default_factory=lambda: _Held(MOST_VERSIONS))
    _variants: _Held[VariantRecord] = field(default_factory=lambda: _Held(MOST_VERSIONS))
    _locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    _under_way: set[asyncio.Task[None]] = field(default_factory=set)

    async def resolve(self, tenant: str, key: Versioned) -> Resolved:
        """A variant with its prompt. Reads nothing from a database when both are held.

        Raises Broken when there is none, or no prompt for it; Unavailable when nobody can say.
        """
        record = await self.variant(tenant, key)
        return Resolved(record.with_prompt(await self.prompt_of(tenant, record)), record)

    async def variant(self, tenant: str, key: Versioned) -> VariantRecord:
        """A version of a variant. Raises Broken when there is none."""
        if found := self.house.variants.get(key) or self._variants.get(tenant, key):
            return found
        async with self.books.open(tenant) as book:
            record = await book.variant(key.name, _number(key.version))
        if record is None:
            raise Broken(f"there is no variant {key.name} {key.version}")
        return self._variants.put(tenant, key, record)

    async def prompt_of(self, tenant: str, record: VariantRecord) -> Prompt:
        """The prompt that a variant is answered with now. Raises Broken."""
        name, label = record.wiring.prompt, record.wiring.prompt_label
        version = record.wiring.prompt_version
        if not version:
            version = (await self.labels(tenant)).get((name, label), 0)
        if not version:
            raise Broken(f"no version of the prompt {name} has the label {label}")
        return (await self.prompt(tenant, Versioned(name, str(version)))).prompt

    async def prompt(self, tenant: str, key: Versioned) -> PromptRecord:
        """A version of a prompt. Raises Broken when there is none."""
        if found := self.house.prompts.get(key) or self._prompts.get(tenant, key):
            return found
        async with self.books.open(tenant) as book:
            record = await book.prompt(key.name, _number(key.version))
        if record is None:
            raise Broken(f"there is no prompt {key.name} {key.version}")
        return self._prompts.put(tenant, key, record)

    async def newest(self, tenant: str, name: str) -> Versioned | None:
        """The newest version of a variant's name; None when there is none."""
        if found := self.house.variants_of(name):
            return found[0].key
        async with self.books.open(tenant) as book:
            stored = await book.variants(name)
        return stored[0].key if stored else None

    async def labels(self, tenant: str) -> Labels:
        """What a tenant's labels name; no database is read where that is held. Raises Unavailable where it is not."""
        if (held := self._labels.get(tenant)) is None:
            return await self.refresh(tenant)
        fresh_until, labels = held
        if self.clock() >= fresh_until:
            self._labels[tenant] = (self.clock() + PAUSE_SECONDS, labels)  # one reads it, the others go on
            task = asyncio.create_task(self._refresh_quietly(tenant))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)
        return labels

    async def refresh(self, tenant: str) -> Labels:
        """Reads anew what a tenant's labels name. Raises Unavailable."""
        # One at a time: what was read first must not be held last.
        async with self._locks.setdefault(tenant, asyncio.Lock()):
            async with self.books.open(tenant) as book:
                labels = await book.labels()
            self._hold(tenant, labels)
        return labels

    async def follow(self, tenant: str) -> None:
        """As refresh, at the word of a change: what nobody has asked for here is not read."""
        if tenant in self._labels:
            await self._refresh_quietly(tenant)

    async def close(self) -> None:
        """Ends what is under way."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _hold(self, tenant: str, labels: Labels) -> None:
        if len(self._labels) >= MOST_TENANTS and tenant not in self._labels:
            gone = next(iter(self._labels))
            self._labels.pop(gone)
            self._locks.pop(gone, None)
        self._labels[tenant] = (self.clock() + FRESH_SECONDS, labels)

    async def _refresh_quietly(self, tenant: str) -> None:
        try:
            await self.refresh(tenant)
        except Unavailable as error:
            log.warning("labels are not read anew", error=type(error).__name__)


def _number(version: str) -> int:
    """A version as a number; one that no version has where it is none."""
    return int(version) if version.isascii() and version.isdigit() and len(version) < 10 else 0


async def prompts_in(book: VariantBook, house: House, name: str) -> list[PromptRecord]:
    """Every version of a name, or the newest of each where it is empty, the house's own among them."""
    if name:
        return house.prompts_of(name) or list(await book.prompts(name))
    own = {r.prompt.name: r for r in await book.newest_prompts()}
    own |= {key.name: house.prompts_of(key.name)[0] for key in house.prompts}
    return [own[each] for each in sorted(own)]


async def variants_in(book: VariantBook, house: House, name: str) -> list[VariantRecord]:
    """As prompts_in."""
    if name:
        return house.variants_of(name) or list(await book.variants(name))
    own = {r.key.name: r for r in await book.newest_variants()}
    own |= {key.name: house.variants_of(key.name)[0] for key in house.variants}
    return [own[each] for each in sorted(own)]


@asynccontextmanager
async def open_catalogue(house: House, books: VariantBooks, *, clock: Callable[[], float]) -> AsyncIterator[Catalogue]:
    """Holds a catalogue until the context is left."""
    catalogue = Catalogue(house, books, clock)
    try:
        yield catalogue
    finally:
        await catalogue.close()
