"""What the embedder does with a question, with a document, and with anybody's texts."""

from __future__ import annotations

from collections.abc import Sequence

from headrace_runtime.errors import Rejected, Violation

from headrace_embedder.domain import Chunk, EmbeddedChunk, Identity, Passage, Trained, Urgency, Vector
from headrace_embedder.ports import Chunker, Embedder, TrainedEmbedders

#: So few texts are a question's worth and go before documents; more wait their turn.
FEW = 8


async def embed_question(text: str, embedder: Embedder) -> Vector:
    """Embeds one question, before any documents that wait."""
    return (await embedder.embed_soon([text]))[0]


async def embed_trial(text: str, embedder: Embedder) -> Vector:
    """Embeds a question that nobody waits for, among the documents."""
    return (await embedder.embed_in_turn([text]))[0]


async def embed_texts(texts: Sequence[str], *, embedder: Embedder) -> Sequence[Vector]:
    """Embeds texts for a caller, in their order."""
    return await (embedder.embed_soon(texts) if len(texts) <= FEW else embedder.embed_in_turn(texts))


async def embed_as(
    model: Trained, passages: Sequence[Passage], *, urgency: Urgency, trained: TrainedEmbedders, chunker: Chunker
) -> tuple[Sequence[Vector], Identity]:
    """Embeds passages with a tenant's own model, in their order. Raises what TrainedEmbedders.lend raises."""
    texts = await chunker.embedded_texts(passages)
    async with trained.lend(model) as embedder:
        vectors = await (embedder.embed_soon(texts) if urgency == "soon" else embedder.embed_in_turn(texts))
        return vectors, embedder.identity


async def embed_document(
    title: str, markdown: str, *, chunker: Chunker, embedder: Embedder, event_bytes: int
) -> Sequence[EmbeddedChunk]:
    """Cuts a document into chunks and embeds them.

    Raises Rejected, before the costly part, when they could not travel in one event of `event_bytes`.
    """
    chunks = await chunker.chunk(title, markdown)
    _check_size(chunks, dimensions=embedder.identity.dimensions, event_bytes=event_bytes)
    vectors = await embedder.embed_in_turn([chunk.embedded_text for chunk in chunks]) if chunks else []
    return [EmbeddedChunk(chunk, vector) for chunk, vector in zip(chunks, vectors, strict=True)]


def _check_size(chunks: Sequence[Chunk], *, dimensions: int, event_bytes: int) -> None:
    needed = sum(chunk.wire_bytes + 4 * dimensions for chunk in chunks)
    if needed > event_bytes:
        raise Rejected(
            Violation(
                "markdown",
                "too_large",
                f"Its {len(chunks)} chunks take {needed} bytes with their vectors, and an event holds {event_bytes}: "
                "put it as several documents.",
            )
        )
