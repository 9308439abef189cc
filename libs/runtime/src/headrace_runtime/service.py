"""The life of a service's process, from its settings to its last drained event."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import structlog
import uvloop
from headrace_telemetry.setup import start_logging, start_telemetry, stop_telemetry

from headrace_runtime.admission import open_admission
from headrace_runtime.denials import DenialBook, Send, open_sender, reporting
from headrace_runtime.errors import Failure
from headrace_runtime.grpc_server import Servicer, open_grpc_server
from headrace_runtime.settings import ServiceSettings, load
from headrace_runtime.tls import certificate_of

log = structlog.get_logger()
S = TypeVar("S", bound=ServiceSettings)

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

#: How often readiness is looked at, in seconds.
READINESS_INTERVAL = 0.5


class Consumer(Protocol):
    """What takes events off the bus for a service."""

    async def start(self) -> None:
        """Begins to take events."""

    async def stop(self, drain_seconds: float) -> None:
        """Takes no more events, and finishes those under way."""

    def ready(self) -> bool:
        """Says whether events are being taken."""


@dataclass(frozen=True, slots=True)
class Service:
    """What a service is made of, once its parts are open."""

    bus: Consumer
    servicers: Sequence[Servicer] = field(default=())
    #: What takes its edge's refusals into the audit log; None tells the classifier.
    record_denials: Send | None = None


Opener = Callable[[S], AbstractAsyncContextManager[Service]]


def run(name: str, settings_type: type[S], open_app: Opener[S]) -> None:
    """Runs a service until SIGTERM or SIGINT; ends the process with 0, or with 1 and the reason."""
    settings = load(settings_type)
    start_logging(name)
    start_telemetry(name, instance=f"{socket.gethostname()}-{os.getpid()}", collectors=[settings.traces])
    try:
        uvloop.run(_live(settings, open_app))
    except Failure as failure:
        log.error("cannot start", reason=str(failure))
        sys.exit(1)
    finally:
        stop_telemetry()


async def _live(settings: S, open_app: Opener[S]) -> None:
    stopping = _on_signals()
    async with contextlib.AsyncExitStack() as stack:
        certificate = certificate_of(settings)
        denials = DenialBook()
        admission = await stack.enter_async_context(open_admission(settings, denials=denials))
        service = await stack.enter_async_context(open_app(settings))
        send = service.record_denials
        if send is None:
            send = await stack.enter_async_context(open_sender(settings))
        await stack.enter_async_context(reporting(denials, send))
        server = await stack.enter_async_context(
            open_grpc_server(
                settings.listen,
                service.servicers,
                drain_seconds=settings.drain_seconds,
                admission=admission,
                certificate=certificate,
            )
        )
        _warn_of_plain_tokens(settings)
        await service.bus.start()
        stack.push_async_callback(service.bus.stop, settings.drain_seconds)
        log.info("started", port=server.port)
        await _report_readiness(service, server.set_serving, server.set_not_serving, until=stopping)
        log.info("stopping")


def _warn_of_plain_tokens(settings: ServiceSettings) -> None:
    """A token that travels in the clear can be taken and used by whoever sees it pass."""
    host = settings.listen.rpartition(":")[0].strip("[]")
    if settings.tls_certificate is None and host not in _LOOPBACK:
        log.warning("tokens travel in the clear", listen=settings.listen, mend="set tls_certificate and tls_key")


def _on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


async def _report_readiness(
    service: Service,
    set_serving: Callable[[], Awaitable[None]],
    set_not_serving: Callable[[], Awaitable[None]],
    *,
    until: asyncio.Event,
) -> None:
    was_ready = False
    while not until.is_set():
        is_ready = service.bus.ready()
        if is_ready != was_ready:
            await (set_serving() if is_ready else set_not_serving())
            log.info("ready" if is_ready else "not ready")
        was_ready = is_ready
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READINESS_INTERVAL):
                await until.wait()
