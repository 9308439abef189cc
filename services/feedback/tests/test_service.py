"""The whole service on a real Kafka and a real Postgres."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, cast
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from headrace.feedback.v1 import service_pb2, service_pb2_grpc
from headrace.feedback.v1.feedback_pb2 import FeedbackRecorded
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.stream.v1.dead_letter_pb2 import DeadLetter
from headrace_embedded import testing
from headrace_feedback.app import open_app
from headrace_feedback.settings import Settings
from headrace_identity.testing import Issuer
from headrace_runtime.admission import Admission
from headrace_runtime.grpc_client import open_channel
from headrace_runtime.grpc_server import open_grpc_server

from services.feedback.tests.makers import answer, feedback

pytestmark = pytest.mark.real

SECRET = "hunter2-the-users-own-words"
SECONDS = 20.0
ISSUER = Issuer()
ADMISSION = Admission(ISSUER.verifier())


@dataclass
class Running:
    """The running service, a producer as a product has one, and what came back on the bus."""

    stub: Any
    producer: AIOKafkaProducer
    bootstrap: str

    async def send(self, topic: str, value: bytes, key: str, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        encoded = [(name, text.encode()) for name, text in headers.items()]
        await self.producer.send_and_wait(topic, value, key=key.encode(), headers=encoded)

    async def read(self, topic: str, *, until: Callable[[list[bytes]], bool]) -> list[bytes]:
        """What a topic holds, from its start until it holds enough."""
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=self.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        values: list[bytes] = []
        try:
            async with asyncio.timeout(SECONDS):
                while not until(values):
                    values.append((await consumer.getone()).value)
        finally:
            await consumer.stop()
        return values

    async def get(self, tenant: str, query_id: str, *, feedback: int = 0) -> service_pb2.GetResponse:
        """The interaction, once it is there with so much feedback."""
        async with asyncio.timeout(SECONDS):
            while True:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    found = await self.stub.Get(service_pb2.GetRequest(tenant=tenant, query_id=query_id))
                    if len(found.feedback) >= feedback:
                        return cast(service_pb2.GetResponse, found)
                await asyncio.sleep(0.1)


@pytest_asyncio.fixture(scope="module")
async def service(schema: testing.Database, kafka: str) -> AsyncIterator[Running]:
    settings = Settings(database=schema.dsn("feedback"), kafka=kafka)
    async with (
        open_app(settings) as app,
        open_grpc_server("127.0.0.1:0", app.servicers, drain_seconds=1, admission=ADMISSION) as server,
        open_channel(f"127.0.0.1:{server.port}", ISSUER.credentials()) as channel,
        AIOKafkaProducer(bootstrap_servers=kafka) as producer,
    ):
        await app.bus.start()
        yield Running(service_pb2_grpc.FeedbackServiceStub(channel), producer, kafka)
        await app.bus.stop(5)


def of_tenant(tenant: str, values: list[bytes]) -> list[FeedbackRecorded]:
    events = [FeedbackRecorded.FromString(value) for value in values]
    return [event for event in events if event.tenant == tenant]


async def test_an_answer_and_its_feedback_from_bus_and_grpc(service: Running, tenant: str) -> None:
    query_id, trace_id = str(uuid4()), uuid4().hex
    early = feedback(tenant, traceId=trace_id, rating=3)
    as_json = json_format.MessageToJson(early).encode()
    await service.send("feedback.submitted", as_json, trace_id, {"content-type": "application/json"})
    await service.read("feedback.recorded", until=lambda values: len(of_tenant(tenant, values)) == 1)

    said = answer(tenant, query_id, traceId=trace_id)
    event_id = str(uuid4())
    for _ in range(2):
        await service.send("answer.completed", said.SerializeToString(), query_id, {"ce_id": event_id})
    await service.get(tenant, query_id, feedback=1)

    late = feedback(tenant, queryId=query_id, correction=SECRET)
    recorded = await service.stub.Record(service_pb2.RecordRequest(feedback=late))
    assert recorded == service_pb2.RecordResponse(feedback_id=late.feedback_id, joined=True)

    found = await service.get(tenant, query_id, feedback=2)
    assert found.interaction == AnswerCompleted.FromString(said.SerializeToString())
    assert list(found.feedback) == [early, late]

    values = await service.read("feedback.recorded", until=lambda values: len(of_tenant(tenant, values)) == 3)
    told = {(event.feedback_id, event.query_id, event.tier) for event in of_tenant(tenant, values)}
    assert told == {(early.feedback_id, "", 3), (early.feedback_id, query_id, 2), (late.feedback_id, query_id, 2)}
    assert not any(SECRET.encode() in value for value in values)

    tally = [
        one async for batch in service.stub.Tally(service_pb2.TallyRequest(tenant=tenant)) for one in batch.interactions
    ]
    assert [(one.query_id, one.answer_event_id) for one in tally] == [(query_id, event_id)]


def letters_of(key: str, values: list[bytes]) -> list[DeadLetter]:
    letters = [DeadLetter.FromString(value) for value in values]
    return [letter for letter in letters if letter.correlation_id == key]


async def test_bad_feedback_is_dead_lettered_without_its_text(service: Running, tenant: str) -> None:
    for bad in (
        feedback(tenant, queryId="nonsense", comment=SECRET).SerializeToString(),
        b'{"comment": "' + SECRET.encode(),
        SECRET.encode() + b"\xff",
    ):
        await service.send("feedback.submitted", bad, tenant)
    values = await service.read("feedback.submitted.dlq", until=lambda values: len(letters_of(tenant, values)) == 3)
    letters = letters_of(tenant, values)
    assert not any(SECRET.encode() in value for value in values)
    assert [letter.error for letter in letters] == ["Rejected"] * 3
    assert ["query_id: not_a_uuid"] in [list(letter.reasons) for letter in letters]
    good = feedback(tenant, queryId=str(uuid4()))
    assert not (await service.stub.Record(service_pb2.RecordRequest(feedback=good))).joined


async def test_grpc_names_the_field(service: Running, tenant: str) -> None:
    bad = feedback(tenant, queryId=str(uuid4()), rating=9)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.stub.Record(service_pb2.RecordRequest(feedback=bad))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(caught.value)
    assert status is not None
    detail = error_details_pb2.BadRequest()
    assert status.details[0].Unpack(detail)
    assert [violation.field for violation in detail.field_violations] == ["feedback.rating"]
