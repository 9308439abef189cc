"""The client: Headrace's services as one object."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import datetime
from os import environ
from pathlib import Path
from typing import Required, TypedDict, Unpack
from uuid import UUID, uuid4

from headrace.document.v1 import service_pb2 as documents
from headrace.document.v1.document_pb2 import Content
from headrace.document.v1.service_pb2_grpc import DocumentServiceStub
from headrace.embedding.v1.service_pb2 import EmbedRequest, EmbedResponse
from headrace.embedding.v1.service_pb2_grpc import EmbeddingServiceStub
from headrace.feedback.v1 import service_pb2 as feedbacks
from headrace.feedback.v1.feedback_pb2 import FeedbackSubmitted
from headrace.feedback.v1.service_pb2_grpc import FeedbackServiceStub
from headrace.inference.v1.service_pb2 import GenerateRequest, GenerateResponse, Turn
from headrace.inference.v1.service_pb2_grpc import InferenceServiceStub
from headrace.privacy.v1.privacy_pb2 import TIER_UNSPECIFIED, Purpose, Tier
from headrace.privacy.v1.service_pb2 import ClassifyRequest, ClassifyResponse
from headrace.privacy.v1.service_pb2_grpc import PrivacyServiceStub
from headrace.query.v1 import service_pb2 as queries
from headrace.query.v1.answer_pb2 import Answer, Decoding
from headrace.query.v1.service_pb2_grpc import QueryServiceStub
from headrace.retrieval.v1.service_pb2 import SearchRequest, SearchResponse
from headrace.retrieval.v1.service_pb2_grpc import RetrievalServiceStub
from headrace.trace.v1.service_pb2 import GetTraceRequest, Span
from headrace.trace.v1.service_pb2_grpc import TraceServiceStub
from headrace_identity import Credentials

from headrace_client.calls import Channels
from headrace_client.credentials import find_credentials
from headrace_client.drifting import Drifting
from headrace_client.endpoints import Endpoints, find_endpoints
from headrace_client.erasing import Erasing
from headrace_client.errors import TimedOut
from headrace_client.evaluating import Evaluating
from headrace_client.gathering import Gathering
from headrace_client.governing import Governing
from headrace_client.modelling import Modelling
from headrace_client.prompting import Prompting
from headrace_client.reporting import Reporting
from headrace_client.resuming import resumed
from headrace_client.reviewing import Reviewing
from headrace_client.routing import Routing
from headrace_client.running import Running
from headrace_client.training import Training
from headrace_client.updates import Answered, Update, to_update

# Which process serves what.
_QUERIES = ("ingest", "headrace.query.v1.QueryService")
_DOCUMENTS = ("ingest", "headrace.document.v1.DocumentService")
_PRIVACY = ("classifier", "headrace.privacy.v1.PrivacyService")
_EMBEDDING = ("embedder", "headrace.embedding.v1.EmbeddingService")
_RETRIEVAL = ("retriever", "headrace.retrieval.v1.RetrievalService")
_INFERENCE = ("inference", "headrace.inference.v1.InferenceService")
_FEEDBACK = ("feedback", "headrace.feedback.v1.FeedbackService")
_TRACES = ("traces", "headrace.trace.v1.TraceService")

#: Seconds that an answer may take, model included, and that any other call may.
ANSWER_TIMEOUT = 120.0
CALL_TIMEOUT = 30.0


class QuestionDetails(TypedDict, total=False):
    """What may go with a question; see headrace.query.v1.Question. Without an id one is made here."""

    tenant: Required[str]
    product: Required[str]
    query_id: str
    subject: str
    conversation_id: str
    declared_tier: Tier.ValueType
    sources: Sequence[str]
    max_document_tier: Tier.ValueType


class Client(
    Governing,
    Erasing,
    Prompting,
    Routing,
    Running,
    Reporting,
    Reviewing,
    Evaluating,
    Gathering,
    Drifting,
    Training,
    Modelling,
):
    """Every service of Headrace, over gRPC.

        async with Client.connect() as client:
            async for update in client.ask("What does nonlocal do?", tenant="demo", product="docs-search"):
                ...

    Each method raises the errors of `headrace_client.errors` and takes its deadline in seconds as `timeout`.
    """

    def __init__(self, channels: Channels, *, new_id: Callable[[], UUID] = uuid4) -> None:
        self._channels = channels
        self._new_id = new_id

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, endpoints: Endpoints | None = None, *, credentials: Credentials | None = None
    ) -> AsyncIterator[Client]:
        """A client of the Headrace at `endpoints`, or of the one that `find_endpoints` finds, in the name of whom
        `credentials` prove, or those that `find_credentials` finds. Connects at the first call, and closes at the end.
        """
        endpoints = endpoints or find_endpoints(environ, Path.cwd())
        channels = Channels(endpoints, credentials or find_credentials(environ, endpoints))
        try:
            yield cls(channels)
        finally:
            await channels.close()

    # Questions

    async def ask(
        self, text: str, *, timeout: float = ANSWER_TIMEOUT, **details: Unpack[QuestionDetails]
    ) -> AsyncGenerator[Update, None]:
        """Asks, and yields what becomes of the question, ending with `Answered`.

        A connection lost on the way is taken up again where it broke. Leaving early lets the query go on without a
        listener: `watch` finds it again.
        """
        question = self._question(text, details)
        time_left = _countdown(timeout)
        first = self._asked(question, timeout=timeout)
        known: list[str] = []

        def again(sequence: int) -> AsyncGenerator[Update, None]:
            return self._watched(
                question.tenant, question.query_id, after=sequence, trace_id="".join(known[:1]), timeout=time_left()
            )

        async with aclosing(resumed(first, again, time_left=time_left)) as updates:
            async for update in updates:
                known.append(update.trace_id)
                yield update

    async def answer(self, text: str, *, timeout: float = ANSWER_TIMEOUT, **details: Unpack[QuestionDetails]) -> Answer:
        """Asks, and waits for the answer."""
        async with aclosing(self.ask(text, timeout=timeout, **details)) as updates:
            async for update in updates:
                if isinstance(update, Answered):
                    return update.answer
        raise TimedOut("The answer did not come in time.")

    async def submit(
        self, text: str, *, timeout: float = CALL_TIMEOUT, **details: Unpack[QuestionDetails]
    ) -> queries.SubmitResponse:
        """Asks without waiting: gives the query's id and trace."""
        callee = self._channels.callee(*_QUERIES)
        stub = QueryServiceStub(callee.channel)
        request = queries.SubmitRequest(question=self._question(text, details))
        return await callee.unary(stub.Submit, request, name="Submit", timeout=timeout)

    async def watch(
        self, query_id: str, *, tenant: str, after_sequence: int = 0, timeout: float = ANSWER_TIMEOUT
    ) -> AsyncGenerator[Update, None]:
        """Yields what becomes of a query from `after_sequence` on, as `ask` does."""
        time_left = _countdown(timeout)

        def again(sequence: int) -> AsyncGenerator[Update, None]:
            return self._watched(tenant, query_id, after=sequence, trace_id="", timeout=time_left())

        async with aclosing(resumed(again(after_sequence), again, time_left=time_left)) as updates:
            async for update in updates:
                yield update

    async def get(self, query_id: str, *, tenant: str, timeout: float = CALL_TIMEOUT) -> queries.GetResponse:
        """What is known of a query now."""
        callee = self._channels.callee(*_QUERIES)
        stub = QueryServiceStub(callee.channel)
        request = queries.GetRequest(tenant=tenant, query_id=query_id)
        return await callee.unary(stub.Get, request, name="Get", timeout=timeout)

    async def _asked(self, question: queries.Question, *, timeout: float) -> AsyncGenerator[Update, None]:
        callee = self._channels.callee(*_QUERIES)
        stub = QueryServiceStub(callee.channel)
        request = queries.AskRequest(question=question)
        async with aclosing(callee.stream(stub.Ask, request, name="Ask", timeout=timeout)) as responses:
            async for response in responses:
                update = to_update(response.update, query_id=response.query_id, trace_id=response.trace_id)
                if update is not None:
                    yield update

    async def _watched(
        self, tenant: str, query_id: str, *, after: int, trace_id: str, timeout: float
    ) -> AsyncGenerator[Update, None]:
        callee = self._channels.callee(*_QUERIES)
        stub = QueryServiceStub(callee.channel)
        request = queries.WatchRequest(tenant=tenant, query_id=query_id, after_sequence=after)
        async with aclosing(callee.stream(stub.Watch, request, name="Watch", timeout=timeout)) as responses:
            async for response in responses:
                update = to_update(response.update, query_id=query_id, trace_id=trace_id)
                if update is not None:
                    yield update

    def _question(self, text: str, details: QuestionDetails) -> queries.Question:
        question = queries.Question(text=text, **details)
        question.query_id = question.query_id or str(self._new_id())
        return question

    # Documents

    async def put_document(
        self,
        data: bytes,
        *,
        tenant: str,
        source: str,
        document_id: str,
        media_type: str,
        title: str = "",
        uri: str = "",
        declared_tier: Tier.ValueType = TIER_UNSPECIFIED,
        wait: documents.Wait.ValueType = documents.WAIT_INDEXED,
        timeout: float = ANSWER_TIMEOUT,
    ) -> documents.PutResponse:
        """Puts a file of 1 byte to 4 MiB in place of whatever the id held."""
        callee = self._channels.callee(*_DOCUMENTS)
        stub = DocumentServiceStub(callee.channel)
        request = documents.PutRequest(
            tenant=tenant,
            source=source,
            document_id=document_id,
            title=title,
            uri=uri,
            declared_tier=declared_tier,
            content=Content(media_type=media_type, data=data),
            wait=wait,
        )
        return await callee.unary(stub.Put, request, name="Put", timeout=timeout)

    async def delete_document(
        self,
        document_id: str,
        *,
        tenant: str,
        source: str,
        wait: documents.Wait.ValueType = documents.WAIT_INDEXED,
        timeout: float = ANSWER_TIMEOUT,
    ) -> documents.DeleteResponse:
        """Removes a document; once this returns, no search finds it."""
        callee = self._channels.callee(*_DOCUMENTS)
        stub = DocumentServiceStub(callee.channel)
        request = documents.DeleteRequest(tenant=tenant, source=source, document_id=document_id, wait=wait)
        return await callee.unary(stub.Delete, request, name="Delete", timeout=timeout)

    async def sources(self, *, tenant: str, timeout: float = CALL_TIMEOUT) -> list[documents.Source]:
        """The tenant's sources, by name."""
        callee = self._channels.callee(*_DOCUMENTS)
        stub = DocumentServiceStub(callee.channel)
        request = documents.ListSourcesRequest(tenant=tenant)
        response = await callee.unary(stub.ListSources, request, name="ListSources", timeout=timeout)
        return list(response.sources)

    async def source(
        self, name: str, *, tenant: str, timeout: float = CALL_TIMEOUT
    ) -> AsyncGenerator[documents.SourceDocument, None]:
        """Yields the documents of a source by id, page after page, each page within `timeout`."""
        callee = self._channels.callee(*_DOCUMENTS)
        stub = DocumentServiceStub(callee.channel)
        request = documents.GetSourceRequest(tenant=tenant, source=name)
        while True:
            page = await callee.unary(stub.GetSource, request, name="GetSource", timeout=timeout)
            for document in page.documents:
                yield document
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    # The parts, each by itself

    async def classify(
        self,
        text: str,
        *,
        tenant: str,
        declared_tier: Tier.ValueType = TIER_UNSPECIFIED,
        product: str = "",
        source: str = "",
        timeout: float = CALL_TIMEOUT,
    ) -> ClassifyResponse:
        """The tier of a text, and the text with its secrets masked, as the pipeline would have it."""
        callee = self._channels.callee(*_PRIVACY)
        stub = PrivacyServiceStub(callee.channel)
        request = ClassifyRequest(tenant=tenant, text=text, declared_tier=declared_tier, product=product, source=source)
        return await callee.unary(stub.Classify, request, name="Classify", timeout=timeout)

    async def embed(self, texts: Sequence[str], *, timeout: float = CALL_TIMEOUT) -> EmbedResponse:
        """One vector for each of up to 256 texts, in order."""
        callee = self._channels.callee(*_EMBEDDING)
        stub = EmbeddingServiceStub(callee.channel)
        return await callee.unary(stub.Embed, EmbedRequest(texts=texts), name="Embed", timeout=timeout)

    async def search(
        self,
        text: str,
        *,
        tenant: str,
        top_k: int = 0,
        sources: Sequence[str] = (),
        max_tier: Tier.ValueType = TIER_UNSPECIFIED,
        embedder: str = "",
        timeout: float = CALL_TIMEOUT,
    ) -> SearchResponse:
        """The passages nearest to a text by meaning and by words, best first.

        embedder: by whose vectors, "NAME@VERSION" or "house", for trials; by what is live where it is empty.
        """
        callee = self._channels.callee(*_RETRIEVAL)
        stub = RetrievalServiceStub(callee.channel)
        request = SearchRequest(
            tenant=tenant, text=text, top_k=top_k, sources=sources, max_tier=max_tier, embedder=embedder
        )
        return await callee.unary(stub.Search, request, name="Search", timeout=timeout)

    async def generate(
        self,
        turns: Sequence[Turn],
        *,
        decoding: Decoding | None = None,
        backend: str = "",
        tenant: str = "",
        tier: Tier.ValueType = TIER_UNSPECIFIED,
        timeout: float = ANSWER_TIMEOUT,
    ) -> AsyncGenerator[GenerateResponse, None]:
        """Streams a model's completion of a conversation. Leaving early frees the model's slot.

        backend: the default one where none is named. tenant, tier: whose records the turns hold, and of which tier.
        """
        callee = self._channels.callee(*_INFERENCE)
        stub = InferenceServiceStub(callee.channel)
        request = GenerateRequest(turns=turns, decoding=decoding, backend=backend, tenant=tenant, tier=tier)
        async with aclosing(callee.stream(stub.Generate, request, name="Generate", timeout=timeout)) as responses:
            async for response in responses:
                yield response

    # What became of it

    async def record_feedback(
        self, feedback: FeedbackSubmitted, *, timeout: float = CALL_TIMEOUT
    ) -> feedbacks.RecordResponse:
        """Stores a judgement of an answer. With an id of one's own it may be sent again without counting twice."""
        callee = self._channels.callee(*_FEEDBACK)
        stub = FeedbackServiceStub(callee.channel)
        request = feedbacks.RecordRequest(feedback=feedback)
        return await callee.unary(stub.Record, request, name="Record", timeout=timeout)

    async def interaction(
        self, *, tenant: str, query_id: str = "", trace_id: str = "", timeout: float = CALL_TIMEOUT
    ) -> feedbacks.GetResponse:
        """One answer with all that made it, and its feedback, by query or by trace."""
        callee = self._channels.callee(*_FEEDBACK)
        stub = FeedbackServiceStub(callee.channel)
        request = feedbacks.GetRequest(tenant=tenant, query_id=query_id, trace_id=trace_id)
        return await callee.unary(stub.Get, request, name="Get", timeout=timeout)

    async def export(
        self,
        purpose: Purpose.ValueType,
        *,
        tenant: str,
        sources: Sequence[str] = (),
        since: datetime | None = None,
        until: datetime | None = None,
        timeout: float = ANSWER_TIMEOUT,
    ) -> AsyncGenerator[feedbacks.ExportResponse, None]:
        """Yields a tenant's interactions, in the clear, as far as they may be used for a purpose; last, what was left
        out and why. Raises Denied when nothing may, and when a grant ends on the way: then what came is not whole."""
        callee = self._channels.callee(*_FEEDBACK)
        stub = FeedbackServiceStub(callee.channel)
        request = feedbacks.ExportRequest(tenant=tenant, purpose=purpose, sources=sources)
        for name, moment in (("since", since), ("until", until)):
            if moment is not None:
                getattr(request, name).FromDatetime(moment)
        async with aclosing(callee.stream(stub.Export, request, name="Export", timeout=timeout)) as responses:
            async for response in responses:
                yield response

    async def trace(self, *, query_id: str = "", trace_id: str = "", timeout: float = CALL_TIMEOUT) -> list[Span]:
        """The spans of a query's trace that are kept so far, by start."""
        callee = self._channels.callee(*_TRACES)
        stub = TraceServiceStub(callee.channel)
        request = GetTraceRequest(query_id=query_id, trace_id=trace_id)
        response = await callee.unary(stub.GetTrace, request, name="GetTrace", timeout=timeout)
        return list(response.spans)

    async def tally(
        self, *, tenant: str = "", timeout: float = ANSWER_TIMEOUT
    ) -> AsyncGenerator[queries.TalliedQuery, None]:
        """Yields every query that was accepted and how it ended."""
        callee = self._channels.callee(*_QUERIES)
        stub = QueryServiceStub(callee.channel)
        request = queries.TallyRequest(tenant=tenant)
        async with aclosing(callee.stream(stub.Tally, request, name="Tally", timeout=timeout)) as responses:
            async for response in responses:
                for query in response.queries:
                    yield query

    async def tally_interactions(
        self, *, tenant: str = "", timeout: float = ANSWER_TIMEOUT
    ) -> AsyncGenerator[feedbacks.TalliedInteraction, None]:
        """Yields every interaction that the feedback logger has stored."""
        callee = self._channels.callee(*_FEEDBACK)
        stub = FeedbackServiceStub(callee.channel)
        request = feedbacks.TallyRequest(tenant=tenant)
        async with aclosing(callee.stream(stub.Tally, request, name="Tally", timeout=timeout)) as responses:
            async for response in responses:
                for interaction in response.interactions:
                    yield interaction


def _countdown(seconds: float) -> Callable[[], float]:
    """Seconds left of `seconds` from now on."""
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    return lambda: end - clock()
