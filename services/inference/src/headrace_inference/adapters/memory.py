"""The tables and the model in memory, for tests: the same behaviour, and nothing survives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from headrace_models.prompting import Turn
from headrace_privacy import Tier

from headrace_inference.domain import Answer, Decoding, Identity, Sending, Spent, Versioned
from headrace_inference.routing import BY_DEFAULT, Chosen


@dataclass(slots=True)
class MemoryAnswers:
    """See ports.Answers and ports.AnswerIndex."""

    answered: dict[tuple[str, UUID], Answer] = field(default_factory=dict)
    chosen: dict[tuple[str, UUID], Chosen] = field(default_factory=dict)

    async def add(
        self,
        tenant: str,
        query_id: UUID,
        answer: Answer,
        *,
        event_id: UUID,
        variant: Versioned,
        at: datetime,
        chosen: Chosen = BY_DEFAULT,
        trial: bool = False,
    ) -> bool:
        """See ports.Answers.add."""
        del event_id, variant, at, trial
        self.chosen.setdefault((tenant, query_id), chosen)
        return self.answered.setdefault((tenant, query_id), answer) is answer

    async def is_answered(self, tenant: str, query_id: UUID) -> bool:
        """See ports.AnswerIndex.is_answered."""
        return (tenant, query_id) in self.answered


@dataclass(slots=True)
class MemoryGate:
    """See ports.Gate. Lets nothing pass that is stricter than `most`, and remembers what was asked."""

    most: Tier = Tier.TIER_2
    asked: list[Sending] = field(default_factory=list)

    async def admits(self, sending: Sending) -> bool:
        """See ports.Gate.admits."""
        self.asked.append(sending)
        return sending.tier <= self.most


@dataclass(slots=True)
class _ScriptWriting:
    text: str
    written: int = 0

    async def pieces(self) -> AsyncIterator[str]:
        for word in self.text.split(" "):
            self.written += 1
            yield f"{word} "

    @property
    def spent(self) -> Spent:
        return Spent(input_tokens=100, output_tokens=self.written, time_to_first_token=0.01)


@dataclass(slots=True)
class ScriptedModel:
    """A model that always writes the same, word by word. It remembers what it was given and how it was left."""

    text: str
    window: int = 2048
    identity: Identity = field(default=Identity("scripted", "0123456789abcdef", "memory"))
    tier: Tier = Tier.PUBLIC
    conversations: list[list[Turn]] = field(default_factory=list)
    left: int = 0

    def count(self, text: str) -> int:
        """See ports.Model.count: a token a word."""
        return len(text.split())

    @asynccontextmanager
    async def write(self, turns: Sequence[Turn], decoding: Decoding) -> AsyncIterator[_ScriptWriting]:
        """See ports.Model.write."""
        del decoding
        self.conversations.append(list(turns))
        try:
            yield _ScriptWriting(self.text)
        finally:
            self.left += 1
