"""Who can answer: the variants of the catalogue, with the one model that there is."""

from __future__ import annotations

from dataclasses import dataclass

from headrace_privacy import Tier

from headrace_inference.adapters.catalogue import Catalogue
from headrace_inference.adapters.traced import TracedModel
from headrace_inference.domain import Versioned
from headrace_inference.ports import Gate, Model
from headrace_inference.route_choosing import Answerer, Broken
from headrace_inference.routing import Standing


@dataclass(frozen=True, slots=True)
class CatalogueAnswerers:
    """See route_choosing.Answerers and route_handlers.Variants."""

    catalogue: Catalogue
    model: Model
    gate: Gate
    backend: str

    async def of(self, tenant: str, key: Versioned) -> Answerer:
        """See route_choosing.Answerers.of."""
        del tenant
        try:
            variant = self.catalogue.variant(key)
        except LookupError:
            raise Broken("there is no such variant") from None
        return Answerer(variant, TracedModel(self.model, prompt=variant.prompt.key), self.gate, self.backend)

    def standing(self, answerer: Answerer, tier: Tier) -> Standing:
        """See route_choosing.Answerers.standing."""
        del answerer, tier
        return Standing()

    async def newest(self, tenant: str, name: str) -> Versioned | None:
        """See route_handlers.Variants.newest."""
        del tenant
        versions = [e.key.version for e in self.catalogue.entries if (e.kind, e.key.name) == ("variant", name)]
        return Versioned(name, max(versions, key=int)) if versions else None

    async def broken(self, tenant: str, key: Versioned) -> str:
        """See route_handlers.Variants.broken."""
        try:
            await self.of(tenant, key)
        except Broken as broken:
            return str(broken)
        return ""
