"""QueryService: a call publishes what a product would, and watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import grpc
from headrace import topics
from headrace.query.v1 import service_pb2, service_pb2_grpc
from headrace.query.v1.answer_pb2 import Answer, AnswerCompleted
from headrace.query.v1.events_pb2 import QuerySubmitted
from headrace_identity import current_principal
from headrace_privacy import Erased, Tier, Vault
from headrace_privacy.policy import Policy
from headrace_runtime.errors import Aborted, NotFound
from headrace_stream import Event
from headrace_telemetry.tracing import describe, trace_id
from opentelemetry import trace

from headrace_ingest import translate
from headrace_ingest.checks import check_query, check_tenant
from headrace_ingest.domain import QueryRecord, QueryState
from headrace_ingest.live import ANSWER, Live
from headrace_ingest.ports import Clock, Publish, Store
from headrace_ingest.reading import Reader, reader_of
from headrace_ingest.tombstones import refuse_erased_query

Context = grpc.aio.ServicerContext[Any, Any]

# A watcher looks into the store so often, in seconds: what it waits for may have been seen by another instance only.
LOOK_SECONDS = 0.5
# Waits, in seconds, before a query counts as not found.
FIND_PAUSES = (0.05, 0.15, 0.3, 0.5, 0.0)


class QueryServicer(service_pb2_grpc.QueryServiceServicer):
    """See protos/headrace/query/v1/service.proto."""

    def __init__(
        self, *, publish: Publish, store: Store, live: Live, vault: Vault, policy: Policy, clock: Clock
    ) -> None:
        self._publish = publish
        self._store = store
        self._live = live
        self._vault = vault
        self._policy = policy
        self._clock = clock

    async def Submit(self, request: service_pb2.SubmitRequest, context: Context) -> service_pb2.SubmitResponse:
        query_id = await self._submit(request.question)
        return service_pb2.SubmitResponse(query_id=query_id, trace_id=trace_id())

    async def Ask(self, request: service_pb2.AskRequest, context: Context) -> AsyncIterator[service_pb2.AskResponse]:
        query_id = await self._submit(request.question)
        self._live.note(request.question.tenant, query_id, service_pb2.STAGE_SUBMITTED)
        async for update in self._updates(request.question.tenant, query_id, after=0):
            yield service_pb2.AskResponse(query_id=query_id, trace_id=trace_id(), update=update)

    async def Watch(
        self, request: service_pb2.WatchRequest, context: Context
    ) -> AsyncIterator[service_pb2.WatchResponse]:
        record = await self._find(request.tenant, request.query_id)
        query_id = str(record.query_id)
        async for update in self._updates(request.tenant, query_id, after=request.after_sequence):
            yield service_pb2.WatchResponse(update=update)

    async def Get(self, request: service_pb2.GetRequest, context: Context) -> service_pb2.GetResponse:
        record = await self._find(request.tenant, request.query_id)
        response = service_pb2.GetResponse(
            query_id=str(record.query_id),
            state=service_pb2.QueryState.ValueType(record.state),
            accepted_at=translate.timestamp(record.accepted_at),
            trace_id=record.trace_id,
        )
        if record.answer is not None:
            try:
                response.answer.CopyFrom(await self._answer(record.answer))
            except Erased:  # the key went a moment ago, and the store is told soon
                response.state = service_pb2.QUERY_STATE_ERASED
        return response

    async def Tally(
        self, request: service_pb2.TallyRequest, context: Context
    ) -> AsyncIterator[service_pb2.TallyResponse]:
        if request.tenant:
            check_tenant(request.tenant)
        async for records in self._store.queries(request.tenant):
            yield service_pb2.TallyResponse(queries=[translate.tallied(record) for record in records])

    async def _submit(self, question: service_pb2.Question) -> str:
        """Checks a question and publishes it; returns once Kafka has it."""
        is_known = bool(question.query_id)
        question.query_id = question.query_id or str(uuid4())
        check_query(translate.query_fields(question), prefix="question.")
        if is_known:
            await refuse_erased_query(question.tenant, UUID(question.query_id), store=self._store)
        query_id = str(UUID(question.query_id))
        describe(trace.get_current_span(), {"headrace.query.id": query_id, "headrace.tenant": question.tenant})
        clearance = self._reader().clearance
        message = translate.submitted(question, query_id=query_id, clearance=clearance, now=self._clock())
        await self._publish(_event(message))
        return query_id

    def _reader(self) -> Reader:
        """The caller, and up to which tier it may be answered. Raises Denied for a role that is not."""
        return reader_of(current_principal(), self._policy)

    async def _find(self, tenant: str, query_id: str) -> QueryRecord:
        """Finds a query, waiting a little for one that the bus has and no instance of ingest has recorded yet."""
        check_tenant(tenant, query_id=query_id)
        for pause in FIND_PAUSES:
            record = await self._store.query(tenant, UUID(query_id))
            if record is not None:
                return record
            await asyncio.sleep(pause)
        raise NotFound("query", query_id)

    async def _updates(self, tenant: str, query_id: str, *, after: int) -> AsyncIterator[service_pb2.Update]:
        """Yields updates up to the answer.

        Raises Aborted when the query was given up on, NotFound when erased, Denied when it is not the caller's to read.
        """
        reader = self._reader()
        try:
            async for update in self._live.updates(tenant, query_id, reader=reader, after=after, patience=LOOK_SECONDS):
                found = update or await self._ended(tenant, query_id)
                if found is not None:
                    yield found
                    if found.WhichOneof("update") == "answer":
                        return
        except Erased:
            raise NotFound("query", query_id) from None

    async def _ended(self, tenant: str, query_id: str) -> service_pb2.Update | None:
        record = await self._store.query(tenant, UUID(query_id))
        if record is None or record.state == QueryState.OPEN:
            return None
        if record.state == QueryState.ERASED:
            raise Erased
        if record.answer is None:
            raise Aborted(f"query {query_id} ended without an answer: see `headrace dlq list`")
        return service_pb2.Update(sequence=ANSWER, answer=await self._answer(record.answer))

    async def _answer(self, serialized: bytes) -> Answer:
        """Opens an answer. Raises Erased, Denied."""
        message = AnswerCompleted.FromString(serialized)
        self._reader().check(message)
        return translate.answer_of(message, await self._vault.opener_for(message))


def _event(message: QuerySubmitted) -> Event[QuerySubmitted]:
    return Event(
        topic=topics.QUERY_SUBMITTED,
        message=message,
        key=message.query_id,
        event_id=translate.submission_event_id(message.tenant, message.query_id),
        source="ingest",
        correlation_id=message.query_id,
        causation_id="",
        tenant=message.tenant,
        tier=translate.declared_tier(message.declared_tier) or Tier.TIER_2,
    )
