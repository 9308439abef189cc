"""The log in memory, for tests: the same behaviour, and nothing survives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from headrace_feedback.feedback import Feedback, Reference
from headrace_feedback.interaction import Interaction, Known, Logged, Tallied


class MemoryLog:
    """The log and its reader in one. There are no transactions: whoever awaits nothing is alone."""

    def __init__(self) -> None:
        self.interactions: dict[tuple[str, UUID], tuple[Interaction, datetime]] = {}
        self.feedback: dict[tuple[str, UUID], Feedback] = {}

    async def hold(self, about: Reference, *, feedback_id: UUID | None = None) -> None:
        """Nobody else is there."""

    async def add_interaction(self, interaction: Interaction, *, stored_at: datetime) -> bool:
        key = (interaction.tenant, interaction.query_id)
        is_new = key not in self.interactions
        self.interactions.setdefault(key, (interaction, stored_at))
        return is_new

    async def find(self, about: Reference) -> list[Known]:
        mine = [i for i, _ in self.interactions.values() if i.tenant == about.tenant]
        if about.query_id:
            return [Known.of(i) for i in mine if i.query_id == about.query_id]
        return [Known.of(i) for i in mine if about.trace_id and i.trace_id == about.trace_id]

    async def add_feedback(self, feedback: Feedback) -> None:
        key = (feedback.about.tenant, feedback.feedback_id)
        assert key not in self.feedback, "the handler looks first"
        self.feedback[key] = feedback

    async def get_feedback(self, tenant: str, feedback_id: UUID) -> Feedback | None:
        return self.feedback.get((tenant, feedback_id))

    async def pending(self, about: Reference) -> list[Feedback]:
        waiting = [f for f in self._of(about.tenant) if f.joined_at is None]
        return [f for f in waiting if _means(f, about)]

    async def join(self, feedback: Feedback) -> None:
        self.feedback[feedback.about.tenant, feedback.feedback_id] = feedback

    async def read(self, tenant: str, query_id: UUID) -> Logged:
        interaction, stored_at = self.interactions[tenant, query_id]
        return Logged(query_id, interaction.record, stored_at)

    async def feedback_of(self, tenant: str, query_id: UUID) -> Sequence[bytes]:
        return [f.record for f in self._of(tenant) if f.about.query_id == query_id]

    @asynccontextmanager
    async def open(self, tenant: str) -> AsyncIterator[MemoryLog]:
        """Shows itself; the tenant is in every call."""
        del tenant
        yield self

    async def tally(self, tenant: str) -> AsyncIterator[Sequence[Tallied]]:
        """Everything in one batch."""
        found = [i for i, _ in self.interactions.values() if tenant in {"", i.tenant}]
        if found:
            yield [Tallied(i.tenant, i.query_id, i.answer_event_id) for i in found]

    def _of(self, tenant: str) -> list[Feedback]:
        mine = [f for f in self.feedback.values() if f.about.tenant == tenant]
        return sorted(mine, key=lambda f: (f.recorded_at, str(f.feedback_id)))


def _means(feedback: Feedback, about: Reference) -> bool:
    """By its query where it names one, else by its trace."""
    if feedback.about.query_id:
        return feedback.about.query_id == about.query_id
    return bool(about.trace_id) and feedback.about.trace_id == about.trace_id
