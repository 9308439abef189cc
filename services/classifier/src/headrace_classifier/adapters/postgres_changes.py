"""Changes of routing into the audit log, each once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace import topics
from headrace.inference.v1 import changes_pb2
from headrace.inference.v1.changes_pb2 import RoutingChanged
from headrace_runtime.errors import Rejected, Violation
from headrace_stream import Bus, Delivery, Event, Ledger
from headrace_telemetry.tracing import trace_id

from headrace_classifier.adapters.postgres_audit import PostgresAudit
from headrace_classifier.audit import Action
from headrace_classifier.changes import Change, entry_of

_ACTIONS: dict[int, Action] = {
    changes_pb2.ROUTING_CHANGE_PROMPT: "prompt.changed",
    changes_pb2.ROUTING_CHANGE_LABEL: "label.moved",
    changes_pb2.ROUTING_CHANGE_VARIANT: "variant.changed",
    changes_pb2.ROUTING_CHANGE_ROUTE: "route.changed",
    changes_pb2.ROUTING_CHANGE_KINDS: "kinds.changed",
}


@dataclass(frozen=True, slots=True)
class ChangeLog:
    """Records what inference says that somebody changed, under the policy that is in force."""

    ledger: Ledger
    audit: PostgresAudit
    policy_version: str
    now: Callable[[], datetime]

    def subscribe(self, bus: Bus) -> None:
        """Has every change recorded by one instance."""
        bus.subscribe(topics.ROUTING_CHANGED, self.on_change, in_flight=1)

    async def on_change(self, delivery: Delivery[RoutingChanged]) -> Sequence[Event[Any]]:
        """routing.changed → a row of the log. Raises Rejected for a change that has no name yet."""
        entry = entry_of(
            to_change(delivery.message), now=self.now(), policy_version=self.policy_version, trace_id=trace_id()
        )
        async with self.ledger.once(delivery) as unit:
            row = await self.audit.append(unit.connection, entry) if unit is not None else None
        await self.audit.seal(row)
        return ()


def to_change(message: RoutingChanged) -> Change:
    """Reads a change. Raises Rejected."""
    if (action := _ACTIONS.get(message.change)) is None:
        raise Rejected(Violation("change", "unknown_value", "This classifier does not know such a change."))
    return Change(
        action=action,
        tenant=message.tenant,
        name=message.name,
        version=message.version,
        previous=message.previous,
        label=message.label,
        role=message.role,
        changed_by=message.changed_by,
    )
