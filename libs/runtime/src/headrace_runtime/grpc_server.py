"""The gRPC server of a service: admission, spans, statuses, deadlines, health and reflection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection
from headrace_identity.principal import enter
from headrace_privacy import Erased
from headrace_telemetry.tracing import describe, extract, fail, span, trace_id
from opentelemetry.trace import Span, SpanKind

from headrace_runtime.admission import Admission
from headrace_runtime.errors import Conflict, Failure, NotFound, TooLate, place_of
from headrace_runtime.grpc_errors import internal_status, status_of
from headrace_runtime.limits import MAX_MESSAGE_BYTES
from headrace_runtime.tls import Certificate

log = structlog.get_logger()

# A call without a deadline of its own gets this one: a forgotten client must not hold a stream for ever.
DEFAULT_DEADLINE_SECONDS = 600.0

Adder = Callable[[Any, grpc.aio.Server], None]
Admit = Callable[[str, Any, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Servicer:
    """One gRPC service: what registers it, what serves it, its full name, and whether it is called without a token."""

    add: Adder
    servicer: object
    name: str
    is_open: bool = False


class _Edge(grpc.aio.ServerInterceptor):
    """Every call passes here: it is admitted, gets a span and a deadline, and leaves with a proper status."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method.lstrip("/")
        if handler is None or self._is_servers_own(method):
            return handler
        if handler.request_streaming:
            # Nobody of ours streams requests; what did would pass by the door.
            return None
        admit = _open if self._admission.is_open(method) else partial(_admitted, self._admission)
        if handler.response_streaming:
            return _replace(handler, unary_stream=_streaming(method, handler.unary_stream, admit))
        return _replace(handler, unary_unary=_unary(method, handler.unary_unary, admit))

    def _is_servers_own(self, method: str) -> bool:
        return method.startswith(("grpc.health.", "grpc.reflection.")) and self._admission.is_open(method)


async def _open(method: str, request: Any, context: Any) -> None:
    """Lets anybody in."""


async def _admitted(admission: Admission, method: str, request: Any, context: Any) -> None:
    """Lets in who may, and makes them the current principal for the rest of the call."""
    enter(await admission.admit(method, request, _metadata(context)))


def _replace(handler: Any, **behaviour: Any) -> Any:
    make = grpc.unary_stream_rpc_method_handler if "unary_stream" in behaviour else grpc.unary_unary_rpc_method_handler
    (function,) = behaviour.values()
    return make(function, handler.request_deserializer, handler.response_serializer)


def _unary(
    method: str, call: Callable[[Any, Any], Awaitable[Any]], admit: Admit
) -> Callable[[Any, Any], Awaitable[Any]]:
    async def behaviour(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        with _server_span(method, context) as current:
            try:
                async with asyncio.timeout(_seconds_left(context)):
                    await admit(method, request, context)
                    return await call(request, context)
            except Exception as error:  # noqa: BLE001 - the one edge where a bug becomes INTERNAL without its text
                status = _settle(current, error)
        return await context.abort_with_status(status)

    return behaviour


def _streaming(
    method: str, call: Callable[[Any, Any], AsyncIterator[Any]], admit: Admit
) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def behaviour(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        with _server_span(method, context) as current:
            try:
                async with asyncio.timeout(_seconds_left(context)):
                    await admit(method, request, context)
                    async for response in call(request, context):
                        yield response
                    return
            except Exception as error:  # noqa: BLE001 - the one edge where a bug becomes INTERNAL without its text
                status = _settle(current, error)
        await context.abort_with_status(status)

    return behaviour


@contextmanager
def _server_span(method: str, context: grpc.aio.ServicerContext[Any, Any]) -> Iterator[Span]:
    headers = {key: value for key, value in _metadata(context) if isinstance(value, str)}
    with span(method, kind=SpanKind.SERVER, parent=extract(headers)) as current:
        describe(current, {"rpc.system.name": "grpc", "rpc.method": method, "rpc.status_code": "OK"})
        yield current


def _metadata(context: Any) -> Iterable[tuple[str, str | bytes]]:
    return context.invocation_metadata() or ()


def _seconds_left(context: Any) -> float:
    left: float | None = context.time_remaining()
    return DEFAULT_DEADLINE_SECONDS if left is None else min(left, DEFAULT_DEADLINE_SECONDS)


def _settle(current: Span, error: Exception) -> grpc.Status:
    """Marks the call's span as failed, and returns the status that the client gets.

    The call is aborted outside its span: grpc aborts by an exception, which the span would take for the failure.
    """
    failure = _expected(error)
    if isinstance(failure, Failure):
        status = status_of(failure)
    else:
        log.error("call failed", error=type(error).__name__, at=place_of(error))
        status = internal_status(trace_id())
    fail(current, type(failure).__name__)
    describe(current, {"rpc.status_code": status.code.name})
    return status


def _expected(error: Exception) -> Exception:
    """Returns the failure of ours that an error stands for; the error itself where it is a bug, or one already."""
    match error:
        case TimeoutError():
            return TooLate("the call's deadline passed")
        case Erased():
            return NotFound("record", "it is erased")
        case _:
            return error


@dataclass(frozen=True, slots=True)
class GrpcServer:
    """A serving gRPC server."""

    port: int
    health: HealthServicer
    names: tuple[str, ...]

    async def set_serving(self) -> None:
        """Tells health checks that calls are welcome."""
        await self._set(health_pb2.HealthCheckResponse.SERVING)

    async def set_not_serving(self) -> None:
        """Tells health checks that no more calls are welcome."""
        await self._set(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def _set(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in ("", *self.names):
            await self.health.set(name, status)


def _bind(server: grpc.aio.Server, listen: str, certificate: Certificate | None) -> int:
    try:
        if certificate is None:
            return server.add_insecure_port(listen)
        return server.add_secure_port(listen, grpc.ssl_server_credentials([(certificate.key, certificate.chain)]))
    except RuntimeError:
        raise Conflict(f"cannot listen at {listen}: the address is taken, or not this machine's") from None


@asynccontextmanager
async def open_grpc_server(
    listen: str,
    servicers: Sequence[Servicer],
    *,
    drain_seconds: float,
    admission: Admission,
    certificate: Certificate | None = None,
) -> AsyncIterator[GrpcServer]:
    """Serves the servicers at host:port, with health and reflection, and drains calls under way at the end."""
    limits = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ]
    edge = _Edge(admission.opening(servicer.name for servicer in servicers if servicer.is_open))
    server = grpc.aio.server(interceptors=[edge], options=[*limits, ("grpc.so_reuseport", 0)])
    health = HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    for servicer in servicers:
        servicer.add(servicer.servicer, server)
    names = tuple(servicer.name for servicer in servicers)
    health_name = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
    reflection.enable_server_reflection((*names, health_name, reflection.SERVICE_NAME), server)
    port = _bind(server, listen, certificate)
    serving = GrpcServer(port, health, names)
    await serving.set_not_serving()
    await server.start()
    try:
        yield serving
    finally:
        await serving.set_not_serving()
        await server.stop(drain_seconds)
