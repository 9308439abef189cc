"""Samples of what trains models and of what stops the loop. See sampling.py.

No run of these trains anything: it is asked for as a steward's, which waits for a week, and is
stopped at once.
"""

from __future__ import annotations

import grpc
from google.protobuf.message import Message
from headrace.training.v1 import service_pb2
from headrace.training.v1.training_pb2 import CAUSE_STEWARD

from tests.security.calls.learning import import_dataset
from tests.security.calls.sampling import HOWEVER, sample
from tests.security.calls.world import Side

TRAINING = "headrace.training.v1.TrainingService"
LOOP = "headrace.training.v1.LoopService"
WEEK = 604_800


async def _own_training(side: Side) -> str:
    """The id of a run that waited, and was stopped."""
    await side.once("loop rules", "developer", f"{LOOP}/PutLoopRules", await put_loop_rules(side))
    request = service_pb2.StartTrainingRequest(tenant=side.tenant, cause=CAUSE_STEWARD)
    run = (await side.once("training", "developer", f"{TRAINING}/StartTraining", request)).run
    stopped = service_pb2.CancelTrainingRequest(tenant=side.tenant, run_id=run.run_id)
    await side.once("training stopped", "developer", f"{TRAINING}/CancelTraining", stopped)
    return str(run.run_id)


@sample(f"{TRAINING}/StartTraining", ids=("dataset",), code=HOWEVER)
async def start_training(side: Side) -> Message:
    """The snapshot was not built to train."""
    method = "headrace.feedback.v1.DatasetService/ImportDataset"
    response = await side.once("dataset", "developer", method, await import_dataset(side))
    return service_pb2.StartTrainingRequest(tenant=side.tenant, dataset=response.dataset.dataset_id)


@sample(f"{TRAINING}/WatchTraining", ids=("run_id",))
async def watch_training(side: Side) -> Message:
    return service_pb2.WatchTrainingRequest(tenant=side.tenant, run_id=await _own_training(side))


@sample(f"{TRAINING}/GetTraining", ids=("run_id",))
async def get_training(side: Side) -> Message:
    return service_pb2.GetTrainingRequest(tenant=side.tenant, run_id=await _own_training(side))


@sample(f"{TRAINING}/ListTrainings")
async def list_trainings(side: Side) -> Message:
    return service_pb2.ListTrainingsRequest(tenant=side.tenant)


@sample(f"{TRAINING}/CancelTraining", ids=("run_id",), code=grpc.StatusCode.FAILED_PRECONDITION)
async def cancel_training(side: Side) -> Message:
    return service_pb2.CancelTrainingRequest(tenant=side.tenant, run_id=await _own_training(side))


@sample(f"{LOOP}/GetLoop")
async def get_loop(side: Side) -> Message:
    return service_pb2.GetLoopRequest(tenant=side.tenant)


@sample(f"{LOOP}/PutLoopRules")
async def put_loop_rules(side: Side) -> Message:
    rules = service_pb2.LoopRules(automatic=True, debounce_seconds=WEEK)
    return service_pb2.PutLoopRulesRequest(tenant=side.tenant, rules=rules)


@sample(f"{LOOP}/PauseLoop")
async def pause_loop(side: Side) -> Message:
    """Whatever waits was asked for before: a loop that is paused takes nothing."""
    await _own_training(side)
    return service_pb2.PauseLoopRequest(tenant=side.tenant, reason="a test")


@sample(f"{LOOP}/ResumeLoop")
async def resume_loop(side: Side) -> Message:
    return service_pb2.ResumeLoopRequest(tenant=side.tenant)
