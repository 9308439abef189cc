"""The log in memory, for tests: the same behaviour, and nothing survives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from headrace_privacy import Tier

from headrace_feedback.feedback import Feedback, Reference
from headrace_feedback.interaction import Exported, Interaction, Judgement, Known, Logged, Outline, Tallied
from headrace_feedback.uses import Span


class MemoryLog:
    """The log and its reader in one. There are no transactions: whoever awaits nothing is alone."""

    def __init__(self) -> None:
        self.interactions: dict[tuple[str, UUID], tuple[Interaction, datetime]] = {}
        self.feedback: dict[tuple[str, UUID], Feedback] = {}
        self.clearance = Tier.TIER_2

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

    async def has_earlier(self, feedback: Feedback) -> bool:
        same = [f for f in self._of(feedback.about.tenant) if _repeats(f, feedback)]
        return any(_means(f, feedback.about) for f in same)

    async def get_feedback(self, tenant: str, feedback_id: UUID) -> Feedback | None:
        return self.feedback.get((tenant, feedback_id))

    async def pending(self, about: Reference) -> list[Feedback]:
        waiting = [f for f in self._of(about.tenant) if f.joined_at is None]
        return [f for f in waiting if _means(f, about)]

    async def join(self, feedback: Feedback) -> None:
        self.feedback[feedback.about.tenant, feedback.feedback_id] = feedback

    async def outline(self, tenant: str, query_id: UUID) -> Outline | None:
        found = self.interactions.get((tenant, query_id))
        return _outline(found[0], self._judging(tenant, query_id)) if found else None

    async def outlines(self, tenant: str, span: Span, *, after: Outline | None, most: int) -> Sequence[Outline]:
        mine = [i for i, _ in self.interactions.values() if i.tenant == tenant and _within(span, i.completed_at)]
        found = [_outline(i, self._judging(tenant, i.query_id, "correction")[-1:]) for i in mine]
        later = [one for one in found if after is None or _place(one) > _place(after)]
        return sorted(later, key=_place)[:most]

    async def read(self, tenant: str, query_id: UUID) -> Logged | None:
        found = self.interactions.get((tenant, query_id))
        if found is None or found[0].tier > self.clearance:
            return None
        return Logged(query_id, found[0].record, found[1])

    async def feedback_of(self, tenant: str, query_id: UUID) -> Sequence[Judgement]:
        judging = [f for f in self._judging(tenant, query_id) if f.tier <= self.clearance]
        return [Judgement(f.record, f.words.sealed if f.words else None) for f in judging]

    async def exported(self, tenant: str, query_ids: Collection[UUID]) -> Sequence[Exported]:
        found = [i for (of, query_id), (i, _) in self.interactions.items() if of == tenant and query_id in query_ids]
        return [self._exported(i) for i in found if i.tier <= self.clearance]

    def _exported(self, interaction: Interaction) -> Exported:
        corrections = self._judging(interaction.tenant, interaction.query_id, "correction")
        seen = [f.words.sealed for f in corrections if f.words and f.tier <= self.clearance]
        return Exported(interaction.query_id, interaction.record, seen[-1] if seen else None)

    @asynccontextmanager
    async def open(self, tenant: str, *, clearance: Tier = Tier.TIER_2) -> AsyncIterator[MemoryLog]:
        """Shows the same rows up to a tier; the tenant is in every call."""
        del tenant
        view = MemoryLog()
        view.interactions, view.feedback, view.clearance = self.interactions, self.feedback, clearance
        yield view

    async def tally(self, tenant: str) -> AsyncIterator[Sequence[Tallied]]:
        """Everything in one batch."""
        found = [i for i, _ in self.interactions.values() if tenant in {"", i.tenant}]
        if found:
            yield [Tallied(i.tenant, i.query_id, i.answer_event_id) for i in found]

    def _of(self, tenant: str) -> list[Feedback]:
        mine = [f for f in self.feedback.values() if f.about.tenant == tenant]
        return sorted(mine, key=lambda f: (f.recorded_at, str(f.feedback_id)))

    def _judging(self, tenant: str, query_id: UUID, *kinds: str) -> list[Feedback]:
        return [f for f in self._of(tenant) if f.about.query_id == query_id and (not kinds or f.kind in kinds)]


def _outline(interaction: Interaction, judging: Sequence[Feedback]) -> Outline:
    tiers = [interaction.tier, *(chunk.tier for chunk in interaction.chunks), *(f.tier for f in judging)]
    sources = tuple(sorted({chunk.source for chunk in interaction.chunks}))
    return Outline(interaction.query_id, max(tiers), sources, interaction.completed_at)


def _place(outline: Outline) -> tuple[datetime, str]:
    return outline.completed_at, str(outline.query_id)


def _within(span: Span, moment: datetime) -> bool:
    return (span.since is None or moment >= span.since) and (span.until is None or moment < span.until)


def _repeats(one: Feedback, other: Feedback) -> bool:
    return (one.subject, one.kind, one.detail) == (other.subject, other.kind, other.detail)


def _means(feedback: Feedback, about: Reference) -> bool:
    """By its query where it names one, else by its trace."""
    if feedback.about.query_id:
        return feedback.about.query_id == about.query_id
    return bool(about.trace_id) and feedback.about.trace_id == about.trace_id
