"""The feedback logger over gRPC: it knows which answers a dataset is made of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import grpc
from headrace.feedback.v1.datasets_pb2 import GetDatasetRequest
from headrace.feedback.v1.datasets_pb2_grpc import DatasetServiceStub
from headrace_runtime.errors import Conflict, NotFound, Unavailable

if TYPE_CHECKING:
    from headrace.feedback.v1.datasets_pb2_grpc import DatasetServiceAsyncStub

#: How long the call may take, in seconds.
CALL_SECONDS = 5.0


class RemoteDatasets:
    """See ports.Datasets."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._datasets: DatasetServiceAsyncStub = DatasetServiceStub(channel)

    async def period(self, tenant: str, dataset: str) -> tuple[str, datetime, datetime]:
        """See Datasets."""
        request = GetDatasetRequest(tenant=tenant, dataset=dataset)
        try:
            found = (await self._datasets.GetDataset(request, timeout=CALL_SECONDS)).dataset
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                raise NotFound("dataset", dataset) from None
            raise Unavailable("the feedback logger") from None
        card = found.card
        if not (card.HasField("earliest") and card.HasField("latest")):
            raise Conflict("the dataset has no answers of users, so no period to measure against")
        return found.dataset_id, card.earliest.ToDatetime(tzinfo=UTC), card.latest.ToDatetime(tzinfo=UTC)
