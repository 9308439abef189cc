"""Feedback: one person's judgement of one answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal
from uuid import UUID

from headrace_privacy import Owner, Tier, strictest

from headrace_feedback.interaction import Known

Kind = Literal["thumb", "rating", "comment", "correction", "citation", "act"]


@dataclass(frozen=True, slots=True)
class Reference:
    """Which answer is meant: by its query, or by the trace that followed it. Where both are given the query wins."""

    tenant: str
    query_id: UUID | None
    trace_id: str


@dataclass(frozen=True, slots=True)
class Words:
    """A comment or a correction as it rests: masked, with its own tier, and sealed: only a keeper can read it."""

    tier: Tier
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Feedback:
    """What is stored. `score`: 1 or -1 for a thumb, a citation or an act, 1 to 5 for a rating, 0 for words.

    `detail`: a citation's number, an act's name; of one person's judgements of one answer the last of each kind and
    detail counts, and the earlier ones are kept as history. Those who are not named count as one person.

    `record`: the submission without its words; these are in `words`, None for a thumb or a rating. `joined_at` is None
    while the interaction is unknown: the answer may still be on its way.
    """

    feedback_id: UUID
    about: Reference
    subject: str
    kind: Kind
    score: int
    submitted_at: datetime | None
    recorded_at: datetime
    record: bytes = field(repr=False)
    joined_at: datetime | None = None
    tier: Tier = Tier.TIER_2  # the stricter of the interaction's and the words', once the interaction is known
    words: Words | None = None
    detail: str = ""

    @property
    def judge(self) -> Owner:
        """Whose words they are while nobody knows whose question they are about."""
        if self.subject:
            return Owner.subject(self.about.tenant, self.subject)
        return Owner.anonymous(self.about.tenant, self.recorded_at)

    def joined_to(self, interaction: Known, at: datetime) -> Feedback:
        """The same feedback, with its interaction found."""
        about = Reference(self.about.tenant, interaction.query_id, interaction.trace_id or self.about.trace_id)
        tier = strictest(interaction.tier, self.words.tier) if self.words else interaction.tier
        return replace(self, about=about, joined_at=at, tier=tier)
