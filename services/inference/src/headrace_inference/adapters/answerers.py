"""Who can answer on this instance: the catalogue's variants, joined to the backends that run here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from headrace_models.prompting import room_for_passages
from headrace_privacy import Tier

from headrace_inference.adapters.backends import Backend, Backends
from headrace_inference.domain import Prompt, Spent, Variant, Versioned
from headrace_inference.ports import Model
from headrace_inference.route_choosing import Answerer, Broken
from headrace_inference.routing import Obstacle, Standing
from headrace_inference.variant_catalogue import Catalogue
from headrace_inference.variant_records import VariantRecord

#: Fewer tokens than these are no room: a question and one short passage take them.
LEAST_ROOM = 128
#: So many prompts' room is remembered.
_MOST_REMEMBERED = 4_096


@dataclass(slots=True)
class CatalogueAnswerers:
    """See route_choosing.Answerers and route_handlers.Variants."""

    catalogue: Catalogue
    backends: Backends
    _rooms: dict[tuple[Prompt, str, int], int] = field(default_factory=dict)

    async def of(self, tenant: str, key: Versioned) -> Answerer:
        """See route_choosing.Answerers.of."""
        resolved = await self.catalogue.resolve(tenant, key)
        backend = self.backend_for(resolved.record, resolved.variant)
        model = backend.model_for(tenant, key, prompt=resolved.variant.prompt.key)
        return Answerer(resolved.variant, model, backend.gate, backend.name)

    def standing(self, tenant: str, answerer: Answerer, tier: Tier) -> Standing:
        """See route_choosing.Answerers.standing."""
        backend = self.backends.by_name[answerer.backend]
        expected = backend.expected(tenant, answerer.variant.key)
        cost = expected.cost_micro_usd if expected.ms else self._most(backend, answerer.variant)
        return Standing(expected.ms, cost, _obstacle(backend, tier))

    async def newest(self, tenant: str, name: str) -> Versioned | None:
        """See route_handlers.Variants.newest."""
        return await self.catalogue.newest(tenant, name)

    async def broken(self, tenant: str, key: Versioned) -> str:
        """See route_handlers.Variants.broken."""
        try:
            await self.of(tenant, key)
        except Broken as error:
            return str(error)
        return ""

    async def check(self, tenant: str, record: VariantRecord) -> None:
        """Raises Broken for what cannot answer here, stored or not."""
        prompt = await self.catalogue.prompt_of(tenant, record)
        self.backend_for(record, record.with_prompt(prompt))

    def backend_for(self, record: VariantRecord, variant: Variant) -> Backend:
        """The backend that a variant is answered with. Raises Broken."""
        backend = self.backends.find(record.wiring.backend)
        if backend is None:
            raise Broken(f"there is no backend {record.wiring.backend} on this instance")
        _check_version(backend, record.wiring.model_version)
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

    def _room(self, backend: Backend, variant: Variant) -> int:
        key = (variant.prompt, backend.name, variant.decoding.max_output_tokens)
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


def _check_version(backend: Backend, asked: str) -> None:
    if not asked:
        return
    if not backend.knows_its_model:
        raise Broken(f"the backend {backend.name} does not answer, so nobody knows which model it serves")
    served = backend.own.identity.version
    if served != asked:
        raise Broken(f"the backend {backend.name} serves the model version {served}, not {asked}")


def _obstacle(backend: Backend, tier: Tier) -> Obstacle | Literal[""]:
    if backend.gate.forbids(tier):
        return "tier"
    if backend.lane.breaker.is_resting:
        return "failed"
    return "rate" if backend.lane.is_full else ""
