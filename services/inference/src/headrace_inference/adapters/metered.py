"""Any model, with what stands before it and what is counted: limits, the breaker, times and prices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from headrace_models.prompting import Turn
from headrace_privacy import Tier
from headrace_runtime.errors import Failure, Overloaded, Unavailable
from headrace_telemetry.metrics import counter

from headrace_inference.domain import Decoding, Identity, Spent
from headrace_inference.meters import Breaker, CallLimit, Meter, Prices
from headrace_inference.ports import Model, Writing

Outcome = Literal["done", "failed", "left", "turned_away"]


@dataclass(slots=True)
class Lane:
    """The way to one backend. in_flight: so many calls at a time; of the rest `waiting` may wait."""

    name: str
    limit: CallLimit
    breaker: Breaker
    in_flight: int
    waiting: int
    _places: asyncio.Semaphore = field(init=False)
    _asked: int = 0

    def __post_init__(self) -> None:
        self._places = asyncio.Semaphore(self.in_flight)

    @property
    def asked(self) -> int:
        """How many calls are in it or wait for a place."""
        return self._asked

    @property
    def is_full(self) -> bool:
        """Whether a call would be turned away because there are too many."""
        return self.limit.is_spent or self._asked >= self.in_flight + self.waiting

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Holds a place. Raises Unavailable while the backend rests, Overloaded when there are too many calls."""
        if self.breaker.is_resting:
            raise self._unavailable()
        if self.is_full:
            raise self._overloaded()
        self._asked += 1
        try:
            async with self._places:
                # Others may have been before, and may have found it down.
                if self.breaker.is_resting:
                    raise self._unavailable()
                if not self.limit.take():
                    raise self._overloaded()
                self.breaker.begin()
                yield
        finally:
            self._asked -= 1

    def count(self, outcome: Outcome) -> None:
        """One more completion that was asked for."""
        counter("headrace.backend.completions").add(1, {"headrace.backend": self.name, "headrace.outcome": outcome})

    def _unavailable(self) -> Unavailable:
        self.count("turned_away")
        return Unavailable(f"the backend {self.name}")

    def _overloaded(self) -> Overloaded:
        self.count("turned_away")
        return Overloaded(f"the backend {self.name}")


@dataclass(slots=True)
class MeteredWriting:
    """See ports.Writing. It knows what it costs, and how it went."""

    writing: Writing
    prices: Prices
    failing: tuple[type[Failure], ...]
    has_failed: bool = False
    has_written: bool = False

    async def pieces(self) -> AsyncIterator[str]:
        """See ports.Writing.pieces."""
        with self.watching():
            async for piece in self.writing.pieces():
                self.has_written = True
                yield piece
        self.has_written = True

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notices the backend's own failures, and nobody else's."""
        try:
            yield
        except self.failing:
            self.has_failed = True
            raise

    @property
    def spent(self) -> Spent:
        """See ports.Writing.spent."""
        spent = self.writing.spent
        return replace(spent, cost_micro_usd=self.prices.cost(spent))


@dataclass(frozen=True, slots=True)
class MeteredModel:
    """See ports.Model. meters: the backend's, and the variant's. failing: what of the model counts as its failure."""

    model: Model
    lane: Lane
    prices: Prices
    meters: tuple[Meter, ...]
    failing: tuple[type[Failure], ...]
    clock: Callable[[], float]

    @property
    def identity(self) -> Identity:
        """See ports.Model.identity."""
        return self.model.identity

    @property
    def tier(self) -> Tier:
        """See ports.Model.tier."""
        return self.model.tier

    @property
    def window(self) -> int:
        """See ports.Model.window."""
        return self.model.window

    def count(self, text: str) -> int:
        """See ports.Model.count."""
        return self.model.count(text)

    @asynccontextmanager
    async def write(self, turns: Sequence[Turn], decoding: Decoding) -> AsyncIterator[MeteredWriting]:
        """See ports.Model.write. Raises Unavailable too while the backend is left alone."""
        began = self.clock()  # whoever waits for a place waits for the answer
        async with self.lane.place(), AsyncExitStack() as stack:
            try:
                writing = await stack.enter_async_context(self.model.write(turns, decoding))
            except self.failing:
                self._fail()
                raise
            except BaseException:
                self._leave()
                raise
            metered = MeteredWriting(writing, self.prices, self.failing)
            try:
                yield metered
            finally:
                self._settle(metered, began)

    def _settle(self, writing: MeteredWriting, began: float) -> None:
        if writing.has_failed:
            self._fail()
        elif not writing.has_written:
            self._leave()
        else:
            self._succeed((self.clock() - began) * 1000, writing.spent.cost_micro_usd)

    def _succeed(self, ms: float, cost_micro_usd: int) -> None:
        self.lane.breaker.succeeded()
        self.lane.count("done")
        counter("headrace.backend.cost").add(cost_micro_usd, {"headrace.backend": self.lane.name})
        for meter in self.meters:
            meter.note(ms, cost_micro_usd)

    def _leave(self) -> None:
        self.lane.breaker.left()
        self.lane.count("left")

    def _fail(self) -> None:
        self.lane.breaker.failed()
        self.lane.count("failed")
        for meter in self.meters:
            meter.fail()
