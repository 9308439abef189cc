"""Messages to what the embedder works with, and back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from headrace.document.v1 import document_pb2
from headrace.document.v1.document_pb2 import DocumentClassified, DocumentEmbedded
from headrace.embedding.v1.service_pb2 import Embedding, EmbedRequest, EmbedResponse
from headrace.query.v1.events_pb2 import QueryClassified, QueryEmbedded
from headrace.query.v1.query_pb2 import Hop
from headrace.retrieval.v1.retrieval_pb2 import EmbedderIdentity
from headrace_privacy import Opener, Seal, Text, Tier
from headrace_runtime.errors import Rejected, Violation

from headrace_embedder.domain import EmbeddedChunk, Identity, Vector

MOST_TEXTS = 256
LONGEST_TEXT = 100_000


def question(message: QueryClassified, opener: Opener) -> Text:
    """Opens the question. Raises Rejected when there is none, and Erased."""
    text = opener.reveal(message.text, Tier.of(message.tier))
    if not len(text):
        raise Rejected(Violation("text", "empty", "There is nothing to embed."))
    return text


def title_and_markdown(message: DocumentClassified, opener: Opener) -> tuple[str, Text]:
    """Opens the document's title and text. Raises Erased."""
    return opener.open_labels(message.document).title, opener.reveal(message.markdown, Tier.of(message.tier))


def query_embedded(
    message: QueryClassified,
    vector: Vector,
    identity: Identity,
    seal: Seal,
    *,
    received_at: datetime,
    finished_at: datetime,
) -> QueryEmbedded:
    """The question as it came with its vector, and the embedder's hop after those before it."""
    embedded = QueryEmbedded(
        query=message.query,
        text=message.text,
        tier=message.tier,
        vector=seal.protect_vector(_float32(vector), Tier.of(message.tier)),
        embedder=to_identity(identity),
    )
    embedded.query.hops.append(
        Hop(service="embedder", received_at=_timestamp(received_at), finished_at=_timestamp(finished_at))
    )
    return embedded


def document_embedded(
    message: DocumentClassified, chunks: Sequence[EmbeddedChunk], identity: Identity, seal: Seal
) -> DocumentEmbedded:
    """The document's chunks, each with its vector."""
    tier = Tier.of(message.tier)
    return DocumentEmbedded(
        document=message.document,
        tier=message.tier,
        chunks=[_chunk(ordinal, embedded, tier, seal) for ordinal, embedded in enumerate(chunks)],
        embedder=to_identity(identity),
    )


def document_removed(message: DocumentClassified, identity: Identity) -> DocumentEmbedded:
    """No chunks: they remove the document from the index."""
    return DocumentEmbedded(document=message.document, tier=message.tier, embedder=to_identity(identity))


def _chunk(ordinal: int, embedded: EmbeddedChunk, tier: Tier, seal: Seal) -> document_pb2.EmbeddedChunk:
    chunk = embedded.chunk
    bare = document_pb2.EmbeddedChunk(ordinal=ordinal, headings=chunk.headings, tokens=chunk.tokens)
    protected = seal.seal_labels(bare, tier)
    protected.text.CopyFrom(seal.protect(Text(chunk.text, tier)))
    protected.vector.CopyFrom(seal.protect_vector(_float32(embedded.vector), tier))
    return protected


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


def _float32(vector: Vector) -> bytes:
    return vector.values.astype(np.dtype("<f4")).tobytes()


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
