"""Variants, as inference knows them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
from headrace.inference.v1.variants_pb2 import GetVariantRequest
from headrace.inference.v1.variants_pb2_grpc import VariantServiceStub
from headrace_runtime.errors import Conflict, NotFound, Unavailable
from headrace_runtime.grpc_client import open_neighbour

from headrace_feedback.interaction import Versioned
from headrace_feedback.running.ports import Variants
from headrace_feedback.settings import Settings

if TYPE_CHECKING:
    from headrace.inference.v1.variants_pb2_grpc import VariantServiceAsyncStub

CALL_SECONDS = 5.0


class RemoteVariants:
    """See ports.Variants."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: VariantServiceAsyncStub = VariantServiceStub(channel)

    async def resolve(self, tenant: str, variant: Versioned) -> Versioned:
        """See ports.Variants."""
        if variant.version and not variant.version.isdecimal():
            raise _no_such(variant)
        request = GetVariantRequest(tenant=tenant, name=variant.name, version=int(variant.version or 0))
        try:
            response = await self._stub.GetVariant(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                raise _no_such(variant) from None
            raise Unavailable("inference") from None
        return Versioned(response.variant.name, str(response.variant.version))


class NoInference:
    """Nobody said where inference is."""

    async def resolve(self, tenant: str, variant: Versioned) -> Versioned:
        """Raises Conflict."""
        del tenant, variant
        raise Conflict("HEADRACE_FEEDBACK_INFERENCE is not set: name inference, which knows the variants")


@asynccontextmanager
async def open_variants(settings: Settings) -> AsyncIterator[Variants]:
    """Opens inference that the settings name; without it, no run can be started."""
    if not settings.inference:
        yield NoInference()
        return
    async with open_neighbour(settings.inference, settings) as channel:
        yield RemoteVariants(channel)


def _no_such(variant: Versioned) -> NotFound:
    name = variant.name if variant.name.isascii() and variant.name.isprintable() else "…"
    return NotFound("variant", f"{name[:64]} {variant.version[:16]}".strip())
