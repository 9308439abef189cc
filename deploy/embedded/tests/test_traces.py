"""The receiver keeps spans, serves them, and never makes a sender wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import grpc
import pytest
import pytest_asyncio
from headrace.trace.v1.service_pb2 import GetTraceRequest
from headrace.trace.v1.service_pb2_grpc import TraceServiceStub
from headrace_database import open_database
from headrace_database.migrations import migrate, read_migrations
from headrace_embedded.house import HOUSE
from headrace_embedded.testing import Database
from headrace_embedded.traces.app import Settings, open_app
from headrace_embedded.traces.intake import Intake
from headrace_embedded.traces.spans import StoredSpan, from_otlp, to_otlp
from headrace_embedded.traces.store import Retention, SpanStore
from headrace_identity.testing import Issuer
from headrace_runtime.admission import Admission
from headrace_runtime.errors import Unavailable
from headrace_runtime.grpc_client import open_channel
from headrace_runtime.grpc_server import open_grpc_server
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub as OtlpStub
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

ISSUER = Issuer()
NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)
KEEP = Retention(timedelta(days=7), 1000)


class MemoryStore:
    """Keeps batches in a list; `down` makes it unreachable."""

    def __init__(self) -> None:
        self.batches: list[list[StoredSpan]] = []
        self.down = False

    async def add(self, spans: Sequence[StoredSpan]) -> None:
        if self.down:
            raise Unavailable("postgres")
        self.batches.append(list(spans))

    async def forget(self, retention: Retention, *, now: datetime) -> int:
        return 0


def span(number: int, *, query_id: str = "") -> StoredSpan:
    attributes = {"headrace.query.id": query_id} if query_id else {}
    return StoredSpan(
        f"{7:032x}", f"{number + 1:016x}", "", "ingest", "work", "internal", number, number + 5, False, attributes, ()
    )


def intake(store: MemoryStore, *, limit: int = 10) -> Intake:
    return Intake(store, KEEP, lambda: NOW, limit=limit)


async def test_what_does_not_fit_is_dropped_and_counted() -> None:
    full = intake(MemoryStore(), limit=3)
    assert full.offer(span(n) for n in range(5)) == 2
    assert full.offer([span(9)]) == 1
    assert full.dropped == 3


async def test_spans_wait_for_a_database_that_is_away_and_are_stored_once_it_is_back() -> None:
    store = MemoryStore()
    store.down = True
    waiting = intake(store)
    waiting.offer([span(1), span(2)])
    with pytest.raises(Unavailable):
        await waiting.flush()
    store.down = False
    await waiting.flush()
    assert store.batches == [[span(1), span(2)]]


async def test_stopping_without_a_database_ends_in_time() -> None:
    store = MemoryStore()
    store.down = True
    ending = intake(store)
    await ending.start()
    ending.offer([span(1)])
    await asyncio.wait_for(ending.stop(1.0), 2.0)


async def test_spans_are_stored_without_being_asked_for() -> None:
    store = MemoryStore()
    working = intake(store)
    await working.start()
    working.offer([span(1)])
    await asyncio.sleep(0.3)
    assert store.batches == [[span(1)]]
    await working.stop(1.0)


def test_otlp_becomes_what_is_kept() -> None:
    attributes = [
        KeyValue(key="headrace.query.id", value=AnyValue(string_value="q-1")),
        KeyValue(key="gen_ai.usage.input_tokens", value=AnyValue(int_value=12)),
        KeyValue(key="gen_ai.request.stream", value=AnyValue(bool_value=True)),
        KeyValue(key="broken", value=AnyValue(string_value="a\0b")),
    ]
    sent = Span(
        trace_id=bytes(range(16)),
        span_id=bytes(range(8)),
        name="chat SmolLM2",
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=5,
        end_time_unix_nano=9,
        attributes=attributes,
        links=[Span.Link(span_id=bytes(8))],
    )
    resource = ResourceSpans(scope_spans=[ScopeSpans(spans=[sent])])
    resource.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value="inference")))
    (kept,) = from_otlp(ExportTraceServiceRequest(resource_spans=[resource]))
    assert (kept.service, kept.name, kept.kind, kept.query_id) == ("inference", "chat SmolLM2", "client", "q-1")
    assert kept.attributes["gen_ai.usage.input_tokens"] == "12"
    assert kept.attributes["gen_ai.request.stream"] == "true"
    assert kept.attributes["broken"] == "ab"
    assert kept.links == ("0" * 16,)
    assert (kept.started_ns, kept.ended_ns, kept.failed) == (5, 9, False)


@pytest_asyncio.fixture(scope="module")
async def traces_database(database: Database) -> Database:
    connection = await asyncpg.connect(database.superuser)
    await migrate(connection, schema="traces", migrations=read_migrations(HOUSE / "migrations"))
    await connection.close()
    return database


@pytest_asyncio.fixture
async def store(traces_database: Database) -> AsyncIterator[SpanStore]:
    async with open_database(traces_database.dsn("traces"), schema="traces", connections=2) as opened:
        yield SpanStore(opened)


@pytest_asyncio.fixture
async def receiver(traces_database: Database) -> AsyncIterator[str]:
    settings = Settings(database=traces_database.dsn("traces"))
    async with (
        open_app(settings) as service,
        open_grpc_server(
            "127.0.0.1:0", service.servicers, drain_seconds=1, admission=Admission(ISSUER.verifier())
        ) as server,
    ):
        await service.bus.start()
        yield f"127.0.0.1:{server.port}"
        await service.bus.stop(1)


@pytest.mark.real
async def test_an_exporters_spans_come_back_as_one_trace(receiver: str) -> None:
    provider = TracerProvider(resource=Resource.create({"service.name": "ingest"}))
    exporter = OTLPSpanExporter(endpoint=f"http://{receiver}", insecure=True)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("test")

    def work() -> str:
        with tracer.start_as_current_span("outer", attributes={"headrace.query.id": "q-77"}) as outer:
            with tracer.start_as_current_span("inner", kind=trace.SpanKind.PRODUCER):
                pass
            return trace.format_trace_id(outer.get_span_context().trace_id)

    trace_id = await asyncio.to_thread(work)
    async with open_channel(receiver, ISSUER.credentials("sre")) as channel:
        by_query = await TraceServiceStub(channel).GetTrace(GetTraceRequest(query_id="q-77"))
        by_trace = await TraceServiceStub(channel).GetTrace(GetTraceRequest(trace_id=trace_id))
    assert by_query == by_trace
    outer, inner = by_trace.spans
    assert (outer.name, inner.name, inner.kind, inner.service) == ("outer", "inner", "producer", "ingest")
    assert inner.parent_span_id == outer.span_id
    assert outer.started_at.ToNanoseconds() <= inner.started_at.ToNanoseconds() <= outer.ended_at.ToNanoseconds()
    await asyncio.to_thread(provider.shutdown)


@pytest.mark.real
@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (GetTraceRequest(), grpc.StatusCode.INVALID_ARGUMENT),
        (GetTraceRequest(trace_id="nonsense"), grpc.StatusCode.INVALID_ARGUMENT),
        (GetTraceRequest(trace_id="0" * 32), grpc.StatusCode.NOT_FOUND),
        (GetTraceRequest(query_id="no-such-query"), grpc.StatusCode.NOT_FOUND),
    ],
)
async def test_what_cannot_be_found_is_said(receiver: str, request_: GetTraceRequest, code: grpc.StatusCode) -> None:
    async with open_channel(receiver, ISSUER.credentials("sre")) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await TraceServiceStub(channel).GetTrace(request_)
    assert caught.value.code() is code


@pytest.mark.real
@pytest.mark.parametrize(
    ("named", "tenant", "is_shown"),
    [
        (["acme", ""], "acme", True),
        (["acme", ""], "other", False),
        (["acme", ""], "*", True),
        (["", ""], "acme", False),
        (["acme", "other"], "acme", False),
        (["acme", "other"], "*", True),
    ],
)
async def test_a_trace_is_shown_to_those_whose_it_is(
    receiver: str, store: SpanStore, named: list[str], tenant: str, is_shown: bool
) -> None:
    trace_id, query_id = uuid4().hex, str(uuid4())
    for number, name in enumerate(named):
        attributes = {"headrace.query.id": query_id} | ({"headrace.tenant": name} if name else {})
        await store.add([replace(span(number), trace_id=trace_id, attributes=attributes)])
    role = "sre" if tenant == "*" else "developer"
    told = []
    async with open_channel(receiver, ISSUER.credentials(role, tenant=tenant)) as channel:
        for request in (
            GetTraceRequest(trace_id=trace_id),
            GetTraceRequest(query_id=query_id),
            GetTraceRequest(trace_id=uuid4().hex),
            GetTraceRequest(query_id=str(uuid4())),
        ):
            wanted = request.trace_id or request.query_id
            try:
                told.append(str(len((await TraceServiceStub(channel).GetTrace(request)).spans)))
            except grpc.aio.AioRpcError as error:
                told.append(f"{error.code().name} {error.details()}".replace(wanted, "…"))
    assert told[2:] == ["NOT_FOUND no such trace: …", "NOT_FOUND no such trace of query: …"]
    assert told[:2] == (["2", "2"] if is_shown else told[2:])


@pytest.mark.real
async def test_a_span_that_was_sent_twice_is_shown_once(store: SpanStore) -> None:
    await store.add([span(1), span(2)])
    await store.add([span(2)])
    assert [s.span_id for s in await store.trace(f"{7:032x}")] == [span(1).span_id, span(2).span_id]


def test_a_kept_span_can_go_on_to_another_collector() -> None:
    kept = span(3, query_id="q-1")
    (again,) = from_otlp(to_otlp([kept], project="headrace"))
    assert again == kept


@pytest.mark.real
async def test_spans_can_be_followed_as_they_are_stored(store: SpanStore) -> None:
    before = max((position for position, _ in await store.after(0, limit=100_000)), default=0)
    await store.add([span(n) for n in range(3)])
    first = await store.after(before, limit=2)
    rest = await store.after(first[-1][0], limit=2)
    assert [kept.span_id for _, kept in (*first, *rest)] == [span(n).span_id for n in range(3)]
    assert await store.after(rest[-1][0], limit=2) == []


@pytest.mark.real
async def test_old_spans_and_too_many_spans_go(store: SpanStore) -> None:
    now = datetime.now(UTC)
    await store.add([span(n) for n in range(20)])
    await store.forget(Retention(timedelta(days=1), 5), now=now)
    assert len(await store.trace(f"{7:032x}")) == 5
    await store.forget(Retention(timedelta(days=1), 5), now=now + timedelta(days=2))
    assert await store.trace(f"{7:032x}") == []


@pytest.mark.real
async def test_a_full_queue_is_reported_as_rejected_spans(receiver: str) -> None:
    spans = [Span(trace_id=bytes(16), span_id=n.to_bytes(8), name="n") for n in range(20_100)]
    request = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])])
    async with grpc.aio.insecure_channel(receiver) as channel:
        response = await OtlpStub(channel).Export(request)
    assert response.partial_success.rejected_spans == 100
