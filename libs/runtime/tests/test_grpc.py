"""The gRPC edge over a real server: each failure's code, deadlines, what a bug shows, spans and health."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from headrace.privacy.v1 import service_pb2, service_pb2_grpc
from headrace.query.v1 import service_pb2 as query_pb2
from headrace.query.v1 import service_pb2_grpc as query_grpc
from headrace_identity.testing import Issuer
from headrace_privacy import Erased
from headrace_runtime import errors
from headrace_runtime.admission import Admission
from headrace_runtime.errors import Conflict, Failure, Rejected, Violation
from headrace_runtime.grpc_client import open_channel, showing
from headrace_runtime.grpc_server import GrpcServer, Servicer, open_grpc_server
from headrace_runtime.health import is_serving
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

CANARY = "canary-hunter2"
ISSUER = Issuer()
ADMISSION = Admission(ISSUER.verifier())
CREDENTIALS = ISSUER.credentials(tenant="acme")

FAILURES = [
    (errors.Unauthenticated("who asks"), "UNAUTHENTICATED", "who asks"),
    (errors.Denied("who may"), "PERMISSION_DENIED", "who may"),
    (Rejected(Violation("text", "empty", "It is required.")), "INVALID_ARGUMENT", "text: empty"),
    (errors.NotFound("query", "7"), "NOT_FOUND", "no such query: 7"),
    (errors.Conflict("a is not b"), "FAILED_PRECONDITION", "a is not b"),
    (errors.Aborted("see there"), "ABORTED", "see there"),
    (errors.Overloaded("the model"), "RESOURCE_EXHAUSTED", "too much is waiting for the model; try again later"),
    (errors.TooLate("it took too long"), "DEADLINE_EXCEEDED", "it took too long"),
    (errors.Unavailable("postgres"), "UNAVAILABLE", "postgres cannot be reached"),
]


class Classifier(service_pb2_grpc.PrivacyServiceServicer):
    """Ends as it is told."""

    failure: BaseException | None = None
    seconds = 0.0

    async def Classify(self, request: Any, context: Any) -> service_pb2.ClassifyResponse:  # noqa: N802 - gRPC's name
        await asyncio.sleep(self.seconds)
        if self.failure is not None:
            raise self.failure
        return service_pb2.ClassifyResponse()


class Queries(query_grpc.QueryServiceServicer):
    """Streams one update, then ends as it is told."""

    failure: BaseException | None = None
    seconds = 0.0

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[query_pb2.WatchResponse]:  # noqa: N802 - gRPC's name
        yield query_pb2.WatchResponse()
        await asyncio.sleep(self.seconds)
        if self.failure is not None:
            raise self.failure


class Edge:
    def __init__(self, server: GrpcServer, channel: grpc.aio.Channel) -> None:
        self.server, self.channel = server, channel
        self.classifier, self.queries = Classifier(), Queries()

    async def classify(self, **options: Any) -> Any:
        stub = service_pb2_grpc.PrivacyServiceStub(self.channel)  # type: ignore[no-untyped-call]
        return await stub.Classify(service_pb2.ClassifyRequest(), **options)

    async def watch(self, **options: Any) -> list[Any]:
        stub = query_grpc.QueryServiceStub(self.channel)  # type: ignore[no-untyped-call]
        return [response async for response in stub.Watch(query_pb2.WatchRequest(), **options)]


@pytest_asyncio.fixture
async def edge() -> AsyncIterator[Edge]:
    classifier, queries = Classifier(), Queries()
    servicers = [
        Servicer(
            service_pb2_grpc.add_PrivacyServiceServicer_to_server, classifier, "headrace.privacy.v1.PrivacyService"
        ),
        Servicer(query_grpc.add_QueryServiceServicer_to_server, queries, "headrace.query.v1.QueryService"),
    ]
    async with (
        open_grpc_server("127.0.0.1:0", servicers, drain_seconds=0, admission=ADMISSION) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", interceptors=showing(CREDENTIALS)) as channel,
    ):
        opened = Edge(server, channel)
        opened.classifier, opened.queries = classifier, queries
        yield opened


async def failed(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def test_every_failure_is_in_the_table() -> None:
    assert {type(failure) for failure, _, _ in FAILURES} == set(Failure.__subclasses__()) & {
        kind for kind in vars(errors).values() if isinstance(kind, type)
    }


@pytest.mark.parametrize(("failure", "code", "details"), FAILURES)
async def test_each_failure_has_its_code(edge: Edge, failure: Failure, code: str, details: str) -> None:
    edge.classifier.failure = edge.queries.failure = failure
    for error in (await failed(edge.classify()), await failed(edge.watch())):
        assert (error.code().name, error.details()) == (code, details)


@pytest.mark.parametrize(
    ("identity", "shown"),
    [
        ("0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10", "0b9c7b7e-4c39-4b8e-9a53-0d8f0e0a6f10"),
        ("acme/crm/README.md", "acme/crm/README.md"),
        ("answer-quality 3", "answer-quality 3"),
        ("tenant acme never had it, or it is erased", "tenant acme never had it, or it is erased"),
        ("Erika Mustermann", "…"),
        ("Erika Mustermann" * 100, "…"),
        ("x" * 601, "…"),
        ("zwei\nzeilen", "…"),
        ("Überall", "…"),
        ("", "…"),
    ],
)
def test_words_in_place_of_a_name_are_not_repeated(identity: str, shown: str) -> None:
    assert str(errors.NotFound("rubric", identity)) == f"no such rubric: {shown}"


async def test_what_is_erased_is_not_found(edge: Edge) -> None:
    edge.classifier.failure = Erased("the key is destroyed")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await edge.classify()
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_rejection_names_field_reason_and_sentence(edge: Edge) -> None:
    edge.classifier.failure = Rejected(Violation("a.b", "too_long", "At most 3."), Violation("", "empty", "Nothing."))
    status = rpc_status.from_call(await failed(edge.classify()))
    detail = error_details_pb2.BadRequest()
    assert status is not None
    assert status.details[0].Unpack(detail)
    told = [(v.field, v.reason, v.description) for v in detail.field_violations]
    assert told == [("a.b", "TOO_LONG", "At most 3."), ("", "EMPTY", "Nothing.")]


async def test_a_bug_is_internal_and_says_nothing_of_itself(edge: Edge) -> None:
    edge.classifier.failure = edge.queries.failure = KeyError(CANARY)
    for error in (await failed(edge.classify()), await failed(edge.watch())):
        assert error.code() == grpc.StatusCode.INTERNAL
        assert (error.details() or "").startswith("internal error")
        assert CANARY not in (error.details() or "") + str(error.trailing_metadata())


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    """Sees every span of this process from here on."""
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(TracerProvider())
    spans = InMemorySpanExporter()
    provider = trace.get_tracer_provider()
    assert isinstance(provider, TracerProvider)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return spans


async def test_a_call_has_a_span_that_tells_how_it_ended(edge: Edge, exporter: InMemorySpanExporter) -> None:
    exporter.clear()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for failure in (errors.Overloaded("x"), KeyError(CANARY), None):
        edge.classifier.failure = edge.queries.failure = failure
        for call in (edge.classify, edge.watch):
            with contextlib.suppress(grpc.aio.AioRpcError):
                await call(metadata=[("traceparent", parent)])
    spans = [span for span in exporter.get_finished_spans() if span.kind == SpanKind.SERVER]
    told = [(s.attributes or {}) for s in spans]
    assert [one.get("error.type") for one in told] == ["Overloaded"] * 2 + ["KeyError"] * 2 + [None] * 2
    assert [one["rpc.status_code"] for one in told] == ["RESOURCE_EXHAUSTED"] * 2 + ["INTERNAL"] * 2 + ["OK"] * 2
    assert {trace.format_trace_id(s.context.trace_id) for s in spans if s.context} == {parent[3:35]}
    assert [s.name for s in spans[:2]] == [
        "headrace.privacy.v1.PrivacyService/Classify",
        "headrace.query.v1.QueryService/Watch",
    ]
    assert CANARY not in str([(s.name, s.attributes, s.events, s.status.description) for s in spans])


async def test_a_deadline_ends_the_work(edge: Edge) -> None:
    edge.classifier.seconds = edge.queries.seconds = 30
    for error in (await failed(edge.classify(timeout=0.2)), await failed(edge.watch(timeout=0.2))):
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_health_is_serving_only_when_it_is_told_so(edge: Edge) -> None:
    address = f"127.0.0.1:{edge.server.port}"
    health = health_pb2_grpc.HealthStub(edge.channel)

    async def serving(name: str = "") -> bool:
        response = await health.Check(health_pb2.HealthCheckRequest(service=name))
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    assert not await serving()
    await edge.server.set_serving()
    assert await serving()
    assert await serving("headrace.query.v1.QueryService")
    assert await asyncio.to_thread(is_serving, address)
    await edge.server.set_not_serving()
    assert not await serving()


async def test_the_health_command_tells_by_its_exit_code(edge: Edge) -> None:
    def command() -> int:
        address = f"127.0.0.1:{edge.server.port}"
        return subprocess.run([sys.executable, "-m", "headrace_runtime.health", address], check=False).returncode

    assert await asyncio.to_thread(command) == 1
    await edge.server.set_serving()
    assert await asyncio.to_thread(command) == 0


def test_nobody_there_is_not_serving() -> None:
    assert not is_serving("127.0.0.1:1")


async def test_a_stranger_finds_the_services_by_reflection(edge: Edge) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(edge.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    async for response in stub.ServerReflectionInfo(iter([request])):
        names = {service.name for service in response.list_services_response.service}
    assert {"headrace.privacy.v1.PrivacyService", "headrace.query.v1.QueryService", "grpc.health.v1.Health"} <= names


async def test_an_address_that_is_taken_is_said(edge: Edge) -> None:
    with pytest.raises(Conflict, match=f"cannot listen at 127.0.0.1:{edge.server.port}"):
        async with open_grpc_server(f"127.0.0.1:{edge.server.port}", [], drain_seconds=0, admission=ADMISSION):
            pass


async def test_our_own_channel_carries_failures_too(edge: Edge) -> None:
    edge.classifier.failure = errors.Overloaded("the model")
    async with open_channel(f"127.0.0.1:{edge.server.port}", CREDENTIALS) as channel:
        stub = service_pb2_grpc.PrivacyServiceStub(channel)  # type: ignore[no-untyped-call]
        error = await failed(stub.Classify(service_pb2.ClassifyRequest()))
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        edge.classifier.failure = None
        assert await stub.Classify(service_pb2.ClassifyRequest()) == service_pb2.ClassifyResponse()


async def test_a_client_that_leaves_ends_the_work(edge: Edge) -> None:
    edge.queries.seconds = 30
    watching = asyncio.create_task(edge.watch())
    await asyncio.sleep(0.1)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    edge.queries.seconds = 0
    assert len(await edge.watch(timeout=5)) == 1
