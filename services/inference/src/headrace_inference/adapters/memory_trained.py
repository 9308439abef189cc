"""Trained models in memory, for tests: the same behaviour, and nothing survives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from headrace_stream import Unit

from headrace_inference.adapters.memory import ScriptedModel
from headrace_inference.domain import Identity
from headrace_inference.trained_ports import LoadFailed
from headrace_inference.trained_records import Failure, TrainedRecord


@dataclass(slots=True)
class MemoryTrainedBooks:
    """See trained_ports.TrainedBooks."""

    records: dict[tuple[str, str, str], TrainedRecord] = field(default_factory=dict)

    async def put(self, unit: Unit | None, record: TrainedRecord) -> None:
        """See trained_ports.TrainedBooks.put."""
        del unit
        held = self.records.get((record.tenant, record.name, record.version))
        if held is None or held.changed_at <= record.changed_at:
            self.records[record.tenant, record.name, record.version] = record

    async def of(self, tenant: str) -> Sequence[TrainedRecord]:
        """See trained_ports.TrainedBooks.of."""
        return [record for record in self.records.values() if record.tenant == tenant]

    async def every(self) -> Sequence[TrainedRecord]:
        """See trained_ports.TrainedBooks.every."""
        return list(self.records.values())


@dataclass(slots=True)
class LoadedScript(ScriptedModel):
    """See trained_ports.LoadedModel."""

    is_alive: bool = True


@dataclass(slots=True)
class MemoryLoader:
    """See trained_ports.Loader. It remembers what it was asked for.

    failing: why a version cannot be loaded. waits: whether loading goes on until `go` is set.
    """

    text: str = "Water falls."
    failing: dict[str, Failure] = field(default_factory=dict)
    waits: bool = False
    go: asyncio.Event = field(default_factory=asyncio.Event)
    tried: list[str] = field(default_factory=list)
    open_models: dict[str, LoadedScript] = field(default_factory=dict)
    closed: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def open(self, record: TrainedRecord) -> AsyncIterator[LoadedScript]:
        """See trained_ports.Loader.open."""
        self.tried.append(record.version)
        if self.waits:
            await self.go.wait()
        if failure := self.failing.get(record.version):
            raise LoadFailed(failure)
        model = LoadedScript(self.text, identity=Identity(record.name, record.version, "memory"), tier=record.tier)
        self.open_models[record.version] = model
        try:
            yield model
        finally:
            self.open_models.pop(record.version)
            self.closed.append(record.version)

    async def forget(self, record: TrainedRecord) -> None:
        """See trained_ports.Loader.forget."""
        self.forgotten.append(record.version)

    async def keep_only(self, records: Sequence[TrainedRecord]) -> None:
        """See trained_ports.Loader.keep_only."""
        self.kept = sorted(record.version for record in records)
