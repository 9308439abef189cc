"""What there is to ask for: two tenants who have the same kinds of things, and know nothing of each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from headrace.document.v1 import service_pb2 as documents
from headrace.document.v1.document_pb2 import Content
from headrace.feedback.v1 import service_pb2 as feedback
from headrace.feedback.v1.feedback_pb2 import FeedbackSubmitted
from headrace.privacy.v1 import approvals_pb2, erasure_pb2, keys_pb2
from headrace.privacy.v1.privacy_pb2 import PURPOSE_REVIEW, TIER_2
from headrace.query.v1 import service_pb2 as queries
from headrace.retrieval.v1 import service_pb2 as retrieval
from headrace.trace.v1 import service_pb2 as traces
from headrace_privacy import Tier

from tests.security.calls.house import House
from tests.security.calls.principals import EVERYBODY, Tokens

#: A source that both have, of the same name.
SOURCE = "notes"
#: Of the product the policy says that what it asks is public, so the tier is what is declared.
PRODUCT = "demo"
#: How long what was asked for may take, in seconds.
PATIENCE = 90.0


@dataclass(slots=True)
class Side:
    """One tenant, and what it has. queries: by tier, answered."""

    house: House
    tokens: Tokens
    tenant: str
    queries: dict[Tier, str] = field(default_factory=dict)
    traces: dict[Tier, str] = field(default_factory=dict)
    documents: dict[Tier, str] = field(default_factory=dict)
    feedback_id: str = ""
    erasure_id: str = ""
    key_id: str = ""
    chunk_id: str = ""
    made: dict[str, asyncio.Task[Any]] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """An end user whom only this tenant has."""
        return f"user-of-{self.tenant}"

    @property
    def own_source(self) -> str:
        """A source that only this tenant has."""
        return f"of-{self.tenant}"

    @property
    def known(self) -> Mapping[str, str]:
        """What it has, by the field that names it, where a sample names it otherwise."""
        return {
            # Asked once more, a query would be the caller's own: so this is not the one that is looked up.
            "question.query_id": self.queries[Tier.TIER_1],
            "query_id": self.queries[Tier.PUBLIC],
            "trace_id": self.traces[Tier.PUBLIC],
            "sources": self.own_source,
        }

    async def do(self, role: str, method: str, request: Any, *, subject: str = "") -> Any:
        """Calls as somebody of this tenant who may; fails with what was said."""
        outcome = await self.house.call(method, request, self.tokens.of(role, self.tenant, subject=subject))
        assert outcome.code is grpc.StatusCode.OK, f"{method}: {outcome.code.name} {outcome.words}"
        return outcome.responses[-1]

    async def once(self, name: str, role: str, method: str, request: Any) -> Any:
        """The response to a call that is made once for all who need what it makes."""
        if name not in self.made:
            self.made[name] = asyncio.create_task(self.do(role, method, request))
        return await self.made[name]

    async def new_grant(self) -> str:
        """A grant that was asked for and not decided."""
        expires_at = Timestamp()
        expires_at.FromDatetime(datetime.now(UTC) + timedelta(days=1))
        request = approvals_pb2.RequestGrantRequest(
            tenant=self.tenant, purpose=PURPOSE_REVIEW, tier=TIER_2, sources=["nothing"], reason="matrix",
            expires_at=expires_at,
        )  # fmt: skip
        response = await self.do("developer", "headrace.privacy.v1.ApprovalService/RequestGrant", request)
        return str(response.grant.grant_id)

    async def new_live_grant(self) -> str:
        """A grant that was approved."""
        request = approvals_pb2.DecideGrantRequest(grant_id=await self.new_grant(), approve=True)
        response = await self.do("privacy", "headrace.privacy.v1.ApprovalService/DecideGrant", request, subject="paul")
        return str(response.grant.grant_id)

    async def new_document(self, source: str = SOURCE, *, tier: Tier = Tier.PUBLIC) -> str:
        """A document that can be found."""
        document_id = f"of-{self.tenant}-{uuid4().hex[:8]}"
        request = documents.PutRequest(
            tenant=self.tenant, source=source, document_id=document_id, declared_tier=int(tier),  # type: ignore[arg-type]
            content=Content(media_type="text/plain", data=f"Weir {document_id} holds back the water.".encode()),
        )  # fmt: skip
        await self.do("steward", "headrace.document.v1.DocumentService/Put", request)
        return document_id

    def question(self, tier: Tier = Tier.PUBLIC, **more: str) -> queries.Question:
        """A question that no document answers, so that no model writes for long."""
        return queries.Question(
            tenant=self.tenant, product=PRODUCT, text="How long should I boil an egg?", sources=["nothing"],
            declared_tier=int(tier), **more,  # type: ignore[arg-type]
        )  # fmt: skip


async def furnish(side: Side) -> Side:
    """Gives a tenant one of everything."""
    await asyncio.gather(*(_asked(side, tier) for tier in Tier), _put(side), _erased(side), _keyed(side))
    await asyncio.gather(*(_answered(side, tier) for tier in Tier))
    submitted = FeedbackSubmitted(tenant=side.tenant, query_id=side.queries[Tier.PUBLIC], rating=4)
    recorded = await side.do(
        "product", "headrace.feedback.v1.FeedbackService/Record", feedback.RecordRequest(feedback=submitted)
    )
    side.feedback_id = recorded.feedback_id
    return side


async def _asked(side: Side, tier: Tier) -> None:
    question = side.question(tier, subject=side.subject)
    submitted = await side.do(
        "product", "headrace.query.v1.QueryService/Submit", queries.SubmitRequest(question=question),
        subject=side.subject,
    )  # fmt: skip
    side.queries[tier], side.traces[tier] = submitted.query_id, submitted.trace_id


async def _put(side: Side) -> None:
    for tier in Tier:
        side.documents[tier] = await side.new_document(tier=tier)
    await side.new_document(side.own_source)
    wanted = retrieval.SearchRequest(tenant=side.tenant, text="weir", top_k=1, sources=[side.own_source])
    found = await side.do("product", "headrace.retrieval.v1.RetrievalService/Search", wanted)
    side.chunk_id = found.chunks[0].reference.chunk_id


async def _erased(side: Side) -> None:
    source = f"gone-{side.tenant}"
    await side.new_document(source)
    request = erasure_pb2.EraseRequest(scope=erasure_pb2.ErasureScope(tenant=side.tenant, source=source), reason="old")
    response = await side.do("privacy", "headrace.privacy.v1.ErasureService/Erase", request)
    side.erasure_id = response.erasure.erasure_id

    async def look() -> bool:
        wanted = erasure_pb2.GetErasureRequest(erasure_id=side.erasure_id)
        found = await side.do("privacy", "headrace.privacy.v1.ErasureService/GetErasure", wanted)
        return bool(found.erasure.state == erasure_pb2.ERASURE_STATE_CLOSED)

    await until(look, "the erasure is closed")


async def _keyed(side: Side) -> None:
    owner = keys_pb2.KeyOwner(tenant=side.tenant, kind=keys_pb2.KEY_OWNER_KIND_SUBJECT, name=side.subject)
    request = keys_pb2.IssueRequest(owner=owner)
    token = side.tokens.of("service:ingest", EVERYBODY)
    outcome = await side.house.call("headrace.privacy.v1.KeyService/Issue", request, token)
    issued: Any = outcome.responses[0]
    side.key_id = issued.key.key_id


async def _answered(side: Side, tier: Tier) -> None:
    """Until the answer, the interaction and the trace can be read."""
    product = side.tokens.of("product", side.tenant, subject=side.subject)
    wanted: Mapping[str, Any] = {
        "headrace.query.v1.QueryService/Watch": queries.WatchRequest(tenant=side.tenant, query_id=side.queries[tier]),
        "headrace.feedback.v1.FeedbackService/Get": feedback.GetRequest(
            tenant=side.tenant, query_id=side.queries[tier]
        ),
        "headrace.trace.v1.TraceService/GetTrace": traces.GetTraceRequest(trace_id=side.traces[tier]),
    }
    for method, request in wanted.items():

        async def look(method: str = method, request: Any = request) -> bool:
            return (await side.house.call(method, request, product)).code is grpc.StatusCode.OK

        await until(look, f"{method} finds {tier.label}")


async def until(look: Callable[[], Awaitable[bool]], what: str) -> None:
    """Waits until it is so."""
    end = time.monotonic() + PATIENCE
    while not await look():
        assert time.monotonic() < end, f"not within {PATIENCE} s: {what}"
        await asyncio.sleep(0.3)
