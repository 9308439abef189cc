"""Runs end to end: processes of the service on a real Kafka and a real Postgres, and a stub for what answers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from headrace.document.v1.document_pb2 import Document, DocumentIndexed
from headrace.feedback.v1 import runs_pb2
from headrace.feedback.v1.runs_pb2_grpc import RunServiceStub
from headrace.inference.v1 import variants_pb2, variants_pb2_grpc
from headrace.privacy.v1 import approvals_pb2, approvals_pb2_grpc
from headrace.privacy.v1.privacy_pb2 import TIER_2
from headrace.query.v1.answer_pb2 import Versioned
from headrace.query.v1.events_pb2 import QueryClassified
from headrace_database import open_database
from headrace_embedded import testing
from headrace_feedback.adapters.postgres import PostgresLog
from headrace_feedback.translate import read_answer
from headrace_identity.testing import Issuer
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.admission import Admission
from headrace_runtime.grpc_client import open_channel
from headrace_runtime.grpc_server import Servicer, open_grpc_server
from headrace_runtime.testing import serving_keys

from services.feedback.tests.makers import NOW, sealed_answer
from services.feedback.tests.running_house import breaches, reply

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

ISSUER = Issuer()
SECONDS = 60.0


class Approvals(approvals_pb2_grpc.ApprovalServiceServicer):
    """Allows what is not TIER_2, and that while it is granted."""

    def __init__(self) -> None:
        self.granted = True

    async def Authorize(self, request: Any, context: Any) -> approvals_pb2.AuthorizeResponse:  # noqa: N802
        del context
        allowed = request.tier != TIER_2 or self.granted
        return approvals_pb2.AuthorizeResponse(allowed=allowed, reason="so it is", grant_id="grant-1")


class Variants(variants_pb2_grpc.VariantServiceServicer):
    """There is "shorter" in version 2."""

    async def GetVariant(self, request: Any, context: Any) -> variants_pb2.GetVariantResponse:  # noqa: N802
        if request.name != "shorter":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such variant")
        return variants_pb2.GetVariantResponse(variant=variants_pb2.Variant(name="shorter", version=2))


@dataclass
class Answering:
    """Answers trials in place of the services between, each once, and remembers all that was asked."""

    kafka: str
    seconds: float = 0.02
    asked: list[Any] = field(default_factory=list)

    async def answer_for_ever(self) -> None:
        async with (
            AIOKafkaConsumer("query.replayed", bootstrap_servers=self.kafka, auto_offset_reset="earliest") as consumer,
            AIOKafkaProducer(bootstrap_servers=self.kafka) as producer,
        ):
            async for record in consumer:
                message = QueryClassified.FromString(record.value)
                is_first = message.query.query_id not in [one.message.query.query_id for one in self.asked]
                self.asked.append(SimpleNamespace(message=message))
                if is_first:
                    await asyncio.sleep(self.seconds)
                    headers = [("ce_id", str(uuid4()).encode())]
                    value = reply(message).SerializeToString()
                    await producer.send_and_wait("answer.trialed", value, key=record.key, headers=headers)


@dataclass
class World:
    """Everything around the service."""

    environment: Mapping[str, str]
    kafka: str
    database: testing.Database
    keyring: MemoryKeyring
    approvals: Approvals
    answering: Answering

    @asynccontextmanager
    async def instance(self) -> AsyncIterator[tuple[RunServiceStub, asyncio.subprocess.Process]]:
        """A process of the service, once it serves."""
        port = _free_port()
        environment = {**os.environ, **self.environment, "HEADRACE_FEEDBACK_LISTEN": f"127.0.0.1:{port}"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace_feedback", env=environment, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            async with open_channel(f"127.0.0.1:{port}", ISSUER.credentials("developer", subject="dora")) as channel:
                await asyncio.wait_for(channel.channel_ready(), SECONDS)
                yield RunServiceStub(channel), process
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.wait()

    async def log(self, tenant: str, *changes: dict[str, Any]) -> list[str]:
        ids = [str(uuid4()) for _ in changes]
        async with (
            open_database(self.database.dsn("feedback"), schema="feedback") as database,
            database.transaction(tenant=tenant) as connection,
        ):
            for query_id, change in zip(ids, changes, strict=True):
                message = await sealed_answer(self.keyring, tenant, query_id, traceId=uuid4().hex, **change)
                await PostgresLog(connection).add_interaction(read_answer(message, event_id=uuid4()), stored_at=NOW)
        return ids

    async def stored(self, tenant: str) -> list[tuple[str, str, str]]:
        async with (
            open_database(self.database.dsn("feedback"), schema="feedback") as database,
            database.transaction(tenant=tenant) as connection,
        ):
            rows = await connection.fetch("SELECT run_id, case_id, variant_name, setting FROM trial_answers")
        return [(row["run_id"], row["case_id"], f"{row['variant_name']} {row['setting']}") for row in rows]


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


@pytest_asyncio.fixture(scope="module")
async def world(schema: testing.Database, kafka: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    keyring, approvals = MemoryKeyring(), Approvals()  # type: ignore[abstract]  # what it lacks nobody calls
    told = ISSUER.settings(tmp_path_factory.mktemp("keys"))
    variants = Servicer(variants_pb2_grpc.add_VariantServiceServicer_to_server, Variants(), "VariantService")  # type: ignore[abstract]
    async with AsyncExitStack() as stack:
        neighbour = partial(approvals_pb2_grpc.add_ApprovalServiceServicer_to_server, approvals)
        classifier = await stack.enter_async_context(serving_keys(keyring, neighbour))
        admission = Admission(ISSUER.verifier())
        inference = await stack.enter_async_context(
            open_grpc_server("127.0.0.1:0", [variants], drain_seconds=1, admission=admission)
        )
        settings = {
            "KAFKA": kafka,
            "DATABASE": schema.dsn("feedback"),
            "CLASSIFIER": classifier,
            "INFERENCE": f"127.0.0.1:{inference.port}",
            **{name.upper(): str(value) for name, value in told.items()},
        }
        environment = {f"HEADRACE_FEEDBACK_{name}": value for name, value in settings.items()}
        answering = Answering(kafka)
        task = asyncio.create_task(answering.answer_for_ever())
        yield World(environment, kafka, schema, keyring, approvals, answering)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest_asyncio.fixture(scope="module")
async def stub(world: World) -> AsyncIterator[Any]:
    """One process for the tests that need no more."""
    async with world.instance() as (opened, _):
        yield opened


def replay(tenant: str, **settings: Any) -> runs_pb2.StartRunRequest:
    arms = [runs_pb2.RunArm(variant=Versioned(name="shorter"))]
    return runs_pb2.StartRunRequest(tenant=tenant, queries=runs_pb2.QueryFilter(), arms=arms, **settings)


async def ended(stub: Any, run: runs_pb2.Run) -> runs_pb2.Run:
    async with asyncio.timeout(SECONDS):
        async for response in stub.WatchRun(runs_pb2.WatchRunRequest(tenant=run.tenant, run_id=run.run_id)):
            run = response.run
    return run


async def test_a_run_survives_the_death_of_the_process_that_conducts_it(world: World, tenant: str) -> None:
    """Killed with SIGKILL while questions are under way; another process ends the run, and asks nothing twice."""
    await world.log(tenant, *[{}] * 60)
    async with world.instance() as (stub, process):
        run = (await stub.StartRun(replay(tenant))).run
        assert (run.state, run.cases, run.created_by) == (runs_pb2.RUN_STATE_RUNNING, 60, "dora")
        async with asyncio.timeout(SECONDS):
            while (await stub.GetRun(runs_pb2.GetRunRequest(tenant=tenant, run_id=run.run_id))).run.answered < 10:
                await asyncio.sleep(0.05)
        process.kill()
        await process.wait()
    async with world.instance() as (stub, _):
        run = await ended(stub, run)
    assert (run.state, run.total, run.answered, run.failed) == (runs_pb2.RUN_STATE_DONE, 60, 60, 0)
    stored = await world.stored(tenant)
    assert len(stored) == 60
    assert breaches([one for one in world.answering.asked if one.message.query.tenant == tenant], stored) == []


async def test_two_processes_share_runs_and_one_can_be_cancelled(world: World, tenant: str) -> None:
    world.answering.seconds = 0.1
    await world.log(tenant, *[{}] * 40)
    async with world.instance() as (first, _), world.instance() as (second, _):
        runs = [(await stub.StartRun(replay(tenant, seed=seed))).run for seed, stub in enumerate((first, second))]
        which = runs_pb2.CancelRunRequest(tenant=tenant, run_id=runs[0].run_id)
        cancelled = (await second.CancelRun(which)).run
        assert cancelled.state == runs_pb2.RUN_STATE_CANCELLED
        done = await ended(first, runs[1])
        assert (done.state, done.answered) == (runs_pb2.RUN_STATE_DONE, 40)
        listed = (await first.ListRuns(runs_pb2.ListRunsRequest(tenant=tenant))).runs
        assert [run.run_id for run in listed] == [runs[1].run_id, runs[0].run_id]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await first.GetRun(runs_pb2.GetRunRequest(tenant=tenant, run_id=str(uuid4())))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    world.answering.seconds = 0.02


async def test_a_grant_that_is_revoked_in_mid_run_ends_it(world: World, stub: Any, tenant: str) -> None:
    world.answering.seconds = 0.3
    await world.log(tenant, *[{"tier": "TIER_2"}] * 200)
    run = (await stub.StartRun(replay(tenant))).run
    world.approvals.granted = False
    run = await ended(stub, run)
    world.approvals.granted, world.answering.seconds = True, 0.02
    assert (run.state, run.failure) == (runs_pb2.RUN_STATE_FAILED, "grant_ended")
    assert run.answered + run.failed < run.total


async def test_what_may_not_be_asked_and_what_there_is_not_is_said(world: World, stub: Any, tenant: str) -> None:
    assert await code_of(stub.StartRun(replay(tenant))) is grpc.StatusCode.FAILED_PRECONDITION
    await world.log(tenant, {"tier": "TIER_2"})
    world.approvals.granted = False
    assert await code_of(stub.StartRun(replay(tenant))) is grpc.StatusCode.PERMISSION_DENIED
    world.approvals.granted = True
    unknown = replay(tenant)
    unknown.arms[0].variant.name = "nobody"
    assert await code_of(stub.StartRun(unknown)) is grpc.StatusCode.NOT_FOUND
    wrong = runs_pb2.StartRunRequest(tenant=tenant)
    assert await code_of(stub.StartRun(wrong)) is grpc.StatusCode.INVALID_ARGUMENT


async def code_of(call: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    code: grpc.StatusCode = caught.value.code()
    return code


async def test_a_changed_document_makes_answers_stale(world: World, stub: Any, tenant: str) -> None:
    (query_id,) = await world.log(tenant, {})
    changed = DocumentIndexed(
        document=Document(tenant=tenant, source="handbook", document_id="mills", version=4), tier=2, chunks=1
    )
    changed.document.accepted_at.FromDatetime(NOW)
    changed.indexed_at.FromDatetime(NOW)
    async with AIOKafkaProducer(bootstrap_servers=world.kafka) as producer:
        headers = [("ce_id", str(uuid4()).encode())]
        await producer.send_and_wait("document.indexed", changed.SerializeToString(), key=b"k", headers=headers)
        async with asyncio.timeout(SECONDS):
            while not (found := await stub.ListStaleAnswers(runs_pb2.ListStaleAnswersRequest(tenant=tenant))).total:
                await asyncio.sleep(0.1)
    assert [one.query_id for one in found.answers] == [query_id]
    assert [(one.document_id, one.current_version, one.cited) for one in found.answers[0].documents] == [
        ("mills", 4, True)
    ]
