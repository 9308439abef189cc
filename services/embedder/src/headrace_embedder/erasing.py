"""The embedder's part in an erasure. It has no tables: what it holds are vectors of texts that may come again, in
memory, which every instance drops as soon as the erasure is asked for; this one says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from headrace import topics
from headrace.privacy.v1.erasure_pb2 import ErasureApplied, ErasureRequested, ErasureVerified, ErasureVerifying
from headrace.topics import Topic
from headrace_stream import Bus, Delivery, Event
from headrace_stream.erasing import applied, to_reports, verified

VECTORS = "cache of vectors"


@dataclass(frozen=True, slots=True)
class VectorEraser:
    """`forget` drops the vectors."""

    forget: Callable[[], object]
    now: Callable[[], datetime]

    async def apply(self, topic: Topic[ErasureApplied], delivery: Delivery[ErasureRequested]) -> Sequence[Event[Any]]:
        """erasure.requested → erasure.applied. A replay makes the same event again."""
        self.forget()
        return [applied(topic, delivery, "embedder", to_reports({VECTORS: "dropped"}, {}), now=self.now())]

    async def verify(self, topic: Topic[ErasureVerified], delivery: Delivery[ErasureVerifying]) -> Sequence[Event[Any]]:
        """erasure.verifying → erasure.verified. What is there by now is of later texts."""
        return [verified(topic, delivery, "embedder", to_reports({VECTORS: "dropped"}, {}), now=self.now())]


def subscribe(bus: Bus, eraser: VectorEraser) -> None:
    """Wires the embedder's part."""
    bus.subscribe(topics.ERASURE_REQUESTED, partial(eraser.apply, topics.ERASURE_APPLIED))
    bus.subscribe(topics.ERASURE_VERIFYING, partial(eraser.verify, topics.ERASURE_VERIFIED))
