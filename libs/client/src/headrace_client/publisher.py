"""The publisher: how a product puts events on the bus."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from os import environ
from pathlib import Path
from typing import TypeVar
from uuid import UUID, uuid4

from aiokafka import AIOKafkaProducer
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from headrace import topics
from headrace.document.v1.document_pb2 import DocumentSubmitted
from headrace.feedback.v1.feedback_pb2 import FeedbackSubmitted
from headrace.privacy.v1.privacy_pb2 import Tier
from headrace.query.v1.events_pb2 import QuerySubmitted
from headrace.topics import Topic
from headrace_identity.signatures import Signer
from opentelemetry.trace import SpanKind

from headrace_client.bus import open_producer, send
from headrace_client.endpoints import find_endpoints
from headrace_client.errors import Refused, Violation
from headrace_client.signing import find_signer, signed
from headrace_client.tiers import tier_label
from headrace_client.tracing import new_traceparent, outgoing_span, trace_id_of

M = TypeVar("M", bound=Message)


class Encoding(StrEnum):
    """How the message is written: as protobuf, or as its canonical JSON."""

    PROTOBUF = "protobuf"
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Receipt:
    """The bus has the event."""

    topic: str
    partition: int
    offset: int
    event_id: str
    trace_id: str


class Publisher:
    """Publishes what products may publish, on plain aiokafka. Each call returns once every replica has the event.

        async with Publisher.connect(product="docs-search") as publisher:
            await publisher.query(QuerySubmitted(query_id=str(uuid4()), tenant="demo", product="docs-search", text=…))

    Headers are CloudEvents in binary mode, with the caller's `traceparent`, or one of the event's own, and the
    signature of whoever publishes.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        *,
        product: str,
        signer: Signer | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._producer = producer
        self._product = product
        self._signer = signer
        self._clock = clock
        self._new_id = new_id

    @classmethod
    @asynccontextmanager
    async def connect(cls, kafka: str = "", *, product: str, signer: Signer | None = None) -> AsyncIterator[Publisher]:
        """A publisher to the bootstrap servers `kafka`, or to those that `find_endpoints` finds, which signs with
        `signer`, or with the key that `find_signer` finds."""
        signer = signer or find_signer(environ, None)
        async with open_producer(kafka or find_endpoints(environ, Path.cwd()).bus()) as producer:
            yield cls(producer, product=product, signer=signer)

    async def query(self, query: QuerySubmitted, *, encoding: Encoding = Encoding.PROTOBUF) -> Receipt:
        """Asks a question. The same query id twice yields one answer."""
        envelope = self._envelope(tenant=query.tenant, correlation=query.query_id, tier=query.declared_tier)
        return await self._publish(
            topics.QUERY_SUBMITTED, query, key=query.query_id, envelope=envelope, encoding=encoding
        )

    async def document(self, document: DocumentSubmitted, *, encoding: Encoding = Encoding.PROTOBUF) -> Receipt:
        """Puts or removes a document. The same submission id twice takes effect once."""
        key = f"{document.tenant}/{document.source}/{document.document_id}"
        envelope = self._envelope(tenant=document.tenant, correlation=key, tier=document.declared_tier)
        return await self._publish(topics.DOCUMENT_SUBMITTED, document, key=key, envelope=envelope, encoding=encoding)

    async def feedback(self, feedback: FeedbackSubmitted, *, encoding: Encoding = Encoding.PROTOBUF) -> Receipt:
        """Judges an answer. The same feedback id twice counts once."""
        key = feedback.query_id or feedback.trace_id
        envelope = self._envelope(tenant=feedback.tenant, correlation=key, tier=Tier.TIER_UNSPECIFIED)
        return await self._publish(topics.FEEDBACK_SUBMITTED, feedback, key=key, envelope=envelope, encoding=encoding)

    def _envelope(self, *, tenant: str, correlation: str, tier: Tier.ValueType) -> dict[str, str]:
        stated = {
            "ce_tenant": tenant,
            "ce_correlationid": correlation,
            "ce_dataclassification": tier_label(tier),
        }
        return {
            "ce_specversion": "1.0",
            "ce_id": str(self._new_id()),
            "ce_source": self._product,
            "ce_time": self._clock().isoformat().replace("+00:00", "Z"),
            **{name: value for name, value in stated.items() if value},
        }

    async def _publish(
        self,
        topic: Topic[M],
        message: M,
        *,
        key: str,
        envelope: dict[str, str],
        encoding: Encoding,
    ) -> Receipt:
        value = _encode(message, encoding)
        _check_size(topic, value)
        attributes = {
            "messaging.system": "kafka",
            "messaging.operation.name": "send",
            "messaging.operation.type": "send",
            "messaging.destination.name": topic.name,
            "messaging.message.id": envelope["ce_id"],
        }
        with outgoing_span(f"send {topic.name}", kind=SpanKind.PRODUCER, attributes=attributes) as traced:
            headers = {
                "content-type": f"application/{encoding.value}",
                "ce_type": message.DESCRIPTOR.full_name,
                **envelope,
                **signed(self._signer, topic.name, message, value=value, now=self._clock().timestamp()),
                "traceparent": new_traceparent(self._new_id()),
                **traced,
            }
            encoded = [(name, text.encode()) for name, text in headers.items()]
            partition, offset = await send(self._producer, topic.name, key=key.encode(), value=value, headers=encoded)
        trace_id = trace_id_of(headers["traceparent"])
        return Receipt(topic.name, partition, offset, envelope["ce_id"], trace_id)


def _encode(message: Message, encoding: Encoding) -> bytes:
    if encoding is Encoding.JSON:
        return MessageToJson(message, indent=None).encode()
    return message.SerializeToString()


def _check_size(topic: Topic[M], value: bytes) -> None:
    if len(value) > topic.max_message_bytes:
        allowed = f"{topic.name} takes at most {topic.max_message_bytes:,} bytes"
        raise Refused("The event was not sent.", Violation("", f"it has {len(value):,} bytes; {allowed}"))
