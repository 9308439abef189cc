"""What became of models into the audit log, each step once; and to the erasures that wait for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from headrace import topics
from headrace.training.v1 import models_pb2
from headrace.training.v1.models_pb2 import ModelChanged
from headrace_privacy import Tier
from headrace_runtime.errors import Rejected, Violation
from headrace_stream import Bus, Delivery, Event, Ledger
from headrace_telemetry.tracing import trace_id

from headrace_classifier.adapters.postgres_audit import PostgresAudit
from headrace_classifier.audit import Action, Row
from headrace_classifier.coordinator import EVERYBODY, Coordinator
from headrace_classifier.model_changes import ModelChange, entry_of

_ACTIONS: dict[int, Action] = {
    models_pb2.MODEL_CHANGE_REGISTERED: "model.registered",
    models_pb2.MODEL_CHANGE_CANARY: "model.tried",
    models_pb2.MODEL_CHANGE_PROMOTED: "model.promoted",
    models_pb2.MODEL_CHANGE_ROLLED_BACK: "model.withdrawn",
    models_pb2.MODEL_CHANGE_RETIRED: "model.retired",
    models_pb2.MODEL_CHANGE_DELETED: "model.deleted",
    models_pb2.MODEL_CHANGE_CONDEMNED: "model.condemned",
}


@dataclass(frozen=True, slots=True)
class ModelLog:
    """Records what the trainer says became of models, under the policy that is in force."""

    ledger: Ledger
    audit: PostgresAudit
    coordinator: Coordinator
    policy_version: str
    now: Callable[[], datetime]

    def subscribe(self, bus: Bus) -> None:
        """Has every step recorded by one instance."""
        bus.subscribe(topics.MODEL_CHANGED, self.on_change, in_flight=1)

    async def on_change(self, delivery: Delivery[ModelChanged]) -> Sequence[Event[Any]]:
        """model.changed → a row of the log; what is deleted may complete an erasure. Raises Rejected for a step that
        has no name yet."""
        change = to_change(delivery.message, now=self.now())
        entry = entry_of(change, now=self.now(), policy_version=self.policy_version, trace_id=trace_id())
        rows: list[Row] = []
        async with self.ledger.once(delivery, tenant=EVERYBODY) as unit:
            if unit is not None:
                rows.append(await self.audit.append(unit.connection, entry))
                if change.action == "model.deleted":
                    rows += await self.coordinator.note_deleted(unit, change)
        for row in rows:
            await self.audit.seal(row)
        if len(rows) > 1:
            await self.coordinator.checkpoint()
        return ()


def to_change(message: ModelChanged, *, now: datetime) -> ModelChange:
    """Reads what became of a model. Raises Rejected."""
    model = message.model
    if (action := _ACTIONS.get(message.change)) is None:
        raise Rejected(Violation("change", "unknown_value", "This classifier does not know such a change."))
    if not model.tenant or not model.model:
        raise Rejected(Violation("model", "missing", "Which model of whose?"))
    return ModelChange(
        action=action,
        tenant=model.tenant,
        model=model.model,
        tier=Tier.of(model.tier),
        because=message.because,
        replaced_by=model.replaced_by,
        erasures=tuple(erasure.removeprefix("erasure ") for erasure in model.erasures),
        role=message.role,
        changed_by=message.changed_by,
        changed_at=message.changed_at.ToDatetime(tzinfo=UTC) if message.HasField("changed_at") else now,
    )
