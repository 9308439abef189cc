"""The tenants' own models on this instance: fetched and loaded when they are asked for, the latest used kept.

All run on the house's compute thread, batch by batch in turn, so that no tenant's model takes the cores that a question
of another's waits for. Loading happens beside it.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import shutil
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import structlog
from headrace_models import embedding
from headrace_models.fetching import FetchFailed, fetch, is_below, keep_only
from headrace_runtime.errors import Conflict, Overloaded
from headrace_telemetry.metrics import histogram, up_down_counter
from headrace_telemetry.tracing import fail, span
from safetensors import SafetensorError

from headrace_embedder.adapters.engine import WARM_UP, EngineEmbedder
from headrace_embedder.domain import Trained
from headrace_embedder.ports import Embedder

if TYPE_CHECKING:
    from headrace_models.embedding.encoder import Encoder

log = structlog.get_logger()

Failure = Literal["missing", "corrupt", "unsupported", "no_memory", "refused"]

#: What is raised for a folder that no encoder can be made of: a weight or a setting that is not there, of another size.
_NO_MODEL = (
    embedding.UnsupportedModel,
    AttributeError,
    LookupError,
    OSError,
    RuntimeError,
    SafetensorError,
    TypeError,
    ValueError,
)
#: A sentence-transformers folder has its pooling in a folder of its own.
_DEPTH = 2


class LoadFailed(Exception):
    """A model could not be loaded. Its text is one of Failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory, until its stack is closed."""

    embedder: EngineEmbedder
    stack: AsyncExitStack


#: Gets weights and runs them. Raises LoadFailed.
Load = Callable[[Trained], Coroutine[Any, Any, Loaded]]


@dataclass(slots=True)
class _Held:
    """users: calls under way. used: when it was asked for last, in the order of all calls."""

    loading: asyncio.Task[Loaded]
    users: int = 0
    used: int = 0
    is_forgotten: bool = False

    @property
    def is_idle(self) -> bool:
        return self.users == 0 and self.loading.done()


@dataclass(slots=True)
class KeptEmbedders:
    """See ports.TrainedEmbedders. most: so many are in memory, or being loaded. shelf: a folder for weights."""

    load: Load
    most: int
    shelf: Path
    _held: dict[Trained, _Held] = field(default_factory=dict)
    _calls: itertools.count[int] = field(default_factory=itertools.count)

    @asynccontextmanager
    async def lend(self, model: Trained) -> AsyncIterator[Embedder]:
        """See ports.TrainedEmbedders.lend."""
        held = self._held.get(model) or await self._begin(model)
        held.users, held.used = held.users + 1, next(self._calls)
        try:
            # Whoever does not wait so long leaves; the model is loaded all the same.
            yield (await asyncio.shield(held.loading)).embedder
        except LoadFailed as error:
            self._drop(model, held)
            raise Conflict(f"the weights of {model.model} cannot be used: {error.failure}") from None
        finally:
            held.users -= 1
            if held.is_forgotten and held.is_idle:
                await _close(held)

    async def forget(self, tenant: str, model: str) -> None:
        """See ports.TrainedEmbedders.forget. Calls under way end as they began."""
        for known in [known for known in self._held if (known.tenant, known.model) == (tenant, model)]:
            await self._let_go(known)
        await asyncio.to_thread(shutil.rmtree, self.shelf / tenant / model, ignore_errors=True)

    def forget_vectors(self) -> None:
        """Drops what is kept for texts that come again."""
        for held in self._held.values():
            if held.loading.done() and not held.loading.cancelled() and held.loading.exception() is None:
                held.loading.result().embedder.forget()

    async def close(self) -> None:
        """Lets go of every model."""
        for held in self._held.values():
            held.loading.cancel()
            await asyncio.gather(held.loading, return_exceptions=True)
            await _close(held)
        self._held.clear()

    async def _begin(self, model: Trained) -> _Held:
        if len(self._held) >= self.most:
            await self._make_room()
        # Another call may have begun it meanwhile.
        if model not in self._held:
            task = asyncio.create_task(self.load(model), name=f"loading {model.model}")
            task.add_done_callback(_looked_at)
            self._held[model] = _Held(task)
        return self._held[model]

    async def _make_room(self) -> None:
        idle = [model for model, held in self._held.items() if held.is_idle]
        if not idle:
            raise Overloaded("the tenants' own embedders")
        await self._let_go(min(idle, key=lambda model: self._held[model].used))

    async def _let_go(self, model: Trained) -> None:
        held = self._held.pop(model)
        held.is_forgotten = True
        if held.is_idle:
            await _close(held)
        elif not held.users:
            held.loading.cancel()

    def _drop(self, model: Trained, held: _Held) -> None:
        """What could not be loaded is tried again by the next call."""
        if self._held.get(model) is held:
            del self._held[model]


async def _close(held: _Held) -> None:
    if held.loading.cancelled() or held.loading.exception() is not None:
        return
    loaded = held.loading.result()
    await loaded.stack.aclose()
    up_down_counter("headrace.models.loaded").add(-1)
    # A model's parts refer to one another; a hundred megabytes are worth looking for.
    await asyncio.to_thread(gc.collect)


def _looked_at(task: asyncio.Task[Loaded]) -> None:
    """Takes note of a failure that every caller left before."""
    if not task.cancelled():
        task.exception()


@dataclass(frozen=True, slots=True)
class EngineLoading:
    """See Load. root: below which address models are loaded from. shelf: a folder for fetched weights."""

    house: embedding.EmbeddingEngine
    root: str
    shelf: Path
    limits: embedding.Limits
    threads: int

    async def __call__(self, model: Trained) -> Loaded:
        """Returns the model, which has embedded a text. Raises LoadFailed."""
        began, outcome = time.monotonic(), "up"
        with span(
            f"load {model.model}", attributes={"headrace.tenant": model.tenant, "headrace.model": model.model}
        ) as s:
            try:
                return await self._open(model)
            except LoadFailed as error:
                outcome = error.failure
                fail(s, outcome)
                raise
            finally:
                seconds = time.monotonic() - began
                histogram("headrace.models.loading").record(seconds, {"headrace.outcome": outcome})
                log.info("a model is loaded" if outcome == "up" else "a model cannot be loaded", model=model.model,
                         failure="" if outcome == "up" else outcome, seconds=round(seconds, 2))  # fmt: skip

    async def _open(self, model: Trained) -> Loaded:
        encoder = await asyncio.to_thread(self._load, model)
        async with AsyncExitStack() as stack:
            engine = await stack.enter_async_context(embedding.open_beside(self.house, encoder, self.limits))
            try:
                await engine.embed(WARM_UP)
            except _NO_MODEL:
                raise LoadFailed("unsupported") from None
            up_down_counter("headrace.models.loaded").add(1)
            return Loaded(EngineEmbedder(engine), stack.pop_all())

    def _load(self, model: Trained) -> Encoder:
        from headrace_models.embedding.encoder import load_encoder  # noqa: PLC0415 - torch is loaded with it

        if not is_below(model.address, self.root):
            raise LoadFailed("refused")
        try:
            folder = fetch(model.address, dict(model.files), self.shelf / model.tenant / model.model, depth=_DEPTH)
            return load_encoder(embedding.read_folder(folder, name=model.model), threads=self.threads)
        except FetchFailed as error:
            raise LoadFailed(error.failure) from None
        except MemoryError:
            raise LoadFailed("no_memory") from None
        except _NO_MODEL as error:
            raise LoadFailed("no_memory" if _is_about_memory(error) else "unsupported") from None


def _is_about_memory(error: Exception) -> bool:
    """torch says so in words: "DefaultCPUAllocator: can't allocate memory"."""
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


@asynccontextmanager
async def open_trained(load: Load, *, most: int, shelf: Path) -> AsyncIterator[KeptEmbedders]:
    """Keeps the tenants' own models until the context is left. What an earlier process left on the shelf goes."""
    await asyncio.to_thread(keep_only, (), shelf)
    kept = KeptEmbedders(load, most, shelf)
    try:
        yield kept
    finally:
        await kept.close()
