"""DocumentService: a call publishes what a steward's product would, and waits for what becomes of it."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import grpc
from headrace import topics
from headrace.document.v1 import service_pb2, service_pb2_grpc
from headrace.document.v1.document_pb2 import Deletion, Document, DocumentRefused, DocumentSubmitted
from headrace_privacy import Tier, Vault
from headrace_runtime.errors import Aborted, NotFound, Rejected
from headrace_stream import Event
from headrace_telemetry.tracing import trace_id

from headrace_ingest import translate
from headrace_ingest.checks import check_address, check_document, check_page, check_tenant
from headrace_ingest.domain import DocumentAddress, DocumentState, Outcome, Submission
from headrace_ingest.ports import Clock, Publish, Store
from headrace_ingest.tombstones import refuse_erased_document

Context = grpc.aio.ServicerContext[Any, Any]

# The store is looked at so often, in seconds: soon at first, for what is unchanged or small.
FIRST_LOOK = 0.01
SLOWEST_LOOK = 0.25
DEFAULT_PAGE = 100
LARGEST_PAGE = 1_000


class DocumentServicer(service_pb2_grpc.DocumentServiceServicer):
    """See protos/headrace/document/v1/service.proto."""

    def __init__(self, *, publish: Publish, store: Store, vault: Vault, clock: Clock) -> None:
        self._publish = publish
        self._store = store
        self._vault = vault
        self._clock = clock

    async def Put(self, request: service_pb2.PutRequest, context: Context) -> service_pb2.PutResponse:
        message = DocumentSubmitted(
            submission_id=str(uuid4()),
            tenant=request.tenant,
            source=request.source,
            document_id=request.document_id,
            title=request.title,
            uri=request.uri,
            declared_tier=request.declared_tier,
            content=request.content,
            submitted_at=translate.timestamp(self._clock()),
        )
        submission = await self._submit(message, wait=request.wait)
        return service_pb2.PutResponse(
            document=_document(submission, Document(title=request.title, uri=request.uri)),
            outcome=service_pb2.Outcome.ValueType(submission.outcome),
            tier=translate.tier_to_wire(submission.tier),
            chunks=submission.chunks,
            trace_id=trace_id(),
        )

    async def Delete(self, request: service_pb2.DeleteRequest, context: Context) -> service_pb2.DeleteResponse:
        address = DocumentAddress(request.tenant, request.source, request.document_id)
        if violations := check_address(request.tenant, request.source, request.document_id):
            raise Rejected(*violations)
        if await self._store.document(address) is None:
            raise NotFound("document", address.key)
        message = DocumentSubmitted(
            submission_id=str(uuid4()),
            tenant=request.tenant,
            source=request.source,
            document_id=request.document_id,
            deletion=Deletion(),
            submitted_at=translate.timestamp(self._clock()),
        )
        submission = await self._submit(message, wait=request.wait)
        return service_pb2.DeleteResponse(
            document=_document(submission, Document()),
            outcome=service_pb2.Outcome.ValueType(submission.outcome),
            trace_id=trace_id(),
        )

    async def ListSources(
        self, request: service_pb2.ListSourcesRequest, context: Context
    ) -> service_pb2.ListSourcesResponse:
        check_tenant(request.tenant)
        sources = await self._store.sources(request.tenant)
        return service_pb2.ListSourcesResponse(sources=[translate.source_to_wire(source) for source in sources])

    async def GetSource(self, request: service_pb2.GetSourceRequest, context: Context) -> service_pb2.GetSourceResponse:
        check_page(request.tenant, request.source, request.page_token)
        sources = {source.name: source for source in await self._store.sources(request.tenant)}
        if request.source not in sources:
            raise NotFound("source", request.source)
        limit = min(request.page_size or DEFAULT_PAGE, LARGEST_PAGE)
        found = await self._store.documents(request.tenant, request.source, after=request.page_token, limit=limit)
        opener = await self._vault.opener_for(*map(translate.document_of, found))
        return service_pb2.GetSourceResponse(
            source=translate.source_to_wire(sources[request.source]),
            documents=[translate.source_document_to_wire(document, opener) for document in found],
            next_page_token=found[-1].address.document_id if len(found) == limit else "",
        )

    async def _submit(self, message: DocumentSubmitted, *, wait: int) -> Submission:
        check_document(translate.document_fields(message))
        if message.WhichOneof("change") == "content":
            await refuse_erased_document(message, store=self._store, vault=self._vault, at=self._clock())
        await self._publish(_event(message))
        address = DocumentAddress(message.tenant, message.source, message.document_id)
        if wait == service_pb2.WAIT_SUBMITTED:
            return Submission(address, 0, Outcome.SUBMITTED, None, 0, None)
        return await self._settled(message.tenant, UUID(message.submission_id))

    async def _settled(self, tenant: str, submission_id: UUID) -> Submission:
        """Waits until every search sees a change. Raises Rejected when refused, Aborted when given up on."""
        look = FIRST_LOOK
        while True:
            submission = await self._store.submission(tenant, submission_id)
            if submission is not None and submission.outcome == Outcome.REFUSED:
                refused = DocumentRefused.FromString(submission.violations or b"")
                raise Rejected(*translate.violations_from_wire(refused.violations))
            if submission is not None and submission.outcome != Outcome.SUBMITTED:
                return submission
            if submission is not None:
                await self._check_not_buried(submission)
            await asyncio.sleep(look)
            look = min(look * 1.5, SLOWEST_LOOK)

    async def _check_not_buried(self, submission: Submission) -> None:
        record = await self._store.document(submission.address)
        if record is not None and record.state == DocumentState.DEAD_LETTERED and record.version == submission.version:
            raise Aborted(f"document {submission.address.key} was given up on: see `headrace dlq list`")


def _document(submission: Submission, said: Document) -> Document:
    labels = said.SerializeToString()
    return translate.document_to_wire(submission.address, version=submission.version, labels=labels)


def _event(message: DocumentSubmitted) -> Event[DocumentSubmitted]:
    key = f"{message.tenant}/{message.source}/{message.document_id}"
    return Event(
        topic=topics.DOCUMENT_SUBMITTED,
        message=message,
        key=key,
        event_id=translate.submission_event_id(message.tenant, message.submission_id),
        source="ingest",
        correlation_id=key,
        causation_id="",
        tenant=message.tenant,
        tier=translate.declared_tier(message.declared_tier) or Tier.TIER_2,
    )
