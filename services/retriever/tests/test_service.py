"""The whole service on a real Kafka and a real Postgres, beside an embedder that knows four words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from headrace import topics
from headrace.document.v1.document_pb2 import Document, DocumentEmbedded, EmbeddedChunk
from headrace.embedding.v1.service_pb2 import EmbedAsRequest, EmbedAsResponse, EmbedRequest, EmbedResponse
from headrace.embedding.v1.service_pb2_grpc import EmbeddingServiceServicer, add_EmbeddingServiceServicer_to_server
from headrace.privacy.v1 import privacy_pb2
from headrace.privacy.v1.erasure_pb2 import ErasureRequested
from headrace.privacy.v1.privacy_pb2 import ProtectedText, SealedBytes
from headrace.query.v1.events_pb2 import QueryEmbedded
from headrace.query.v1.query_pb2 import Query
from headrace.retrieval.v1.retrieval_pb2 import EmbedderIdentity, TrainedEmbedder
from headrace.retrieval.v1.service_pb2 import (
    INDEX_STATE_LIVE,
    INDEX_STATE_PREPARING,
    INDEX_STATE_READY,
    INDEX_STATE_STANDING_BY,
    GetChunksRequest,
    GetIndexRequest,
    ListChunksRequest,
    PrepareIndexRequest,
    SearchRequest,
    SwitchIndexRequest,
)
from headrace.retrieval.v1.service_pb2_grpc import RetrievalServiceStub
from headrace.topics import Topic
from headrace_embedded import testing
from headrace_embedded.servers.postgres import PostgresServer
from headrace_identity.testing import Issuer
from headrace_privacy import Owner, Seal, Text, Tier, is_sealed, owner_of_document, plain_vector
from headrace_privacy.memory import MemoryKeyring
from headrace_retriever import translate
from headrace_retriever.app import open_app
from headrace_retriever.domain import Document as IndexedDocument
from headrace_retriever.domain import chunk_id
from headrace_retriever.settings import Settings
from headrace_runtime.admission import Admission
from headrace_runtime.errors import Conflict
from headrace_runtime.grpc_client import open_channel
from headrace_runtime.grpc_server import Servicer, open_grpc_server
from headrace_runtime.testing import serving_keys
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

pytestmark = pytest.mark.real

M = TypeVar("M", bound=Message)
SECRET = "the users own words hunter2"
SECONDS = 30.0
ISSUER = Issuer()
ADMISSION = Admission(ISSUER.verifier())
KEYS = MemoryKeyring()
EMBEDDER = EmbedderIdentity(name="four-words", dimensions=4, hash="00")
OWN = "own@0000000000000001"
WORDS = ("nonlocal", "yield", "lambda", "with")


def vector_of(text: str) -> list[float]:
    """How often each of the four words is in it."""
    return [text.count(word) + 0.01 for word in WORDS]


class FourWords(EmbeddingServiceServicer):
    """An embedder that knows four words."""

    identity = EMBEDDER

    async def Embed(self, request: EmbedRequest, context: Any) -> EmbedResponse:  # noqa: N802 - gRPC's name
        response = EmbedResponse(embedder=self.identity)
        for text in request.texts:
            response.embeddings.add(values=vector_of(text), tokens=1)
        return response

    async def EmbedAs(self, request: EmbedAsRequest, context: Any) -> EmbedAsResponse:  # noqa: N802 - gRPC's name
        """A tenant's own, for which the four words are the other way round; one at "nowhere" cannot be had."""
        if request.embedder.address == "nowhere":
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "the weights of it cannot be used: missing")
        identity = EmbedderIdentity(name=request.embedder.model, dimensions=4, hash="01")
        response = EmbedAsResponse(embedder=identity)
        for passage in request.passages:
            response.embeddings.add(values=vector_of(passage.text)[::-1], tokens=1)
        return response


@dataclass
class Running:
    """The running service with its neighbours."""

    stub: Any
    bare_stub: Any
    producer: AIOKafkaProducer
    bootstrap: str
    embedder: FourWords
    tenant: str = field(default_factory=lambda: f"t-{uuid4().hex[:12]}")

    async def send(self, topic: Topic[M], message: M, key: str, *, event_id: str = "", **headers: str) -> None:
        """Publishes as the embedder does."""
        all_headers = {"ce_id": event_id or str(uuid4()), "ce_tenant": self.tenant, "ce_correlationid": key, **headers}
        encoded = [(name, value.encode()) for name, value in all_headers.items()]
        await self.producer.send_and_wait(topic.name, message.SerializeToString(), key=key.encode(), headers=encoded)

    async def read(self, topic: Topic[M], *, until: Callable[[list[M]], bool]) -> list[M]:
        """Reads a topic from its start until it holds enough of this tenant's."""
        return [message for message, _ in await self.read_with_headers(topic, until=until)]

    async def read_with_headers(
        self, topic: Topic[M], *, until: Callable[[list[M]], bool]
    ) -> list[tuple[M, dict[str, str]]]:
        """As read, each with its headers."""
        consumer = AIOKafkaConsumer(topic.name, bootstrap_servers=self.bootstrap, auto_offset_reset="earliest")
        read: list[tuple[M, dict[str, str]]] = []
        await consumer.start()
        try:
            async with asyncio.timeout(SECONDS):
                while not until([message for message, _ in read]):
                    record = await consumer.getone()
                    headers = {name: value.decode(errors="replace") for name, value in record.headers}
                    if headers.get("ce_tenant") != self.tenant:
                        continue
                    # What the relay published just before a crash it publishes again: same id, as every reader knows.
                    if headers["ce_id"] not in {other["ce_id"] for _, other in read}:
                        read.append((topic.message.FromString(record.value), headers))
        finally:
            await consumer.stop()
        return read

    async def put(self, document_id: str, *texts: str, version: int = 1, event_id: str = "") -> None:
        """Publishes a document; without texts, its deletion."""
        which = Document(tenant=self.tenant, source="docs", document_id=document_id, version=version, title="T")
        event = DocumentEmbedded(document=which, tier=privacy_pb2.TIER_1, embedder=self.embedder.identity)
        for ordinal, text in enumerate(texts):
            event.chunks.append(
                EmbeddedChunk(ordinal=ordinal, text=plain(text), vector=plain_vector(vector_of(text)), tokens=1)
            )
        key = f"{self.tenant}/docs/{document_id}"
        await self.send(topics.DOCUMENT_EMBEDDED, event, key, event_id=event_id)

    async def put_sealed(self, document_id: str, text: str) -> None:
        """Publishes a TIER_2 document of one chunk, as the embedder seals it."""
        which = Document(
            tenant=self.tenant, source="docs", document_id=document_id, version=1, title=f"Title of {document_id}"
        )
        owner = owner_of_document(which)
        seal = Seal(owner, await KEYS.issue(owner))
        chunk = EmbeddedChunk(
            text=seal.protect(Text(text, Tier.TIER_2)),
            vector=seal.protect_vector(vector_of(text), Tier.TIER_2),
            tokens=1,
        )
        event = DocumentEmbedded(
            document=seal.seal_labels(which, Tier.TIER_2),
            tier=privacy_pb2.TIER_2,
            embedder=self.embedder.identity,
            chunks=[chunk],
        )
        await self.send(topics.DOCUMENT_EMBEDDED, event, f"{self.tenant}/docs/{document_id}")

    async def say_that_somebody_is_erased(self) -> None:
        """Publishes what every instance drops its keys at."""
        await self.send(topics.ERASURE_REQUESTED, ErasureRequested(erasure_id=str(uuid4()), round=1), "e")

    async def search_as_product(self, text: str) -> Sequence[Any]:
        """Searches over gRPC as a product of this tenant; returns the chunks."""
        token = ISSUER.token("product", tenant=self.tenant)
        request = SearchRequest(tenant=self.tenant, text=text)
        response = await self.bare_stub.Search(request, metadata=[("authorization", f"Bearer {token}")])
        return list(response.chunks)

    async def ask(self, text: str, **headers: str) -> str:
        """Publishes a query and returns its id."""
        query_id = str(uuid4())
        event = QueryEmbedded(
            query=Query(query_id=query_id, tenant=self.tenant, product="p"),
            text=plain(text),
            tier=privacy_pb2.TIER_PUBLIC,
            vector=plain_vector(vector_of(text)),
            embedder=self.embedder.identity,
        )
        await self.send(topics.QUERY_EMBEDDED, event, query_id, ce_dataclassification="public", **headers)
        return query_id

    async def indexed(self, count: int) -> list[tuple[str, int, int]]:
        """What was said to be indexed: document, version, chunks."""
        events = await self.read(topics.DOCUMENT_INDEXED, until=lambda events: len(events) >= count)
        return [(event.document.document_id, event.document.version, event.chunks) for event in events]

    async def call(self, method: str, request: Any, *, role: str = "service:trainer") -> Any:
        """Calls as somebody who speaks for every tenant."""
        token = ISSUER.token(role)
        return await getattr(self.bare_stub, method)(request, metadata=[("authorization", f"Bearer {token}")])

    async def prepare(self, **more: Any) -> Any:
        """Has an index of the tenant's own embedder begun."""
        which = {
            "tenant": self.tenant,
            "model": OWN,
            "address": "/models/own",
            "files": {"model.safetensors": "0" * 64},
        }
        embedder = TrainedEmbedder(**{**which, **more})
        return await self.call("PrepareIndex", PrepareIndexRequest(tenant=self.tenant, embedder=embedder))

    async def index(self) -> Any:
        """How the tenant's indexes stand."""
        return await self.call("GetIndex", GetIndexRequest(tenant=self.tenant))

    async def switch(self, model: str, *, expected: str = "") -> Any:
        """Has another embedder answer."""
        request = SwitchIndexRequest(tenant=self.tenant, model=model, expected=expected)
        return await self.call("SwitchIndex", request)

    async def until_ready(self) -> Any:
        """Waits until every chunk has its vector by the tenant's own embedder."""
        async with asyncio.timeout(SECONDS):
            while (await self.index()).indexes[0].state != INDEX_STATE_READY:
                await asyncio.sleep(0.05)
        return (await self.index()).indexes[0]

    async def search(self, text: str) -> list[str]:
        """Searches over gRPC; returns the passages' texts."""
        response = await self.stub.Search(SearchRequest(tenant=self.tenant, text=text))
        return [chunk.text.plain for chunk in response.chunks]


def plain(text: str) -> ProtectedText:
    """Text in the clear."""
    return ProtectedText(plain=text, characters=len(text))


Parts = tuple[Any, Any, AIOKafkaProducer, FourWords]


@pytest_asyncio.fixture(scope="module")
async def parts(schema: testing.Database, kafka: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Parts]:
    embedder = FourWords()
    served = Servicer(add_EmbeddingServiceServicer_to_server, embedder, "headrace.embedding.v1.EmbeddingService")
    async with (
        open_grpc_server("127.0.0.1:0", [served], drain_seconds=0, admission=ADMISSION) as neighbour,
        serving_keys(KEYS) as classifier,
    ):
        believed = ISSUER.settings(tmp_path_factory.mktemp("keys"))
        settings = Settings(
            database=schema.dsn("retriever"),
            kafka=kafka,
            embedder=f"127.0.0.1:{neighbour.port}",
            classifier=classifier,
            **believed,
        )
        async with (
            open_app(settings) as app,
            open_grpc_server("127.0.0.1:0", app.servicers, drain_seconds=1, admission=ADMISSION) as server,
            open_channel(f"127.0.0.1:{server.port}", ISSUER.credentials()) as channel,
            open_channel(f"127.0.0.1:{server.port}") as bare,
            AIOKafkaProducer(bootstrap_servers=kafka) as producer,
        ):
            await app.bus.start()
            yield RetrievalServiceStub(channel), RetrievalServiceStub(bare), producer, embedder
            await app.bus.stop(5)


@pytest.fixture
def service(parts: Parts, kafka: str) -> Running:
    """The running service, and a tenant of this test's own."""
    stub, bare_stub, producer, embedder = parts
    return Running(stub, bare_stub, producer, kafka, embedder)


async def test_a_document_takes_effect_once(service: Running) -> None:
    event_id = str(uuid4())
    for _ in range(3):
        await service.put("a", "nonlocal", "yield", event_id=event_id)
    await service.put("b", "lambda")
    assert sorted(await service.indexed(2)) == [("a", 1, 2), ("b", 1, 1)]
    await service.put("b", "lambda", "with", version=2)
    assert len(await service.indexed(3)) == 3  # no second event for the first document came in between


async def test_what_is_said_to_be_indexed_is_found_and_what_is_said_to_be_deleted_is_not(service: Running) -> None:
    await service.put("a", "the nonlocal statement")
    assert await service.indexed(1) == [("a", 1, 1)]
    assert await service.search("nonlocal") == ["the nonlocal statement"]
    await service.put("a", version=2)
    assert await service.indexed(2) == [("a", 1, 1), ("a", 2, 0)]
    assert await service.search("nonlocal") == []
    await service.put("a", "the nonlocal statement", version=1)  # late, with an event id of its own
    await service.put("c", "with")
    assert await service.indexed(3) == [("a", 1, 1), ("a", 2, 0), ("c", 1, 1)]
    assert await service.search("nonlocal") == ["with"]


async def test_a_query_gets_its_passages(service: Running) -> None:
    await service.put("a", "the nonlocal statement", "the yield expression")
    await service.indexed(1)
    query_id = await service.ask("nonlocal")
    ((event, headers),) = await service.read_with_headers(topics.QUERY_RETRIEVED, until=bool)
    assert event.query.query_id == query_id
    assert [hop.service for hop in event.query.hops] == ["retriever"]
    assert [chunk.text.plain for chunk in event.chunks] == ["the nonlocal statement", "the yield expression"]
    assert event.chunks[0].reference.document_id == "a"
    assert event.settings.vector_search == "exact"
    # A public question with a TIER_1 passage: the event is as strict as its strictest part.
    assert (event.tier, headers["ce_dataclassification"]) == (privacy_pb2.TIER_PUBLIC, "tier_1")


async def test_one_trace_from_the_event_to_the_sql(service: Running, span_exporter: InMemorySpanExporter) -> None:
    await service.put("a", SECRET)
    await service.indexed(1)
    trace, parent = uuid4().hex, uuid4().hex[:16]
    await service.ask(SECRET, traceparent=f"00-{trace}-{parent}-01")
    await service.read(topics.QUERY_RETRIEVED, until=bool)
    spans = [span for span in span_exporter.get_finished_spans() if f"{span.context.trace_id:032x}" == trace]
    by_name = {span.name: span for span in spans}
    assert parent_of(by_name["process query.embedded"]) == parent
    for child, its_parent in (
        ("retrieval chunks", "process query.embedded"),
        ("SELECT chunks", "retrieval chunks"),
        ("send query.retrieved", "process query.embedded"),
    ):
        assert parent_of(by_name[child]) == f"{by_name[its_parent].context.span_id:016x}", child
    retrieval = dict(by_name["retrieval chunks"].attributes or {})
    assert retrieval == {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": "chunks",
        "gen_ai.retrieval.top_k": 8,
        "headrace.tenant": service.tenant,
        "headrace.vector_search": "exact",
        "headrace.passages": 1,
        "headrace.embedder": EMBEDDER.name,
    }
    assert not any("hunter2" in span.to_json() for span in span_exporter.get_finished_spans())


def parent_of(span: ReadableSpan) -> str:
    """The id of a span's parent."""
    return f"{span.parent.span_id:016x}" if span.parent else ""


async def test_what_can_never_work_is_dead_lettered_without_its_text(service: Running) -> None:
    await service.put("first", "with")
    await service.indexed(1)
    sealed = QueryEmbedded(
        query=Query(query_id="q", tenant=service.tenant),
        text=ProtectedText(sealed=SealedBytes(key_id="k")),
        vector=plain_vector([1, 1, 1, 1]),
        embedder=EMBEDDER,
    )
    foreign = QueryEmbedded(
        query=sealed.query,
        text=plain(SECRET),
        vector=plain_vector([1, 1]),
        embedder=EmbedderIdentity(name="other", dimensions=2),
    )
    await service.send(topics.QUERY_EMBEDDED, sealed, "q")
    await service.send(topics.QUERY_EMBEDDED, foreign, "q")
    letters = await service.read(topics.QUERY_EMBEDDED.dead_letters, until=lambda letters: len(letters) == 2)
    assert [(letter.error, list(letter.reasons)) for letter in letters] == [
        ("Erased", []),
        ("Conflict", []),
    ]
    assert not any(b"hunter2" in letter.SerializeToString() for letter in letters)


async def test_a_wrong_search_names_its_field(service: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.stub.Search(SearchRequest(tenant=service.tenant, text=SECRET, top_k=101))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(refused.value)
    detail = error_details_pb2.BadRequest()
    assert status is not None
    assert status.details[0].Unpack(detail)
    assert [violation.field for violation in detail.field_violations] == ["top_k"]
    assert "hunter2" not in str(status)


async def test_a_search_with_another_embedder_names_both(service: Running) -> None:
    await service.put("a", "with")
    await service.indexed(1)
    service.embedder.identity = EmbedderIdentity(name="retrained", dimensions=4, hash="01")
    try:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.search("with")
    finally:
        service.embedder.identity = EMBEDDER
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    details = refused.value.details() or ""
    assert "four-words" in details
    assert "retrained" in details


def id_of(service: Running, document_id: str, ordinal: int, *, version: int = 1) -> str:
    """The id of a passage."""
    return str(chunk_id(IndexedDocument(service.tenant, "docs", document_id, version), ordinal))


async def fetched(service: Running, *ids: str, tenant: str = "", up_to: Any = privacy_pb2.TIER_2) -> dict[str, Any]:
    """The passages of these ids, by id."""
    request = GetChunksRequest(tenant=tenant or service.tenant, chunk_ids=ids, max_tier=up_to)
    return {chunk.reference.chunk_id: chunk for chunk in (await service.stub.GetChunks(request)).chunks}


async def test_passages_are_handed_out_by_their_ids_as_they_rest(service: Running) -> None:
    await service.put("a", "nonlocal", "yield")
    await service.put_sealed("s", SECRET)
    await service.indexed(2)
    first, second, sealed = id_of(service, "a", 0), id_of(service, "a", 1), id_of(service, "s", 0)
    found = await fetched(service, first, second, sealed, str(uuid4()))
    assert set(found) == {first, second, sealed}
    assert found[second].text.plain == "yield"
    assert (found[second].reference.source, found[second].reference.document_id) == ("docs", "a")
    assert is_sealed(found[sealed].text)
    assert found[sealed].reference.title == ""
    assert b"hunter2" not in found[sealed].SerializeToString()
    assert set(await fetched(service, first, sealed, up_to=privacy_pb2.TIER_1)) == {first}
    assert await fetched(service, first, up_to=privacy_pb2.TIER_PUBLIC) == {}
    assert await fetched(service, first, sealed, tenant="t-somebody-else") == {}


async def test_a_passage_of_a_version_that_is_replaced_or_deleted_is_not_handed_out(service: Running) -> None:
    await service.put("a", "nonlocal")
    await service.put("b", "yield")
    await service.put("a", "lambda", version=2)
    await service.put("b", version=2)
    await service.indexed(4)
    ids = [id_of(service, "a", 0), id_of(service, "b", 0), id_of(service, "a", 0, version=2)]
    assert set(await fetched(service, *ids)) == {ids[2]}


async def test_a_passage_is_wanted_by_a_uuid(service: Running) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await fetched(service, str(uuid4()), "hunter2")
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "chunk_ids[1]: not_a_uuid" in (refused.value.details() or "")
    assert "hunter2" not in str(rpc_status.from_call(refused.value))


async def listed(service: Running, *, tenant: str = "", size: int = 2, up_to: Any = privacy_pb2.TIER_2) -> list[Any]:
    """The pages of a source."""
    pages: list[Any] = []
    token = ""
    while token or not pages:
        request = ListChunksRequest(
            tenant=tenant or service.tenant, source="docs", page_token=token, page_size=size, max_tier=up_to
        )
        response = await service.stub.ListChunks(request)
        pages.append(response.chunks)
        token = response.next_page_token
    return pages


def places(pages: Sequence[Any]) -> list[tuple[str, int]]:
    """Where the passages of all pages stand."""
    return [(chunk.reference.document_id, chunk.reference.ordinal) for page in pages for chunk in page]


async def test_a_source_is_listed_page_by_page_as_it_rests(service: Running) -> None:
    await service.put("a/b", "nonlocal", "yield", "lambda")
    await service.put_sealed("s", SECRET)
    await service.put("a", "old", version=1)
    await service.put("a", "async", "await", version=2)
    await service.put("gone", "with")
    await service.put("gone", version=2)
    await service.indexed(6)
    all_of_them = [("a", 0), ("a", 1), ("a/b", 0), ("a/b", 1), ("a/b", 2), ("s", 0)]
    for size in (1, 2, 5, 6, 0):
        pages = await listed(service, size=size)
        assert places(pages) == all_of_them
        assert all(page for page in pages)
        assert len(pages) == (-(-6 // size) if size else 1)
    sealed = pages[-1][-1]
    assert is_sealed(sealed.text)
    assert b"hunter2" not in sealed.SerializeToString()
    assert pages[-1][1].text.plain == "await"
    assert places(await listed(service, up_to=privacy_pb2.TIER_1)) == all_of_them[:-1]
    assert places(await listed(service, up_to=privacy_pb2.TIER_PUBLIC)) == []
    assert places(await listed(service, tenant="t-somebody-else")) == []


async def test_a_page_holds_no_more_bytes_than_a_reader_takes(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.put("a", *("nonlocal " * 20,) * 3)
    await service.indexed(1)
    monkeypatch.setattr(translate, "LISTED_BYTES", 300)
    assert [len(page) for page in await listed(service, size=1000)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("source", ""),
        ("source", "No Source"),
        ("page_size", 1001),
        ("max_tier", 9),
        ("page_token", "hunter2"),
        ("page_token", "é"),
        ("page_token", "LTEvYQ=="),  # -1/a
        ("page_token", "MC8="),  # 0/
    ],
)
async def test_a_wrong_listing_names_its_field(service: Running, field: str, value: Any) -> None:
    request = ListChunksRequest(tenant=service.tenant, source="docs")
    setattr(request, field, value)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await service.stub.ListChunks(request)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"{field}: " in (refused.value.details() or "")
    assert "hunter2" not in str(rpc_status.from_call(refused.value))


async def failing_search(schema: testing.Database, kafka: str, folder: Path, **neighbours: str) -> tuple[Any, str]:
    """A search on an instance of its own: the status and the words that it fails with."""
    settings = Settings(database=schema.dsn("retriever"), kafka=kafka, **neighbours, **ISSUER.settings(folder))
    async with (
        open_app(settings) as app,
        open_grpc_server("127.0.0.1:0", app.servicers, drain_seconds=0, admission=ADMISSION) as server,
        open_channel(f"127.0.0.1:{server.port}", ISSUER.credentials()) as channel,
    ):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await RetrievalServiceStub(channel).Search(SearchRequest(tenant="t", text="with"))
    return refused.value.code(), refused.value.details() or ""


async def test_a_search_says_that_the_embedder_is_down(schema: testing.Database, kafka: str, tmp_path: Path) -> None:
    async with serving_keys(KEYS) as classifier:
        code, words = await failing_search(schema, kafka, tmp_path, embedder="127.0.0.1:1", classifier=classifier)
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "embedder" in words


async def test_nothing_is_searched_without_keys(schema: testing.Database, kafka: str, tmp_path: Path) -> None:
    code, words = await failing_search(schema, kafka, tmp_path, classifier="127.0.0.1:1")
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "classifier" in words


async def test_a_service_that_knows_no_keys_does_not_start(
    schema: testing.Database, kafka: str, tmp_path: Path
) -> None:
    with pytest.raises(Conflict, match="HEADRACE_RETRIEVER_CLASSIFIER is not set"):
        await failing_search(schema, kafka, tmp_path)


async def test_sealed_content_is_found_sent_on_sealed_and_opened_for_a_caller(
    service: Running,
) -> None:
    await service.put_sealed("secret", SECRET + " nonlocal")
    await service.put_sealed("gone", "another nonlocal")
    assert sorted(await service.indexed(2)) == [("gone", 1, 1), ("secret", 1, 1)]
    query_id = await service.ask("nonlocal")
    (event,) = await service.read(topics.QUERY_RETRIEVED, until=bool)
    assert event.query.query_id == query_id
    assert [is_sealed(chunk.text) for chunk in event.chunks] == [True, True]
    assert b"hunter2" not in event.SerializeToString()
    # A developer is cleared for less, whatever the request says; a product is not.
    assert await service.search("nonlocal") == []
    searched = await service.search_as_product("nonlocal")
    assert {(chunk.text.plain, chunk.reference.title) for chunk in searched} == {
        (SECRET + " nonlocal", "Title of secret"),
        ("another nonlocal", "Title of gone"),
    }
    KEYS.destroy(Owner.document(service.tenant, "docs", "gone"))
    await service.say_that_somebody_is_erased()
    assert await _held(lambda: service.search_as_product("nonlocal"), 1)


async def _held(search: Callable[[], Awaitable[Sequence[Any]]], count: int) -> bool:
    """Whether a search comes to find so many, once word of an erasure is round."""
    async with asyncio.timeout(SECONDS):
        while len(await search()) != count:
            await asyncio.sleep(0.1)
    return True


# --- a tenant's own embedder ------------------------------------------------------------------------------------------


async def test_an_index_is_prepared_tried_switched_to_and_back(service: Running) -> None:
    await service.put("a", "the nonlocal statement", "the yield expression")
    await service.put_sealed("secret", "a sealed lambda")
    await service.indexed(2)
    begun = (await service.prepare()).index
    assert (begun.model, begun.state, begun.chunks) == (OWN, INDEX_STATE_PREPARING, 3)
    ready = await service.until_ready()
    assert (ready.filled, ready.chunks, ready.failure, ready.embedder.name) == (3, 3, "", OWN)
    asked = SearchRequest(tenant=service.tenant, text="nonlocal", embedder=OWN)
    assert (await service.call("Search", asked)).settings.embedder.name == OWN
    assert await searched_by(service) == EMBEDDER.name

    switched = await service.switch(OWN)
    assert (switched.before, switched.live) == ("", OWN)
    standing = await service.index()
    assert (standing.live, standing.chunks, standing.house) == (OWN, 3, EMBEDDER)
    assert [index.state for index in standing.indexes] == [INDEX_STATE_LIVE]
    assert await searched_by(service) == OWN
    await service.put("b", "the with statement")
    await service.indexed(3)
    assert (await service.index()).indexes[0].filled == 4, "it has its vector when it is said to be indexed"

    assert (await service.switch("", expected=OWN)).live == ""
    assert await searched_by(service) == EMBEDDER.name
    assert (await service.index()).indexes[0].state == INDEX_STATE_STANDING_BY


async def searched_by(service: Running) -> str:
    """Whose vectors a query's passages were found by, the event says."""
    query_id = await service.ask("nonlocal")
    events = await service.read(
        topics.QUERY_RETRIEVED, until=lambda events: any(event.query.query_id == query_id for event in events)
    )
    (event,) = (event for event in events if event.query.query_id == query_id)
    assert event.embedder == EMBEDDER, "the event's vector stays the house's"
    assert event.chunks
    return str(event.settings.embedder.name)


async def test_the_trainer_is_told_places_and_nothing_of_what_is_there(service: Running) -> None:
    await service.put_sealed("secret", SECRET + " nonlocal")
    await service.put("a", SECRET + " the nonlocal statement")
    await service.indexed(2)
    response = await service.call("Search", SearchRequest(tenant=service.tenant, text="nonlocal", embedder="house"))
    assert {chunk.reference.document_id for chunk in response.chunks} == {"secret", "a"}
    for chunk in response.chunks:
        assert chunk.vector_rank
        assert not chunk.HasField("text")
        assert not chunk.reference.title
        assert not chunk.reference.HasField("sealed_labels")
    assert b"hunter2" not in response.SerializeToString()


async def test_a_switch_that_cannot_be_is_refused_by_what_is_in_the_way(service: Running) -> None:
    await service.put("a", "the nonlocal statement")
    await service.indexed(1)
    assert await refusal(service.switch(OWN)) == (grpc.StatusCode.NOT_FOUND, f"no such index of an embedder: {OWN}")
    await service.prepare(address="nowhere")
    async with asyncio.timeout(SECONDS):
        while not (failure := (await service.index()).indexes[0].failure):
            await asyncio.sleep(0.05)
    assert failure == "missing"
    code, words = await refusal(service.switch(OWN))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "1 chunks have no vector" in words
    asked = SearchRequest(tenant=service.tenant, text="nonlocal", embedder=OWN)
    assert (await refusal(service.call("Search", asked)))[0] is grpc.StatusCode.FAILED_PRECONDITION


async def test_nobodys_embedder_but_the_tenants_own_is_taken(service: Running) -> None:
    code, words = await refusal(service.prepare(tenant="somebody-else"))
    assert (code, words.startswith("embedder.tenant: ")) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    assert list((await service.index()).indexes) == []


@pytest.mark.parametrize(
    ("wrong", "field"),
    [({"model": "own"}, "embedder.model"), ({"address": ""}, "embedder.address"), ({"files": {}}, "embedder.files")],
)
async def test_a_wrong_embedder_names_its_field(service: Running, wrong: dict[str, Any], field: str) -> None:
    code, words = await refusal(service.prepare(**wrong))
    assert (code, words.startswith(f"{field}: ")) == (grpc.StatusCode.INVALID_ARGUMENT, True)


async def test_who_answers_end_users_does_not_choose(service: Running) -> None:
    asked = SearchRequest(tenant=service.tenant, text="nonlocal", embedder="house")
    for role, code in (("product", grpc.StatusCode.PERMISSION_DENIED), ("developer", grpc.StatusCode.OK)):
        token = ISSUER.token(role, tenant=service.tenant)
        call = service.bare_stub.Search(asked, metadata=[("authorization", f"Bearer {token}")])
        assert await call.code() is code
    assert (await refusal(service.call("Search", SearchRequest(tenant=service.tenant, text="x", embedder="own"))))[
        0
    ] is grpc.StatusCode.INVALID_ARGUMENT


async def refusal(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    """The status and the words that a call fails with."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return refused.value.code(), refused.value.details() or ""


async def test_queries_wait_while_postgres_is_down(service: Running, postgres: PostgresServer) -> None:
    await service.put("a", "the nonlocal statement")
    await service.indexed(1)
    postgres.kill()
    try:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await service.search("nonlocal")
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "postgres" in (refused.value.details() or "")
        query_id = await service.ask("nonlocal")
        await service.put("b", "the yield expression")
        await asyncio.sleep(1)
    finally:
        postgres.start()
    events = await service.read(topics.QUERY_RETRIEVED, until=bool)
    assert [event.query.query_id for event in events] == [query_id]
    # What the outbox held of a when the server died is published anew, before or after b.
    assert sorted(await service.indexed(2)) == [("a", 1, 1), ("b", 1, 1)]
