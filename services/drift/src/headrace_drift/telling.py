"""What is told of alerts, on the bus: measures and ids, no words. In the trace of the first query that drifted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from headrace import topics
from headrace.drift.v1 import drift_pb2
from headrace_privacy import Tier
from headrace_stream import Event
from headrace_stream.envelope import derived_id
from headrace_telemetry.metrics import up_down_counter
from headrace_telemetry.tracing import extract, link_to, span
from opentelemetry.context import Context

from headrace_drift.ports import AlertRecord, Unit
from headrace_drift.translate import to_alert, without_words

SERVICE = "drift"


def tell_opened(unit: Unit, stored: AlertRecord, traces: Mapping[str, str]) -> None:
    """Tells that an alert holds. traces: W3C's traceparent of queries by id, as far as it is known."""
    first = min(stored.samples, key=lambda sample: sample.asked_at, default=None)
    ordered = sorted(stored.samples, key=lambda sample: sample is not first)
    with _drift_span([traces[sample.query_id] for sample in ordered if traces.get(sample.query_id)]):
        unit.emit_here(_event(to_alert(stored), stored))
    up_down_counter("headrace.drift.alerts").add(1)


def tell_closed(unit: Unit, stored: AlertRecord) -> None:
    """Tells that it holds no more."""
    with _drift_span([]):
        unit.emit_here(_event(to_alert(stored), stored))
    up_down_counter("headrace.drift.alerts").add(-1)


@contextmanager
def _drift_span(traces: Sequence[str]) -> Iterator[None]:
    """Opens a span in the first of these traces, linked to the others; in a trace of its own where there is none."""
    contexts = [extract({"traceparent": trace}) for trace in traces]
    parent = contexts[0] if contexts else Context()
    with span("detect drift", parent=parent, links=[link for other in contexts[1:] for link in link_to(other)]):
        yield


def _event(alert: drift_pb2.Alert, stored: AlertRecord) -> Event[drift_pb2.DriftDetected]:
    tenant = alert.slice.tenant
    return Event(
        topic=topics.DRIFT_DETECTED,
        message=drift_pb2.DriftDetected(alert=without_words(alert)),
        key=tenant,
        event_id=derived_id("drift", tenant, alert.alert_id, drift_pb2.AlertState.Name(alert.state)),
        source=SERVICE,
        correlation_id=alert.alert_id,
        causation_id=alert.alert_id,
        tenant=tenant,
        tier=Tier(stored.tier),
    )
