"""Answers and feedback, whole by default; a test changes what it is about. And ten-line neighbours."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from google.protobuf import json_format
from headrace import topics
from headrace.feedback.v1.feedback_pb2 import FeedbackSubmitted
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.topics import Topic
from headrace_feedback.feedback import Feedback, Words
from headrace_feedback.translate import read_answer, read_feedback, read_words
from headrace_feedback.uses import Use, Verdict
from headrace_privacy import Owner, Seal, Text, Tier, owner_of_query
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.errors import Unavailable
from headrace_stream import Delivery
from headrace_stream.memory import delivered

NOW = datetime(2026, 11, 21, 9, 0, 2, tzinfo=UTC)
TRACE = "0af7651916cd43dd8448eb211c80319c"


def hop(service: str, received: str, finished: str) -> dict[str, str]:
    """One service's share of the first minute after nine."""
    moments = [f"2026-11-21T09:00:{seconds}Z" for seconds in (received, finished)]
    return {"service": service, "receivedAt": moments[0], "finishedAt": moments[1]}


def answer(tenant: str = "demo", query_id: object = "", **changes: Any) -> AnswerCompleted:
    """An answer of 2 retrieved chunks, the second cited. `changes` are fields in canonical JSON."""
    chunk = {"version": "3", "source": "handbook", "tier": "TIER_1"}
    whole = {
        "query": {
            "queryId": str(query_id or uuid4()),
            "tenant": tenant,
            "product": "docs-search",
            "subject": "user-7",
            "conversationId": "conversation-1",
            "acceptedAt": "2026-11-21T09:00:00Z",
            "hops": [
                hop("ingest", "00.000", "00.010"),
                hop("classifier", "00.012", "00.0165"),
            ],
        },
        "question": {"plain": "What is a headrace?", "characters": 19},
        "text": {"plain": "A channel to the mill wheel [1].", "characters": 32},
        "tier": "TIER_1",
        "grounding": "GROUNDING_GROUNDED",
        "citations": [{"number": 1, "chunk": {**chunk, "chunkId": "chunk-b", "documentId": "mills"}}],
        "retrieved": [
            {**chunk, "chunkId": "chunk-a", "documentId": "rivers"},
            {**chunk, "chunkId": "chunk-b", "documentId": "mills"},
        ],
        "embedder": {"name": "all-MiniLM-L6-v2", "dimensions": 384, "hash": "abc"},
        "model": {"name": "SmolLM2-135M-Instruct", "version": "0123", "provider": "transformers"},
        "prompt": {"name": "grounded-answer", "version": "1"},
        "variant": {"name": "default", "version": "2"},
        "usage": {"inputTokens": 412, "outputTokens": 18, "cachedInputTokens": 200, "costMicroUsd": "5"},
        "finishReason": "stop",
        "timeToFirstTokenMs": 31.5,
        "traceId": TRACE,
        "completedAt": "2026-11-21T09:00:01.500Z",
    }  # fmt: skip
    return json_format.ParseDict(whole | changes, AnswerCompleted())


def feedback(tenant: str = "demo", **changes: Any) -> FeedbackSubmitted:
    """A thumb up unless `changes` says otherwise; about no query unless they say which."""
    whole = {"feedbackId": str(uuid4()), "tenant": tenant}
    judged = any(kind in changes for kind in ("thumb", "rating", "comment", "correction", "citation", "act"))
    return json_format.ParseDict(whole | ({} if judged else {"thumb": "THUMB_UP"}) | changes, FeedbackSubmitted())


def an_interaction(tenant: str, query_id: object = "", **changes: Any) -> Any:
    """The answer in the domain."""
    return read_answer(answer(tenant, query_id, **changes), event_id=uuid4())


def a_feedback(tenant: str, after: float = 0.0, *, words_tier: Tier = Tier.PUBLIC, **changes: Any) -> Feedback:
    """The feedback in the domain, recorded `after` seconds from NOW. Its words, if any, are as good as sealed."""
    message = feedback(tenant, **changes)
    read = read_feedback(message, now=NOW + timedelta(seconds=after))
    words = read_words(message)
    return replace(read, words=Words(words_tier, words.reveal().encode())) if words else read


class OpenKeeper:
    """A keeper for tests of the log alone: it seals nothing, and writes down for whom."""

    async def keep(self, text: Text, owner: Owner) -> bytes:
        return f"{owner.name}: {text.reveal()}".encode()

    async def hand_over(self, sealed: bytes, owner: Owner) -> bytes:
        return f"{owner.name}: ".encode() + sealed.rpartition(b": ")[2]


class SomeClassifier:
    """Masks the word "hunter2", and finds TIER_2 where it stands, or where nobody says whose text it is."""

    def __init__(self) -> None:
        self.products: list[str] = []
        self.is_down = False

    async def classify(self, text: Text, *, tenant: str, product: str, declared: Tier | None = None) -> Text:
        if self.is_down:
            raise Unavailable("the classifier")
        self.products.append(product)
        found = "hunter2" in text.reveal()
        tier = Tier.TIER_2 if found or not (product or declared) else max(declared or Tier.PUBLIC, Tier.PUBLIC)
        return Text(text.reveal().replace("hunter2", "[secret:password]"), tier)


class SomeAuthorizer:
    """Allows what is not TIER_2, and TIER_2 for purposes with a live grant; remembers what it was asked."""

    def __init__(self) -> None:
        self.grants: set[Any] = set()
        self.uses: list[Use] = []
        self.is_down = False

    async def authorize(self, use: Use) -> Verdict:
        if self.is_down:
            raise Unavailable("the classifier")
        self.uses.append(use)
        if use.tier is not Tier.TIER_2 or use.role == "product":
            return Verdict(True, "the policy allows it")
        if use.purpose in self.grants:
            return Verdict(True, "a grant covers it", grant_id="grant-1")
        return Verdict(False, "no live grant covers it")


async def sealed_answer(keyring: MemoryKeyring, tenant: str = "demo", query_id: object = "", **changes: Any) -> Any:
    """The answer as inference publishes it: text and labels under the keys of their owners."""
    plain = answer(tenant, query_id, **changes)
    query = plain.query
    seal = Seal(owner := owner_of_query(query), await keyring.issue(owner))
    sealed = AnswerCompleted()
    sealed.CopyFrom(plain)
    for name in ("question", "text"):
        sealed_text = seal.protect(Text(getattr(plain, name).plain, Tier.of(plain.tier)))
        getattr(sealed, name).CopyFrom(sealed_text)
    for chunk in [*sealed.retrieved, *(citation.chunk for citation in sealed.citations)]:
        document = Owner.document(tenant, chunk.source, chunk.document_id)
        chunk.CopyFrom(Seal(document, await keyring.issue(document)).seal_labels(chunk, Tier.of(chunk.tier)))
    return sealed


def delivery(message: Any, topic: Topic[Any], *, event_id: UUID | None = None) -> Delivery[Any]:
    """A record as the bus hands it over to the service."""
    return delivered(message, topic, service="feedback", event_id=event_id or uuid4(), received_at=NOW)


ANSWER, FEEDBACK = topics.ANSWER_COMPLETED, topics.FEEDBACK_SUBMITTED
