"""The gRPC edge of erasures. Who may call what is decided before, by headrace.access."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from grpc.aio import ServicerContext
from headrace.privacy.v1 import erasure_pb2
from headrace.privacy.v1.erasure_pb2_grpc import ErasureServiceServicer
from headrace_database import Database
from headrace_identity import Principal
from headrace_runtime.errors import NotFound

from headrace_classifier.adapters import postgres_erasures as store
from headrace_classifier.coordinator import Coordinator
from headrace_classifier.erasure_translate import read_id, read_request, to_erasure, to_listed
from headrace_classifier.erasures import models_in
from headrace_classifier.granting import check_named

Context = ServicerContext[Any, Any]

#: As the contract has it.
MOST_LISTED = 1_000


class ErasureServicer(ErasureServiceServicer):
    """Serves headrace.privacy.v1.ErasureService."""

    def __init__(self, coordinator: Coordinator, database: Database, *, caller: Callable[[], Principal]) -> None:
        self._coordinator = coordinator
        self._database = database
        self._caller = caller

    async def Erase(self, request: erasure_pb2.EraseRequest, context: Context) -> erasure_pb2.EraseResponse:
        """Raises Rejected, NotFound, Denied for a token that names nobody."""
        by = self._caller()
        check_named(by)
        tenant, what, reason = read_request(request)
        record = await self._coordinator.begin(tenant, what, reason=reason, by=by)
        return erasure_pb2.EraseResponse(erasure=to_erasure(record))

    async def GetErasure(
        self, request: erasure_pb2.GetErasureRequest, context: Context
    ) -> erasure_pb2.GetErasureResponse:
        """Raises Rejected, NotFound."""
        erasure_id = read_id(request.erasure_id)
        async with self._database.transaction(tenant=self._caller().tenant) as connection:
            record = await store.find(connection, erasure_id)
            if record is None:
                raise NotFound("erasure", str(erasure_id))
            reports = await store.reports_of(connection, record)
            models = await store.reached_of(connection, record) or models_in(record, reports)
        return erasure_pb2.GetErasureResponse(erasure=to_erasure(record, reports, models))

    async def ListErasures(
        self, request: erasure_pb2.ListErasuresRequest, context: Context
    ) -> erasure_pb2.ListErasuresResponse:
        """Newest first."""
        async with self._database.transaction(tenant=request.tenant or self._caller().tenant) as connection:
            records = await store.newest(connection, most=MOST_LISTED)
        return erasure_pb2.ListErasuresResponse(erasures=map(to_listed, records))
