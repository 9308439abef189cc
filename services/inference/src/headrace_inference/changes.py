"""Changes of how queries are answered, as events that every instance follows and the audit log keeps."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp
from headrace import topics
from headrace.inference.v1.changes_pb2 import RoutingChange, RoutingChanged
from headrace_identity import Principal
from headrace_privacy import Tier
from headrace_stream import Event


def routing_changed(
    what: RoutingChange.ValueType,
    name: str,
    *,
    tenant: str,
    version: int,
    previous: int,
    by: Principal,
    at: datetime,
    change_id: UUID,
    label: str = "",
) -> Event[RoutingChanged]:
    """The event of a change: names and versions only. version: from now on, 0 where it was taken away."""
    stamp = Timestamp()
    stamp.FromDatetime(at)
    message = RoutingChanged(
        change_id=str(change_id),
        tenant=tenant,
        change=what,
        name=name,
        version=version,
        label=label,
        previous=previous,
        role=by.role,
        changed_by=by.subject,
        changed_at=stamp,
    )
    return Event(
        topic=topics.ROUTING_CHANGED,
        message=message,
        key=tenant,
        event_id=change_id,
        source="inference",
        correlation_id=str(change_id),
        causation_id="",
        tenant=tenant,
        tier=Tier.TIER_1,
    )
