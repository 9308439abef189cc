"""The Kafka edge: what is taken off the bus, and what is put there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace import topics
from headrace.document.v1.document_pb2 import DocumentClassified, DocumentEmbedded
from headrace.query.v1.events_pb2 import QueryClassified
from headrace.training.v1.models_pb2 import ModelChanged
from headrace_privacy import Tier, Vault, owner_of_document, owner_of_query
from headrace_runtime.errors import Rejected, Violation
from headrace_stream import Bus, Delivery, Event
from headrace_stream.erasures import forget_erased
from headrace_telemetry.tracing import describe
from opentelemetry.trace import get_current_span

from headrace_embedder import translate
from headrace_embedder.domain import Vector
from headrace_embedder.handlers import embed_document, embed_question, embed_trial
from headrace_embedder.ports import Chunker, Embedder, TrainedEmbedders

#: What an event holds beside the chunks: the document's names and the record's headers, generously.
ENVELOPE_BYTES = 64 * 1024
#: Questions that nobody waits for, at the same time.
TRIALS_IN_FLIGHT = 4


@dataclass(frozen=True, slots=True)
class Consumers:
    """The embedder's subscriptions. Stateless: a replay makes the same event again, with the same id."""

    embedder: Embedder
    chunker: Chunker
    trained: TrainedEmbedders
    vault: Vault
    forget_vectors: Callable[[], None]
    now: Callable[[], datetime]

    def subscribe(self, bus: Bus, *, queries_in_flight: int, documents_in_flight: int) -> None:
        """Subscribes to queries and documents, and lets go of keys and vectors when somebody is erased."""
        forget_erased(bus, self.vault.forget, self.forget_vectors)
        bus.subscribe(topics.QUERY_CLASSIFIED, self.on_query, in_flight=queries_in_flight)
        bus.subscribe(topics.QUERY_REPLAYED, self.on_trial, in_flight=TRIALS_IN_FLIGHT)
        bus.subscribe(topics.DOCUMENT_CLASSIFIED, self.on_document, in_flight=documents_in_flight)
        # All that the topic still has: what went while nobody was here may lie in this machine's cache.
        bus.watch(topics.MODEL_CHANGED, self.on_model, since_seconds=topics.MODEL_CHANGED.retention_hours * 3_600)

    async def on_model(self, message: ModelChanged) -> None:
        """model.changed → this instance lets go of an embedder that answers no more."""
        ended = translate.ended_model(message)
        if ended is not None:
            await self.trained.forget(*ended)

    async def on_query(self, delivery: Delivery[QueryClassified]) -> Sequence[Event[Any]]:
        """query.classified → query.embedded. Raises Erased."""
        return await self._on_question(delivery, embed_question)

    async def on_trial(self, delivery: Delivery[QueryClassified]) -> Sequence[Event[Any]]:
        """query.replayed → query.embedded, after the questions that somebody waits for. Raises Erased."""
        return await self._on_question(delivery, embed_trial)

    async def _on_question(
        self, delivery: Delivery[QueryClassified], embed: Callable[[str, Embedder], Awaitable[Vector]]
    ) -> Sequence[Event[Any]]:
        text = translate.question(delivery.message, await self.vault.opener_for(delivery.message))
        query_id = delivery.message.query.query_id
        describe(get_current_span(), {"headrace.query.id": query_id, "headrace.tier": text.tier.label})
        vector = await embed(text.reveal(), self.embedder)
        message = translate.query_embedded(
            delivery.message,
            vector,
            self.embedder.identity,
            await self.vault.seal_like(delivery.message.text, owner_of_query(delivery.message.query)),
            received_at=delivery.received_at,
            finished_at=self.now(),
        )
        return [delivery.follow(topics.QUERY_EMBEDDED, message, tier=text.tier)]

    async def on_document(self, delivery: Delivery[DocumentClassified]) -> Sequence[Event[Any]]:
        """document.classified → document.embedded. Raises Rejected when there is neither text nor deletion, and
        Erased."""
        match delivery.message.WhichOneof("change"):
            case "markdown":
                message = await self._embed(delivery.message)
            case "deletion":
                message = translate.document_removed(delivery.message, self.embedder.identity)
            case _:
                raise Rejected(Violation("change", "missing", "The event holds neither a text nor a deletion."))
        tier = Tier.of(delivery.message.tier)
        describe(get_current_span(), {"headrace.tier": tier.label, "headrace.chunks": len(message.chunks)})
        return [delivery.follow(topics.DOCUMENT_EMBEDDED, message, tier=tier)]

    async def _embed(self, message: DocumentClassified) -> DocumentEmbedded:
        title, markdown = translate.title_and_markdown(message, await self.vault.opener_for(message))
        chunks = await embed_document(
            title,
            markdown.reveal(),
            chunker=self.chunker,
            embedder=self.embedder,
            event_bytes=topics.DOCUMENT_EMBEDDED.max_message_bytes - ENVELOPE_BYTES,
        )
        seal = await self.vault.seal_like(message.markdown, owner_of_document(message.document))
        return translate.document_embedded(message, chunks, self.embedder.identity, seal)
