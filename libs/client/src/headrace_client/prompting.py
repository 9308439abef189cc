"""The part of the client that says what models are shown and who answers: prompts, labels, variants, backends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.inference.v1 import prompts_pb2, variants_pb2
from headrace.inference.v1.prompts_pb2_grpc import PromptServiceStub
from headrace.inference.v1.variants_pb2_grpc import VariantServiceStub

from headrace_client.calls import Callee, Channels

if TYPE_CHECKING:
    from headrace.inference.v1.prompts_pb2_grpc import PromptServiceAsyncStub
    from headrace.inference.v1.variants_pb2_grpc import VariantServiceAsyncStub

#: Seconds that a call may take.
_CALL_TIMEOUT = 30.0


class Prompting:
    """Methods of `headrace_client.Client`. Each raises the errors of `headrace_client.errors`."""

    _channels: Channels

    async def put_prompt(
        self, prompt: prompts_pb2.Prompt, *, tenant: str, timeout: float = _CALL_TIMEOUT
    ) -> prompts_pb2.PutPromptResponse:
        """Stores a version of a prompt; what is stored already, word for word, keeps its version."""
        callee, stub = self._prompts()
        request = prompts_pb2.PutPromptRequest(tenant=tenant, prompt=prompt)
        return await callee.unary(stub.PutPrompt, request, name="PutPrompt", timeout=timeout)

    async def prompt(
        self, name: str, *, tenant: str, version: int = 0, label: str = "", timeout: float = _CALL_TIMEOUT
    ) -> prompts_pb2.Prompt:
        """One version: the one that is named, the one that the label names, or the newest."""
        callee, stub = self._prompts()
        request = prompts_pb2.GetPromptRequest(tenant=tenant, name=name, version=version, label=label)
        return (await callee.unary(stub.GetPrompt, request, name="GetPrompt", timeout=timeout)).prompt

    async def prompts(self, *, tenant: str, name: str = "", timeout: float = _CALL_TIMEOUT) -> list[prompts_pb2.Prompt]:
        """The newest version of each prompt, or every version of one, newest first."""
        callee, stub = self._prompts()
        request = prompts_pb2.ListPromptsRequest(tenant=tenant, name=name)
        return list((await callee.unary(stub.ListPrompts, request, name="ListPrompts", timeout=timeout)).prompts)

    async def label_prompt(
        self,
        name: str,
        label: str,
        version: int,
        *,
        tenant: str,
        reason: str = "",
        timeout: float = _CALL_TIMEOUT,
    ) -> int:
        """Moves a label to a version, or takes it away where that is 0; returns what it named before, 0 for nothing."""
        callee, stub = self._prompts()
        request = prompts_pb2.LabelPromptRequest(tenant=tenant, name=name, label=label, version=version, reason=reason)
        return (await callee.unary(stub.LabelPrompt, request, name="LabelPrompt", timeout=timeout)).previous

    async def put_variant(
        self, variant: variants_pb2.Variant, *, tenant: str, timeout: float = _CALL_TIMEOUT
    ) -> variants_pb2.PutVariantResponse:
        """Stores a version of a variant; one that cannot answer is refused with the reason."""
        callee, stub = self._variants()
        request = variants_pb2.PutVariantRequest(tenant=tenant, variant=variant)
        return await callee.unary(stub.PutVariant, request, name="PutVariant", timeout=timeout)

    async def variant(
        self, name: str, *, tenant: str, version: int = 0, timeout: float = _CALL_TIMEOUT
    ) -> variants_pb2.Variant:
        """One version, or the newest."""
        callee, stub = self._variants()
        request = variants_pb2.GetVariantRequest(tenant=tenant, name=name, version=version)
        return (await callee.unary(stub.GetVariant, request, name="GetVariant", timeout=timeout)).variant

    async def variants(
        self, *, tenant: str, name: str = "", timeout: float = _CALL_TIMEOUT
    ) -> list[variants_pb2.Variant]:
        """The newest version of each variant, or every version of one, newest first."""
        callee, stub = self._variants()
        request = variants_pb2.ListVariantsRequest(tenant=tenant, name=name)
        return list((await callee.unary(stub.ListVariants, request, name="ListVariants", timeout=timeout)).variants)

    async def backends(self, *, timeout: float = _CALL_TIMEOUT) -> list[variants_pb2.Backend]:
        """The models that the instance of inference that is reached can use, the default one first."""
        callee, stub = self._variants()
        request = variants_pb2.ListBackendsRequest()
        return list((await callee.unary(stub.ListBackends, request, name="ListBackends", timeout=timeout)).backends)

    def _prompts(self) -> tuple[Callee, PromptServiceAsyncStub]:
        callee = self._channels.callee("inference", "headrace.inference.v1.PromptService")
        return callee, PromptServiceStub(callee.channel)

    def _variants(self) -> tuple[Callee, VariantServiceAsyncStub]:
        callee = self._channels.callee("inference", "headrace.inference.v1.VariantService")
        return callee, VariantServiceStub(callee.channel)
