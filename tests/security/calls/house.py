"""A running Headrace as its callers see it: which service serves which method, and calls with any token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.security.methods import descriptors

#: How long one call may take, in seconds: an answer needs the model.
PATIENCE = 60.0
#: Calls at a time.
AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Outcome:
    """All that a caller learns. details: the rich status, serialised."""

    code: grpc.StatusCode
    words: str = ""
    details: bytes = b""
    responses: tuple[Message, ...] = ()
    seconds: float = 0.0


class House:
    """Calls every method that is served, wherever it is. `channels`: by the method's full name."""

    def __init__(self, channels: Mapping[str, grpc.aio.Channel]) -> None:
        self._channels = channels
        self._lanes = asyncio.Semaphore(AT_ONCE)

    @property
    def methods(self) -> list[str]:
        """Those that are served."""
        return sorted(self._channels)

    async def call(self, method: str, request: Message, token: str) -> Outcome:
        """Calls with the token; without any where it is empty."""
        if method not in self._channels:
            return Outcome(grpc.StatusCode.UNIMPLEMENTED, "nobody serves it")
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        async with self._lanes:
            began = time.perf_counter()
            call = self._begun(method, request, metadata)
            responses: list[Message] = []
            try:
                if descriptors()[method].server_streaming:
                    responses += [response async for response in call]
                else:
                    responses.append(await call)
            except grpc.aio.AioRpcError as error:
                return Outcome(error.code(), error.details() or "", _rich(error), (), time.perf_counter() - began)
            return Outcome(grpc.StatusCode.OK, "", b"", tuple(responses), time.perf_counter() - began)

    def _begun(self, method: str, request: Message, metadata: tuple[tuple[str, str], ...]) -> Any:
        descriptor, channel = descriptors()[method], self._channels[method]
        kind = channel.unary_stream if descriptor.server_streaming else channel.unary_unary
        response: Any = GetMessageClass(descriptor.output_type)
        made: Any = kind(f"/{method}", lambda message: message.SerializeToString(), response.FromString)
        return made(request, metadata=metadata, timeout=PATIENCE)


def _rich(error: grpc.aio.AioRpcError) -> bytes:
    found: Iterable[Any] = error.trailing_metadata() or ()
    return next((value for key, value in found if key == "grpc-status-details-bin"), b"")


@asynccontextmanager
async def open_house(addresses: Iterable[str]) -> AsyncIterator[House]:
    """Asks each server by reflection what it serves."""
    async with AsyncExitStack() as stack:
        channels: dict[str, grpc.aio.Channel] = {}
        for address in addresses:
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
            services = await _services_of(channel)
            channels |= {name: channel for name in descriptors() if name.partition("/")[0] in services}
        yield House(channels)


async def _services_of(channel: grpc.aio.Channel) -> set[str]:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)  # type: ignore[no-untyped-call]
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async for response in stub.ServerReflectionInfo(iter([request])):
        return {service.name for service in response.list_services_response.service}
    return set()
