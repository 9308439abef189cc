"""The gRPC edge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.retrieval.v1.service_pb2 import (
    GetChunksRequest,
    GetChunksResponse,
    GetIndexRequest,
    GetIndexResponse,
    ListChunksRequest,
    ListChunksResponse,
    PrepareIndexRequest,
    PrepareIndexResponse,
    SearchRequest,
    SearchResponse,
    SwitchIndexRequest,
    SwitchIndexResponse,
)
from headrace.retrieval.v1.service_pb2_grpc import RetrievalServiceServicer
from headrace_privacy import Tier, Vault
from headrace_runtime.errors import Denied

from headrace_retriever import handlers
from headrace_retriever.keys import blinding_of
from headrace_retriever.own import OwnVectors
from headrace_retriever.ports import Generations, Index, Passages, TextEmbedder
from headrace_retriever.translate import (
    from_listed,
    from_lookup,
    from_progress,
    from_standing,
    from_switched,
    from_wanted,
    opened,
    places_of,
    to_listing,
    to_lookup,
    to_standing_of,
    to_switch,
    to_trained,
    to_wanted,
)


@dataclass(frozen=True, slots=True)
class Asker:
    """Who searches. clearance: up to which tier they are answered; None: not at all. chooses: whether they may say by
    whose vectors. reads: whether they see what passages say, or only where they are."""

    clearance: Tier | None
    chooses: bool
    reads: bool


@dataclass(frozen=True, slots=True)
class Searching:
    """What searches need. asker: says who the caller is."""

    embedder: TextEmbedder
    index: Index
    own: OwnVectors
    generations: Generations
    vault: Vault
    asker: Callable[[], Asker]


class RetrievalServicer(RetrievalServiceServicer):
    """Serves searches, passages by their ids and by their source, and the indexes of the tenants' own embedders."""

    def __init__(
        self, searching: Searching, *, passages: Passages, begun: Callable[[str], None], now: Callable[[], datetime]
    ) -> None:
        """begun: is told of the tenant for whom an index was begun."""
        self._searching = searching
        self._generations = searching.generations
        self._passages = passages
        self._begun = begun
        self._now = now

    async def Search(self, request: SearchRequest, context: Any) -> SearchResponse:
        """Searches the index, and opens what was found."""
        searching, asker = self._searching, self._searching.asker()
        lookup = to_lookup(request, clearance=_cleared(asker, request))
        found = await handlers.search(
            lookup,
            blinding=await blinding_of(searching.vault, lookup.tenant),
            embedder=searching.embedder,
            index=searching.index,
            own=searching.own,
            generations=searching.generations,
        )
        response = from_lookup(found)
        if not asker.reads:
            return places_of(response)
        return opened(response, await searching.vault.opener_for(response))

    async def GetChunks(self, request: GetChunksRequest, context: Any) -> GetChunksResponse:
        """Hands passages out as they rest. Whoever calls has asked whether they may be read, and opens them itself."""
        return from_wanted(await self._passages.fetch(to_wanted(request)))

    async def ListChunks(self, request: ListChunksRequest, context: Any) -> ListChunksResponse:
        """Hands the passages of a source out as they rest, page by page; as in GetChunks, whoever calls has asked."""
        return from_listed(await self._passages.list(to_listing(request)))

    async def PrepareIndex(self, request: PrepareIndexRequest, context: Any) -> PrepareIndexResponse:
        """Begins an index of a tenant's own embedder, which is filled in the background."""
        generation = await self._generations.prepare(to_trained(request), now=self._now())
        self._begun(generation.tenant)
        standing = await self._generations.standing(generation.tenant)
        (mine,) = (one for one in standing.progress if one.generation.number == generation.number)
        return PrepareIndexResponse(index=from_progress(mine))

    async def GetIndex(self, request: GetIndexRequest, context: Any) -> GetIndexResponse:
        """Says whose vectors answer, and how far the others are."""
        return from_standing(await self._generations.standing(to_standing_of(request)))

    async def SwitchIndex(self, request: SwitchIndexRequest, context: Any) -> SwitchIndexResponse:
        """Has another embedder's index answer."""
        switched = await self._generations.switch(to_switch(request), now=self._now())
        self._begun(request.tenant)
        return from_switched(switched)


def _cleared(asker: Asker, request: SearchRequest) -> Tier:
    if asker.clearance is None:
        raise Denied("the policy lets no document ground an answer to this role")
    if request.embedder and not asker.chooses:
        raise Denied("who answers end users does not choose the embedder")
    return asker.clearance
