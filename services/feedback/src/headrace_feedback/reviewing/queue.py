"""The queue's items, as they rest and as they are handed out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from headrace_privacy import Tier

from headrace_feedback.interaction import Logged, Versioned
from headrace_feedback.reviewing.sampling import Reason

#: How long an answer is a reviewer's own: longer than reading takes, shorter than a lunch.
CLAIM = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Item:
    """An answer in the queue. reviewers: how many are to label it."""

    item_id: UUID
    tenant: str
    query_id: UUID
    reasons: tuple[Reason, ...]
    tier: Tier
    kind: str
    rubric: Versioned
    reviewers: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Claimed:
    """An item in a reviewer's hands, with the interaction as it rests. waiting: how many more there are for them."""

    item: Item
    until: datetime
    logged: Logged
    waiting: int


@dataclass(frozen=True, slots=True)
class Labelling:
    """What a reviewer says of an answer. comment: sealed, with its own tier counted into `tier`. kind: of the query; ""
    where they do not say."""

    label_id: UUID
    item: Item
    reviewer: str
    labels: Mapping[str, str]
    tier: Tier
    comment: bytes | None = field(repr=False)
    labelled_at: datetime
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """How full the queue is, and who labelled how much."""

    waiting: int
    claimed: int
    finished: int
    labelled_by: Mapping[str, int]
    sampled_for: Mapping[Reason, int]


@dataclass(frozen=True, slots=True)
class Counted:
    """The last labels of each reviewer, by answer: criterion by criterion."""

    by_answer: Sequence[Mapping[str, Mapping[str, str]]]
