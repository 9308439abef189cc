"""Any model, with the span and the measurements of each completion. Content is never captured."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from headrace_models.prompting import Turn
from headrace_privacy import Tier
from headrace_telemetry.metrics import histogram
from headrace_telemetry.tracing import Attributes, describe, span
from opentelemetry.trace import SpanKind

from headrace_inference.domain import Decoding, Identity, Spent, Versioned
from headrace_inference.ports import Model, Writing


@dataclass(frozen=True, slots=True)
class TracedModel:
    """See ports.Model. prompt: what the spans say they were prompted with; None where the caller brings his own."""

    model: Model
    prompt: Versioned | None = None
    clock: Callable[[], float] = time.perf_counter

    @property
    def identity(self) -> Identity:
        """See ports.Model.identity."""
        return self.model.identity

    @property
    def tier(self) -> Tier:
        """See ports.Model.tier."""
        return self.model.tier

    @property
    def window(self) -> int:
        """See ports.Model.window."""
        return self.model.window

    def count(self, text: str) -> int:
        """See ports.Model.count."""
        return self.model.count(text)

    @asynccontextmanager
    async def write(self, turns: Sequence[Turn], decoding: Decoding) -> AsyncIterator[Writing]:
        """See ports.Model.write."""
        began = self.clock()
        with span(f"chat {self.identity.name}", kind=SpanKind.CLIENT, attributes=self._asked(decoding)) as current:
            async with self.model.write(turns, decoding) as writing:
                try:
                    yield writing
                finally:
                    describe(current, self._answered(writing.spent))
                    _measure(self.identity, writing.spent, self.clock() - began)

    def _asked(self, decoding: Decoding) -> Attributes:
        prompted: Attributes = (
            {"gen_ai.prompt.name": self.prompt.name, "gen_ai.prompt.version": self.prompt.version}
            if self.prompt
            else {}
        )
        return {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": self.identity.provider,
            "gen_ai.request.model": self.identity.name,
            "gen_ai.request.max_tokens": decoding.max_output_tokens,
            "gen_ai.request.temperature": decoding.temperature,
            "gen_ai.request.top_p": decoding.top_p,
            "gen_ai.request.stream": True,
            **prompted,
        }

    def _answered(self, spent: Spent) -> Attributes:
        return {
            "gen_ai.response.model": self.identity.name,
            "gen_ai.response.finish_reasons": [spent.reason],
            "gen_ai.response.time_to_first_chunk": spent.time_to_first_token,
            "gen_ai.usage.input_tokens": spent.input_tokens,
            "gen_ai.usage.output_tokens": spent.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": spent.cached_input_tokens,
            "headrace.cost.micro_usd": spent.cost_micro_usd,
        }


def _measure(identity: Identity, spent: Spent, seconds: float) -> None:
    labels = {"gen_ai.request.model": identity.name, "gen_ai.provider.name": identity.provider}
    histogram("gen_ai.server.request.duration").record(seconds, labels)
    if spent.output_tokens:
        histogram("gen_ai.server.time_to_first_token").record(spent.time_to_first_token, labels)
