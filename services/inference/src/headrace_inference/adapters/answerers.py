"""Who can answer on this instance: the catalogue's variants, joined to the backends that run here."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, Protocol

from headrace_models.prompting import room_for_passages
from headrace_privacy import Tier

from headrace_inference.adapters.backends import Backend, Backends
from headrace_inference.domain import Prompt, Spent, Variant, Versioned
from headrace_inference.ports import Model
from headrace_inference.route_choosing import Answerer, Broken, NotYet
from headrace_inference.routing import Obstacle, Standing
from headrace_inference.variant_catalogue import Catalogue
from headrace_inference.variant_records import VariantRecord

#: Fewer tokens than these are no room: a question and one short passage take them.
LEAST_ROOM = 128
#: So many prompts' room is remembered.
_MOST_REMEMBERED = 4_096


class Trained(Protocol):
    """The tenants' own models on this instance."""

    def find(self, tenant: str, version: str) -> Backend | None:
        """The backend of a tenant's model; None when the tenant has none of this version.

        Raises NotYet while it is being loaded, Broken when it cannot answer.
        """

    async def follow(self, tenant: str) -> None:
        """Reads anew which ones a tenant has. Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class NoModels:
    """See Trained. Nobody has any."""

    def find(self, tenant: str, version: str) -> Backend | None:
        """See Trained.find."""
        del tenant, version
        return None

    async def follow(self, tenant: str) -> None:
        """See Trained.follow."""


NO_MODELS = NoModels()


@dataclass(slots=True)
class CatalogueAnswerers:
    """See route_choosing.Answerers and route_handlers.Variants."""

    catalogue: Catalogue
    backends: Backends
    trained: Trained = NO_MODELS  # it has no state
    _rooms: dict[tuple[Prompt, str, int], int] = field(default_factory=dict)

    async def of(self, tenant: str, key: Versioned) -> Answerer:
        """See route_choosing.Answerers.of."""
        resolved = await self.catalogue.resolve(tenant, key)
        backend = self.backend_for(tenant, resolved.record, resolved.variant)
        model = backend.model_for(tenant, key, prompt=resolved.variant.prompt.key)
        return Answerer(resolved.variant, model, backend.gate, backend.name)

    def standing(self, tenant: str, answerer: Answerer, tier: Tier) -> Standing:
        """See route_choosing.Answerers.standing."""
        backend = self._backend_of(tenant, answerer)
        expected = backend.expected(tenant, answerer.variant.key)
        cost = expected.cost_micro_usd if expected.ms else self._most(backend, answerer.variant)
        return Standing(expected.ms, cost, _obstacle(backend, tier))

    async def newest(self, tenant: str, name: str) -> Versioned | None:
        """See route_handlers.Variants.newest."""
        return await self.catalogue.newest(tenant, name)

    async def broken(self, tenant: str, key: Versioned) -> str:
        """See route_handlers.Variants.broken. A model that is being loaded is no fault: until then others answer."""
        try:
            await self.check(tenant, await self.catalogue.variant(tenant, key))
        except NotYet:
            return ""
        except Broken as error:
            return str(error)
        return ""

    async def check(self, tenant: str, record: VariantRecord) -> None:
        """See variant_handlers.Checks.check."""
        variant = record.with_prompt(await self.catalogue.prompt_of(tenant, record))
        try:
            self.backend_for(tenant, record, variant)
        except NotYet:
            raise
        except Broken:  # its model may have been registered just now
            if not record.wiring.model_version:
                raise
            await self.trained.follow(tenant)
            self.backend_for(tenant, record, variant)

    def backend_for(self, tenant: str, record: VariantRecord, variant: Variant) -> Backend:
        """The backend that a variant is answered with. Raises Broken, NotYet while its model is being loaded."""
        backend = self._serving(tenant, record)
        room = self._room(backend, variant)
        # With the house's own prompt the sources' own sentences answer in the narrowest window.
        if variant.passages and room < LEAST_ROOM and not record.is_built_in:
            prompt = variant.prompt
            raise Broken(
                f"the prompt {prompt.name} {prompt.version} and {variant.decoding.max_output_tokens} tokens of answer"
                f" leave {room} of the {backend.own.window} tokens of {backend.name}; at least {LEAST_ROOM} are needed"
                " for a question and a passage"
            )
        return backend

    def _serving(self, tenant: str, record: VariantRecord) -> Backend:
        """The backend that is named, or the tenant's own model beside it."""
        backend, asked = self.backends.find(record.wiring.backend), record.wiring.model_version
        if backend is None:
            raise Broken(f"there is no backend {record.wiring.backend} on this instance")
        if not asked or (backend.knows_its_model and asked == backend.own.identity.version):
            return backend
        if backend.kind == "engine" and (found := self.trained.find(tenant, asked.rpartition("@")[2])) is not None:
            return found
        if not backend.knows_its_model:
            raise Broken(f"the backend {backend.name} does not answer, so nobody knows which model it serves")
        raise Broken(f"the backend {backend.name} serves the model version {backend.own.identity.version}, not {asked}")

    def _backend_of(self, tenant: str, answerer: Answerer) -> Backend:
        """Whose an answerer is. What has been let go of meanwhile is as its neighbour."""
        backend, version = self.backends.by_name[answerer.backend], answerer.model.identity.version
        if version == backend.own.identity.version:
            return backend
        with suppress(Broken):
            return self.trained.find(tenant, version) or backend
        return backend

    def _room(self, backend: Backend, variant: Variant) -> int:
        key = (variant.prompt, f"{backend.name} {backend.own.identity.version}", variant.decoding.max_output_tokens)
        if (room := self._rooms.get(key)) is None:
            model = backend.own
            room = room_for_passages("", variant.layout, count=model.count, window=model.window)
            if len(self._rooms) >= _MOST_REMEMBERED:
                self._rooms.clear()
            self._rooms[key] = room
        return room

    def _most(self, backend: Backend, variant: Variant) -> int:
        """What an answer of a variant that has not answered yet costs at most."""
        model: Model = backend.own
        output = variant.decoding.max_output_tokens
        prompt = model.window - output - self._room(backend, variant)
        read = min(self._room(backend, variant), variant.passage_tokens + LEAST_ROOM)
        return backend.prices.cost(Spent(input_tokens=max(0, prompt) + read, output_tokens=output))


def _obstacle(backend: Backend, tier: Tier) -> Obstacle | Literal[""]:
    if backend.gate.forbids(tier):
        return "tier"
    if backend.lane.breaker.is_resting:
        return "failed"
    return "rate" if backend.lane.is_full else ""
