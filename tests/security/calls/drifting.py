"""Samples of what watches the traffic. See samples.py.

A tenant of these tests has too little traffic for a baseline, so that there is nothing to report against; what one
tenant is told of another's is the same as of what is not there.
"""

from __future__ import annotations

from uuid import uuid4

import grpc
from google.protobuf.message import Message
from headrace.drift.v1 import service_pb2

from tests.security.calls.learning import DATASETS, import_dataset
from tests.security.calls.sampling import HOWEVER, sample
from tests.security.calls.world import Side

DRIFT = "headrace.drift.v1.DriftService"


@sample(f"{DRIFT}/GetReport", code=HOWEVER)
async def get_report(side: Side) -> Message:
    return service_pb2.GetReportRequest(tenant=side.tenant)


@sample(f"{DRIFT}/ListAlerts")
async def list_alerts(side: Side) -> Message:
    return service_pb2.ListAlertsRequest(tenant=side.tenant)


@sample(f"{DRIFT}/GetAlert", chosen=("alert_id",), code=grpc.StatusCode.NOT_FOUND)
async def get_alert(side: Side) -> Message:
    return service_pb2.GetAlertRequest(tenant=side.tenant, alert_id=str(uuid4()))


@sample(f"{DRIFT}/SetBaseline", ids=("dataset",), code=grpc.StatusCode.FAILED_PRECONDITION)
async def set_baseline(side: Side) -> Message:
    response = await side.once("dataset", "developer", f"{DATASETS}/ImportDataset", await import_dataset(side))
    return service_pb2.SetBaselineRequest(tenant=side.tenant, dataset=response.dataset.dataset_id)


@sample(f"{DRIFT}/GetBaseline", code=HOWEVER)
async def get_baseline(side: Side) -> Message:
    return service_pb2.GetBaselineRequest(tenant=side.tenant)
