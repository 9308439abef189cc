"""The tenants' trained models that recognise kinds, on this instance: a few hundred kilobytes each, all in memory.

Whichever of a tenant's was promoted last is in service. While it is not in memory, or could not be read, the tenant's
examples tell kinds, never the model before it: that one was replaced for a reason.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog
from headrace.inference.v1 import variants_pb2
from headrace.privacy.v1 import privacy_pb2
from headrace.query.v1.answer_pb2 import ModelIdentity
from headrace_models.kinds import UnusableHead, read_head
from headrace_runtime.errors import Unavailable
from headrace_telemetry.metrics import histogram, up_down_counter
from headrace_telemetry.tracing import Attributes, extract, fail, span

from headrace_inference.adapters import trained_folder
from headrace_inference.kinds import TrainedRecogniser
from headrace_inference.route_choosing import Broken, NotYet
from headrace_inference.trained_ports import LoadFailed, TrainedBooks
from headrace_inference.trained_records import Bounds, TrainedRecord, is_wanted, wait_after

log = structlog.get_logger()

#: How often it is looked after what is to be in memory, and how often the table is read in case a word was lost.
LOOK_SECONDS = 1.0
READ_SECONDS = 60.0
_PROVIDER = "headrace"


@dataclass(slots=True)
class _Kept:
    """What is known here of one model. recogniser: once it is in memory."""

    record: TrainedRecord
    recogniser: TrainedRecogniser | None = None
    failure: str = ""
    failures: int = 0
    not_before: float = 0.0
    seconds: float = 0.0
    is_loading: bool = False
    is_forgotten: bool = False


@dataclass(slots=True)
class TrainedHeads:
    """See route_choosing.Heads; open it with open_heads. shelf: a folder for fetched files. clock: seconds that never
    go back."""

    books: TrainedBooks
    shelf: Path
    bounds: Bounds
    clock: Callable[[], float]
    now: Callable[[], datetime]
    _of: dict[str, dict[str, _Kept]] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _read_at: float = 0.0

    # --- what queries ask -------------------------------------------------------------------------------------------

    def in_service(self, tenant: str) -> TrainedRecogniser | None:
        """See Heads.in_service."""
        live = self._live(tenant)
        return live.recogniser if live else None

    def promoted(self, tenant: str) -> str:
        """See Heads.promoted."""
        live = self._live(tenant)
        return live.record.model if live else ""

    def _live(self, tenant: str) -> _Kept | None:
        live = [kept for kept in self._of.get(tenant, {}).values() if kept.record.standing == "live"]
        return max(live, key=lambda kept: kept.record.changed_at, default=None)

    def named(self, tenant: str, model: str) -> TrainedRecogniser:
        """See Heads.named. Raises Broken, NotYet."""
        kept = self._of.get(tenant, {}).get(model)
        if kept is None or not self._is_wanted(kept):
            raise Broken(f"{tenant} has no model {model} that recognises kinds")
        if kept.recogniser is not None:
            return kept.recogniser
        if kept.failure:
            raise Broken(f"the model {model} could not be loaded: {kept.failure}")
        raise NotYet(f"the model {model} is being loaded")

    def told(self, tenant: str) -> list[variants_pb2.TrainedModel]:
        """A tenant's models here, as they travel: by name and version."""
        mine = sorted(self._of.get(tenant, {}).items())
        return [_told(kept) for _, kept in mine if self._is_wanted(kept)]

    # --- what changes -----------------------------------------------------------------------------------------------

    def note(self, record: TrainedRecord) -> None:
        """How a model stands from now on; an older word changes nothing."""
        if record.target != "kinds":
            return
        mine = self._of.setdefault(record.tenant, {})
        kept = mine.get(record.model)
        if kept is None:
            mine[record.model] = _Kept(record)
        elif record.changed_at >= kept.record.changed_at:
            kept.record, kept.not_before, kept.is_forgotten = record, 0.0, False
        self._changed.set()

    async def read(self) -> None:
        """Reads everybody's anew. Raises Unavailable."""
        for record in await self.books.every():
            self._learn(record)
        self._read_at = self.clock()

    def _learn(self, record: TrainedRecord) -> None:
        """A row may lag behind the word that this instance has heard already."""
        kept = self._of.get(record.tenant, {}).get(record.model)
        if kept is None or record.changed_at > kept.record.changed_at:
            self.note(record)

    # --- what brings it about ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Loads and lets go, for ever."""
        records = [kept.record for kept in self._all() if not kept.record.is_over]
        await asyncio.to_thread(trained_folder.keep_only, records, self.shelf)
        while True:
            self._changed.clear()
            await self.settle()
            # Not wait_for: in Python 3.11 it may swallow a cancellation that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._changed.wait()
            if self.clock() >= self._read_at + READ_SECONDS:
                await self._read_quietly()

    async def settle(self) -> None:
        """Begins to load what is to be in memory, and lets go of the rest. An address that answers slowly keeps nobody
        else waiting."""
        for kept in self._all():
            if not self._is_wanted(kept):
                await self._let_go(kept)
            elif kept.recogniser is None and not kept.is_loading and self.clock() >= kept.not_before:
                kept.is_loading = True
                task = asyncio.create_task(self._load(kept))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Ends what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _all(self) -> list[_Kept]:
        return [kept for mine in self._of.values() for kept in mine.values()]

    def _is_wanted(self, kept: _Kept) -> bool:
        return is_wanted(kept.record, self.bounds, now=self.now())

    async def _load(self, kept: _Kept) -> None:
        record, began = kept.record, self.clock()
        attributes: Attributes = {"headrace.tenant": record.tenant, "headrace.model": record.model}
        with span(f"load {record.model}", parent=extract(record.carrier), attributes=attributes) as current:
            try:
                recogniser = await asyncio.to_thread(self._read_files, record)
            except LoadFailed as error:
                fail(current, error.failure)
                kept.failure, kept.failures = error.failure, kept.failures + 1
                kept.not_before = self.clock() + wait_after(kept.failures)
            else:
                kept.recogniser, kept.failure, kept.failures = recogniser, "", 0
                up_down_counter("headrace.models.loaded").add(1)
        kept.is_loading, kept.seconds = False, self.clock() - began
        histogram("headrace.models.loading").record(kept.seconds, {"headrace.outcome": kept.failure or "up"})
        log.info("a model that recognises kinds is read", model=record.model, failure=kept.failure)

    def _read_files(self, record: TrainedRecord) -> TrainedRecogniser:
        folder = trained_folder.fetch(record, self.shelf)
        try:
            return TrainedRecogniser(read_head(folder), record.model)
        except UnusableHead:
            raise LoadFailed("unsupported") from None

    async def _let_go(self, kept: _Kept) -> None:
        if kept.recogniser is not None:
            kept.recogniser = None
            up_down_counter("headrace.models.loaded").add(-1)
        if kept.record.is_over and not kept.is_forgotten:
            folder = trained_folder.folder_of(kept.record, self.shelf)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            kept.is_forgotten = True

    async def _read_quietly(self) -> None:
        try:
            await self.read()
        except Unavailable as error:
            self._read_at = self.clock()
            log.warning("trained models are not read anew", error=type(error).__name__)


@asynccontextmanager
async def open_heads(heads: TrainedHeads) -> AsyncIterator[TrainedHeads]:
    """Reads which models there are, and keeps them in memory until the context is left. Raises Unavailable when the
    table cannot be read."""
    await heads.read()
    task = asyncio.create_task(heads.run())
    task.add_done_callback(_report)
    try:
        yield heads
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await heads.close()


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("loading stopped", error=type(error).__name__)


def _told(kept: _Kept) -> variants_pb2.TrainedModel:
    record, is_up = kept.record, kept.recogniser is not None
    return variants_pb2.TrainedModel(
        model=ModelIdentity(name=record.name, version=record.version, provider=_PROVIDER),
        state="up" if is_up else "failed" if kept.failure else "loading",
        failure="" if is_up else kept.failure,
        tier=privacy_pb2.Tier.ValueType(record.tier),
        loading_seconds=kept.seconds,
    )
