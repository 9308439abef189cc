"""The engine: a thread that steps the batch, and an async door to it."""

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from headrace_models.generation.batch import Batch, BatchSettings, Running
from headrace_models.generation.errors import ContextExceeded, EngineStopped, Overloaded
from headrace_models.generation.prefix import PrefixCache
from headrace_models.generation.request import Event, Finished, Request, Usage
from headrace_models.generation.stepper import Stepper
from headrace_models.generation.text import ChatText, Detokenize

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How much waits, what is kept, how steps are filled."""

    queue: int = 256
    prefixes: int = 8
    batch: BatchSettings = field(default_factory=BatchSettings)


@dataclass(frozen=True, slots=True)
class Load:
    """What the engine is busy with."""

    running: int
    waiting: int


@dataclass(eq=False, slots=True)
class _Ticket:
    """One request's way through the engine. Only the thread touches it, but for `events` and `cancelled`."""

    request: Request
    detokenize: Detokenize
    submitted: float
    loop: asyncio.AbstractEventLoop
    events: asyncio.Queue[Event | EngineStopped] = field(default_factory=asyncio.Queue)
    cancelled: bool = False
    running: Running | None = None
    admitted: float = 0.0
    first: float | None = None

    def so_far(self) -> Finished:
        """What the request took until now. A reason of "stop" while it runs: it ends here if it is left now."""
        if self.running is None:
            return Finished("stop", Usage(len(self.request.prompt), 0, 0), 0.0, 0.0)
        return Finished(
            reason=self.running.reason or "stop",
            usage=self.running.usage(),
            queued_seconds=self.admitted - self.submitted,
            time_to_first_token=(self.first or self.admitted) - self.admitted,
        )


class Generation:
    """A completion under way. Leaving it early frees the slot at the next step: `aclose` it, as `aclosing` does, or
    cancel the task that iterates."""

    def __init__(self, ticket: _Ticket) -> None:
        self._ticket = ticket
        self._ended = False

    def __aiter__(self) -> "Generation":
        return self

    async def __anext__(self) -> Event:
        """The next piece of text, or the end."""
        if self._ended:
            raise StopAsyncIteration
        try:
            event = await self._ticket.events.get()
        except asyncio.CancelledError:
            await self.aclose()
            raise
        if isinstance(event, EngineStopped):
            self._ended = True
            raise event
        self._ended = isinstance(event, Finished)
        return event

    async def aclose(self) -> None:
        """Stop it, if it has not ended."""
        self._ended = True
        self._ticket.cancelled = True

    def so_far(self) -> Finished:
        """What it took until now; the end itself once it ended."""
        return self._ticket.so_far()


class Engine:
    """Runs many completions at once. Made by `open_engine`."""

    def __init__(
        self, stepper: Stepper, text: ChatText, *, stop: frozenset[int], settings: EngineSettings, clock: Clock
    ) -> None:
        self.text = text
        self.context = stepper.context
        self._batch = Batch(stepper, PrefixCache(settings.prefixes), settings.batch)
        self._stop_tokens = stop
        self._queue = settings.queue
        self._clock = clock
        self._waiting: deque[_Ticket] = deque()
        self._tickets: dict[Running, _Ticket] = {}
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="generation", daemon=True)

    def load(self) -> Load:
        """How much is in flight."""
        return Load(running=len(self._tickets), waiting=len(self._waiting))

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def generate(self, request: Request) -> "Generation":
        """Begin a completion: iterate over its text as it is written, then how it ended.

        Raises ContextExceeded, Overloaded or EngineStopped.
        """
        return Generation(self._submit(request))

    def _submit(self, request: Request) -> _Ticket:
        tokens = len(request.prompt) + request.max_output_tokens
        if tokens > self.context:
            raise ContextExceeded(tokens=tokens, context=self.context)
        ticket = _Ticket(request, self.text.detokenizer(), self._clock(), asyncio.get_running_loop())
        with self._changed:
            if self._closing or not self._thread.is_alive():
                raise EngineStopped
            if len(self._waiting) >= self._queue:
                raise Overloaded("generation: the queue is full")
            self._waiting.append(ticket)
            self._changed.notify()
        return ticket

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End after the current step. What is in flight raises EngineStopped."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            while self._admit():
                self._drop_cancelled()
                if len(self._batch):
                    self._deliver(self._batch.step())
        finally:
            self._abandon()

    def _admit(self) -> bool:
        """Wait for work, and give what waits a slot. False: the engine closes."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._waiting or len(self._batch))
            while self._waiting and not self._batch.full and not self._closing:
                ticket = self._waiting.popleft()
                if not ticket.cancelled:
                    self._seat(ticket)
            return not self._closing

    def _seat(self, ticket: _Ticket) -> None:
        ticket.admitted = self._clock()
        ticket.running = self._batch.admit(ticket.request, self._stop_tokens)
        self._tickets[ticket.running] = ticket

    def _drop_cancelled(self) -> None:
        for running in [r for r, ticket in self._tickets.items() if ticket.cancelled]:
            self._batch.release(running)
            del self._tickets[running]

    def _deliver(self, news: Iterable[tuple[Running, list[int]]]) -> None:
        """Hand out a step's events with one wake-up for each event loop."""
        now = self._clock()
        mail: dict[asyncio.AbstractEventLoop, list[tuple[_Ticket, Event | EngineStopped]]] = {}
        for running, tokens in news:
            ticket = self._tickets[running]
            ticket.first = ticket.first or now
            events = mail.setdefault(ticket.loop, [])
            text = "".join(piece for token in tokens if (piece := ticket.detokenize(token)))
            if text:
                events.append((ticket, text))
            if running.reason:
                events.append((ticket, ticket.so_far()))
                del self._tickets[running]
        for loop, events in mail.items():
            _post(loop, events)

    def _abandon(self) -> None:
        """Nobody waits for a thread that is gone."""
        with self._changed:
            self._closing = True
            left = [*self._tickets.values(), *self._waiting]
            self._waiting.clear()
        self._tickets.clear()
        for ticket in left:
            _post(ticket.loop, [(ticket, EngineStopped())])


def _post(loop: asyncio.AbstractEventLoop, events: Sequence[tuple[_Ticket, Event | EngineStopped]]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(_put, events)


def _put(events: Sequence[tuple[_Ticket, Event | EngineStopped]]) -> None:
    for ticket, event in events:
        ticket.events.put_nowait(event)


@asynccontextmanager
async def open_engine(
    stepper: Stepper,
    text: ChatText,
    *,
    stop: frozenset[int],
    settings: EngineSettings | None = None,
    clock: Clock = time.perf_counter,
) -> AsyncIterator[Engine]:
    """An engine that runs until the context ends."""
    engine = Engine(stepper, text, stop=stop, settings=settings or EngineSettings(), clock=clock)
    engine.start()
    try:
        yield engine
    finally:
        await asyncio.to_thread(engine.close)
