"""Messages to what the embedder works with, and back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from headrace.document.v1 import document_pb2
from headrace.document.v1.document_pb2 import DocumentClassified, DocumentEmbedded
from headrace.embedding.v1 import service_pb2
from headrace.embedding.v1.service_pb2 import EmbedAsRequest, EmbedAsResponse, Embedding, EmbedRequest, EmbedResponse
from headrace.query.v1.events_pb2 import QueryClassified, QueryEmbedded
from headrace.query.v1.query_pb2 import Hop
from headrace.retrieval.v1.retrieval_pb2 import EmbedderIdentity
from headrace.training.v1 import models_pb2, training_pb2
from headrace.training.v1.models_pb2 import ModelChanged
from headrace_privacy import Opener, Seal, Text, Tier
from headrace_runtime.errors import Rejected, Violation

from headrace_embedder.domain import EmbeddedChunk, Identity, Passage, Trained, Urgency, Vector

MOST_TEXTS = 256
MOST_PASSAGES = 64
LONGEST_TEXT = 100_000

# They become names of folders.
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}@[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_TENANT = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)


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
    violations = [violation for place, text in enumerate(texts) for violation in _check_text(text, f"texts[{place}]")]
    if violations:
        raise Rejected(*violations)
    return texts


def _check_text(text: str, field: str) -> list[Violation]:
    if not text:
        return [Violation(field, "empty", "The text is empty.")]
    if len(text) > LONGEST_TEXT:
        allowed = f"The text has {len(text)} characters; {LONGEST_TEXT} are allowed."
        return [Violation(field, "too_long", allowed)]
    return []


def embed_response(vectors: Sequence[Vector], identity: Identity) -> EmbedResponse:
    """The vectors of a call's texts, in their order."""
    return EmbedResponse(
        embeddings=map(_embedding, vectors),
        embedder=to_identity(identity),
    )


def _embedding(vector: Vector) -> Embedding:
    return Embedding(values=vector.values.tolist(), tokens=vector.tokens)


def requested_passages(request: EmbedAsRequest) -> list[Passage]:
    """Reads the passages of a call. Raises Rejected with each wrong one by its place."""
    if not 1 <= len(request.passages) <= MOST_PASSAGES:
        raise Rejected(Violation("passages", "out_of_range", f"Give 1 to {MOST_PASSAGES} passages."))
    violations = [v for place, p in enumerate(request.passages) for v in _check_passage(p, f"passages[{place}]")]
    if violations:
        raise Rejected(*violations)
    return [Passage(passage.title, tuple(passage.headings), passage.text) for passage in request.passages]


def _check_passage(passage: service_pb2.Passage, field: str) -> list[Violation]:
    violations = _check_text(passage.text, f"{field}.text")
    if sum(map(len, (passage.title, *passage.headings))) > LONGEST_TEXT:
        violations.append(Violation(field, "too_long", "Title and headings are longer than a text may be."))
    return violations


def requested_model(request: EmbedAsRequest) -> Trained:
    """Reads by which model. Raises Rejected, which names the field."""
    wanted = request.embedder
    if not _TENANT.fullmatch(wanted.tenant):
        raise Rejected(Violation("embedder.tenant", "malformed", "A tenant is 1 to 64 of [a-z0-9_-]."))
    if not _MODEL.fullmatch(wanted.model):
        raise Rejected(Violation("embedder.model", "malformed", "A model is named NAME@VERSION."))
    if not wanted.address:
        raise Rejected(Violation("embedder.address", "missing", "Where is it?"))
    if not wanted.files:
        raise Rejected(Violation("embedder.files", "missing", "Which files, by their hashes?"))
    return Trained(wanted.tenant, wanted.model, wanted.address, tuple(sorted(wanted.files.items())))


def requested_urgency(request: EmbedAsRequest) -> Urgency:
    """Reads who goes first."""
    return "soon" if request.urgency == service_pb2.URGENCY_SOON else "in_turn"


def embed_as_response(vectors: Sequence[Vector], identity: Identity) -> EmbedAsResponse:
    """The vectors of a call's passages, in their order."""
    return EmbedAsResponse(embeddings=map(_embedding, vectors), embedder=to_identity(identity))


def ended_model(message: ModelChanged) -> tuple[str, str] | None:
    """Reads which embedder answers no more: tenant and model; None when the change is none of the embedder's."""
    is_over = message.change in (models_pb2.MODEL_CHANGE_RETIRED, models_pb2.MODEL_CHANGE_DELETED)
    model = message.model
    if not is_over or model.target != training_pb2.TARGET_EMBEDDER:
        return None
    return (model.tenant, model.model) if _TENANT.fullmatch(model.tenant) and _MODEL.fullmatch(model.model) else None


def to_identity(identity: Identity) -> EmbedderIdentity:
    """The identity as it travels."""
    return EmbedderIdentity(name=identity.name, dimensions=identity.dimensions, hash=identity.hash)


def _float32(vector: Vector) -> bytes:
    return vector.values.astype(np.dtype("<f4")).tobytes()


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
