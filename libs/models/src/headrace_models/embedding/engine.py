"""Many callers, one compute thread.

All scheduling happens on the event loop, so it needs no locks; the compute thread only tokenizes and multiplies. A
query waits for one batch at most: batches are small, and queries go before documents. Documents still get one batch in
`PATIENCE`, so that a flood of queries slows indexing down and does not stop it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from headrace_models.embedding.cache import Embedded, VectorCache, key_of
from headrace_models.embedding.errors import Overloaded
from headrace_models.embedding.folder import Identity
from headrace_models.embedding.packing import take_batch
from headrace_models.embedding.tokens import Tokens

#: So many batches of queries may run in a row while documents wait.
PATIENCE = 16
#: How much text is tokenized at one go: about 8 ms' worth, which a query may have to wait.
WINDOW_TEXTS = 64
WINDOW_CHARACTERS = 60_000


class TextEncoder(Protocol):
    """What turns texts into vectors. The compute thread alone calls it."""

    @property
    def identity(self) -> Identity:
        """What makes the vectors."""

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """Returns each text's token ids."""

    def run(self, rows: Sequence[Tokens]) -> NDArray[np.float32]:
        """Returns vectors [rows, dimensions] of rows sorted by length."""


class Priority(Enum):
    """QUERY: somebody waits. DOCUMENT: it may take its time."""

    QUERY = "query"
    DOCUMENT = "document"


@dataclass(frozen=True, slots=True)
class Embeddings:
    """vectors: unit length, float32 [texts, dimensions]. tokens: how many the model read of each text."""

    vectors: NDArray[np.float32]
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """batch_tokens: the most tokens in a batch (640 take about 50 ms on 2 cores). waiting: the most texts that wait in
    a lane. cached: how many vectors are kept."""

    batch_tokens: int = 640
    waiting: int = 4096
    cached: int = 4096


@dataclass(slots=True, eq=False)
class _Item:
    key: bytes
    text: str
    future: asyncio.Future[Embedded]
    era: int
    tokens: Tokens = field(default_factory=list)


def _length(item: _Item) -> int:
    return len(item.tokens)


@dataclass(slots=True, eq=False)
class _Lane:
    """Items in arrival order; a window of them tokenized and sorted by length, and used up before the next."""

    waiting: deque[_Item] = field(default_factory=deque)
    window: list[_Item] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.waiting) + len(self.window)

    def drop_cancelled(self) -> None:
        """Forgets what nobody waits for any more."""
        while self.waiting and self.waiting[0].future.done():
            self.waiting.popleft()
        self.window = [item for item in self.window if not item.future.done()]

    def fresh(self) -> list[_Item]:
        """Takes the next window's items, when the one before is used up."""
        taken: list[_Item] = []
        characters = 0
        while not self.window and self.waiting and len(taken) < WINDOW_TEXTS and characters < WINDOW_CHARACTERS:
            item = self.waiting.popleft()
            if not item.future.done():
                taken.append(item)
                characters += len(item.text)
        return taken


@dataclass(frozen=True, slots=True)
class _Step:
    done: list[tuple[_Item, Embedded]]
    rest: list[_Item]


class EmbeddingEngine:
    """Embeds texts for many callers. Open it with open_engine."""

    def __init__(self, encoder: TextEncoder, executor: ThreadPoolExecutor, limits: Limits) -> None:
        self._encoder = encoder
        self._executor = executor
        self._limits = limits
        self._cache = VectorCache(limits.cached)
        self._lanes = {priority: _Lane() for priority in Priority}
        self._awake = asyncio.Event()
        self._queries_in_a_row = 0
        self._era = 0

    @property
    def identity(self) -> Identity:
        """What makes the vectors."""
        return self._encoder.identity

    @property
    def executor(self) -> ThreadPoolExecutor:
        """The compute thread."""
        return self._executor

    async def embed(self, texts: Sequence[str], *, priority: Priority = Priority.QUERY) -> Embeddings:
        """Returns the texts' vectors in their order. Equal texts are computed once. Raises Overloaded.

        When the caller is cancelled, what was not begun for it is never computed.
        """
        keys = [key_of(text) for text in texts]
        found = {key: self._cache.get(key) for key in keys}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if found[key] is None}
        computed = await asyncio.gather(*self._enqueue(missing, self._lanes[priority]))
        entries = {key: entry for key, entry in found.items() if entry} | dict(zip(missing, computed, strict=True))
        vectors = np.empty((len(keys), self.identity.dimensions), dtype=np.float32)
        for row, key in enumerate(keys):
            vectors[row] = entries[key].vector
        return Embeddings(vectors, tuple(entries[key].tokens for key in keys))

    def _enqueue(self, texts: dict[bytes, str], lane: _Lane) -> list[asyncio.Future[Embedded]]:
        if len(lane) and len(lane) + len(texts) > self._limits.waiting:
            raise Overloaded(f"{len(lane)} texts wait already")
        loop = asyncio.get_running_loop()
        items = [_Item(key, text, loop.create_future(), self._era) for key, text in texts.items()]
        lane.waiting.extend(items)
        if items:
            self._awake.set()
        return [item.future for item in items]

    async def run(self) -> None:
        """Computes for ever, one batch at a time."""
        while True:
            lane = self._next_lane()
            if lane is None:
                self._awake.clear()
                await self._awake.wait()
                continue
            await self._compute(lane)

    def _next_lane(self) -> _Lane | None:
        queries, documents = self._lanes[Priority.QUERY], self._lanes[Priority.DOCUMENT]
        queries.drop_cancelled()
        documents.drop_cancelled()
        if queries and not (documents and self._queries_in_a_row >= PATIENCE):
            self._queries_in_a_row += 1
            return queries
        self._queries_in_a_row = 0
        return documents or None

    async def _compute(self, lane: _Lane) -> None:
        window, fresh = lane.window, lane.fresh()
        lane.window = [*window, *fresh]  # what is being computed can still be abandoned
        loop = asyncio.get_running_loop()
        work = partial(_step, self._encoder, fresh, window, self._limits.batch_tokens)
        future = loop.run_in_executor(self._executor, work)
        await asyncio.wait([future])
        error = future.exception()
        if error is None:
            step = future.result()
            lane.window = step.rest
            self._deliver(step)
        else:
            _fail(lane.window, error)
            lane.window = []

    def _deliver(self, step: _Step) -> None:
        for item, embedded in step.done:
            if item.era == self._era:  # else it was asked for before somebody was erased
                self._cache.put(item.key, embedded)
            if not item.future.done():
                item.future.set_result(embedded)

    def forget(self) -> None:
        """Drops every vector that is kept for texts that come again, and keeps none of what is under way."""
        self._era += 1
        self._cache.clear()

    def abandon(self) -> None:
        """Cancels everybody who still waits."""
        for lane in self._lanes.values():
            for item in (*lane.waiting, *lane.window):
                item.future.cancel()


def _step(encoder: TextEncoder, fresh: list[_Item], window: list[_Item], budget: int) -> _Step:
    """The compute thread's share: tokenizes what is fresh, and runs the longest rows that fit the budget."""
    for item, tokens in zip(fresh, encoder.tokenize([item.text for item in fresh]) if fresh else [], strict=True):
        item.tokens = tokens
    rest = sorted([*window, *fresh], key=_length)
    batch = take_batch(rest, _length, budget=budget)
    vectors = encoder.run([item.tokens for item in batch])
    # Copied, or one vector in the cache would keep its whole batch.
    made = [Embedded(vector.copy(), len(item.tokens)) for item, vector in zip(batch, vectors, strict=True)]
    return _Step(list(zip(batch, made, strict=True)), rest)


def _fail(items: Sequence[_Item], error: BaseException) -> None:
    for item in items:
        if not item.future.done():
            item.future.set_exception(error)


@asynccontextmanager
async def open_engine(load: Callable[[], TextEncoder], limits: Limits | None = None) -> AsyncIterator[EmbeddingEngine]:
    """Loads an encoder on the engine's own thread, and runs it until the context is left."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedding") as executor:
        loop = asyncio.get_running_loop()
        encoder = await loop.run_in_executor(executor, load)
        async with _running(EmbeddingEngine(encoder, executor, limits or Limits())) as engine:
            yield engine


@asynccontextmanager
async def open_beside(
    other: EmbeddingEngine, encoder: TextEncoder, limits: Limits | None = None
) -> AsyncIterator[EmbeddingEngine]:
    """Runs another encoder on an engine's thread until the context is left: the two take turns, batch by batch, and
    never compete for the same cores."""
    async with _running(EmbeddingEngine(encoder, other.executor, limits or Limits())) as engine:
        yield engine


@asynccontextmanager
async def _running(engine: EmbeddingEngine) -> AsyncIterator[EmbeddingEngine]:
    running = asyncio.create_task(engine.run(), name="embedding-engine")
    try:
        yield engine
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        engine.abandon()
