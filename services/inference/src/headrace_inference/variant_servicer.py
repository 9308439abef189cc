"""The gRPC edge of variants and backends. Who may call what is decided before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID, uuid4

from grpc.aio import ServicerContext
from headrace.inference.v1 import variants_pb2
from headrace.inference.v1.variants_pb2_grpc import VariantServiceServicer
from headrace_identity import Principal

from headrace_inference import variant_handlers as handlers
from headrace_inference import variant_translate as translate
from headrace_inference.route_handlers import Making
from headrace_inference.variant_catalogue import Catalogue
from headrace_inference.variant_handlers import Checks
from headrace_inference.variant_records import VariantRecord

Context = ServicerContext[Any, Any]


class Told(Protocol):
    """Tells of the backends."""

    def __call__(self) -> Sequence[variants_pb2.Backend]:
        """How they do, the default one first."""


class ToldOfTenant(Protocol):
    """Tells of a tenant's own models."""

    def __call__(self, tenant: str) -> Sequence[variants_pb2.TrainedModel]:
        """How they do on this instance, by name and version."""


@dataclass(frozen=True, slots=True)
class VariantServicer(VariantServiceServicer):
    """Serves headrace.inference.v1.VariantService."""

    catalogue: Catalogue
    checks: Checks
    backends: Told
    trained: ToldOfTenant
    caller: Callable[[], Principal]
    now: Callable[[], datetime]
    new_id: Callable[[], UUID] = uuid4

    async def PutVariant(
        self, request: variants_pb2.PutVariantRequest, context: Context
    ) -> variants_pb2.PutVariantResponse:
        """Raises Rejected; Conflict, which says what is broken."""
        record, created = await handlers.put_variant(
            request.tenant,
            request.variant.name,
            translate.to_wiring(request.variant),
            catalogue=self.catalogue,
            checks=self.checks,
            making=Making(self.caller(), self.now(), self.new_id),
        )
        return variants_pb2.PutVariantResponse(variant=translate.from_variant(record), created=created)

    async def GetVariant(
        self, request: variants_pb2.GetVariantRequest, context: Context
    ) -> variants_pb2.GetVariantResponse:
        """Raises Rejected, NotFound."""
        translate.check_named(request.name, request.version)
        record = await handlers.get_variant(
            request.tenant, request.name, version=request.version, catalogue=self.catalogue
        )
        return variants_pb2.GetVariantResponse(variant=await self._told(request.tenant, record))

    async def ListVariants(
        self, request: variants_pb2.ListVariantsRequest, context: Context
    ) -> variants_pb2.ListVariantsResponse:
        """Raises Rejected."""
        translate.check_listed(request.name)
        records = await handlers.list_variants(request.tenant, request.name, catalogue=self.catalogue)
        return variants_pb2.ListVariantsResponse(
            variants=[await self._told(request.tenant, record) for record in records]
        )

    async def ListBackends(
        self, request: variants_pb2.ListBackendsRequest, context: Context
    ) -> variants_pb2.ListBackendsResponse:
        """Of this instance."""
        return variants_pb2.ListBackendsResponse(backends=self.backends())

    async def ListTrainedModels(
        self, request: variants_pb2.ListTrainedModelsRequest, context: Context
    ) -> variants_pb2.ListTrainedModelsResponse:
        """Of this instance."""
        return variants_pb2.ListTrainedModelsResponse(models=self.trained(request.tenant))

    async def _told(self, tenant: str, record: VariantRecord) -> variants_pb2.Variant:
        return translate.from_variant(record, await handlers.what_is_broken(tenant, record, checks=self.checks))
