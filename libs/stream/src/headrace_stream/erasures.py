"""What every process does at once when somebody's erasure is asked for: it lets go of what it holds of them."""

from __future__ import annotations

from collections.abc import Callable

from headrace import topics
from headrace.privacy.v1.erasure_pb2 import ErasureRequested

from headrace_stream.kafka import Bus


def forget_erased(bus: Bus, *forget: Callable[[], None]) -> None:
    """Has each `forget` called at every erasure, in every instance: keys that are held, and caches. None is told whose:
    what is dropped of others is fetched again."""

    async def on_request(_: ErasureRequested) -> None:
        for each in forget:
            each()

    bus.watch(topics.ERASURE_REQUESTED, on_request)
