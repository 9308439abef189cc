"""What the retriever does with each event and call."""

from __future__ import annotations

from datetime import datetime

from headrace_telemetry.tracing import describe, span
from opentelemetry.trace import SpanKind, get_current_span

from headrace_retriever.blinding import Blinding
from headrace_retriever.domain import Change, Found, Indexed, Lookup, Question
from headrace_retriever.ports import Index, Shelf, TextEmbedder

#: The data source, as the spans of retrievals name it.
DATA_SOURCE = "chunks"


async def retrieve(question: Question, *, blinding: Blinding, index: Index) -> Found:
    """Finds the passages that may ground an answer. Raises what Index.search raises."""
    with span(
        f"retrieval {DATA_SOURCE}",
        kind=SpanKind.CLIENT,
        attributes={
            "gen_ai.operation.name": "retrieval",
            "gen_ai.data_source.id": DATA_SOURCE,
            "gen_ai.retrieval.top_k": question.top_k,
            "headrace.tenant": question.tenant,
        },
    ) as current:
        found = await index.search(question, blinding=blinding)
        describe(current, {"headrace.vector_search": found.vector_search, "headrace.passages": len(found.passages)})
        return found


async def search(lookup: Lookup, *, blinding: Blinding, embedder: TextEmbedder, index: Index) -> Found:
    """Finds the passages for a text that has no vector yet. Raises what its ports raise."""
    vector, identity = await embedder.embed(lookup.text)
    return await retrieve(lookup.with_vector(vector, identity), blinding=blinding, index=index)


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
