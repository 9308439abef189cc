"""The service end to end: processes of it on a real Kafka and a real Postgres, killed on the way to an alert."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from headrace.drift.v1 import drift_pb2, service_pb2
from headrace.drift.v1.drift_pb2 import DriftDetected
from headrace.drift.v1.service_pb2_grpc import DriftServiceStub
from headrace_embedded import testing
from headrace_identity.testing import Issuer
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.grpc_client import open_channel
from headrace_runtime.testing import serving_keys

from services.drift.tests.makers import PYTHON, SQL, answer, questions

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(400)]

ISSUER = Issuer()
SECONDS = 120.0
TRACE = "0af7651916cd43dd8448eb211c80319c"
#: A look a second at the newest hundred questions; the first five seconds with 200 are the baseline.
TOLD = {
    "HOP_SECONDS": "1",
    "WINDOW_SECONDS": "600",
    "WINDOW_QUERIES": "100",
    "LATENESS_SECONDS": "1",
    "BASELINE_SECONDS": "2",
    "BASELINE_QUERIES": "200",
    "LOOKS_PER_WEEK": "200",
    "FEEDBACK": "127.0.0.1:1",  # nobody asks for a dataset
}


@dataclass
class World:
    """Everything around the service."""

    environment: Mapping[str, str]
    kafka: str

    @asynccontextmanager
    async def instance(self) -> AsyncIterator[tuple[DriftServiceStub, asyncio.subprocess.Process]]:
        """A process of the service, once it serves."""
        port = _free_port()
        environment = {**os.environ, **self.environment, "HEADRACE_DRIFT_LISTEN": f"127.0.0.1:{port}"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "headrace_drift", env=environment, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            async with open_channel(f"127.0.0.1:{port}", ISSUER.credentials("developer", subject="dora")) as channel:
                await asyncio.wait_for(channel.channel_ready(), SECONDS)
                yield DriftServiceStub(channel), process
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def ask(self, tenant: str, words: Sequence[str], count: int, **changes: Any) -> None:
        """Questions are answered, spread over five seconds."""
        now = datetime.now(UTC)
        async with AIOKafkaProducer(bootstrap_servers=self.kafka) as producer:
            for at, text in questions(words, count, begin=now, seconds=5, seed=len(words)):
                await asyncio.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds()))
                message = answer(tenant, text, at=at, **changes)
                headers = {
                    "ce_id": str(uuid4()),
                    "ce_tenant": tenant,
                    "traceparent": f"00-{TRACE}-{uuid4().hex[:16]}-01",
                }
                carried = [(name, value.encode()) for name, value in headers.items()]
                key = message.query.query_id.encode()
                await producer.send("answer.completed", message.SerializeToString(), key=key, headers=carried)

    async def told(self, tenant: str) -> list[tuple[DriftDetected, str]]:
        """All that was published of drift: each message with its trace."""
        found = []
        async with AIOKafkaConsumer(
            "drift.detected", bootstrap_servers=self.kafka, auto_offset_reset="earliest"
        ) as consumer:
            batches = await consumer.getmany(timeout_ms=5_000)
            for record in (record for batch in batches.values() for record in batch):
                message = DriftDetected.FromString(record.value)
                if message.alert.slice.tenant == tenant:
                    found.append((message, dict(record.headers)["traceparent"].decode()))
        return found


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


@pytest_asyncio.fixture
async def world(
    schema: testing.Database, fresh_kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    settings = ISSUER.settings(tmp_path_factory.mktemp("keys"))
    async with serving_keys(MemoryKeyring()) as classifier:
        told = {
            **TOLD,
            "KAFKA": fresh_kafka,
            "DATABASE": schema.dsn("drift"),
            "CLASSIFIER": classifier,
            **{name.upper(): str(value) for name, value in settings.items()},
        }
        yield World({f"HEADRACE_DRIFT_{name}": value for name, value in told.items()}, fresh_kafka)


async def until(look: Callable[[], Awaitable[Any]]) -> Any:
    """What it finds at last; a call that fails finds nothing."""
    async with asyncio.timeout(SECONDS):
        while True:
            with suppress(grpc.aio.AioRpcError):
                if found := await look():
                    return found
            await asyncio.sleep(0.3)


async def test_a_shift_is_told_once_though_the_service_is_killed_on_the_way(world: World, tenant: str) -> None:
    of_tenant = {"tenant": tenant}

    async def baseline(stub: Any) -> Any:
        return (await stub.GetBaseline(service_pb2.GetBaselineRequest(**of_tenant))).baseline

    async def alerts(stub: Any) -> Sequence[drift_pb2.Alert]:
        found: Sequence[drift_pb2.Alert] = (await stub.ListAlerts(service_pb2.ListAlertsRequest(**of_tenant))).alerts
        return found

    async with world.instance() as (stub, process):
        await world.ask(tenant, PYTHON, 300)
        before = await until(lambda: baseline(stub))
        process.kill()
    async with world.instance() as (stub, process):
        assert await baseline(stub) == before
        asking = asyncio.create_task(world.ask(tenant, SQL, 300, tier="TIER_2"))
        await asyncio.sleep(2)
        process.kill()
        await asking
    async with world.instance() as (stub, process):
        (alert,) = await until(lambda: alerts(stub))
        process.kill()
    async with world.instance() as (stub, _):
        await asyncio.sleep(4)
        assert [one.alert_id for one in await alerts(stub)] == [alert.alert_id]
        report = await stub.GetReport(service_pb2.GetReportRequest(**of_tenant))
    assert report.history
    told = await world.told(tenant)
    assert {message.alert.alert_id for message, _ in told} == {alert.alert_id}
    assert [list(message.alert.explanation.words) for message, _ in told] == [[]] * len(told)
    assert {trace.split("-")[1] for _, trace in told} == {TRACE}, "in the trace of a query that drifted"
