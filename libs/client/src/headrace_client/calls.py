"""One gRPC call: a deadline, the caller's trace and token, and errors of our own."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, aclosing, contextmanager
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import TypeVar

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc.aio import AioRpcError, Channel, Metadata, UnaryStreamMultiCallable, UnaryUnaryMultiCallable
from grpc_status import rpc_status
from headrace_identity import Credentials
from headrace_identity.credentials import AUTHORIZATION
from opentelemetry.trace import SpanKind

from headrace_client.endpoints import Endpoints
from headrace_client.errors import (
    Conflict,
    DeadLettered,
    Denied,
    Faulty,
    HeadraceError,
    NotConfigured,
    NotFound,
    Overloaded,
    Refused,
    TimedOut,
    Unavailable,
    Unreachable,
    Violation,
)
from headrace_client.tracing import outgoing_span

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)

#: A document of 4 MiB and its fields fit; gRPC's own limit for what is received is 4 MiB.
_OPTIONS = [("grpc.max_receive_message_length", 16 * 1024 * 1024), ("grpc.max_send_message_length", 16 * 1024 * 1024)]

#: What gRPC itself writes when the connection, not the service, is the trouble.
_CONNECTION_TROUBLE = (
    "failed to connect",
    "connection",
    "socket closed",
    "goaway",
    "recvmsg",
    "dns resolution",
    "stream",
)


class Channels:
    """One channel for each address, opened at the first call."""

    def __init__(self, endpoints: Endpoints, credentials: Credentials | None = None) -> None:
        self._endpoints = endpoints
        self._credentials = credentials
        self._open: dict[str, Channel] = {}

    def callee(self, name: str, full_name: str) -> Callee:
        """The service of that short and full name, or NotConfigured."""
        address = self._endpoints.service(name)
        if address not in self._open:
            self._open[address] = _channel(_target(address), self._endpoints.authority)
        channel = self._open[address]
        return Callee(name, full_name, address=address, channel=channel, credentials=self._credentials)

    async def close(self) -> None:
        """Closes every channel."""
        for channel in self._open.values():
            await channel.close()


def _channel(target: str, authority: str) -> Channel:
    if not authority:
        return grpc.aio.insecure_channel(target, options=_OPTIONS)
    try:
        roots = Path(authority).read_bytes()
    except OSError as error:
        raise NotConfigured(f"The authority {authority} cannot be read ({error.strerror}).") from error
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(roots), options=_OPTIONS)


def _target(address: str) -> str:
    """Several instances are tried in turn by gRPC when they are numeric addresses of one list."""
    return f"ipv4:{address}" if "," in address else address


@dataclass(frozen=True, slots=True)
class Callee:
    """The service that is called, by its short and its full protobuf name."""

    name: str
    full_name: str
    _: KW_ONLY
    address: str
    channel: Channel
    credentials: Credentials | None = None

    async def unary(
        self, method: UnaryUnaryMultiCallable[Request, Response], request: Request, *, name: str, timeout: float
    ) -> Response:
        """Calls `method` and gives its response, or raises one of ours."""
        with self._span(name) as headers, self._translated():
            return await method(request, timeout=timeout, metadata=self._metadata(name, request, headers))

    async def stream(
        self, method: UnaryStreamMultiCallable[Request, Response], request: Request, *, name: str, timeout: float
    ) -> AsyncGenerator[Response, None]:
        """Calls `method` and yields its responses, or raises one of ours. Leaving early cancels the call."""
        with self._span(name) as headers, self._translated():
            call = method(request, timeout=timeout, metadata=self._metadata(name, request, headers))
            try:
                async for response in call:
                    yield response
            finally:
                call.cancel()

    async def follow(
        self, method: UnaryStreamMultiCallable[Request, Response], request: Request, *, name: str, timeout: float
    ) -> AsyncGenerator[Response, None]:
        """As stream, for what may be watched again at any time: no server holds one call for long, so that a forgotten
        client does not hold it for ever, and what is watched may take hours. Raises TimedOut after `timeout`
        seconds."""
        until = time.monotonic() + timeout
        while True:
            try:
                async with aclosing(self.stream(method, request, name=name, timeout=until - time.monotonic())) as seen:
                    async for response in seen:
                        yield response
            except TimedOut:
                if time.monotonic() >= until:
                    raise
            else:
                return

    def _metadata(self, name: str, request: Message, headers: Mapping[str, str]) -> Metadata:
        if self.credentials is None:
            return Metadata(*headers.items())
        token = self.credentials.token(f"{self.full_name}/{name}", request)
        return Metadata((AUTHORIZATION, f"Bearer {token}"), *headers.items())

    def _span(self, name: str) -> AbstractContextManager[dict[str, str]]:
        attributes = {
            "rpc.system.name": "grpc",
            "rpc.method": f"{self.full_name}/{name}",
            "server.address": self.address,
        }
        return outgoing_span(f"{self.full_name}/{name}", kind=SpanKind.CLIENT, attributes=attributes)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except AioRpcError as error:
            raise translate(error, service=self.name, address=self.address) from error


def translate(error: AioRpcError, *, service: str, address: str) -> HeadraceError:
    """The error of ours that a gRPC status stands for."""
    words = error.details() or error.code().name
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return _away(words, service=service, address=address)
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
        violations = _violations(error)
        return Refused(f"{service} refused the request:{'' if violations else f' {words}'}", *violations)
    make = _KINDS.get(error.code(), _faulty)
    return make(service, words)


def _away(words: str, *, service: str, address: str) -> HeadraceError:
    if any(sign in words.lower() for sign in _CONNECTION_TROUBLE) or words in ("UNAVAILABLE", "CANCELLED"):
        return Unreachable(service, address)
    return Unavailable(f"{service} cannot work now: {words}. Try again in a moment.")


def _violations(error: AioRpcError) -> list[Violation]:
    """The field violations in google.rpc.BadRequest, where the server sent them."""
    status = rpc_status.from_call(error)
    found = []
    for detail in status.details if status is not None else ():
        bad = error_details_pb2.BadRequest()
        if detail.Unpack(bad):
            found += [Violation(v.field, v.description) for v in bad.field_violations]
    return found


def _faulty(service: str, words: str) -> HeadraceError:
    return Faulty(f"{service} failed: {words}. This is a fault in Headrace; the service's log has more.")


_KINDS: dict[grpc.StatusCode, Callable[[str, str], HeadraceError]] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: lambda s, _: TimedOut(
        f"{s} did not finish in time. Allow it more with --timeout."
    ),
    grpc.StatusCode.RESOURCE_EXHAUSTED: lambda s, w: Overloaded(f"{s} has too much to do: {w}. Try again in a moment."),
    grpc.StatusCode.NOT_FOUND: lambda s, w: NotFound(f"{s} answers: {w}."),
    grpc.StatusCode.PERMISSION_DENIED: lambda _, w: Denied(f"The policy forbids it: {w}."),
    grpc.StatusCode.UNAUTHENTICATED: lambda s, w: Denied(
        f"{s} does not know the caller: {w}. Set HEADRACE_TOKEN, or HEADRACE_TOKEN_FILE, to a token that it believes."
    ),
    grpc.StatusCode.FAILED_PRECONDITION: lambda s, w: Conflict(f"{s} cannot do that: {w}."),
    grpc.StatusCode.ABORTED: lambda _, w: DeadLettered(f"A service could not handle it: {w}."),
}
