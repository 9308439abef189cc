"""The Kafka edge of datasets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from headrace import topics
from headrace.privacy.v1.approvals_pb2 import GrantEnded
from headrace_runtime.errors import Rejected, Violation
from headrace_stream import Bus, Delivery, Event

from headrace_feedback.datasets.keeping import Library, ended_event


@dataclass(frozen=True, slots=True)
class DatasetConsumers:
    """Each event takes effect once."""

    library: Library

    def subscribe(self, bus: Bus) -> None:
        """Wires each topic."""
        bus.subscribe(topics.GRANT_ENDED, self.on_grant_ended)

    async def on_grant_ended(self, delivery: Delivery[GrantEnded]) -> Sequence[Event[Any]]:
        """Ends what stands on the grant."""
        message = delivery.message
        if not message.tenant or not message.grant_id:
            raise Rejected(Violation("grant_id", "missing", "Which grant of whose?"))
        ended_at = message.ended_at.ToDatetime(tzinfo=UTC) if message.HasField("ended_at") else delivery.received_at
        async with self.library.ledger.once(delivery, tenant=message.tenant) as unit:
            if unit is not None:
                books = self.library.books_on(unit)
                ended = await books.end_grant(message.tenant, message.grant_id, now=ended_at)
                unit.emit(*(ended_event(one, causation_id=str(delivery.event_id)) for one in ended))
        return ()
