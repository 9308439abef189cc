"""Samples of the registry of models. See sampling.py.

To have a model a run must train for minutes, so these name one that nobody has; whose a model is, the registry's own
tests hold.
"""

from __future__ import annotations

import grpc
from google.protobuf.message import Message
from headrace.training.v1 import service_pb2

from tests.security.calls.learning import import_dataset
from tests.security.calls.sampling import sample
from tests.security.calls.world import Side

MODELS = "headrace.training.v1.ModelService"
NOBODYS = "nobodys-generator@0123456789abcdef"


@sample(f"{MODELS}/ListModels")
async def list_models(side: Side) -> Message:
    return service_pb2.ListModelsRequest(tenant=side.tenant)


@sample(f"{MODELS}/GetModel", code=grpc.StatusCode.NOT_FOUND)
async def get_model(side: Side) -> Message:
    return service_pb2.GetModelRequest(tenant=side.tenant, model=NOBODYS)


@sample(f"{MODELS}/PromoteModel", code=grpc.StatusCode.NOT_FOUND)
async def promote_model(side: Side) -> Message:
    return service_pb2.PromoteModelRequest(tenant=side.tenant, model=NOBODYS)


@sample(f"{MODELS}/RollBackModel", code=grpc.StatusCode.NOT_FOUND)
async def roll_back_model(side: Side) -> Message:
    return service_pb2.RollBackModelRequest(tenant=side.tenant, model=NOBODYS)


@sample(f"{MODELS}/TraceLineage", ids=("dataset",), chosen=("query_id",))
async def trace_lineage(side: Side) -> Message:
    method = "headrace.feedback.v1.DatasetService/ImportDataset"
    response = await side.once("dataset", "developer", method, await import_dataset(side))
    return service_pb2.TraceLineageRequest(tenant=side.tenant, dataset=response.dataset.dataset_id)
