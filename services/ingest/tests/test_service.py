"""The whole of ingest on a real Kafka and a real Postgres: two instances, and products that publish well and badly."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from google.protobuf import json_format
from headrace.document.v1 import service_pb2 as documents_pb2
from headrace.document.v1 import service_pb2_grpc as documents_grpc
from headrace.document.v1.document_pb2 import Content, DocumentAccepted, DocumentRefused, DocumentSubmitted
from headrace.query.v1 import service_pb2, service_pb2_grpc
from headrace.query.v1.events_pb2 import QueryAccepted, QueryRefused, QuerySubmitted
from headrace.stream.v1.dead_letter_pb2 import DeadLetter
from headrace_embedded import testing
from headrace_identity import PrivateKey, new_key
from headrace_identity.signatures import SIGNATURE, Signer
from headrace_identity.testing import Issuer
from headrace_ingest.app import open_app
from headrace_ingest.live import FIRST_CHUNK
from headrace_ingest.settings import Settings
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.admission import Admission
from headrace_runtime.grpc_client import open_channel
from headrace_runtime.grpc_server import open_grpc_server
from headrace_runtime.testing import serving_keys
from headrace_stream.codec import read_leniently
from headrace_stream.publishers import about

from services.ingest.tests.makers import CANARY, NO_HEADERS, answer, chunk, indexed, letter, put, query

pytestmark = pytest.mark.real

SECONDS = 30.0
ISSUER = Issuer()
ADMISSION = Admission(ISSUER.verifier())
JSON = {"content-type": "application/json"}


def signature_of(topic: str, value: bytes, *, by: PrivateKey = ISSUER.key, **other: str) -> dict[str, str]:
    """A header that proves the publisher, for what the value says of itself unless `other` says otherwise."""
    kind: Any = DocumentSubmitted if topic == "document.submitted" else QuerySubmitted
    claims = replace(about(topic, read_leniently(kind, value)), **other)
    claims = replace(claims, tenant=claims.tenant or "nobody")
    return {SIGNATURE: Signer(by, audience="headrace").sign(value, claims, now=time.time())}


@dataclass
class Running:
    """Two instances of ingest, and a product beside them."""

    first: Any
    second: Any
    documents: Any
    producer: AIOKafkaProducer
    bootstrap: str

    async def send(self, topic: str, value: bytes, key: str, headers: Mapping[str, str] = NO_HEADERS) -> None:
        """Publishes as a product does whose key is known."""
        await self.send_unsigned(topic, value, key, {**headers, **signature_of(topic, value)})

    async def send_unsigned(self, topic: str, value: bytes, key: str, headers: Mapping[str, str]) -> None:
        encoded = [(name, text.encode()) for name, text in headers.items()]
        await self.producer.send_and_wait(topic, value, key=key.encode(), headers=encoded)

    async def read(self, topic: str, kind: Any, *, until: Callable[[list[Any]], bool]) -> list[Any]:
        """What a topic holds, from its start until it holds enough."""
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=self.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        messages: list[Any] = []
        try:
            async with asyncio.timeout(SECONDS):
                while not until(messages):
                    value = (await consumer.getone()).value
                    assert CANARY.encode() not in value
                    messages.append(kind.FromString(value))
        finally:
            await consumer.stop()
        return messages

    async def accepted(self, *query_ids: str) -> list[str]:
        """The ids of all accepted queries, once these are among them."""

        def ids(messages: list[QueryAccepted]) -> list[str]:
            return [message.query.query_id for message in messages]

        found = await self.read("query.accepted", QueryAccepted, until=lambda m: set(query_ids) <= set(ids(m)))
        return ids(found)


@asynccontextmanager
async def instance(settings: Settings) -> AsyncIterator[grpc.aio.Channel]:
    async with (
        open_app(settings) as app,
        open_grpc_server("127.0.0.1:0", app.servicers, drain_seconds=1, admission=ADMISSION) as server,
        open_channel(f"127.0.0.1:{server.port}", ISSUER.credentials()) as channel,
    ):
        await app.bus.start()
        try:
            yield channel
        finally:
            await app.bus.stop(5)


@pytest_asyncio.fixture(scope="module")
async def settings(
    schema: testing.Database, kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Settings]:
    """The settings of an instance, with keys to be had."""
    async with serving_keys(MemoryKeyring()) as classifier:
        told = ISSUER.settings(tmp_path_factory.mktemp("keys"))
        yield Settings(database=schema.dsn("ingest"), kafka=kafka, replay_seconds=0, classifier=classifier, **told)


@pytest_asyncio.fixture(scope="module")
async def service(schema: testing.Database, kafka: str, settings: Settings) -> AsyncIterator[Running]:
    async with (
        instance(settings) as one,
        instance(settings) as other,
        AIOKafkaProducer(bootstrap_servers=kafka) as producer,
    ):
        yield Running(
            service_pb2_grpc.QueryServiceStub(one),  # type: ignore[no-untyped-call]
            service_pb2_grpc.QueryServiceStub(other),  # type: ignore[no-untyped-call]
            documents_grpc.DocumentServiceStub(other),  # type: ignore[no-untyped-call]
            producer,
            kafka,
        )


async def test_products_publish_protobuf_and_json(service: Running, tenant: str) -> None:
    binary, text = query(tenant), query(tenant)
    as_json = json_format.MessageToJson(text).encode()
    await service.send("query.submitted", binary.SerializeToString(), binary.query_id)
    await service.send("query.submitted", as_json, text.query_id, JSON)
    ids = await service.accepted(binary.query_id, text.query_id)
    assert [ids.count(one.query_id) for one in (binary, text)] == [1, 1]


async def test_one_id_is_accepted_once_however_often_it_comes(service: Running, tenant: str) -> None:
    asked, last = query(tenant), query(tenant)
    event_id = str(uuid4())
    for headers in ({"ce_id": event_id}, {"ce_id": event_id}, {"ce_id": str(uuid4())}, NO_HEADERS):
        await service.send("query.submitted", asked.SerializeToString(), asked.query_id, headers)
    submitted = service_pb2.Question(query_id=asked.query_id, tenant=tenant, product="shop", text="Again?")
    await service.second.Submit(service_pb2.SubmitRequest(question=submitted))
    await service.send("query.submitted", last.SerializeToString(), asked.query_id)
    assert (await service.accepted(asked.query_id, last.query_id)).count(asked.query_id) == 1


def bad_ones(tenant: str) -> dict[str, tuple[bytes, dict[str, str], str, str]]:
    """Each kind of bad event by a key of its own: value, headers, and the field and reason that it is refused with."""
    good = query(tenant, text=CANARY)

    def but(**fields: Any) -> bytes:
        message = query(tenant, text=CANARY)
        for name, value in fields.items():
            setattr(message, name, value)
        return message.SerializeToString()

    return {
        "not-protobuf": (CANARY.encode() + b"\xff\xff", {}, "", "undecodable"),
        "not-json": (b'{"text": "' + CANARY.encode(), {}, "", "undecodable"),
        "nested-json": (b'{"a":' * 50_000, JSON, "", "undecodable"),
        "wrong-json": (b'{"text": {"x": "' + CANARY.encode() + b'"}}', JSON, "", "undecodable"),
        "no-value": (b"", {}, "", "empty"),
        "missing-tenant": (but(tenant=""), {}, "", "unauthenticated"),
        "empty-text": (but(text="  "), {}, "text", "empty"),
        "missing-text": (but(text=""), {}, "text", "missing"),
        "too-long": (but(text=CANARY * 300), {}, "text", "too_long"),
        "nul": (but(text=CANARY + "\x00"), {}, "text", "has_nul"),
        "no-uuid": (but(query_id=CANARY), {}, "query_id", "not_a_uuid"),
        "unknown-version": (
            good.SerializeToString(),
            {"ce_type": "headrace.query.v2.QuerySubmitted"},
            "",
            "unknown_version",
        ),
        "not-utf8": (
            good.SerializeToString().replace(CANARY.encode(), CANARY.encode()[:-1] + b"\xff"),
            {},
            "text",
            "not_utf8",
        ),
        "json-not-utf8": (b'{"text": "\xff' + CANARY.encode() + b'"}', JSON, "", "not_utf8"),
    }


async def test_each_bad_event_is_answered_and_dead_lettered_and_delays_nobody(service: Running, tenant: str) -> None:
    bad = {f"{tenant}-{name}": case for name, case in bad_ones(tenant).items()}
    good = []
    for key, (value, headers, _, _) in bad.items():
        await service.send("query.submitted", value, key, headers)
        good.append(query(tenant))
        await service.send("query.submitted", good[-1].SerializeToString(), key)  # the same key: right behind it
    await service.accepted(*(one.query_id for one in good))

    letters = await service.read(
        "query.submitted.dlq", DeadLetter, until=lambda m: set(bad) <= {one.correlation_id for one in m}
    )
    told = {one.correlation_id: one for one in letters}
    for key, (_, _, field, reason) in bad.items():
        error = "UnknownPublisher" if reason == "unauthenticated" else "Rejected"
        assert (told[key].error, list(told[key].reasons)) == (error, [f"{field or 'message'}: {reason}"]), key

    expected = sorted((field, reason) for _, _, field, reason in bad.values())
    refused = await service.read("query.refused", QueryRefused, until=lambda m: len(m) >= len(bad))
    assert sorted((v.field, v.reason) for one in refused for v in one.violations) == expected
    assert tenant in {one.tenant for one in refused}


async def test_headers_that_are_no_text_are_left_out(service: Running, tenant: str) -> None:
    asked = query(tenant)
    value = asked.SerializeToString()
    signed = [(name, text.encode()) for name, text in signature_of("query.submitted", value).items()]
    headers = [("ce_id", b"\xff\xfe"), ("traceparent", b"nonsense"), ("x", None), *signed]
    await service.producer.send_and_wait("query.submitted", value, headers=headers)
    assert (await service.accepted(asked.query_id)).count(asked.query_id) == 1


def forged(tenant: str) -> dict[str, dict[str, str]]:
    """Headers that prove nothing of a query of this tenant, by what is wrong with them."""
    value = query(tenant, text=CANARY).SerializeToString()
    return {
        "unsigned": {},
        "unknown-key": signature_of("query.submitted", value, by=new_key("stranger")),
        "another-kid": signature_of("query.submitted", value, by=replace(ISSUER.key, kid="elsewhere")),
        "another-value": signature_of("query.submitted", value + b"\x00"),
        "another-topic": signature_of("document.submitted", value),
        "another-tenant": signature_of("query.submitted", value, tenant="acme"),
        "another-subject": signature_of("query.submitted", value, subject="eve"),
        "another-product": signature_of("query.submitted", value, product="mall"),
        "another-header": {**signature_of("query.submitted", value), "ce_tenant": "acme"},
        "a-token": {SIGNATURE: ISSUER.token("product", tenant=tenant)},
    }


async def test_an_event_that_nobody_known_signed_is_of_no_tenant(service: Running, tenant: str) -> None:
    value = query(tenant, text=CANARY).SerializeToString()
    cases = {f"{tenant}-{name}": headers for name, headers in forged(tenant).items()}
    for key, headers in cases.items():
        await service.send_unsigned("query.submitted", value, key, {"ce_tenant": tenant, **headers})
    letters = await service.read(
        "query.submitted.dlq", DeadLetter, until=lambda m: set(cases) <= {one.correlation_id for one in m}
    )
    for one in (each for each in letters if each.correlation_id in cases):
        assert (one.tenant, one.error) == ("", "UnknownPublisher"), one.correlation_id
        assert list(one.reasons) == ["message: unauthenticated"]
    refused = await service.read("query.refused", QueryRefused, until=lambda m: len(of_strangers(m)) >= len(cases))
    assert {one.tenant for one in of_strangers(refused)} == {""}


def of_strangers(refused: list[QueryRefused]) -> list[QueryRefused]:
    return [one for one in refused if any(v.reason == "unauthenticated" for v in one.violations)]


async def settled(stub: Any, tenant: str, query_id: str, state: int) -> service_pb2.GetResponse:
    async with asyncio.timeout(SECONDS):
        while True:
            with contextlib.suppress(grpc.aio.AioRpcError):
                found = await stub.Get(service_pb2.GetRequest(tenant=tenant, query_id=query_id))
                if found.state == state:
                    return found  # type: ignore[no-any-return]
            await asyncio.sleep(0.05)


async def test_a_lost_watch_goes_on_at_the_other_instance(service: Running, tenant: str) -> None:
    submitted = await service.first.Submit(
        service_pb2.SubmitRequest(question=service_pb2.Question(tenant=tenant, product="shop", text="What?"))
    )
    query_id = submitted.query_id
    request = service_pb2.WatchRequest(tenant=tenant, query_id=query_id)
    stream = service.first.Watch(request, timeout=SECONDS)
    for index, text in enumerate((None, "It ", "binds.")):
        part = chunk(tenant, query_id, "g", index, text)
        await service.send("answer.chunk", part.SerializeToString(), query_id)
    seen = []
    async for response in stream:
        seen.append(response.update)
        if response.update.text == "It ":
            break
    stream.cancel()

    said, event_id = answer(tenant, query_id), str(uuid4())
    request.after_sequence = seen[-1].sequence
    going_on = service.second.Watch(request, timeout=SECONDS)
    for _ in range(2):
        await service.send("answer.completed", said.SerializeToString(), query_id, {"ce_id": event_id})
    rest = [response.update async for response in going_on]
    assert seen[-1].sequence == FIRST_CHUNK + 1
    assert [update.text for update in rest[:-1]] == ["binds."]
    assert rest[-1].answer.text == said.text.plain

    found = await settled(service.second, tenant, query_id, service_pb2.QUERY_STATE_ANSWERED)
    assert found.answer == rest[-1].answer
    tallied = [
        (one.query_id, one.answer_event_id)
        async for batch in service.first.Tally(service_pb2.TallyRequest(tenant=tenant))
        for one in batch.queries
    ]
    assert tallied == [(query_id, event_id)]


async def test_a_query_that_was_given_up_on_ends_its_watchers(service: Running, tenant: str) -> None:
    asked = query(tenant)
    await service.send("query.submitted", asked.SerializeToString(), asked.query_id)
    await service.accepted(asked.query_id)
    watching = service.second.Watch(service_pb2.WatchRequest(tenant=tenant, query_id=asked.query_id), timeout=SECONDS)
    dead = letter("query.embedded", asked.query_id, tenant)
    await service.send("query.embedded.dlq", dead.SerializeToString(), asked.query_id)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        [response async for response in watching]
    assert caught.value.code() == grpc.StatusCode.ABORTED
    await settled(service.first, tenant, asked.query_id, service_pb2.QUERY_STATE_DEAD_LETTERED)


async def test_a_document_goes_in_and_is_waited_for(service: Running, tenant: str) -> None:
    request = documents_pb2.PutRequest(
        tenant=tenant,
        source="handbook",
        document_id="a.md",
        declared_tier=1,  # type: ignore[arg-type]
        content=Content(media_type="text/markdown", data=b"# Leave\n\nThirty days."),
    )
    putting = asyncio.ensure_future(service.documents.Put(request, timeout=SECONDS))
    accepted = await service.read(
        "document.accepted", DocumentAccepted, until=lambda m: any(one.document.tenant == tenant for one in m)
    )
    (event,) = [one for one in accepted if one.document.tenant == tenant]
    assert (event.document.version, event.declared_tier) == (1, 1)
    assert (event.document.title, event.HasField("raw")) == ("", True)
    done = indexed(tenant, 1, chunks=1)
    await service.send("document.indexed", done.SerializeToString(), f"{tenant}/handbook/a.md")
    response = await putting
    assert (response.outcome, response.chunks) == (documents_pb2.OUTCOME_INDEXED, 1)
    assert (await service.documents.Put(request, timeout=SECONDS)).outcome == documents_pb2.OUTCOME_UNCHANGED


async def test_a_bad_document_is_refused_without_its_text(service: Running, tenant: str) -> None:
    bad = [
        put(tenant, "no\x00id", data=CANARY.encode()),
        put(tenant, media_type="image/png", data=CANARY.encode()),
        put(tenant, media_type="text/plain", data=CANARY.encode() + b"\xff"),
    ]
    for number, message in enumerate(bad):
        await service.send("document.submitted", message.SerializeToString(), f"{tenant}/{number}")
    refused = await service.read(
        "document.refused", DocumentRefused, until=lambda m: len([one for one in m if one.tenant == tenant]) == len(bad)
    )
    told = {one.submission_id: (one.violations[0].field, one.violations[0].reason) for one in refused}
    assert [told[message.submission_id] for message in bad] == [
        ("document_id", "has_nul"),
        ("content.media_type", "unsupported"),
        ("content.data", "not_utf8"),
    ]
