"""The gRPC edge."""

from __future__ import annotations

from typing import Any

from headrace.retrieval.v1.service_pb2 import SearchRequest, SearchResponse
from headrace.retrieval.v1.service_pb2_grpc import RetrievalServiceServicer

from headrace_retriever import handlers
from headrace_retriever.ports import Index, TextEmbedder
from headrace_retriever.translate import from_lookup, to_lookup


class RetrievalServicer(RetrievalServiceServicer):
    """Serves searches."""

    def __init__(self, *, embedder: TextEmbedder, index: Index) -> None:
        self._embedder = embedder
        self._index = index

    async def Search(self, request: SearchRequest, context: Any) -> SearchResponse:
        """Searches the index."""
        return from_lookup(await handlers.search(to_lookup(request), embedder=self._embedder, index=self._index))
