"""What inference needs of the world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol
from uuid import UUID

from headrace_models.prompting import Turn
from headrace_privacy import Tier

from headrace_inference.domain import Answer, Decoding, Identity, Sending, Spent, Versioned
from headrace_inference.routing import BY_DEFAULT, Chosen


class Writing(Protocol):
    """A completion while it is written."""

    def pieces(self) -> AsyncIterator[str]:
        """Its text, piece by piece."""

    @property
    def spent(self) -> Spent:
        """What it took so far."""


class Model(Protocol):
    """A model that writes."""

    @property
    def identity(self) -> Identity:
        """Which weights."""

    @property
    def tier(self) -> Tier:
        """The strictest tier that it learned from for one tenant: no answer of it has a lower one. PUBLIC where it
        learned from nobody here."""

    @property
    def window(self) -> int:
        """How many tokens it can hold, prompt and completion together."""

    def count(self, text: str) -> int:
        """How many tokens a text takes, or a little more."""

    def write(self, turns: Sequence[Turn], decoding: Decoding) -> AbstractAsyncContextManager[Writing]:
        """Begin a completion. Leaving the context stops it. Raises Overloaded, Rejected or Unavailable."""


class Gate(Protocol):
    """Says what a model may see."""

    async def admits(self, sending: Sending) -> bool:
        """Whether the model may be given this. Raises Unavailable while nobody can say."""


class Answers(Protocol):
    """Which queries are answered, inside one transaction of one tenant."""

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
        """Record that a query is answered, how, and at what cost; False when it was before.

        trial: it measures a variant, and nobody sees the answer.
        """


class AnswerIndex(Protocol):
    """Which queries are answered, from outside a transaction."""

    async def is_answered(self, tenant: str, query_id: UUID) -> bool:
        """Whether an answer is committed."""
