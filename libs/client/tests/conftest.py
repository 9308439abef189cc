# ruff: noqa: N802  (gRPC names the methods)
"""A Headrace of fakes: real gRPC on a port of its own, ten lines a servicer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from headrace.document.v1 import service_pb2 as documents
from headrace.document.v1.document_pb2 import Document
from headrace.document.v1.service_pb2_grpc import DocumentServiceServicer, add_DocumentServiceServicer_to_server
from headrace.feedback.v1 import service_pb2 as feedbacks
from headrace.feedback.v1.service_pb2_grpc import FeedbackServiceServicer, add_FeedbackServiceServicer_to_server
from headrace.privacy.v1.privacy_pb2 import TIER_PUBLIC
from headrace.query.v1 import answer_pb2 as answers
from headrace.query.v1 import service_pb2 as queries
from headrace.query.v1.service_pb2_grpc import QueryServiceServicer, add_QueryServiceServicer_to_server
from headrace.retrieval.v1.retrieval_pb2 import ChunkReference
from headrace.trace.v1 import service_pb2 as traces
from headrace.trace.v1.service_pb2_grpc import TraceServiceServicer, add_TraceServiceServicer_to_server
from headrace_client import Endpoints

TRACE = "0af7651916cd43dd8448eb211c80319c"

CHUNK = ChunkReference(
    chunk_id="5f0c4b52-6f0e-5f0e-9d9b-0a2f6a0a6f10",
    version=3,
    source="python-reference",
    document_id="nonlocal",
    title="The nonlocal statement",
    headings=["Simple statements", "nonlocal"],
    tier=TIER_PUBLIC,
    similarity=0.83,
)

ANSWER = answers.Answer(
    text="It rebinds names of the enclosing scope [1].",
    tier=TIER_PUBLIC,
    grounding=answers.GROUNDING_GROUNDED,
    citations=[answers.Citation(number=1, chunk=CHUNK)],
    model=answers.ModelIdentity(name="SmolLM2-135M-Instruct", version="0123456789abcdef", provider="transformers"),
    prompt=answers.Versioned(name="grounded-answer", version="1"),
    variant=answers.Versioned(name="default", version="2"),
    usage=answers.Usage(input_tokens=412, output_tokens=18),
    timings_ms={
        "ingest": 2.0,
        "classifier": 3.0,
        "embedder": 6.0,
        "retriever": 9.0,
        "inference": 960.0,
        "total": 1000.0,
    },
    trace_id=TRACE,
)


def script() -> list[queries.Update]:
    """What the fake ingest streams for every question."""
    return [
        queries.Update(sequence=1, progress=queries.Progress(stage=queries.STAGE_SUBMITTED)),
        queries.Update(sequence=2, progress=queries.Progress(stage=queries.STAGE_GENERATING, passages=5)),
        queries.Update(sequence=3, text="It rebinds names "),
        queries.Update(sequence=4, text="of the enclosing scope [1]."),
        queries.Update(sequence=5, answer=ANSWER),
    ]


async def refuse(context: Any, code: grpc.StatusCode, message: str, **violations: str) -> None:
    """Ends a call as the services do: a status with google.rpc.BadRequest details."""
    bad = BadRequest()
    for name, description in violations.items():
        bad.field_violations.add(field=name, description=description)
    detail = AnyMessage()
    detail.Pack(bad)
    status = Status(code=code.value[0], message=message, details=[detail] if violations else [])
    await context.abort_with_status(rpc_status.to_status(status))


@dataclass
class FakeQueries(QueryServiceServicer):
    """Streams the script; breaks off after `cut` updates of an Ask; ends as `fault` says."""

    cut: int = 99
    hang: bool = False
    fault: tuple[grpc.StatusCode, str] | None = None
    violations: dict[str, str] = field(default_factory=dict)
    asked: list[queries.Question] = field(default_factory=list)
    watched: list[int] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    tallied: list[queries.TalliedQuery] = field(default_factory=list)

    async def Ask(self, request: queries.AskRequest, context: Any) -> AsyncIterator[queries.AskResponse]:
        self.asked.append(request.question)
        self.metadata = dict(context.invocation_metadata())
        if self.fault is not None:
            await refuse(context, *self.fault, **self.violations)
        for update in script()[: self.cut]:
            yield queries.AskResponse(query_id=request.question.query_id, trace_id=TRACE, update=update)
            if self.hang:
                await asyncio.sleep(60)
        if self.cut < len(script()):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")

    async def Watch(self, request: queries.WatchRequest, context: Any) -> AsyncIterator[queries.WatchResponse]:
        self.watched.append(request.after_sequence)
        if len(self.watched) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "Connection refused")
        for update in script()[max(0, request.after_sequence - 1) :]:  # one too many, as a second instance may
            yield queries.WatchResponse(update=update)

    async def Submit(self, request: queries.SubmitRequest, context: Any) -> queries.SubmitResponse:
        self.asked.append(request.question)
        return queries.SubmitResponse(query_id=request.question.query_id, trace_id=TRACE)

    async def Get(self, request: queries.GetRequest, context: Any) -> queries.GetResponse:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such query")
        raise AssertionError

    async def Tally(self, request: queries.TallyRequest, context: Any) -> AsyncIterator[queries.TallyResponse]:
        yield queries.TallyResponse(queries=self.tallied)


@dataclass
class FakeDocuments(DocumentServiceServicer):
    """Keeps documents by id; one whose content is there already is unchanged."""

    held: dict[str, bytes] = field(default_factory=dict)
    requests: list[documents.PutRequest] = field(default_factory=list)

    async def Put(self, request: documents.PutRequest, context: Any) -> documents.PutResponse:
        self.requests.append(request)
        if request.content.data == b"bad":
            await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "not a document", content="It cannot be parsed.")
        unchanged = self.held.get(request.document_id) == request.content.data
        self.held[request.document_id] = request.content.data
        outcome = documents.OUTCOME_UNCHANGED if unchanged else documents.OUTCOME_INDEXED
        return documents.PutResponse(
            document=self._document(request), outcome=outcome, tier=TIER_PUBLIC, chunks=2, trace_id=TRACE
        )

    async def Delete(self, request: documents.DeleteRequest, context: Any) -> documents.DeleteResponse:
        if self.held.pop(request.document_id, None) is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such document")
        return documents.DeleteResponse(
            document=self._document(request), outcome=documents.OUTCOME_DELETED, trace_id=TRACE
        )

    async def ListSources(self, request: documents.ListSourcesRequest, context: Any) -> documents.ListSourcesResponse:
        source = documents.Source(tenant=request.tenant, name="notes", tier=TIER_PUBLIC, documents=2, chunks=4)
        return documents.ListSourcesResponse(sources=[source])

    async def GetSource(self, request: documents.GetSourceRequest, context: Any) -> documents.GetSourceResponse:
        page = {"": "a.md", "2": "b.md"}[request.page_token]
        held = documents.SourceDocument(
            document=Document(document_id=page, version=1, title="Title"),
            tier=TIER_PUBLIC,
            state=documents.DOCUMENT_STATE_INDEXED,
            chunks=2,
        )
        return documents.GetSourceResponse(documents=[held], next_page_token="" if request.page_token else "2")

    @staticmethod
    def _document(request: documents.PutRequest | documents.DeleteRequest) -> Document:
        return Document(tenant=request.tenant, source=request.source, document_id=request.document_id, version=1)


@dataclass
class FakeFeedback(FeedbackServiceServicer):
    """Keeps what is recorded."""

    recorded: list[feedbacks.RecordRequest] = field(default_factory=list)
    tallied: list[feedbacks.TalliedInteraction] = field(default_factory=list)
    shown: feedbacks.GetResponse = field(default_factory=feedbacks.GetResponse)
    exported: list[feedbacks.ExportResponse] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)
    refusal: str = ""

    async def Record(self, request: feedbacks.RecordRequest, context: Any) -> feedbacks.RecordResponse:
        self.recorded.append(request)
        return feedbacks.RecordResponse(feedback_id=request.feedback.feedback_id, joined=True)

    async def Get(self, request: feedbacks.GetRequest, context: Any) -> feedbacks.GetResponse:
        self.asked.append(request)
        if self.refusal:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, self.refusal)
        return self.shown

    async def Export(self, request: feedbacks.ExportRequest, context: Any) -> AsyncIterator[feedbacks.ExportResponse]:
        self.asked.append(request)
        for response in self.exported:
            yield response
        if self.refusal:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, self.refusal)

    async def Tally(self, request: feedbacks.TallyRequest, context: Any) -> AsyncIterator[feedbacks.TallyResponse]:
        yield feedbacks.TallyResponse(interactions=self.tallied)


@dataclass
class FakeTraces(TraceServiceServicer):
    """Has the spans only from the second time on, as a trace that is still arriving."""

    spans: list[traces.Span] = field(default_factory=list)
    calls: int = 0

    async def GetTrace(self, request: traces.GetTraceRequest, context: Any) -> traces.GetTraceResponse:
        self.calls += 1
        if self.calls == 1 or not self.spans:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no span of it is kept")
        return traces.GetTraceResponse(spans=self.spans)


@dataclass
class FakeHeadrace:
    """All fakes behind one port."""

    queries: FakeQueries = field(default_factory=FakeQueries)
    documents: FakeDocuments = field(default_factory=FakeDocuments)
    feedback: FakeFeedback = field(default_factory=FakeFeedback)
    traces: FakeTraces = field(default_factory=FakeTraces)
    address: str = ""

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(services=dict.fromkeys(("ingest", "feedback", "traces"), self.address))

    @property
    def ingest_only(self) -> str:
        """For the environment: without a place for traces."""
        return f"ingest={self.address}"

    @property
    def variable(self) -> str:
        """The same for the environment."""
        return ",".join(f"{name}={address}" for name, address in self.endpoints.services.items())


@asynccontextmanager
async def serving(fakes: FakeHeadrace) -> AsyncIterator[FakeHeadrace]:
    server = grpc.aio.server()
    add_QueryServiceServicer_to_server(fakes.queries, server)
    add_DocumentServiceServicer_to_server(fakes.documents, server)
    add_FeedbackServiceServicer_to_server(fakes.feedback, server)
    add_TraceServiceServicer_to_server(fakes.traces, server)
    fakes.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield fakes
    finally:
        await server.stop(None)


@pytest.fixture
async def headrace() -> AsyncIterator[FakeHeadrace]:
    async with serving(FakeHeadrace()) as fakes:
        yield fakes


@pytest.fixture
def free_address() -> Callable[[], str]:
    """An address where nothing answers."""

    def find() -> str:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return f"127.0.0.1:{probe.getsockname()[1]}"

    return find
