"""What the feedback logger needs of the world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol
from uuid import UUID

from headrace_feedback.feedback import Feedback, Reference
from headrace_feedback.interaction import Interaction, Known, Logged, Tallied


class Log(Protocol):
    """The log, inside one transaction of one tenant."""

    async def hold(self, about: Reference, *, feedback_id: UUID | None = None) -> None:
        """Lets nobody else decide about this interaction, or this feedback, until the transaction ends.

        Without it an answer and its feedback that arrive together would each miss the other.
        """

    async def add_interaction(self, interaction: Interaction, *, stored_at: datetime) -> bool:
        """Stores it with its chunks, unless its query has one already; says whether it did."""

    async def find(self, about: Reference) -> list[Known]:
        """The interactions that a reference means: one at most by query, and all of a trace."""

    async def add_feedback(self, feedback: Feedback) -> None:
        """Stores it; its id must be free, and held."""

    async def get_feedback(self, tenant: str, feedback_id: UUID) -> Feedback | None:
        """The feedback of this id."""

    async def pending(self, about: Reference) -> list[Feedback]:
        """Feedback without an interaction that means this query or this trace, oldest first."""

    async def join(self, feedback: Feedback) -> None:
        """Stores what joining changed."""

    async def read(self, tenant: str, query_id: UUID) -> Logged:
        """An interaction that `find` found, whole."""

    async def feedback_of(self, tenant: str, query_id: UUID) -> Sequence[bytes]:
        """The submissions that judge an interaction, oldest first."""


class Reader(Protocol):
    """The log from outside a transaction."""

    def open(self, tenant: str) -> AbstractAsyncContextManager[Log]:
        """Opens a transaction that sees one tenant's rows."""

    def tally(self, tenant: str) -> AsyncIterator[Sequence[Tallied]]:
        """Every interaction of a tenant, or of all when it is empty, in batches."""
