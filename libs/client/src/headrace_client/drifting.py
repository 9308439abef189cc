"""The part of the client that asks how the traffic drifts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headrace.drift.v1 import drift_pb2, service_pb2
from headrace.drift.v1.service_pb2_grpc import DriftServiceStub

from headrace_client.calls import Callee, Channels

if TYPE_CHECKING:
    from datetime import datetime

    from headrace.drift.v1.service_pb2_grpc import DriftServiceAsyncStub

_CALL_TIMEOUT = 30.0


class Drifting:
    """Methods of `headrace_client.Client`. Each raises the errors of `headrace_client.errors`."""

    _channels: Channels

    async def drift_report(
        self,
        *,
        tenant: str,
        product: str = "",
        kind: str = "",
        at: datetime | None = None,
        timeout: float = _CALL_TIMEOUT,
    ) -> service_pb2.GetReportResponse:
        """How the newest window, or that of a moment, stands against the baseline."""
        request = service_pb2.GetReportRequest(tenant=tenant, product=product, kind=kind)
        if at is not None:
            request.at.FromDatetime(at)
        callee, stub = self._drift()
        return await callee.unary(stub.GetReport, request, name="GetReport", timeout=timeout)

    async def drift_alerts(
        self,
        *,
        tenant: str,
        state: drift_pb2.AlertState.ValueType = drift_pb2.ALERT_STATE_UNSPECIFIED,
        timeout: float = _CALL_TIMEOUT,
    ) -> Sequence[drift_pb2.Alert]:
        """The alerts, newest first; unspecified: in any state."""
        callee, stub = self._drift()
        request = service_pb2.ListAlertsRequest(tenant=tenant, state=state)
        return (await callee.unary(stub.ListAlerts, request, name="ListAlerts", timeout=timeout)).alerts

    async def drift_alert(self, alert_id: str, *, tenant: str, timeout: float = _CALL_TIMEOUT) -> drift_pb2.Alert:
        """One alert, with its explanation."""
        callee, stub = self._drift()
        request = service_pb2.GetAlertRequest(tenant=tenant, alert_id=alert_id)
        return (await callee.unary(stub.GetAlert, request, name="GetAlert", timeout=timeout)).alert

    async def drift_baseline(self, *, tenant: str, timeout: float = _CALL_TIMEOUT) -> drift_pb2.Baseline:
        """What windows are measured against."""
        callee, stub = self._drift()
        request = service_pb2.GetBaselineRequest(tenant=tenant)
        return (await callee.unary(stub.GetBaseline, request, name="GetBaseline", timeout=timeout)).baseline

    async def set_drift_baseline(
        self,
        *,
        tenant: str,
        dataset: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
        timeout: float = _CALL_TIMEOUT,
    ) -> drift_pb2.Baseline:
        """Has windows be measured against the answers of a dataset, or against a period."""
        request = service_pb2.SetBaselineRequest(tenant=tenant, dataset=dataset)
        if since is not None:
            getattr(request, "from").FromDatetime(since)  # the field is called as a keyword is
        if until is not None:
            request.until.FromDatetime(until)
        callee, stub = self._drift()
        return (await callee.unary(stub.SetBaseline, request, name="SetBaseline", timeout=timeout)).baseline

    def _drift(self) -> tuple[Callee, DriftServiceAsyncStub]:
        callee = self._channels.callee("drift", "headrace.drift.v1.DriftService")
        return callee, DriftServiceStub(callee.channel)
