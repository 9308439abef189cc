"""How the registry is put together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import grpc
from headrace_runtime.grpc_server import Servicer
from headrace_stream import Bus, Ledger

from headrace_trainer.running.ports import Loop, Registry
from headrace_trainer.settings import Settings


class OpenRegistry(Registry, Protocol):
    """The registry with what it serves."""

    @property
    def servicers(self) -> Sequence[Servicer]:
        """ModelService."""


@asynccontextmanager
async def open_registry(
    bus: Bus,
    ledger: Ledger,
    loop: Loop,
    settings: Settings,
    *,
    feedback: grpc.aio.Channel,
    inference: grpc.aio.Channel,
) -> AsyncIterator[OpenRegistry]:
    """Subscribes to what canaries are judged by, and watches them while the context is open."""
    raise NotImplementedError("the registry is being built")
    yield
