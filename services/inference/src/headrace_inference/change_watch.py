"""What every instance does at the word of a change: read again what it holds of that tenant."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from headrace.inference.v1.changes_pb2 import RoutingChanged


@dataclass(frozen=True, slots=True)
class Changes:
    """followers: what is told of a tenant that something of its own has changed. In order: variants before routes."""

    followers: Sequence[Callable[[str], Awaitable[object]]]

    async def on_change(self, message: RoutingChanged) -> None:
        """routing.changed → what is held of the tenant is read anew. Raises nothing for a database that is down."""
        for follow in self.followers:
            await follow(message.tenant)
