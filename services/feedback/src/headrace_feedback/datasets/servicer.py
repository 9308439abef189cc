"""The gRPC edge of datasets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import grpc
from headrace.feedback.v1 import datasets_pb2, datasets_pb2_grpc
from headrace_identity import Principal
from headrace_runtime.errors import Conflict, Overloaded, Rejected
from headrace_stream import Unit
from headrace_stream.erasing import Names, names_of

from headrace_feedback.datasets.building import Site, building
from headrace_feedback.datasets.importing import Import
from headrace_feedback.datasets.keeping import Library, keep
from headrace_feedback.datasets.manifest import contents_of
from headrace_feedback.datasets.ports import Lineage
from headrace_feedback.datasets.reading import Reading, ReadingRoom
from headrace_feedback.datasets.shelf import Spill
from headrace_feedback.datasets.snapshots import Snapshot
from headrace_feedback.datasets.tracing import Asked, Trace
from headrace_feedback.datasets.translate import (
    IMPORTED,
    check_import,
    check_series,
    check_tenant,
    read_build,
    read_reference,
    read_split,
    read_traced,
    to_dataset,
    to_traced,
    why_unusable,
)
from headrace_feedback.datasets.words import hasher_of
from headrace_feedback.ports import Classifier

Context = grpc.aio.ServicerContext[Any, Any]

LISTED = 1_000
#: A response of a reading holds about so many bytes, or one row.
RESPONSE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Desk:
    """What the edge needs."""

    site: Site
    library: Library
    room: ReadingRoom
    classifier: Classifier
    lineage_on: Callable[[Unit, Names], Lineage]
    caller: Callable[[], Principal]
    new_id: Callable[[], UUID]
    now: Callable[[], datetime]


class DatasetServicer(datasets_pb2_grpc.DatasetServiceServicer):
    """Serves headrace.feedback.v1.DatasetService."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def BuildDataset(
        self, request: datasets_pb2.BuildDatasetRequest, context: Context
    ) -> AsyncIterator[datasets_pb2.BuildDatasetResponse]:
        del context
        desk, by = self._desk, self._desk.caller()
        if violations := list(check_series(request.tenant, request.name)):
            raise Rejected(*violations)
        hasher = await hasher_of(desk.site.vault, request.tenant)
        order = read_build(request, hidden=hasher.hidden)
        async with building(order, desk.site, by=by, now=desk.now()) as build:
            async for step in build.steps():
                yield datasets_pb2.BuildDatasetResponse(done=step.done, total=step.total)
            kept, _ = await keep(await build.finish(now=desk.now()), desk.library)
        yield datasets_pb2.BuildDatasetResponse(done=step.done, total=step.total, dataset=to_dataset(kept))

    async def ImportDataset(
        self, request: datasets_pb2.ImportDatasetRequest, context: Context
    ) -> datasets_pb2.ImportDatasetResponse:
        del context
        if len(request.rows) > IMPORTED:
            raise Overloaded(f"one import: at most {IMPORTED:,} rows")
        check_import(request)
        desk = self._desk
        work = Import(request, desk.site, desk.classifier, by=desk.caller())
        classified = await work.classified()
        async with desk.site.store.workplace() as folder:
            finished = await work.finish(classified, Spill(folder / "spill.arrow"), now=desk.now())
            kept, created = await keep(finished, desk.library)
        return datasets_pb2.ImportDatasetResponse(dataset=to_dataset(kept), created=created)

    async def GetDataset(
        self, request: datasets_pb2.GetDatasetRequest, context: Context
    ) -> datasets_pb2.GetDatasetResponse:
        del context
        found = await self._find(request.tenant, request.dataset)
        return datasets_pb2.GetDatasetResponse(dataset=to_dataset(found))

    async def ListDatasets(
        self, request: datasets_pb2.ListDatasetsRequest, context: Context
    ) -> datasets_pb2.ListDatasetsResponse:
        del context
        checks = check_series(request.tenant, request.name) if request.name else check_tenant(request.tenant)
        if violations := list(checks):
            raise Rejected(*violations)
        desk = self._desk
        async with desk.library.ledger.unit(tenant=request.tenant) as unit:
            found = await desk.library.books_on(unit).newest(request.tenant, name=request.name, most=LISTED)
        return datasets_pb2.ListDatasetsResponse(datasets=map(to_dataset, found))

    async def DiffDatasets(
        self, request: datasets_pb2.DiffDatasetsRequest, context: Context
    ) -> datasets_pb2.DiffDatasetsResponse:
        del context
        before = await self._find(request.tenant, request.before, field="before")
        after = await self._find(request.tenant, request.after, field="after")
        one, other = await self._contents(before), await self._contents(after)
        changed = [row for row in other if row in one and one[row] != other[row]]
        return datasets_pb2.DiffDatasetsResponse(
            before=to_dataset(before),
            after=to_dataset(after),
            kept=len(one.keys() & other.keys()),
            added=sorted(other.keys() - one.keys())[:LISTED],
            removed=sorted(one.keys() - other.keys())[:LISTED],
            changed=sorted(changed)[:LISTED],
        )

    async def _contents(self, one: Snapshot) -> dict[str, str]:
        """Each row's content by hash. Raises Conflict when the rows are gone."""
        try:
            return contents_of(await self._desk.library.store.manifest(one.tenant, one.dataset_id))
        except FileNotFoundError:
            raise Conflict(why_unusable(one)) from None

    async def ReadDataset(
        self, request: datasets_pb2.ReadDatasetRequest, context: Context
    ) -> AsyncIterator[datasets_pb2.ReadDatasetResponse]:
        del context
        desk = self._desk
        split = read_split(request.split)
        snapshot = await desk.room.usable(request.tenant, read_reference(request.tenant, request.dataset))
        reading = Reading(snapshot, desk.room, split=split, by=desk.caller(), export_id=desk.new_id())
        response = datasets_pb2.ReadDatasetResponse(dataset=to_dataset(snapshot))
        is_first, size = True, 0
        async for batch in reading.batches():
            for row in batch:
                if response.rows and size + row.ByteSize() > RESPONSE_BYTES:
                    yield response
                    response, is_first, size = datasets_pb2.ReadDatasetResponse(), False, 0
                response.rows.append(row)
                size += row.ByteSize()
            yield response
            response, is_first, size = datasets_pb2.ReadDatasetResponse(), False, 0
        if is_first:
            yield response

    async def TraceRows(
        self, request: datasets_pb2.TraceRowsRequest, context: Context
    ) -> datasets_pb2.TraceRowsResponse:
        del context
        desk, tenant, asked = self._desk, request.tenant, read_traced(request)
        if asked.kind == "dataset":
            asked = Asked("dataset", (await self._find(tenant, asked.name)).dataset_id)
        names = await names_of(desk.site.vault, tenant)
        async with desk.library.ledger.unit(tenant=tenant) as unit:
            lineage = desk.lineage_on(unit, names)
            trace = Trace(
                await lineage.holders(tenant, asked),
                await lineage.answers(tenant, asked),
                await lineage.documents(tenant, asked),
            )
        return to_traced(trace)

    async def _find(self, tenant: str, reference: str, *, field: str = "dataset") -> Snapshot:
        return await self._desk.room.find(tenant, read_reference(tenant, reference, field=field))
