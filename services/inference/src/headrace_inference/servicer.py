"""The gRPC edge of the models themselves. Who may call is decided before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Protocol

from grpc.aio import ServicerContext
from headrace.inference.v1.service_pb2 import GenerateRequest, GenerateResponse
from headrace.inference.v1.service_pb2_grpc import InferenceServiceServicer
from headrace_identity import current_principal
from headrace_privacy import Tier
from headrace_runtime.errors import Denied, Rejected, Violation

from headrace_inference import translate
from headrace_inference.domain import Sending
from headrace_inference.ports import Gate, Model


class Guarded(Protocol):
    """A model with what guards it."""

    @property
    def model(self) -> Model:
        """The model."""

    @property
    def gate(self) -> Gate:
        """What it may see."""


class Findable(Protocol):
    """The backends."""

    def find(self, name: str) -> Guarded | None:
        """One by name, the default one where it is empty."""


class InferenceServicer(InferenceServiceServicer):
    """Serves headrace.inference.v1.InferenceService."""

    def __init__(self, backends: Findable) -> None:
        self._backends = backends

    async def Generate(
        self, request: GenerateRequest, context: ServicerContext[Any, Any]
    ) -> AsyncIterator[GenerateResponse]:
        """Writes a completion. A call that ends early, cancelled or too late, leaves the model's context at once.

        Raises Rejected; Denied when the policy keeps from the model what the turns may hold.
        """
        del context
        turns, decoding = translate.turns(request), translate.decoding(request)
        backend = self._backends.find(request.backend)
        if backend is None:
            raise Rejected(Violation("backend", "unknown_value", "There is no such backend on this instance."))
        sending = _sending(request)
        if not await backend.gate.admits(sending):
            raise Denied(f"the policy keeps text of {sending.tier.label} from this model; see backends in the policy")
        model = backend.model
        async with model.write(turns, decoding) as writing:
            async for piece in writing.pieces():
                yield GenerateResponse(text=piece)
        yield translate.finished(writing.spent, model.identity)


def _sending(request: GenerateRequest) -> Sending:
    """What the caller says the turns hold; somebody's records of whom no tier is said are of the strictest."""
    caller = current_principal()
    unstated = Tier.TIER_2 if request.tenant else Tier.TIER_1
    tier = Tier.of(request.tier) if request.tier else unstated
    return Sending(caller.role, caller.subject, request.tenant or caller.tenant, tier)
