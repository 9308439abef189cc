"""What the retriever does with each event and call."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import datetime

from headrace_runtime.errors import Conflict
from headrace_telemetry.names import Attribute
from headrace_telemetry.tracing import describe, span
from opentelemetry.trace import Span, SpanKind, get_current_span

from headrace_retriever.blinding import Blinding
from headrace_retriever.domain import HOUSE, Change, Found, Indexed, Lookup, Question
from headrace_retriever.generations import SEARCHABLE, Moved, Opened, Unusable
from headrace_retriever.own import OwnVectors, own_vector
from headrace_retriever.ports import Generations, Index, Shelf, TextEmbedder

#: The data source, as the spans of retrievals name it.
DATA_SOURCE = "chunks"
#: How often work is done again when another generation came to answer meanwhile. Two in a row are a tenant's bad day.
TRIES = 3


async def retrieve(question: Question, *, blinding: Blinding, index: Index, own: OwnVectors) -> Found:
    """Finds the passages that may ground an answer, by the vectors of what is live; by the house's where the tenant's
    own embedder cannot be had. Raises what Index.search raises."""
    with _retrieving(question) as current:
        found = await _searched(question, blinding=blinding, index=index, own=own)
        _describe(current, found)
        return found


async def _searched(question: Question, *, blinding: Blinding, index: Index, own: OwnVectors) -> Found:
    for _ in range(TRIES):
        try:
            return await index.search(await own.of_question(question), blinding=blinding)
        except Moved as moved:
            own.learn(question.tenant, moved.live)
    return await index.search(replace(question, by="house"), blinding=blinding)


async def search(
    lookup: Lookup,
    *,
    blinding: Blinding,
    embedder: TextEmbedder,
    index: Index,
    own: OwnVectors,
    generations: Generations,
) -> Found:
    """Finds the passages for a text that has no vector yet, by the embedder that was asked for: no other answers in its
    place. Raises what its ports raise, Conflict when that embedder has no index to search."""
    vector, identity = await embedder.embed(lookup.text)
    question = lookup.with_vector(vector, identity)
    if not lookup.model:
        return await retrieve(question, blinding=blinding, index=index, own=own)
    with _retrieving(question) as current:
        found = await index.search(await _for_trial(question, lookup.model, own, generations), blinding=blinding)
        _describe(current, found)
        return found


async def _for_trial(question: Question, model: str, own: OwnVectors, generations: Generations) -> Question:
    if model == HOUSE:
        return replace(question, by="house")
    generation = await generations.find(question.tenant, model)
    if generation is None or generation.embedder is None or generation.state not in SEARCHABLE:
        raise Conflict(f"the index of {model} is {generation.state if generation else 'not there'}, not ready")
    try:
        (vector,) = await own.embed(generation, [Opened(question.text.reveal())], urgency="in_turn")
    except Unusable as unusable:
        raise Conflict(f"the embedder {model} cannot be used: {unusable.trouble}") from None
    return replace(question, by="trial", own=own_vector(generation, vector))


def _retrieving(question: Question) -> AbstractContextManager[Span]:
    return span(
        f"retrieval {DATA_SOURCE}",
        kind=SpanKind.CLIENT,
        attributes={
            "gen_ai.operation.name": "retrieval",
            "gen_ai.data_source.id": DATA_SOURCE,
            "gen_ai.retrieval.top_k": question.top_k,
            "headrace.tenant": question.tenant,
        },
    )


def _describe(current: Span, found: Found) -> None:
    described: dict[Attribute, str | int] = {
        "headrace.vector_search": found.vector_search,
        "headrace.passages": len(found.passages),
    }
    if found.embedder is not None:
        described["headrace.embedder"] = found.embedder.name
    describe(current, described)


async def index_document(change: Change, *, blinding: Blinding, shelf: Shelf, now: datetime) -> Indexed | None:
    """Puts, replaces or removes a document; None when it came too late. Raises what Shelf.apply raises."""
    indexed = await shelf.apply(change, blinding=blinding, now=now)
    document = change.document
    describe(
        get_current_span(),
        {
            "headrace.document.key": f"{document.tenant}/{document.source}@{document.version}",
            "headrace.tenant": document.tenant,
            "headrace.chunks": len(change.chunks),
            "headrace.duplicate": indexed is None,
        },
    )
    return indexed
