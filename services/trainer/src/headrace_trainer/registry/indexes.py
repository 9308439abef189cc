"""The retriever over gRPC: the indexes of a tenant's own embedders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc
from headrace.privacy.v1.privacy_pb2 import TIER_2
from headrace.retrieval.v1 import retrieval_pb2, service_pb2
from headrace.retrieval.v1.service_pb2_grpc import RetrievalServiceStub

from headrace_trainer.registry.models import Model
from headrace_trainer.registry.neighbours import failures
from headrace_trainer.registry.ports import HOUSE, Found, Loaded

if TYPE_CHECKING:
    from headrace.retrieval.v1.service_pb2_grpc import RetrievalServiceAsyncStub

CALL_SECONDS = 10.0
#: A search waits for a model to be loaded.
SEARCH_SECONDS = 30.0
RETRIEVER = "the retriever"
#: What the contract calls the house's index in a search; an empty name is whatever is live.
_HOUSE = "house"

_CAN_ANSWER = (
    service_pb2.INDEX_STATE_READY,
    service_pb2.INDEX_STATE_LIVE,
    service_pb2.INDEX_STATE_STANDING_BY,
)
#: What is wrong with the candidate; anything else that keeps an index from getting on passes.
_WRONG = ("missing", "corrupt", "unsupported", "refused", "unusable")


class RemoteIndexes:
    """See ports.Indexes."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: RetrievalServiceAsyncStub = RetrievalServiceStub(channel)

    async def prepare(self, model: Model) -> None:
        trained = retrieval_pb2.TrainedEmbedder(
            tenant=model.tenant, model=model.model, address=model.address, files=dict(model.files)
        )
        request = service_pb2.PrepareIndexRequest(tenant=model.tenant, embedder=trained)
        with failures(RETRIEVER):
            await self._stub.PrepareIndex(request, timeout=CALL_SECONDS)

    async def loaded(self, model: Model) -> Loaded:
        for index in (await self._get(model.tenant)).indexes:
            if index.model == model.model:
                return _loaded(index)
        return Loaded("absent")

    async def answers(self, tenant: str) -> str:
        return (await self._get(tenant)).live

    async def _get(self, tenant: str) -> service_pb2.GetIndexResponse:
        with failures(RETRIEVER):
            return await self._stub.GetIndex(service_pb2.GetIndexRequest(tenant=tenant), timeout=CALL_SECONDS)

    async def switch(self, tenant: str, to: str, *, instead_of: str) -> None:
        request = service_pb2.SwitchIndexRequest(tenant=tenant, model=to, expected=instead_of)
        with failures(RETRIEVER, missing=("index", to)):
            await self._stub.SwitchIndex(request, timeout=CALL_SECONDS)

    async def search(self, tenant: str, question: str, *, embedder: str, most: int) -> Sequence[Found]:
        request = service_pb2.SearchRequest(
            tenant=tenant,
            text=question,
            top_k=most,
            max_tier=TIER_2,
            embedder=_HOUSE if embedder == HOUSE else embedder,
        )
        with failures(RETRIEVER, missing=("index", embedder)):
            response = await self._stub.Search(request, timeout=SEARCH_SECONDS)
        return [_found(chunk.reference) for chunk in response.chunks]


def _loaded(index: service_pb2.TrainedIndex) -> Loaded:
    if index.state in _CAN_ANSWER:
        state = "up"
    elif index.state == service_pb2.INDEX_STATE_GONE:
        state = "absent"
    else:
        state = "failed" if index.failure in _WRONG else "loading"
    return Loaded(state, index.failure, index.filled, index.chunks)


def _found(reference: retrieval_pb2.ChunkReference) -> Found:
    return Found(reference.chunk_id, f"{reference.source}/{reference.document_id}")
