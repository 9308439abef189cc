"""Filling generations: each chunk of a tenant gets its vector by each of the tenant's own embedders, in the background.

What lacks a vector is asked of the index each time, so whoever is killed leaves nothing undone but what it had in hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from headrace_privacy import Erased, Vault
from headrace_runtime.errors import Overloaded, Unavailable
from headrace_telemetry.metrics import counter
from headrace_telemetry.tracing import describe, span

from headrace_retriever.domain import Passage, Vector
from headrace_retriever.generations import Filling, Generation, Opened, Spot, Trouble, Unusable
from headrace_retriever.own import BATCH
from headrace_retriever.ports import Filled, OwnEmbedder
from headrace_retriever.translate import opened_passage, sealed_parts

log = structlog.get_logger()

#: How often everybody's generations are looked at, in case nobody here said that something changed; how long it is
#: waited when the database cannot be reached; and how long what cannot be filled is left alone. In seconds.
LOOK_SECONDS = 10.0
RETRY_SECONDS = 1.0
REST_SECONDS = 15.0
#: So many batches of one tenant, before the next has its turn.
TURN = 16
#: A probe of the weights: what makes a generation's vectors is known before its first chunk is.
_PROBE = Opened("Is anybody there?")


@dataclass(slots=True)
class Filler:
    """One for the process. clock: seconds that never go back. now: of the calendar."""

    books: Filled
    embedder: OwnEmbedder
    vault: Vault
    clock: Callable[[], float]
    now: Callable[[], datetime]
    _woken: set[str] = field(default_factory=set)
    _known: set[str] = field(default_factory=set)
    _rests: dict[tuple[str, int], float] = field(default_factory=dict)
    _spots: dict[tuple[str, int], Spot] = field(default_factory=dict)
    _awake: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self, tenant: str) -> None:
        """Has a tenant's generations looked at soon, if it has any that this instance knows of."""
        if tenant in self._known:
            self._woken.add(tenant)
            self._awake.set()

    def begin(self, tenant: str) -> None:
        """Has a tenant's generations looked at soon: one was begun."""
        self._known.add(tenant)
        self.wake(tenant)

    async def run(self) -> None:
        """Fills, for ever."""
        looked = -LOOK_SECONDS
        while True:
            if self.clock() >= looked + LOOK_SECONDS:
                looked = self.clock()
                await self._look()
            for tenant in sorted(self._woken):
                self._woken.discard(tenant)
                if await self._quietly(tenant):
                    self._woken.add(tenant)
            self._awake.clear()
            if not self._woken:
                await self._sleep(looked + LOOK_SECONDS - self.clock())

    async def _sleep(self, seconds: float) -> None:
        # Not wait_for: in Python 3.11 it may swallow a cancellation that comes with the event.
        try:
            async with asyncio.timeout(max(seconds, 0.0)):
                await self._awake.wait()
        except TimeoutError:
            pass

    async def _look(self) -> None:
        try:
            self._known.update(await self.books.tenants())
        except Unavailable as error:
            log.warning("indexes wait", error=type(error).__name__)
        self._woken.update(self._known)

    async def _quietly(self, tenant: str) -> bool:
        try:
            return await self.turn(tenant)
        except Unavailable as error:
            log.warning("indexes wait", error=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)
            return True

    async def turn(self, tenant: str) -> bool:
        """Fills some of a tenant's generations, if no other instance does. Returns whether there is more to do.

        Raises Unavailable.
        """
        due = [one for one in await self.books.kept(tenant) if await self._is_due(one)]
        if not due and not await self.books.sweep(tenant):
            return False
        async with self.books.filling(tenant) as is_mine:
            if not is_mine:
                return False
            await self.books.sweep(tenant)
            return any([await self._fill_some(one) for one in due])

    async def _is_due(self, generation: Generation) -> bool:
        if self.clock() < self._rests.get(_key(generation), 0.0):
            return False
        return bool(generation.state == "preparing" or generation.failure) or await self.books.is_behind(generation)

    async def _fill_some(self, generation: Generation) -> bool:
        """Fills some batches of one. Returns whether there is more to do."""
        try:
            if generation.embedder is None:
                await self._embed(generation, [_PROBE])
            for _ in range(TURN):
                if not await self._fill_batch(generation):
                    await self.books.settle(generation, now=self.now())
                    return False
        except (Unusable, Unavailable, Overloaded) as error:
            await self._rest(generation, _trouble(error))
            return False
        return True

    async def _fill_batch(self, generation: Generation) -> bool:
        """Fills the next chunks that lack their vector. Returns whether there were any."""
        passages = await self.books.lacking(generation, after=self._spots.get(_key(generation)), most=BATCH)
        if not passages:
            # What was passed over, or put behind us, is found from the beginning again.
            self._spots.pop(_key(generation), None)
            return False
        with span("fill trained_vectors", attributes={"headrace.tenant": generation.tenant}) as current:
            opened = await self._opened(passages)
            vectors = await self._embed(generation, [text for _, text in opened]) if opened else ()
            ids = [passage.chunk_id for passage, _ in opened]
            await self.books.fill(Filling(generation, dict(zip(ids, vectors, strict=True))))
            describe(current, {"headrace.model": generation.model, "headrace.chunks": len(ids)})
        counter("headrace.generations.filled").add(len(ids))
        last = passages[-1]
        self._spots[_key(generation)] = Spot(last.document.source, last.document.document_id, last.ordinal)
        return True

    async def _embed(self, generation: Generation, texts: Sequence[Opened]) -> Sequence[Vector]:
        vectors, made_by = await self.embedder.embed_as(generation.trained, texts, urgency="in_turn")
        await self.books.learn(generation, made_by)
        return vectors

    async def _opened(self, passages: Sequence[Passage]) -> list[tuple[Passage, Opened]]:
        opener = await self.vault.opener_for(*(part for passage in passages for part in sealed_parts(passage)))
        found = []
        for passage in passages:
            try:
                found.append((passage, opened_passage(passage, opener)))
            except Erased:
                continue
        return found

    async def _rest(self, generation: Generation, trouble: Trouble) -> None:
        self._rests[_key(generation)] = self.clock() + REST_SECONDS
        log.warning("an index is not filled", model=generation.model, failure=trouble)
        await self.books.fail(generation, trouble)


def _trouble(error: Exception) -> Trouble:
    return error.trouble if isinstance(error, Unusable) else "unavailable"


def _key(generation: Generation) -> tuple[str, int]:
    return generation.tenant, generation.number
