"""The gRPC edge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from headrace.retrieval.v1.service_pb2 import (
    GetChunksRequest,
    GetChunksResponse,
    ListChunksRequest,
    ListChunksResponse,
    SearchRequest,
    SearchResponse,
)
from headrace.retrieval.v1.service_pb2_grpc import RetrievalServiceServicer
from headrace_privacy import Tier, Vault
from headrace_runtime.errors import Denied

from headrace_retriever import handlers
from headrace_retriever.keys import blinding_of
from headrace_retriever.ports import Index, Passages, TextEmbedder
from headrace_retriever.translate import from_listed, from_lookup, from_wanted, opened, to_listing, to_lookup, to_wanted

#: Says up to which tier the caller may be answered; None: not at all.
Clearance = Callable[[], Tier | None]


class RetrievalServicer(RetrievalServiceServicer):
    """Serves searches, and passages by their ids and by their source."""

    def __init__(
        self, *, embedder: TextEmbedder, index: Index, passages: Passages, vault: Vault, clearance: Clearance
    ) -> None:
        self._embedder = embedder
        self._index = index
        self._passages = passages
        self._vault = vault
        self._clearance = clearance

    async def Search(self, request: SearchRequest, context: Any) -> SearchResponse:
        """Searches the index, and opens what was found."""
        lookup = to_lookup(request, clearance=self._cleared())
        blinding = await blinding_of(self._vault, lookup.tenant)
        found = await handlers.search(lookup, blinding=blinding, embedder=self._embedder, index=self._index)
        response = from_lookup(found)
        return opened(response, await self._vault.opener_for(response))

    async def GetChunks(self, request: GetChunksRequest, context: Any) -> GetChunksResponse:
        """Hands passages out as they rest. Whoever calls has asked whether they may be read, and opens them itself."""
        return from_wanted(await self._passages.fetch(to_wanted(request)))

    async def ListChunks(self, request: ListChunksRequest, context: Any) -> ListChunksResponse:
        """Hands the passages of a source out as they rest, page by page; as in GetChunks, whoever calls has asked."""
        return from_listed(await self._passages.list(to_listing(request)))

    def _cleared(self) -> Tier:
        clearance = self._clearance()
        if clearance is None:
            raise Denied("the policy lets no document ground an answer to this role")
        return clearance
