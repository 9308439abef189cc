"""The gRPC edge of prompts. Who may call what is decided before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from grpc.aio import ServicerContext
from headrace.inference.v1 import prompts_pb2
from headrace.inference.v1.prompts_pb2_grpc import PromptServiceServicer
from headrace_identity import Principal

from headrace_inference import prompt_handlers as handlers
from headrace_inference import variant_translate as translate
from headrace_inference.route_handlers import Making
from headrace_inference.variant_catalogue import Catalogue

Context = ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class PromptServicer(PromptServiceServicer):
    """Serves headrace.inference.v1.PromptService."""

    catalogue: Catalogue
    caller: Callable[[], Principal]
    now: Callable[[], datetime]
    new_id: Callable[[], UUID] = uuid4

    async def PutPrompt(self, request: prompts_pb2.PutPromptRequest, context: Context) -> prompts_pb2.PutPromptResponse:
        """Raises Rejected, Conflict."""
        record, labels, created = await handlers.put_prompt(
            request.tenant,
            translate.to_prompt(request.prompt),
            request.prompt.note,
            catalogue=self.catalogue,
            making=self._making(),
        )
        return prompts_pb2.PutPromptResponse(prompt=translate.from_prompt(record, labels), created=created)

    async def GetPrompt(self, request: prompts_pb2.GetPromptRequest, context: Context) -> prompts_pb2.GetPromptResponse:
        """Raises Rejected, NotFound."""
        translate.check_named(request.name, request.version, request.label)
        record, labels = await handlers.get_prompt(
            request.tenant, request.name, version=request.version, label=request.label, catalogue=self.catalogue
        )
        return prompts_pb2.GetPromptResponse(prompt=translate.from_prompt(record, labels))

    async def ListPrompts(
        self, request: prompts_pb2.ListPromptsRequest, context: Context
    ) -> prompts_pb2.ListPromptsResponse:
        """Raises Rejected."""
        translate.check_listed(request.name)
        records, labels = await handlers.list_prompts(request.tenant, request.name, catalogue=self.catalogue)
        return prompts_pb2.ListPromptsResponse(prompts=[translate.from_prompt(record, labels) for record in records])

    async def LabelPrompt(
        self, request: prompts_pb2.LabelPromptRequest, context: Context
    ) -> prompts_pb2.LabelPromptResponse:
        """Raises Rejected, NotFound."""
        translate.check_label(request)
        making = self._making()
        move = translate.to_move(request, by=making.by.subject, at=making.at)
        previous = await handlers.label_prompt(request.tenant, move, catalogue=self.catalogue, making=making)
        return prompts_pb2.LabelPromptResponse(previous=previous)

    def _making(self) -> Making:
        return Making(self.caller(), self.now(), self.new_id)
