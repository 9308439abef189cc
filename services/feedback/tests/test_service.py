"""The whole service on a real Kafka and a real Postgres."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, cast
from uuid import uuid4

import asyncpg
import grpc
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from google.protobuf import json_format
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from headrace.feedback.v1 import service_pb2, service_pb2_grpc
from headrace.feedback.v1.feedback_pb2 import FeedbackRecorded, FeedbackSubmitted
from headrace.privacy.v1 import approvals_pb2, approvals_pb2_grpc
from headrace.privacy.v1 import service_pb2 as privacy_pb2
from headrace.privacy.v1 import service_pb2_grpc as privacy_grpc
from headrace.privacy.v1.erasure_pb2 import ErasureRequested
from headrace.privacy.v1.privacy_pb2 import PURPOSE_REVIEW, PURPOSE_TRAIN, TIER_2, Tier
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.stream.v1.dead_letter_pb2 import DeadLetter
from headrace_database import open_database
from headrace_embedded import testing
from headrace_feedback.adapters.postgres import PostgresLog
from headrace_feedback.app import open_app
from headrace_feedback.reading import BATCH
from headrace_feedback.settings import Settings
from headrace_feedback.translate import read_answer
from headrace_identity.signatures import SIGNATURE, Signer
from headrace_identity.testing import Issuer
from headrace_privacy import Owner, Text
from headrace_privacy import Tier as StrictTier
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.admission import Admission
from headrace_runtime.grpc_client import open_channel
from headrace_runtime.grpc_server import open_grpc_server
from headrace_runtime.testing import serving_keys
from headrace_stream.codec import read_leniently
from headrace_stream.publishers import about

from services.feedback.tests.makers import NOW, SomeClassifier, answer, feedback, sealed_answer

pytestmark = pytest.mark.real

SECRET = "hunter2-the-users-own-words"
MASKED = "[secret:password]-the-users-own-words"
SECONDS = 20.0
ISSUER = Issuer()
ADMISSION = Admission(ISSUER.verifier())


class Privacy(privacy_grpc.PrivacyServiceServicer):
    """The classifier's edge over the fake."""

    async def Classify(self, request: Any, context: Any) -> privacy_pb2.ClassifyResponse:  # noqa: N802
        text = Text(request.text, StrictTier.TIER_2)
        masked = await SomeClassifier().classify(text, tenant=request.tenant, product=request.product)
        return privacy_pb2.ClassifyResponse(tier=Tier.ValueType(masked.tier), masked_text=masked.reveal())


class Approvals(approvals_pb2_grpc.ApprovalServiceServicer):
    """Allows what is not TIER_2, to products everything, and to others what is granted."""

    def __init__(self) -> None:
        self.granted: set[int] = set()
        self.granted_times = 10**9
        self.asked: list[approvals_pb2.AuthorizeRequest] = []

    async def Authorize(self, request: Any, context: Any) -> approvals_pb2.AuthorizeResponse:  # noqa: N802
        self.asked.append(request)
        granted = request.purpose in self.granted and self.granted_times > 0
        self.granted_times -= granted
        allowed = request.tier != TIER_2 or request.role == "product" or granted
        return approvals_pb2.AuthorizeResponse(allowed=allowed, reason="so it is", grant_id="grant-1" * granted)


def signature_of(topic: str, value: bytes) -> dict[str, str]:
    """A header that proves the publisher, for what the value says of itself."""
    claims = about(topic, read_leniently(FeedbackSubmitted, value))
    claims = replace(claims, tenant=claims.tenant or "nobody")
    return {SIGNATURE: Signer(ISSUER.key, audience="headrace").sign(value, claims, now=time.time())}


@dataclass
class Running:
    """The running service, a producer as a product has one, and what came back on the bus."""

    stub: Any
    reviewer: Any
    developer: Any
    watcher: Any
    producer: AIOKafkaProducer
    bootstrap: str
    keyring: MemoryKeyring
    approvals: Approvals
    superuser: str

    async def send(self, topic: str, value: bytes, key: str, headers: Mapping[str, str] = MappingProxyType({})) -> None:
        given = {**headers, **signature_of(topic, value)} if topic == "feedback.submitted" else headers
        encoded = [(name, text.encode()) for name, text in given.items()]
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
async def service(
    schema: testing.Database, kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Running]:
    keyring, approvals = MemoryKeyring(), Approvals()  # type: ignore[abstract]  # what it lacks nobody calls
    neighbours = [
        partial(privacy_grpc.add_PrivacyServiceServicer_to_server, Privacy()),
        partial(approvals_pb2_grpc.add_ApprovalServiceServicer_to_server, approvals),
    ]
    common = ISSUER.settings(tmp_path_factory.mktemp("keys"))
    async with (
        serving_keys(keyring, *neighbours) as classifier,
        open_app(Settings(database=schema.dsn("feedback"), kafka=kafka, classifier=classifier, **common)) as app,
        open_grpc_server("127.0.0.1:0", app.servicers, drain_seconds=1, admission=ADMISSION) as server,
        AsyncExitStack() as channels,
        AIOKafkaProducer(bootstrap_servers=kafka) as producer,
    ):
        stubs: list[Any] = []
        for role, subject in (("product", ""), ("reviewer", "rita"), ("developer", "dora"), ("sre", "sam")):
            opened = open_channel(f"127.0.0.1:{server.port}", ISSUER.credentials(role, subject=subject))
            stubs.append(service_pb2_grpc.FeedbackServiceStub(await channels.enter_async_context(opened)))
        await app.bus.start()
        product, reviewer, developer, watcher = stubs
        yield Running(product, reviewer, developer, watcher, producer, kafka, keyring, approvals, schema.superuser)
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
    assert found.feedback[0] == early
    assert found.feedback[1].correction == MASKED

    values = await service.read("feedback.recorded", until=lambda values: len(of_tenant(tenant, values)) == 3)
    told = {(event.feedback_id, event.query_id, event.tier) for event in of_tenant(tenant, values)}
    assert told == {(early.feedback_id, "", 3), (early.feedback_id, query_id, 2), (late.feedback_id, query_id, 3)}
    assert not any(SECRET.encode() in value for value in values)

    tally = [
        one
        async for batch in service.watcher.Tally(service_pb2.TallyRequest(tenant=tenant))
        for one in batch.interactions
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


async def answered(service: Running, tenant: str, query_id: str, **changes: Any) -> None:
    """An answer comes over the bus, sealed as inference seals it, and is stored."""
    sealed = await sealed_answer(service.keyring, tenant, query_id, traceId=uuid4().hex, **changes)
    await service.send("answer.completed", sealed.SerializeToString(), query_id, {"ce_id": str(uuid4())})
    await service.get(tenant, query_id)


async def everything_in(service: Running) -> str:
    """Every row of every table of the schema, as text."""
    connection = await asyncpg.connect(service.superuser)
    try:
        names = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'feedback'")
        tables = [name["tablename"] for name in names]
        rows = [str(await connection.fetch(f'SELECT t::text FROM feedback."{table}" t')) for table in tables]
    finally:
        await connection.close()
    return "\n".join(rows)


def traces_of(words: str) -> list[str]:
    """How words can be found in what Postgres prints: as they are, and as bytes in hex."""
    return [words, words.encode().hex()]


async def test_no_word_rests_in_the_clear_whoever_judges_when(service: Running, tenant: str) -> None:
    query_id = str(uuid4())
    words = {kind: f"the mill of {kind} stands in ohio" for kind in ("comment", "correction")}
    early = feedback(tenant, queryId=query_id, comment=words["comment"], subject="judge-1")
    await service.send("feedback.submitted", early.SerializeToString(), query_id)
    await service.read("feedback.recorded", until=lambda values: len(of_tenant(tenant, values)) == 1)
    asked, said = "Where in Ohio are the mills?", "At the Great Miami [1]."
    texts = {"question": {"plain": asked, "characters": 28}, "text": {"plain": said, "characters": 23}}
    await answered(service, tenant, query_id, tier="TIER_2", **texts)
    late = feedback(tenant, queryId=query_id, correction=words["correction"])
    await service.stub.Record(service_pb2.RecordRequest(feedback=late))
    found = await service.get(tenant, query_id, feedback=2)
    assert (found.feedback[0].comment, found.feedback[1].correction) == (words["comment"], words["correction"])
    assert (found.interaction.question.plain, found.interaction.text.plain) == (asked, said)
    rows = await everything_in(service)
    assert query_id in rows, "the search would find what is there"
    for text in (*words.values(), asked, said):
        assert not any(trace in rows for trace in traces_of(text))


async def test_the_search_for_words_in_the_clear_finds_a_seeded_one(service: Running, tenant: str) -> None:
    connection = await asyncpg.connect(service.superuser)
    try:
        await connection.execute(
            "INSERT INTO feedback.feedback (tenant, feedback_id, query_id, trace_id, subject, kind, score, tier,"
            " recorded_at, record, words, words_tier) VALUES ($1, $2, $2, '', '', 'comment', 0, 3, now(), '', $3, 3)",
            tenant,
            uuid4(),
            b"in idaho it stands",
        )
    finally:
        await connection.close()
    rows = await everything_in(service)
    assert any(trace in rows for trace in traces_of("in idaho it stands"))


async def test_the_database_itself_refuses_a_comment_without_sealed_words(service: Running, tenant: str) -> None:
    connection = await asyncpg.connect(service.superuser)
    try:
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(
                "INSERT INTO feedback.feedback (tenant, feedback_id, query_id, trace_id, subject, kind, score, tier,"
                " recorded_at, record) VALUES ($1, $2, $2, '', '', 'comment', 0, 3, now(), '')",
                tenant,
                uuid4(),
            )
    finally:
        await connection.close()


async def test_a_review_needs_leave_and_says_who_and_what(service: Running, tenant: str) -> None:
    query_id = str(uuid4())
    await answered(service, tenant, query_id, tier="TIER_2")
    request = service_pb2.GetRequest(tenant=tenant, query_id=query_id)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.reviewer.Get(request)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert "headrace approvals request" in (caught.value.details() or "")
    asked = service.approvals.asked[-1]
    assert (asked.role, asked.subject, asked.tenant, asked.purpose) == ("reviewer", "rita", tenant, PURPOSE_REVIEW)
    assert (asked.tier, list(asked.sources), list(asked.records)) == (TIER_2, ["handbook"], [query_id])
    service.approvals.granted.add(PURPOSE_REVIEW)
    shown = await service.reviewer.Get(request)
    assert shown.interaction.text.plain.startswith("A channel")


async def test_a_grant_that_ends_stops_a_stream_on_the_wire(
    service: Running, schema: testing.Database, tenant: str
) -> None:
    async with (
        open_database(schema.dsn("feedback"), schema="feedback") as database,
        database.transaction(tenant=tenant) as connection,
    ):
        for _ in range(BATCH + 1):
            message = await sealed_answer(service.keyring, tenant, uuid4(), tier="TIER_2")
            await PostgresLog(connection).add_interaction(read_answer(message, event_id=uuid4()), stored_at=NOW)
    service.approvals.granted.add(PURPOSE_TRAIN)
    service.approvals.granted_times = 1
    seen = 0
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for response in service.developer.Export(service_pb2.ExportRequest(tenant=tenant, purpose=PURPOSE_TRAIN)):
            seen += len(response.interactions)
    assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
    assert seen == BATCH


async def test_an_export_over_the_wire_then_an_erasure(service: Running, tenant: str) -> None:
    kept, gone = str(uuid4()), str(uuid4())
    await answered(service, tenant, kept)
    whose = {"queryId": gone, "tenant": tenant, "subject": "user-9", "acceptedAt": "2026-11-21T09:00:00Z"}
    await answered(service, tenant, gone, query=whose)
    request = service_pb2.ExportRequest(tenant=tenant, purpose=PURPOSE_TRAIN)
    first, last = [response async for response in service.developer.Export(request)]
    assert {one.query_id for one in first.interactions} == {kept, gone}
    assert not last.exclusions
    service.keyring.destroy(Owner.subject(tenant, "user-9"))
    erased = ErasureRequested(erasure_id=str(uuid4()), round=1)
    erased.scope.tenant, erased.scope.subject = tenant, "user-9"
    await service.send("erasure.requested", erased.SerializeToString(), "erasure")
    async with asyncio.timeout(SECONDS):
        while True:
            responses = [response async for response in service.developer.Export(request)]
            if responses[-1].exclusions:
                break
            await asyncio.sleep(0.1)
    assert [one.query_id for response in responses for one in response.interactions] == [kept]
    assert [(one.reason, one.interactions) for one in responses[-1].exclusions] == [("erased", 1)]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.stub.Get(service_pb2.GetRequest(tenant=tenant, query_id=gone))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
