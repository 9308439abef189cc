"""What is said of a model that came to another state: model.changed, in the trace of the run that made it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from google.protobuf.timestamp_pb2 import Timestamp
from headrace import topics
from headrace.training.v1 import models_pb2
from headrace_stream import Event
from headrace_stream.envelope import derived_id
from headrace_telemetry.tracing import extract, span

from headrace_trainer.registry.models import Change, Model, State
from headrace_trainer.registry.translate import to_model
from headrace_trainer.running.runs import Person

_VERBS = {
    Change.REGISTERED: "register",
    Change.CANARY: "canary",
    Change.PROMOTED: "promote",
    Change.ROLLED_BACK: "roll back",
    Change.RETIRED: "retire",
    Change.DELETED: "delete",
    Change.CONDEMNED: "condemn",
}


class Outgoing(Protocol):
    """Where events leave."""

    def emit_here(self, event: Event[models_pb2.ModelChanged]) -> None:
        """As headrace_stream.Unit.emit_here."""


def tell(
    unit: Outgoing, model: Model, change: Change, *, before: State, because: str, by: Person, now: datetime
) -> None:
    """Emits the event, with a short span in the model's own trace."""
    context = extract({"traceparent": model.traceparent})
    with span(f"{_VERBS[change]} {model.model}", parent=context, attributes={"headrace.tenant": model.tenant}):
        unit.emit_here(changed(model, change, before=before, because=because, by=by, now=now))


def changed(
    model: Model, change: Change, *, before: State, because: str, by: Person, now: datetime
) -> Event[models_pb2.ModelChanged]:
    """Makes the event. Its id is made of what it tells, so the same step told again is the same event."""
    event_id = derived_id("model.changed", model.tenant, model.model, int(change), now.isoformat())
    stamp = Timestamp()
    stamp.FromDatetime(now)
    told = to_model(model)
    del told.gate.lines[:]
    message = models_pb2.ModelChanged(
        change_id=str(event_id),
        change=models_pb2.ModelChange.ValueType(change),
        model=told,
        before=models_pb2.ModelState.ValueType(before),
        because=because,
        role=by.role,
        changed_by=by.subject,
        changed_at=stamp,
    )
    return Event(
        topic=topics.MODEL_CHANGED,
        message=message,
        key=model.tenant,
        event_id=event_id,
        source="trainer",
        correlation_id=model.model,
        causation_id=str(model.run_id),
        tenant=model.tenant,
        tier=model.tier,
    )
