"""Messages to what the embedder works with, and back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from headrace.document.v1 import document_pb2
from headrace.document.v1.document_pb2 import DocumentClassified, DocumentEmbedded
from headrace.embedding.v1.service_pb2 import Embedding, EmbedRequest, EmbedResponse
from headrace.privacy.v1.privacy_pb2 import ProtectedVector
from headrace.query.v1.events_pb2 import QueryClassified, QueryEmbedded
from headrace.query.v1.query_pb2 import Hop
from headrace.retrieval.v1.retrieval_pb2 import EmbedderIdentity
from headrace_privacy import Text, Tier, protect, reveal
from headrace_runtime.errors import Rejected, Violation

from headrace_embedder.domain import EmbeddedChunk, Identity, Vector

MOST_TEXTS = 256
LONGEST_TEXT = 100_000


def question(message: QueryClassified) -> Text:
    """Opens the question. Raises Rejected when there is none."""
    text = reveal(message.text, Tier.of(message.tier))
    if not len(text):
        raise Rejected(Violation("text", "empty", "There is nothing to embed."))
    return text


def markdown(message: DocumentClassified) -> Text:
    """Opens the document's text."""
    return reveal(message.markdown, Tier.of(message.tier))


def query_embedded(
    message: QueryClassified, vector: Vector, identity: Identity, *, received_at: datetime, finished_at: datetime
) -> QueryEmbedded:
    """The question with its vector, and the embedder's hop after those before it."""
    embedded = QueryEmbedded(
        query=message.query,
        text=message.text,
        tier=message.tier,
        vector=_protected(vector),
        embedder=to_identity(identity),
    )
    embedded.query.hops.append(
        Hop(service="embedder", received_at=_timestamp(received_at), finished_at=_timestamp(finished_at))
    )
    return embedded


def document_embedded(
    message: DocumentClassified, chunks: Sequence[EmbeddedChunk], identity: Identity
) -> DocumentEmbedded:
    """The document's chunks, each with its vector; no chunks remove it from the index."""
    tier = Tier.of(message.tier)
    return DocumentEmbedded(
        document=message.document,
        tier=message.tier,
        chunks=[_chunk(ordinal, embedded, tier) for ordinal, embedded in enumerate(chunks)],
        embedder=to_identity(identity),
    )


def _chunk(ordinal: int, embedded: EmbeddedChunk, tier: Tier) -> document_pb2.EmbeddedChunk:
    chunk = embedded.chunk
    return document_pb2.EmbeddedChunk(
        ordinal=ordinal,
        headings=chunk.headings,
        text=protect(Text(chunk.text, tier)),
        vector=_protected(embedded.vector),
        tokens=chunk.tokens,
    )


def requested_texts(request: EmbedRequest) -> list[str]:
    """Reads the texts of a call. Raises Rejected with each wrong one by its place."""
    texts = list(request.texts)
    if not texts:
        raise Rejected(Violation("texts", "empty", f"Give 1 to {MOST_TEXTS} texts."))
    if len(texts) > MOST_TEXTS:
        raise Rejected(Violation("texts", "too_long", f"Give 1 to {MOST_TEXTS} texts, not {len(texts)}."))
    violations = [violation for place, text in enumerate(texts) for violation in _check_text(text, place)]
    if violations:
        raise Rejected(*violations)
    return texts


def _check_text(text: str, place: int) -> list[Violation]:
    if not text:
        return [Violation(f"texts[{place}]", "empty", "The text is empty.")]
    if len(text) > LONGEST_TEXT:
        allowed = f"The text has {len(text)} characters; {LONGEST_TEXT} are allowed."
        return [Violation(f"texts[{place}]", "too_long", allowed)]
    return []


def embed_response(vectors: Sequence[Vector], identity: Identity) -> EmbedResponse:
    """The vectors of a call's texts, in their order."""
    return EmbedResponse(
        embeddings=[Embedding(values=vector.values.tolist(), tokens=vector.tokens) for vector in vectors],
        embedder=to_identity(identity),
    )


def to_identity(identity: Identity) -> EmbedderIdentity:
    """The identity as it travels."""
    return EmbedderIdentity(name=identity.name, dimensions=identity.dimensions, hash=identity.hash)


def _protected(vector: Vector) -> ProtectedVector:
    """As headrace_privacy.protect_vector, without going through a Python number for each dimension."""
    return ProtectedVector(float32=vector.values.astype(np.dtype("<f4")).tobytes(), dimensions=len(vector.values))


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
