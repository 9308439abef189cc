"""Calling another service: one channel with the caller's trace and credentials in every call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from headrace_identity import Credentials, OwnToken, PrivateKey, TokenMaker, UnusableKey, read_private_key
from headrace_identity.credentials import AUTHORIZATION
from headrace_telemetry.tracing import inject, span
from opentelemetry.trace import SpanKind

from headrace_runtime.errors import Conflict
from headrace_runtime.limits import MAX_MESSAGE_BYTES
from headrace_runtime.settings import ServiceSettings, service_name, variable
from headrace_runtime.tls import read_pem


class _UnaryTracing(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(
        self,
        continuation: Callable[..., Awaitable[Any]],
        client_call_details: Any,
        request: Any,
    ) -> Any:
        method = _name(client_call_details.method)
        with span(method, kind=SpanKind.CLIENT, attributes={"rpc.system.name": "grpc", "rpc.method": method}):
            call = await continuation(_with_trace(client_call_details), request)
            await call.wait_for_connection()
            await call
            return call


class _StreamTracing(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(
        self,
        continuation: Callable[..., Awaitable[Any]],
        client_call_details: Any,
        request: Any,
    ) -> Any:
        return await continuation(_with_trace(client_call_details), request)


class _UnaryCredentials(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def intercept_unary_unary(
        self,
        continuation: Callable[..., Awaitable[Any]],
        client_call_details: Any,
        request: Any,
    ) -> Any:
        return await continuation(_with_token(client_call_details, self._credentials, request), request)


class _StreamCredentials(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def intercept_unary_stream(
        self,
        continuation: Callable[..., Awaitable[Any]],
        client_call_details: Any,
        request: Any,
    ) -> Any:
        return await continuation(_with_token(client_call_details, self._credentials, request), request)


def _name(method: str | bytes) -> str:
    return (method.decode() if isinstance(method, bytes) else method).lstrip("/")


def _with_trace(details: Any) -> Any:
    return _with(details, inject())


def _with_token(details: Any, credentials: Credentials, request: Any) -> Any:
    return _with(details, {AUTHORIZATION: f"Bearer {credentials.token(_name(details.method), request)}"})


def _with(details: Any, headers: Mapping[str, str]) -> Any:
    metadata = grpc.aio.Metadata(*(details.metadata or ()), *headers.items())
    return details._replace(metadata=metadata)


@asynccontextmanager
async def open_channel(
    address: str, credentials: Credentials | None = None, *, authority: Path | None = None
) -> AsyncIterator[grpc.aio.Channel]:
    """Opens a channel to host:port that carries the caller's trace, and a token where credentials are given.

    Several instances are "host:port,host:port". authority: the PEM file that the server's certificate is verified with;
    without it the connection is not encrypted.
    """
    options = {
        "options": [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ],
        "interceptors": _interceptors(credentials),
    }
    target = f"ipv4:{address}" if "," in address else address
    async with _channel(target, authority, options) as channel:
        yield channel


def _channel(target: str, authority: Path | None, options: dict[str, Any]) -> grpc.aio.Channel:
    if authority is None:
        return grpc.aio.insecure_channel(target, **options)
    return grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(read_pem(authority)), **options)


def _interceptors(credentials: Credentials | None) -> list[grpc.aio.ClientInterceptor]:
    return [_UnaryTracing(), _StreamTracing(), *(showing(credentials) if credentials else ())]


def showing(credentials: Credentials) -> list[grpc.aio.ClientInterceptor]:
    """Returns what has a channel show the credentials with every call."""
    return [_UnaryCredentials(credentials), _StreamCredentials(credentials)]


def own_key(settings: ServiceSettings) -> PrivateKey:
    """Returns a service's own private key. Raises Conflict when there is none to use."""
    if settings.service_key is None:
        raise Conflict(f"{variable(settings, 'service_key')} is not set: name the service's own private key")
    try:
        return read_private_key(settings.service_key)
    except UnusableKey as error:
        raise Conflict(str(error)) from error


def own_credentials(settings: ServiceSettings) -> Credentials:
    """Returns what a service shows others: tokens signed with its own key. Raises Conflict without a key to use."""
    maker = TokenMaker(own_key(settings), issuer=settings.issuer, audience=settings.audience)
    return OwnToken(maker, f"service:{service_name(settings)}")


@asynccontextmanager
async def open_neighbour(address: str, settings: ServiceSettings) -> AsyncIterator[grpc.aio.Channel]:
    """Opens a channel to another service, in the name of the one whose settings these are. Raises Conflict."""
    async with open_channel(address, own_credentials(settings), authority=settings.tls_authority) as channel:
        yield channel
