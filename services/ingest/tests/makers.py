"""Queries, documents and what comes back, as a test needs them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID, uuid4

from google.protobuf import json_format
from headrace import topics
from headrace.document.v1.document_pb2 import Deletion, DocumentIndexed, DocumentSubmitted
from headrace.query.v1.answer_pb2 import AnswerChunk, AnswerCompleted
from headrace.query.v1.events_pb2 import QuerySubmitted
from headrace.stream.v1.dead_letter_pb2 import DeadLetter
from headrace_ingest.handlers import Door
from headrace_privacy import Tier, Vault
from headrace_privacy.memory import MemoryKeyring
from headrace_stream import Delivery, Refusal
from headrace_stream.memory import delivered


def open_vault(keyring: MemoryKeyring | None = None) -> Vault:
    """A vault whose keys are a test's own."""
    return Vault(keyring or MemoryKeyring(), clock=time.monotonic)


def open_door(store: Any, vault: Vault) -> Door:
    """What submissions pass."""
    return Door(store, vault, Tier.TIER_2, clock)


NOW = datetime(2026, 11, 21, 9, tzinfo=UTC)

#: What no refusal, dead letter, log line or status may ever hold.
CANARY = "canary-hunter2-the-users-own-words"

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


def clock() -> datetime:
    return NOW


def query(tenant: str, query_id: str = "", **fields: Any) -> QuerySubmitted:
    given = {"product": "shop", "text": "What does nonlocal do?", **fields}
    return QuerySubmitted(tenant=tenant, query_id=query_id or str(uuid4()), **given)


def put(tenant: str, document_id: str = "a.md", *, source: str = "handbook", **fields: Any) -> DocumentSubmitted:
    message = DocumentSubmitted(tenant=tenant, source=source, document_id=document_id, submission_id=str(uuid4()))
    message.content.media_type = fields.pop("media_type", "text/markdown")
    message.content.data = fields.pop("data", b"# Heading\n\nSome text.\n")
    message.MergeFrom(DocumentSubmitted(**fields))
    return message


def deletion(tenant: str, document_id: str = "a.md", *, source: str = "handbook") -> DocumentSubmitted:
    return DocumentSubmitted(
        tenant=tenant, source=source, document_id=document_id, submission_id=str(uuid4()), deletion=Deletion()
    )


def indexed(tenant: str, version: int, *, document_id: str = "a.md", tier: int = 1, chunks: int = 3) -> DocumentIndexed:
    message = DocumentIndexed(tier=tier, chunks=chunks)  # type: ignore[arg-type]
    message.document.tenant, message.document.source = tenant, "handbook"
    message.document.document_id, message.document.version = document_id, version
    message.indexed_at.FromDatetime(NOW)
    return message


def answer(tenant: str, query_id: str, text: str = "It binds to the enclosing scope [1].") -> AnswerCompleted:
    return json_format.ParseDict(
        {
            "query": {"queryId": query_id, "tenant": tenant, "product": "shop"},
            "text": {"plain": text, "characters": len(text)},
            "tier": "TIER_PUBLIC",
            "grounding": "GROUNDING_GROUNDED",
        },
        AnswerCompleted(),
    )


def chunk(tenant: str, query_id: str, generation: str, index: int, text: str | None = None) -> AnswerChunk:
    message = AnswerChunk(tenant=tenant, query_id=query_id, generation_id=generation, index=index)
    if text is None:
        message.started.passages = 4
    else:
        message.text.plain = text
    return message


def letter(topic: str, correlation_id: str, tenant: str, *, error: str = "KeyError") -> DeadLetter:
    return DeadLetter(service="embedder", topic=topic, correlation_id=correlation_id, tenant=tenant, error=error)


def arrived(message: Any, *, event_id: UUID | None = None, headers: Mapping[str, str] = NO_HEADERS) -> Delivery[Any]:
    """The delivery of a message on its own topic."""
    topic = {
        QuerySubmitted: topics.QUERY_SUBMITTED,
        DocumentSubmitted: topics.DOCUMENT_SUBMITTED,
        DocumentIndexed: topics.DOCUMENT_INDEXED,
        AnswerCompleted: topics.ANSWER_COMPLETED,
        DeadLetter: topics.QUERY_EMBEDDED.dead_letters,
    }[type(message)]
    return delivered(
        message, topic, service="ingest", event_id=event_id or uuid4(), key="the-key", headers=headers, received_at=NOW
    )


def refused(message: Any, *violations: Any) -> Refusal:
    """The refusal of a message, as the bus hands it to those who answer it."""
    return Refusal(violations, arrived(message).arrival, message.SerializeToString())
