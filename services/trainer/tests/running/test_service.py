"""Processes of the trainer on a real Kafka and a real Postgres, with a worker that learns nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from headrace.drift.v1.drift_pb2 import Alert, DriftDetected, Explanation, Lever, Slice
from headrace.feedback.v1.datasets_pb2 import DATASET_STATE_ERASED, DatasetEnded, DatasetQuery
from headrace.privacy.v1.privacy_pb2 import PURPOSE_TRAIN
from headrace.training.v1 import service_pb2, training_pb2
from headrace.training.v1.service_pb2_grpc import LoopServiceStub, TrainingServiceStub
from headrace_embedded import testing
from headrace_runtime.grpc_client import open_channel

from services.trainer.tests.running.world import ISSUER, SECONDS, SECRET, SNAPSHOT, World, open_world

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

WORKER = Path(__file__).with_name("tiny_worker.py")
TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose tokenizer knows words."""
    folder = tmp_path_factory.mktemp("bases") / "tiny"
    folder.mkdir()
    tokenizer = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": {"a": 0, "[UNK]": 1}, "unk_token": "[UNK]"},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 512}))
    return folder


@pytest_asyncio.fixture(scope="module")
async def world(
    schema: testing.Database, kafka: str, base: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    work = tmp_path_factory.mktemp("work")
    launcher = f"{sys.executable} {WORKER}"
    async with open_world(schema, kafka, work, LAUNCHER=launcher, BASES=str(base.parent)) as opened:
        opened.set_pace(0.05)
        yield opened


@pytest_asyncio.fixture(scope="module")
async def served(world: World) -> AsyncIterator[tuple[Any, Any]]:
    """One process for the tests that need no more."""
    async with world.instance() as (training, loop, _):
        world.served = world.logs[-1].name.removeprefix("log-")
        yield training, loop


def wish(tenant: str, **more: Any) -> service_pb2.StartTrainingRequest:
    return service_pb2.StartTrainingRequest(tenant=tenant, base="tiny", **more)


async def ended(training: Any, run: training_pb2.TrainingRun, *, seconds: float = SECONDS) -> training_pb2.TrainingRun:
    async with asyncio.timeout(seconds):
        which = service_pb2.WatchTrainingRequest(tenant=run.tenant, run_id=run.run_id)
        async for response in training.WatchTraining(which):
            run = response.run
    return run


async def under_way(
    training: Any, run: training_pb2.TrainingRun, *, steps: int, seconds: float = SECONDS
) -> training_pb2.TrainingRun:
    """The run, once it has done some steps."""
    async with asyncio.timeout(seconds):
        while True:
            which = service_pb2.GetTrainingRequest(tenant=run.tenant, run_id=run.run_id)
            now: training_pb2.TrainingRun = (await training.GetTraining(which)).run
            if now.step >= steps:
                return now
            await asyncio.sleep(0.1)


def is_alive(pid: int) -> bool:
    """Whether a process does anything still; a dead one that nobody has asked after does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    code: grpc.StatusCode = caught.value.code()
    return code


async def test_a_run_survives_the_death_of_the_process_that_conducts_it(world: World, tenant: str) -> None:
    """Killed with SIGKILL in the middle of training: its worker dies with it, and another process goes on from the
    checkpoint."""
    world.set_pace(0.4)
    async with world.instance() as (training, _, process):
        run = (await training.StartTraining(wish(tenant, seed=1))).run
        before = await under_way(training, run, steps=3)
        worker = world.workers()[-1]
        process.kill()
        await process.wait()
    world.set_pace(0.05)
    await asyncio.sleep(0.2)
    assert not is_alive(worker)
    async with world.instance() as (training, _, _):
        run = await ended(training, run)
        curve = (await training.GetTraining(service_pb2.GetTrainingRequest(tenant=tenant, run_id=run.run_id))).run.curve
    assert (run.state, run.failure) == (training_pb2.RUN_STATE_REFUSED, "gate_refused")
    assert run.model.startswith(f"{tenant}-generator@")
    assert run.compute_seconds > before.compute_seconds
    assert [point.step for point in curve][-1] == 10
    assert not (world.work / run.run_id).exists()
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in world.work.rglob("*") if path.is_file())


async def test_a_worker_that_is_killed_is_begun_again(world: World, served: tuple[Any, Any], tenant: str) -> None:
    training, _ = served
    world.set_pace(0.3)
    run = (await training.StartTraining(wish(tenant))).run
    await under_way(training, run, steps=2)
    world.set_pace(0.05)
    os.kill(world.workers()[-1], signal.SIGKILL)
    assert (await ended(training, run)).step == 10


async def test_two_processes_share_the_runs_and_any_of_them_stops_one(world: World, tenant: str) -> None:
    world.set_pace(0.5)
    async with world.instance() as (first, _, _), world.instance() as (second, loop, _):
        runs = [(await one.StartTraining(wish(f"{tenant}{place}"))).run for place, one in enumerate((first, second))]
        for run in runs:
            await under_way(first, run, steps=1)
        which = service_pb2.CancelTrainingRequest(tenant=runs[0].tenant, run_id=runs[0].run_id)
        cancelled = (await second.CancelTraining(which)).run
        assert (cancelled.state, cancelled.failure) == (training_pb2.RUN_STATE_CANCELLED, "person")
        assert await code_of(second.CancelTraining(which)) is grpc.StatusCode.FAILED_PRECONDITION
        port = world.logs[-1].name.removeprefix("log-")
        async with open_channel(f"127.0.0.1:{port}", ISSUER.credentials("developer", subject="dora")) as channel:
            await LoopServiceStub(channel).PauseLoop(service_pb2.PauseLoopRequest())  # their own tenant's
        assert not (await loop.GetLoop(service_pb2.GetLoopRequest(tenant=tenant))).paused
        paused = await loop.PauseLoop(service_pb2.PauseLoopRequest(reason="the machines are needed", at_once=True))
        assert list(paused.stopped_runs) == [runs[1].run_id]
        assert (await ended(first, runs[1])).failure == "paused"
        async with asyncio.timeout(5):
            while any(map(is_alive, world.workers())):
                await asyncio.sleep(0.1)
        assert await code_of(first.StartTraining(wish(tenant))) is grpc.StatusCode.FAILED_PRECONDITION
        shown = await loop.GetLoop(service_pb2.GetLoopRequest(tenant=tenant))
        assert (shown.paused, shown.paused_by, shown.paused_because) == (True, "sam", "the machines are needed")
        await loop.ResumeLoop(service_pb2.ResumeLoopRequest())
        world.set_pace(0.05)
        again = (await first.StartTraining(wish(tenant))).run
        assert (await ended(first, again)).state == training_pb2.RUN_STATE_REFUSED


async def test_drift_starts_a_run_in_its_own_trace(world: World, served: tuple[Any, Any], tenant: str) -> None:
    training, _ = served
    world.set_pace(0.05)
    await put_rules(world, tenant, automatic=True, debounce_seconds=1, base="tiny")
    alert = Alert(alert_id=str(uuid4()), slice=Slice(tenant=tenant), explanation=Explanation(lever=Lever.LEVER_TUNING))
    await publish(world, "drift.detected", DriftDetected(alert=alert), tenant, trace=TRACE)
    async with asyncio.timeout(SECONDS):
        while not (runs := (await training.ListTrainings(service_pb2.ListTrainingsRequest(tenant=tenant))).runs):
            await asyncio.sleep(0.1)
    run = await ended(training, runs[0])
    assert (list(run.causes), list(run.because)) == ([training_pb2.CAUSE_DRIFT], [f"alert {alert.alert_id}"])
    assert (run.trace_id, run.without_grant, run.created_by) == (TRACE, 5, "service:trainer")
    request = next(one for one in world.datasets.built if one.tenant == tenant)
    assert (request.name, request.query.purpose) == ("trainer-generator", PURPOSE_TRAIN)
    told = await events(world, "training.ended", tenant)
    assert [(one["run_id"], one["trace"]) for one in told] == [(run.run_id, TRACE)]


async def test_an_erasure_in_mid_run_stops_it_and_the_rest_is_learned(
    world: World, served: tuple[Any, Any], tenant: str
) -> None:
    training, _ = served
    world.set_pace(0.5)
    run = (await training.StartTraining(wish(tenant))).run
    await under_way(training, run, steps=1)
    gone = DatasetEnded(tenant=tenant, dataset_id=SNAPSHOT, state=DATASET_STATE_ERASED, ended_by="erasure e")
    gone.ended_at.GetCurrentTime()
    await publish(world, "dataset.ended", gone, tenant)
    stopped = await ended(training, run)
    assert (stopped.state, stopped.failure) == (training_pb2.RUN_STATE_FAILED, "erased")
    world.set_pace(0.05)
    again = (await training.ListTrainings(service_pb2.ListTrainingsRequest(tenant=tenant))).runs[0]
    assert (again.run_id != run.run_id, again.created_by) == (True, "dora")
    assert (await ended(training, again)).state == training_pb2.RUN_STATE_REFUSED
    assert not (world.work / run.run_id).exists()


async def test_what_may_not_be_learned_is_said(world: World, served: tuple[Any, Any], tenant: str) -> None:
    training, _ = served
    for code, word in (
        (grpc.StatusCode.PERMISSION_DENIED, "not_allowed"),
        (grpc.StatusCode.FAILED_PRECONDITION, "empty_dataset"),
    ):
        world.datasets.refusing = code
        assert (await ended(training, (await training.StartTraining(wish(tenant))).run)).failure == word
    world.datasets.refusing = None
    assert await code_of(training.StartTraining(wish(tenant, dataset="nobody"))) is grpc.StatusCode.NOT_FOUND
    unknown = service_pb2.StartTrainingRequest(tenant=tenant, base="nobody")
    assert await code_of(training.StartTraining(unknown)) is grpc.StatusCode.NOT_FOUND
    named = wish(tenant, query=DatasetQuery(without_subjects=["ada"]))
    assert await code_of(training.StartTraining(named)) is grpc.StatusCode.INVALID_ARGUMENT
    recipe = training_pb2.Recipe(method=training_pb2.METHOD_LORA)
    adapted = wish(tenant, target=training_pb2.TARGET_EMBEDDER, recipe=recipe)
    assert await code_of(training.StartTraining(adapted)) is grpc.StatusCode.INVALID_ARGUMENT
    which = service_pb2.GetTrainingRequest(tenant=tenant, run_id=str(uuid4()))
    assert await code_of(training.GetTraining(which)) is grpc.StatusCode.NOT_FOUND


async def test_a_stewards_word_starts_what_the_rules_allow(world: World, served: tuple[Any, Any], tenant: str) -> None:
    del served
    async with open_channel(f"127.0.0.1:{world.served}", ISSUER.credentials("steward", tenant=tenant)) as channel:
        training = TrainingServiceStub(channel)
        request = service_pb2.StartTrainingRequest(tenant=tenant, because=["document handbook/joins.md"])
        assert await code_of(training.StartTraining(request)) is grpc.StatusCode.FAILED_PRECONDITION
        await put_rules(world, tenant, automatic=True, base="tiny")
        response = await training.StartTraining(request)
        assert list(response.run.causes) == [training_pb2.CAUSE_STEWARD]
        again = await training.StartTraining(request)
        assert (response.created, again.created, again.run.run_id) == (True, False, response.run.run_id)
        request.base = "tiny"
        assert await code_of(training.StartTraining(request)) is grpc.StatusCode.INVALID_ARGUMENT


async def put_rules(world: World, tenant: str, **rules: Any) -> None:
    async with open_channel(f"127.0.0.1:{world.served}", ISSUER.credentials("developer", subject="dora")) as channel:
        request = service_pb2.PutLoopRulesRequest(tenant=tenant, rules=service_pb2.LoopRules(**rules))
        stored = (await LoopServiceStub(channel).PutLoopRules(request)).rules
    assert (stored.version, stored.changed_by, stored.runs_a_day) == (1, "dora", 4)


async def publish(world: World, topic: str, message: Any, tenant: str, *, trace: str = "") -> None:
    headers = {"ce_id": str(uuid4()), "ce_tenant": tenant, "ce_dataclassification": "tier_1"}
    if trace:
        headers["traceparent"] = f"00-{trace}-b7ad6b7169203331-01"
    async with AIOKafkaProducer(bootstrap_servers=world.kafka) as producer:
        encoded = [(name, value.encode()) for name, value in headers.items()]
        await producer.send_and_wait(topic, message.SerializeToString(), key=tenant.encode(), headers=encoded)


async def events(world: World, topic: str, tenant: str) -> list[dict[str, str]]:
    """What was published on a topic for a tenant, up to the first that is there."""
    async with asyncio.timeout(SECONDS):
        async with AIOKafkaConsumer(topic, bootstrap_servers=world.kafka, auto_offset_reset="earliest") as consumer:
            async for record in consumer:
                headers = {name: value.decode() for name, value in record.headers}
                if headers["ce_tenant"] == tenant:
                    message = training_pb2.TrainingEnded.FromString(record.value)
                    return [{"run_id": message.run_id, "trace": headers["traceparent"].split("-")[1]}]
    raise AssertionError
