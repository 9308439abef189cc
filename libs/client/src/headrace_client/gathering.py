"""The part of the client that gathers datasets: builds, imports, compares and reads snapshots."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from headrace.feedback.v1 import datasets_pb2
from headrace.feedback.v1.datasets_pb2_grpc import DatasetServiceStub

from headrace_client.calls import Callee, Channels

if TYPE_CHECKING:
    from headrace.feedback.v1.datasets_pb2_grpc import DatasetServiceAsyncStub

#: Seconds that a call may take; that going through a log, or classifying 10,000 rows, may.
_CALL_TIMEOUT = 30.0
_BUILD_TIMEOUT = 3600.0


class Gathering:
    """Methods of `headrace_client.Client`. Each raises the errors of `headrace_client.errors`."""

    _channels: Channels

    async def build_dataset(
        self, request: datasets_pb2.BuildDatasetRequest, *, timeout: float = _BUILD_TIMEOUT
    ) -> AsyncGenerator[datasets_pb2.BuildDatasetResponse, None]:
        """Yields how far a build is; the last response has the snapshot."""
        callee, stub = self._datasets()
        async with aclosing(
            callee.stream(stub.BuildDataset, request, name="BuildDataset", timeout=timeout)
        ) as responses:
            async for response in responses:
                yield response

    async def import_dataset(
        self, request: datasets_pb2.ImportDatasetRequest, *, timeout: float = _BUILD_TIMEOUT
    ) -> datasets_pb2.ImportDatasetResponse:
        """Stores rows with known answers as a snapshot."""
        callee, stub = self._datasets()
        return await callee.unary(stub.ImportDataset, request, name="ImportDataset", timeout=timeout)

    async def dataset(self, dataset: str, *, tenant: str, timeout: float = _CALL_TIMEOUT) -> datasets_pb2.Dataset:
        """One snapshot: by id, by its first digits, or the newest of a name."""
        callee, stub = self._datasets()
        request = datasets_pb2.GetDatasetRequest(tenant=tenant, dataset=dataset)
        return (await callee.unary(stub.GetDataset, request, name="GetDataset", timeout=timeout)).dataset

    async def datasets(
        self, *, tenant: str, name: str = "", timeout: float = _CALL_TIMEOUT
    ) -> Sequence[datasets_pb2.Dataset]:
        """The snapshots of a name, or all, newest first."""
        callee, stub = self._datasets()
        request = datasets_pb2.ListDatasetsRequest(tenant=tenant, name=name)
        return (await callee.unary(stub.ListDatasets, request, name="ListDatasets", timeout=timeout)).datasets

    async def diff_datasets(
        self, before: str, after: str, *, tenant: str, timeout: float = _CALL_TIMEOUT
    ) -> datasets_pb2.DiffDatasetsResponse:
        """What two snapshots have in common. No text."""
        callee, stub = self._datasets()
        request = datasets_pb2.DiffDatasetsRequest(tenant=tenant, before=before, after=after)
        return await callee.unary(stub.DiffDatasets, request, name="DiffDatasets", timeout=timeout)

    async def read_dataset(
        self,
        dataset: str,
        *,
        tenant: str,
        split: datasets_pb2.Split.ValueType = datasets_pb2.SPLIT_UNSPECIFIED,
        timeout: float = _BUILD_TIMEOUT,
    ) -> AsyncGenerator[datasets_pb2.ReadDatasetResponse, None]:
        """Yields a snapshot's rows in the clear; the first response has the snapshot."""
        callee, stub = self._datasets()
        request = datasets_pb2.ReadDatasetRequest(tenant=tenant, dataset=dataset, split=split)
        async with aclosing(callee.stream(stub.ReadDataset, request, name="ReadDataset", timeout=timeout)) as responses:
            async for response in responses:
                yield response

    def _datasets(self) -> tuple[Callee, DatasetServiceAsyncStub]:
        callee = self._channels.callee("feedback", "headrace.feedback.v1.DatasetService")
        return callee, DatasetServiceStub(callee.channel)
