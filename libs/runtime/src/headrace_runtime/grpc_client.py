"""Calling another service: one channel with the caller's trace in every call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from headrace_telemetry.tracing import inject, span
from opentelemetry.trace import SpanKind

from headrace_runtime.grpc_server import MAX_MESSAGE_BYTES


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


def _name(method: str | bytes) -> str:
    return (method.decode() if isinstance(method, bytes) else method).lstrip("/")


def _with_trace(details: Any) -> Any:
    metadata = grpc.aio.Metadata(*(details.metadata or ()), *inject().items())
    return details._replace(metadata=metadata)


@asynccontextmanager
async def open_channel(address: str) -> AsyncIterator[grpc.aio.Channel]:
    """Opens a channel to host:port that carries the caller's trace."""
    limits = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ]
    async with grpc.aio.insecure_channel(
        address, options=limits, interceptors=[_UnaryTracing(), _StreamTracing()]
    ) as channel:
        yield channel
