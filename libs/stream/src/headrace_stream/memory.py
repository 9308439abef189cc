"""A ledger and a bus without servers, for unit tests of what stands on them. Nothing survives the process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from headrace.topics import Topic
from headrace_telemetry.tracing import inject
from opentelemetry.context import Context

from headrace_stream.envelope import Arrival, Delivery, Event, M


@dataclass(slots=True)
class MemoryUnit:
    """A transaction that only collects events."""

    events: list[Event[Any]] = field(default_factory=list)
    carried: dict[UUID, Mapping[str, str]] = field(default_factory=dict)

    def emit(self, *events: Event[Any]) -> None:
        """Has events published if the transaction ends without an error."""
        self.events.extend(events)

    def emit_here(self, event: Event[Any]) -> None:
        """As Unit.emit_here."""
        self.carried[event.event_id] = inject()
        self.events.append(event)


@dataclass(slots=True)
class MemoryLedger:
    """Remembers which events took effect, and what they caused."""

    received: set[tuple[str, UUID]] = field(default_factory=set)
    published: list[Event[Any]] = field(default_factory=list)
    carried: dict[UUID, Mapping[str, str]] = field(default_factory=dict)

    @asynccontextmanager
    async def once(self, delivery: Delivery[M], *, tenant: str = "") -> AsyncIterator[MemoryUnit | None]:
        """As Ledger.once."""
        identity = (delivery.arrival.topic, delivery.event_id)
        if identity in self.received:
            yield None
            return
        async with self.unit(tenant=tenant) as unit:
            yield unit
        self.received.add(identity)

    @asynccontextmanager
    async def together(
        self, deliveries: Sequence[Delivery[Any]], *, tenant: str = ""
    ) -> AsyncIterator[tuple[MemoryUnit, Sequence[Delivery[Any]]]]:
        """As Ledger.together."""
        first: dict[tuple[str, UUID], Delivery[Any]] = {}
        for delivery in deliveries:
            first.setdefault((delivery.arrival.topic, delivery.event_id), delivery)
        fresh = {identity: delivery for identity, delivery in first.items() if identity not in self.received}
        async with self.unit(tenant=tenant) as unit:
            yield unit, list(fresh.values())
        self.received |= fresh.keys()

    @asynccontextmanager
    async def unit(self, *, tenant: str = "") -> AsyncIterator[MemoryUnit]:  # noqa: ARG002 - one tenant is as good as another
        """As Ledger.unit."""
        unit = MemoryUnit()
        yield unit
        self.published.extend(unit.events)
        self.carried |= unit.carried

    async def has_received(self, delivery: Delivery[M]) -> bool:
        """As Ledger.has_received."""
        return (delivery.arrival.topic, delivery.event_id) in self.received


@dataclass(slots=True)
class MemoryBus:
    """A publisher that remembers what it was given."""

    published: list[Event[Any]] = field(default_factory=list)

    async def publish(self, *events: Event[Any]) -> None:
        """As Bus.publish."""
        self.published.extend(events)

    async def publish_soon(self, event: Event[Any]) -> None:
        """As Bus.publish_soon."""
        self.published.append(event)


def delivered(
    message: M,
    topic: Topic[M],
    *,
    service: str,
    event_id: UUID,
    key: str = "",
    headers: Mapping[str, str] | None = None,
    received_at: datetime = datetime(2026, 1, 1, tzinfo=UTC),
) -> Delivery[M]:
    """Makes a delivery as the bus would, for handing to a handler."""
    arrival = Arrival(
        service=service,
        topic=topic.name,
        partition=0,
        offset=0,
        key=key,
        headers=headers or {},
        event_id=event_id,
        received_at=received_at,
        published_at=received_at,
        attempt=1,
        context=Context(),
    )
    return Delivery(message, arrival)
