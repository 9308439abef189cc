"""The part of the client that erases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from headrace.privacy.v1 import erasure_pb2
from headrace.privacy.v1.erasure_pb2 import ERASURE_STATE_CLOSED, Erasure, ErasureScope
from headrace.privacy.v1.erasure_pb2_grpc import ErasureServiceStub

from headrace_client.calls import Callee, Channels
from headrace_client.errors import TimedOut, Unavailable

if TYPE_CHECKING:
    from headrace.privacy.v1.erasure_pb2_grpc import ErasureServiceAsyncStub

_CALL_TIMEOUT = 30.0
#: Seconds that a whole erasure may take, and between two looks at where it stands.
ERASURE_TIMEOUT = 300.0
_LOOK_SECONDS = 0.25


class Erasing:
    """Methods of `headrace_client.Client`. Each raises the errors of `headrace_client.errors`."""

    _channels: Channels

    async def erase(self, scope: ErasureScope, *, reason: str = "", timeout: float = _CALL_TIMEOUT) -> Erasure:
        """Begins an erasure: its keys are destroyed when this returns. The same again, while it is under way, is that
        one. Raises NotFound for what was never there, or is erased."""
        callee, stub = self._erasures()
        request = erasure_pb2.EraseRequest(scope=scope, reason=reason)
        return (await callee.unary(stub.Erase, request, name="Erase", timeout=timeout)).erasure

    async def erasure(self, erasure_id: str, *, timeout: float = _CALL_TIMEOUT) -> Erasure:
        """Where an erasure stands; with its receipt once it is closed."""
        callee, stub = self._erasures()
        request = erasure_pb2.GetErasureRequest(erasure_id=erasure_id)
        return (await callee.unary(stub.GetErasure, request, name="GetErasure", timeout=timeout)).erasure

    async def erasures(self, *, tenant: str = "", timeout: float = _CALL_TIMEOUT) -> list[Erasure]:
        """Erasures, newest first, without their receipts."""
        callee, stub = self._erasures()
        request = erasure_pb2.ListErasuresRequest(tenant=tenant)
        return list((await callee.unary(stub.ListErasures, request, name="ListErasures", timeout=timeout)).erasures)

    async def follow_erasure(
        self, erasure_id: str, *, timeout: float = ERASURE_TIMEOUT
    ) -> AsyncGenerator[Erasure, None]:
        """Yields where an erasure stands whenever that changes, until it is closed. A service that is down for a moment
        is waited for. Raises TimedOut."""
        try:
            async with asyncio.timeout(timeout):
                async for erasure in self._looks(erasure_id):
                    yield erasure
                    if erasure.state == ERASURE_STATE_CLOSED:
                        return
        except TimeoutError:
            raise TimedOut(f"Erasure {erasure_id} goes on: see `headrace erase show {erasure_id}`.") from None

    async def _looks(self, erasure_id: str) -> AsyncGenerator[Erasure, None]:
        last = b""
        while True:
            try:
                erasure = await self.erasure(erasure_id)
            except Unavailable:
                await asyncio.sleep(_LOOK_SECONDS)
                continue
            if (seen := erasure.SerializeToString(deterministic=True)) != last:
                last = seen
                yield erasure
            await asyncio.sleep(_LOOK_SECONDS)

    def _erasures(self) -> tuple[Callee, ErasureServiceAsyncStub]:
        callee = self._channels.callee("classifier", "headrace.privacy.v1.ErasureService")
        return callee, ErasureServiceStub(callee.channel)
