"""Several backends side by side, each with what stands before it and what is counted of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import structlog
from headrace.inference.v1 import variants_pb2
from headrace.privacy.v1 import privacy_pb2
from headrace_runtime.errors import Failure, Overloaded, Unavailable

from headrace_inference.adapters.engine import open_engine_model
from headrace_inference.adapters.gate import PolicyGate, backend_of
from headrace_inference.adapters.metered import Lane, MeteredModel
from headrace_inference.adapters.openai_server import ServerModel, open_server
from headrace_inference.adapters.traced import TracedModel
from headrace_inference.backend_file import BackendEntry, EngineBackend, ServerBackend, key_of
from headrace_inference.domain import Versioned
from headrace_inference.meters import Breaker, CallLimit, Expected, Meter, Prices
from headrace_inference.ports import Model
from headrace_inference.translate import to_identity

log = structlog.get_logger()

#: How often a server that was not reached is asked again what it runs, and one that was, in seconds.
UNKNOWN_SECONDS = 5.0
KNOWN_SECONDS = 60.0
#: So many wait within an engine, so that none of its slots stands empty.
_AT_THE_DOOR = 4
#: So many variants' last completions are remembered by a backend.
MOST_VARIANTS = 2_000

State = Literal["up", "down", "resting"]


@dataclass(slots=True)
class Backend:
    """One backend. It names the version of the model that it serves: `model.identity`.

    own: the model without what stands before it.
    """

    name: str
    kind: Literal["engine", "openai"]
    own: Model
    gate: PolicyGate
    lane: Lane
    prices: Prices
    failing: tuple[type[Failure], ...]
    clock: Callable[[], float]
    meter: Meter
    _variants: dict[tuple[str, Versioned], Meter] = field(default_factory=dict)

    @property
    def model(self) -> Model:
        """The model for whoever brings his own prompt."""
        return TracedModel(self._metered(self.meter))

    def model_for(self, tenant: str, variant: Versioned, *, prompt: Versioned) -> Model:
        """The model as a variant uses it: what it takes is counted as the variant's."""
        return TracedModel(self._metered(self.meter, self._meter_of(tenant, variant)), prompt=prompt)

    def expected(self, tenant: str, variant: Versioned) -> Expected:
        """What a variant's next answer takes of the model, by its last ones."""
        meter = self._variants.get((tenant, variant))
        return meter.expected() if meter else Expected()

    @property
    def state(self) -> State:
        """Whether it answers."""
        if self.lane.breaker.is_resting:
            return "resting"
        return "down" if isinstance(self.own, ServerModel) and not self.own.is_up else "up"

    @property
    def knows_its_model(self) -> bool:
        """Whether it can say which version it serves."""
        return not isinstance(self.own, ServerModel) or bool(self.own.served)

    def _metered(self, *meters: Meter) -> MeteredModel:
        return MeteredModel(self.own, self.lane, self.prices, meters, self.failing, self.clock)

    def _meter_of(self, tenant: str, variant: Versioned) -> Meter:
        meter = self._variants.pop((tenant, variant), None) or Meter(self.clock)
        if len(self._variants) >= MOST_VARIANTS:
            self._variants.pop(next(iter(self._variants)))
        self._variants[tenant, variant] = meter
        return meter


@dataclass(frozen=True, slots=True)
class Backends:
    """All backends by name, the default one first. host: beside which models can be loaded; None where all are
    servers."""

    by_name: Mapping[str, Backend]
    host: EngineHost | None = None

    @property
    def default(self) -> Backend:
        """What answers where no backend is named."""
        return next(iter(self.by_name.values()))

    @property
    def capacity(self) -> int:
        """How many completions can be written at the same time."""
        return sum(backend.lane.in_flight for backend in self.by_name.values())

    def find(self, name: str) -> Backend | None:
        """A backend by name, the default one where it is empty."""
        return self.by_name.get(name) if name else self.default


@dataclass(frozen=True, slots=True)
class Opening:
    """What backends are opened with. gate_of: by what the policy calls a backend. environ: where servers' keys are.

    slots, context, threads, waiting: of those that say nothing of it. clock: seconds that never go back. again_seconds:
    how often a server that was not reached is asked what it runs.
    """

    gate_of: Callable[[str], PolicyGate]
    environ: Mapping[str, str] = field(repr=False)
    cache: Path
    slots: int
    context: int
    threads: int
    waiting: int
    clock: Callable[[], float] = time.monotonic
    again_seconds: float = UNKNOWN_SECONDS


@asynccontextmanager
async def open_backends(entries: Sequence[BackendEntry], opening: Opening) -> AsyncIterator[Backends]:
    """Opens them, the first as the default one. A server need not be up yet, if another backend is there beside it.

    Raises Conflict for a key that is not set, Unavailable for a model that cannot be loaded or an only server that is
    down.
    """
    async with AsyncExitStack() as stack:
        backends = {entry.name: await _open(entry, opening, stack) for entry in entries}
        servers = [b.own for b in backends.values() if isinstance(b.own, ServerModel)]
        learn = _learn_quietly if len(entries) > 1 else ServerModel.learn
        await asyncio.gather(*map(learn, servers))
        await stack.enter_async_context(_learning(servers, opening.again_seconds))
        engines = [entry for entry in entries if isinstance(entry, EngineBackend)]
        yield Backends(backends, EngineHost(engines[0], opening) if engines else None)


@dataclass(frozen=True, slots=True)
class EngineHost:
    """The first engine, as other models are run beside it: with its slots and window, its gate, limits and prices."""

    entry: EngineBackend
    opening: Opening

    @property
    def slots(self) -> int:
        """How many completions share a model at a time."""
        return self.entry.slots or self.opening.slots

    @property
    def context(self) -> int:
        """The most tokens of prompt and completion together."""
        return self.entry.context or self.opening.context

    @property
    def waiting(self) -> int:
        """How many completions may wait."""
        return _waiting(self.entry, self.opening)

    def beside(self, model: Model) -> Backend:
        """A backend of another model: what stands before it, and what is counted of it, is its own."""
        in_flight = self.slots + _AT_THE_DOOR
        made = _backend(self.entry, model, self.opening, in_flight=in_flight, failing=(Unavailable,))
        # Models come and go: the metrics have one name for all of them.
        made.lane.name = f"{self.entry.name}+trained"
        return made


async def _open(entry: BackendEntry, opening: Opening, stack: AsyncExitStack) -> Backend:
    if isinstance(entry, ServerBackend):
        server = await stack.enter_async_context(_server(entry, opening))
        # A server that is asked too much is left alone for a while, as one that is down.
        return _backend(entry, server, opening, in_flight=entry.in_flight, failing=(Unavailable, Overloaded))
    slots = entry.slots or opening.slots
    engine = await stack.enter_async_context(
        open_engine_model(
            entry.model,
            cache=opening.cache,
            slots=slots,
            context=entry.context or opening.context,
            threads=entry.threads or opening.threads,
            waiting=_waiting(entry, opening),
        )
    )
    return _backend(entry, engine, opening, in_flight=slots + _AT_THE_DOOR, failing=(Unavailable,))


def _server(entry: ServerBackend, opening: Opening) -> AbstractAsyncContextManager[ServerModel]:
    return open_server(
        entry.url,
        model=entry.model,
        key=key_of(entry, opening.environ).get_secret_value(),
        window=entry.context or opening.context,
        timeout=entry.timeout,
        attempts=entry.attempts,
    )


def _waiting(entry: BackendEntry, opening: Opening) -> int:
    return opening.waiting if entry.waiting is None else entry.waiting


def _backend(
    entry: BackendEntry, own: Model, opening: Opening, *, in_flight: int, failing: tuple[type[Failure], ...]
) -> Backend:
    clock = opening.clock
    breaker = Breaker(clock, after=entry.rest_after, seconds=entry.rest_seconds)
    lane = Lane(
        entry.name,
        CallLimit(entry.calls_per_minute, clock),
        breaker,
        in_flight,
        _waiting(entry, opening),
    )
    url = entry.url if isinstance(entry, ServerBackend) else ""
    return Backend(
        entry.name,
        entry.kind,
        own,
        opening.gate_of(backend_of(url)),
        lane,
        entry.price_list,
        failing,
        clock,
        Meter(clock),
    )


@asynccontextmanager
async def _learning(servers: Sequence[ServerModel], again_seconds: float) -> AsyncIterator[None]:
    """Keeps asking the servers what they run: one may come up late, or be given other weights."""
    tasks = [asyncio.create_task(_keep_learning(server, again_seconds)) for server in servers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_learning(server: ServerModel, again_seconds: float) -> None:
    while True:
        await asyncio.sleep(KNOWN_SECONDS if server.is_up else again_seconds)
        await _learn_quietly(server)


async def _learn_quietly(server: ServerModel) -> None:
    before = server.is_up
    with suppress(Failure):
        await server.learn()
    if before and not server.is_up:
        log.warning("a model's server does not answer", server=server.host)


def told(backends: Backends) -> list[variants_pb2.Backend]:
    """How the backends do, as it travels."""
    return [_told(backend) for backend in backends.by_name.values()]


def _told(backend: Backend) -> variants_pb2.Backend:
    max_tier, meter = backend.gate.max_tier, backend.meter
    return variants_pb2.Backend(
        name=backend.name,
        kind=backend.kind,
        policy_name=backend.gate.backend,
        model=to_identity(backend.own.identity),
        max_tier=privacy_pb2.TIER_UNSPECIFIED if max_tier is None else privacy_pb2.Tier.ValueType(max_tier),
        input_price=int(backend.prices.input * 1_000_000),
        output_price=int(backend.prices.output * 1_000_000),
        calls_per_minute=backend.lane.limit.a_minute,
        state=backend.state,
        completions=meter.completions,
        failures=meter.failures,
        p50_ms=meter.quantile(0.5),
        p95_ms=meter.quantile(0.95),
    )
