"""The gRPC edge. Who may call what is decided before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from grpc.aio import ServicerContext
from headrace.drift.v1 import drift_pb2, service_pb2
from headrace.drift.v1.service_pb2_grpc import DriftServiceServicer
from headrace_identity import Principal

from headrace_drift import handlers, translate
from headrace_drift.handlers import Office, Report
from headrace_drift.ports import LookRecord

Context = ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class DriftServicer(DriftServiceServicer):
    """Serves headrace.drift.v1.DriftService. `caller` says who calls."""

    office: Office
    caller: Callable[[], Principal]

    async def GetReport(self, request: service_pb2.GetReportRequest, context: Context) -> service_pb2.GetReportResponse:
        """Raises NoBaseline."""
        at = translate.from_timestamp(request, "at")
        report = await handlers.get_report(request.tenant, at, self.office)
        return _response(report, request.product, request.kind)

    async def ListAlerts(
        self, request: service_pb2.ListAlertsRequest, context: Context
    ) -> service_pb2.ListAlertsResponse:
        """Raises Rejected for a state that there is none of."""
        wanted = translate.read_state(request.state)
        alerts = map(translate.to_alert, await handlers.list_alerts(request.tenant, self.office))
        return service_pb2.ListAlertsResponse(alerts=[one for one in alerts if wanted in (0, one.state)])

    async def GetAlert(self, request: service_pb2.GetAlertRequest, context: Context) -> service_pb2.GetAlertResponse:
        """Raises Rejected, NotFound."""
        alert_id = translate.read_id(request.alert_id, "alert_id")
        found = await handlers.get_alert(request.tenant, alert_id, self.office)
        return service_pb2.GetAlertResponse(alert=translate.to_alert(found))

    async def SetBaseline(
        self, request: service_pb2.SetBaselineRequest, context: Context
    ) -> service_pb2.SetBaselineResponse:
        """Raises Rejected, NotFound, Conflict, Unavailable."""
        wish = translate.read_wish(request)
        baseline = await handlers.set_baseline(wish, self.office, by=self.caller().subject)
        return service_pb2.SetBaselineResponse(baseline=translate.to_baseline(baseline))

    async def GetBaseline(
        self, request: service_pb2.GetBaselineRequest, context: Context
    ) -> service_pb2.GetBaselineResponse:
        """Raises NotFound."""
        baseline = await handlers.get_baseline(request.tenant, self.office)
        return service_pb2.GetBaselineResponse(baseline=translate.to_baseline(baseline))


def _response(report: Report, product: str, kind: str) -> service_pb2.GetReportResponse:
    response = service_pb2.GetReportResponse(
        baseline=translate.to_baseline(report.baseline),
        alerts=map(translate.to_alert, report.alerts),
        late=report.late,
        history=_history(reversed(report.looks), product, kind),
    )
    if report.looks:
        newest = report.looks[0]
        response.window_from.FromDatetime(newest.begins)
        response.window_until.FromDatetime(newest.ends)
        response.readings.extend(_of_slice(translate.from_look(newest), product, kind))
    return response


def _of_slice(readings: Sequence[drift_pb2.Reading], product: str, kind: str) -> list[drift_pb2.Reading]:
    """Those of the product and the kind, where they are named; all where neither is."""
    product = _told_apart(readings, product)
    return [one for one in readings if product in ("", one.slice.product) and kind in ("", one.slice.kind)]


def _told_apart(readings: Sequence[drift_pb2.Reading], product: str) -> str:
    """The product as slices have it: where there is only one, it is the whole."""
    return product if any(one.slice.product for one in readings) else ""


def _history(looks: Iterable[LookRecord], product: str, kind: str) -> Iterator[service_pb2.Point]:
    """One slice's readings over time: the whole's where none is named."""
    for look in looks:
        readings = translate.from_look(look)
        wanted = (_told_apart(readings, product), kind)
        for reading in readings:
            if (reading.slice.product, reading.slice.kind) == wanted:
                yield service_pb2.Point(at=translate.to_timestamp(look.ends), reading=reading)
