"""The tenants' own models on this instance: loaded beside the backend's, and let go of once nobody writes with them.

What is to be in memory follows from how models stand; one task brings that about, one load at a time. Queries are never
made to wait for it: a variant whose model is not there yet is passed over as broken.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import structlog
from headrace.inference.v1 import variants_pb2
from headrace.privacy.v1 import privacy_pb2
from headrace.query.v1.answer_pb2 import ModelIdentity
from headrace_runtime.errors import Unavailable
from headrace_telemetry.metrics import histogram, up_down_counter
from headrace_telemetry.tracing import Attributes, extract, fail, span

from headrace_inference.adapters.backends import Backend
from headrace_inference.ports import Model
from headrace_inference.route_choosing import Broken, NotYet
from headrace_inference.trained_ports import LoadedModel, Loader, LoadFailed, TrainedBooks
from headrace_inference.trained_records import Bounds, Key, TrainedRecord, is_wanted, ranked, wait_after

log = structlog.get_logger()

State = Literal["loading", "up", "failed", "unloading"]

#: How often it is looked after what is loaded, and how often the table is read in case a word was lost, in seconds.
LOOK_SECONDS = 1.0
READ_SECONDS = 60.0
#: How long completions may go on in a model that is to be let go of. What is cut off then is answered by another.
DRAIN_SECONDS = 60.0
_DRAIN_LOOK_SECONDS = 0.05
_PROVIDER = "transformers"


@dataclass(slots=True)
class _Kept:
    """What is known here of one model."""

    record: TrainedRecord
    state: State | None = None
    failure: str = ""
    failures: int = 0
    not_before: float = 0.0
    seconds: float = 0.0
    backend: Backend | None = None
    model: LoadedModel | None = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)
    is_forgotten: bool = False

    @property
    def is_in_memory(self) -> bool:
        return self.state in ("loading", "up", "unloading")


@dataclass(slots=True)
class TrainedModels:
    """Open it with open_trained. beside: what stands before a model. clock: seconds that never go back."""

    books: TrainedBooks
    loader: Loader
    beside: Callable[[Model], Backend]
    bounds: Bounds
    clock: Callable[[], float]
    now: Callable[[], datetime]
    _kept: dict[Key, _Kept] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _read_at: float = 0.0

    # --- what queries ask -------------------------------------------------------------------------------------------

    def find(self, tenant: str, version: str) -> Backend | None:
        """The backend of a tenant's model; None when the tenant has none of this version.

        Raises NotYet while it is being loaded, Broken when it cannot answer.
        """
        kept = self._kept.get((tenant, version))
        if kept is None:
            return None
        if not is_wanted(kept.record, self.bounds, now=self.now()):
            raise Broken(f"the model {kept.record.model} answers no more")
        if kept.state == "up" and kept.backend is not None:
            return kept.backend
        if kept.state == "failed":
            raise Broken(f"the model {kept.record.model} could not be loaded: {kept.failure}")
        raise NotYet(f"the model {kept.record.model} is being loaded")

    def told(self, tenant: str) -> list[variants_pb2.TrainedModel]:
        """A tenant's models here, as they travel: by name and version."""
        mine = [kept for key, kept in self._kept.items() if key[0] == tenant and self._is_told(kept)]
        return [_told(kept) for kept in sorted(mine, key=lambda kept: (kept.record.name, kept.record.version))]

    def _is_told(self, kept: _Kept) -> bool:
        return kept.is_in_memory or is_wanted(kept.record, self.bounds, now=self.now())

    # --- what changes -----------------------------------------------------------------------------------------------

    def note(self, record: TrainedRecord) -> None:
        """How a model stands from now on; an older word changes nothing."""
        kept = self._kept.get(record.key)
        if kept is None or record.changed_at >= kept.record.changed_at:
            self._take(record)

    def _take(self, record: TrainedRecord) -> None:
        if record.target != "generator":
            return
        kept = self._kept.setdefault(record.key, _Kept(record))
        kept.record, kept.not_before, kept.is_forgotten = record, 0.0, False
        self._changed.set()

    async def follow(self, tenant: str) -> None:
        """Reads a tenant's models anew. Raises Unavailable."""
        self._learn(await self.books.of(tenant))

    async def read(self) -> None:
        """Reads everybody's anew. Raises Unavailable."""
        self._learn(await self.books.every())
        self._read_at = self.clock()

    def _learn(self, records: Iterable[TrainedRecord]) -> None:
        for record in records:
            kept = self._kept.get(record.key)
            # A row may lag behind the word that this instance has heard already.
            if kept is None or record.changed_at > kept.record.changed_at:
                self._take(record)

    # --- what brings it about ---------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Loads and lets go, for ever."""
        await self.loader.keep_only([k.record for k in self._kept.values() if not k.record.is_over])
        while True:
            self._changed.clear()
            self._settle()
            # Not wait_for: in Python 3.11 it may swallow a cancellation that comes with the event.
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._changed.wait()
            if self.clock() >= self._read_at + READ_SECONDS:
                await self._read_quietly()

    async def close(self) -> None:
        """Ends what is under way, and every model."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for kept in self._kept.values():
            await kept.stack.aclose()

    def _settle(self) -> None:
        wanted = ranked((kept.record for kept in self._kept.values()), self.bounds, now=self.now())
        room = {record.key for record in wanted[: self.bounds.most]}
        for kept in list(self._kept.values()):
            if kept.state == "up" and (kept.record.key not in room or not _is_alive(kept)):
                self._begin(kept, "unloading", self._unload(kept))
            elif not kept.is_in_memory and kept.record.is_over and not kept.is_forgotten:
                kept.is_forgotten = True
                self._start(self.loader.forget(kept.record))
        for record in wanted[self.bounds.most :]:
            self._refuse_room(self._kept[record.key])
        self._load_next(wanted[: self.bounds.most])

    def _refuse_room(self, kept: _Kept) -> None:
        if not kept.is_in_memory:
            kept.state, kept.failure, kept.not_before = "failed", "no_memory", 0.0

    def _load_next(self, wanted: Sequence[TrainedRecord]) -> None:
        in_memory = [kept for kept in self._kept.values() if kept.is_in_memory]
        if len(in_memory) >= self.bounds.most or any(kept.state == "loading" for kept in in_memory):
            return
        for record in wanted:
            kept = self._kept[record.key]
            if not kept.is_in_memory and self.clock() >= kept.not_before:
                self._begin(kept, "loading", self._load(kept))
                return

    def _begin(self, kept: _Kept, state: State, work: Coroutine[Any, Any, None]) -> None:
        kept.state = state
        self._start(work).add_done_callback(lambda task: self._ended(kept, task))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _ended(self, kept: _Kept, task: asyncio.Task[None]) -> None:
        """A bug in loading one model is no reason to stop answering with the others."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("loading failed", model=kept.record.model, error=type(error).__name__)
            self._failed(kept, LoadFailed("unsupported"))

    async def _load(self, kept: _Kept) -> None:
        record, began, stack = kept.record, self.clock(), AsyncExitStack()
        with span(f"load {record.model}", parent=extract(record.carrier), attributes=_attributes(record)) as current:
            try:
                kept.model = await stack.enter_async_context(self.loader.open(record))
            except LoadFailed as error:
                fail(current, error.failure)
                self._failed(kept, error)
            else:
                kept.stack, kept.backend = stack, self.beside(kept.model)
                kept.state, kept.failure, kept.failures = "up", "", 0
                up_down_counter("headrace.models.loaded").add(1)
        kept.seconds = self.clock() - began
        histogram("headrace.models.loading").record(kept.seconds, {"headrace.outcome": kept.failure or "up"})
        log.info("a model is loaded" if kept.state == "up" else "a model cannot be loaded", model=record.model,
                 failure=kept.failure, seconds=round(kept.seconds, 2))  # fmt: skip
        self._changed.set()

    def _failed(self, kept: _Kept, error: LoadFailed) -> None:
        kept.state, kept.failure = "failed", error.failure
        kept.failures += 1
        kept.not_before = self.clock() + wait_after(kept.failures)

    async def _unload(self, kept: _Kept) -> None:
        backend, until = kept.backend, self.clock() + DRAIN_SECONDS
        # A lane tells nobody when it is empty.
        while backend is not None and backend.lane.asked and self.clock() < until and _is_alive(kept):  # noqa: ASYNC110
            await asyncio.sleep(_DRAIN_LOOK_SECONDS)
        has_died = not _is_alive(kept)
        kept.backend = kept.model = backend = None
        await kept.stack.aclose()
        kept.stack, kept.state = AsyncExitStack(), None
        up_down_counter("headrace.models.loaded").add(-1)
        log.info("a model is let go of", model=kept.record.model)
        if has_died:
            self._failed(kept, LoadFailed("unsupported"))
        self._changed.set()

    async def _read_quietly(self) -> None:
        try:
            await self.read()
        except Unavailable as error:
            self._read_at = self.clock()
            log.warning("trained models are not read anew", error=type(error).__name__)


@asynccontextmanager
async def open_trained(models: TrainedModels) -> AsyncIterator[TrainedModels]:
    """Reads which models there are, and loads them beside whatever goes on, until the context is left.

    Raises Unavailable when the table cannot be read.
    """
    await models.read()
    task = asyncio.create_task(models.run())
    task.add_done_callback(_report)
    try:
        yield models
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await models.close()


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("loading stopped", error=type(error).__name__)


def _is_alive(kept: _Kept) -> bool:
    return kept.model is not None and kept.model.is_alive


def _attributes(record: TrainedRecord) -> Attributes:
    return {
        "headrace.tenant": record.tenant,
        "headrace.tier": record.tier.label,
        "gen_ai.request.model": record.name,
        "headrace.model": record.model,
    }


def _told(kept: _Kept) -> variants_pb2.TrainedModel:
    record = kept.record
    return variants_pb2.TrainedModel(
        model=ModelIdentity(name=record.name, version=record.version, provider=_PROVIDER),
        state=kept.state or "loading",
        failure=kept.failure if kept.state == "failed" else "",
        tier=privacy_pb2.Tier.ValueType(record.tier),
        in_flight=kept.backend.lane.asked if kept.backend else 0,
        loading_seconds=kept.seconds,
    )
