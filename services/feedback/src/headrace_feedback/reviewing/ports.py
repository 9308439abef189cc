"""What reviews need of the world."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Protocol
from uuid import UUID

from headrace_privacy import Tier

from headrace_feedback.reviewing.criteria import Rubric
from headrace_feedback.reviewing.queue import Counted, Item, Labelling, Standing
from headrace_feedback.reviewing.sampling import Reason, Sampling, Vocabulary


class Rubrics(Protocol):
    """A tenant's rubrics and those that come with Headrace, inside one transaction."""

    async def put(self, tenant: str, rubric: Rubric, *, by: str, at: datetime) -> tuple[Rubric, bool]:
        """Stores a version, and says whether it is new: word for word the same keeps its version."""

    async def get(self, tenant: str, name: str, version: int) -> Rubric | None:
        """One version; 0 is the newest."""

    async def all(self, tenant: str, name: str) -> Sequence[Rubric]:
        """All versions of one name, newest first; of no name the newest of each, by name."""


class Queue(Protocol):
    """The queue, inside one transaction of one tenant."""

    async def sampling(self, tenant: str) -> Sampling | None:
        """The rules; None where there are none."""

    async def put_sampling(self, tenant: str, sampling: Sampling, *, by: str, at: datetime) -> None:
        """Replaces the rules."""

    async def learn(self, tenant: str, words: Collection[bytes]) -> Vocabulary:
        """Adds hashed words to those on record, and says how many were new."""

    async def taken_today(self, tenant: str, reason: Reason, *, now: datetime) -> int:
        """How many came in for a reason since midnight UTC."""

    async def add(self, item: Item) -> None:
        """Puts an answer in; one that is there gets the reasons besides."""

    async def kind_of(self, tenant: str, query_id: UUID) -> tuple[Tier, str] | None:
        """The tier and the kind of an interaction; None when there is none."""

    async def open_for(
        self, tenant: str, reviewer: str, *, now: datetime, query_id: UUID | None, most: int
    ) -> list[Item]:
        """Items that a reviewer may take, what they hold already first, then the oldest."""

    async def count_open_for(self, tenant: str, reviewer: str, *, now: datetime) -> int:
        """How many these are."""

    async def claim(self, item: Item, reviewer: str, *, now: datetime, until: datetime) -> bool:
        """Takes an item for a reviewer; False when others were faster."""

    async def release(self, tenant: str, item_id: UUID, reviewer: str) -> bool:
        """Gives it back; False when they did not hold it."""

    async def held(self, tenant: str, item_id: UUID, reviewer: str, *, now: datetime) -> Item | None:
        """An item that the reviewer holds, or has labelled before."""

    async def label(self, labelling: Labelling) -> bool:
        """Stores labels, and says whether the item has all that it needs."""

    async def standing(self, tenant: str, *, now: datetime) -> Standing:
        """How full the queue is."""

    async def labels(self, tenant: str, rubric: str, version: int) -> Counted:
        """The last labels of each reviewer for one version of a rubric."""


class Books(Protocol):
    """Queue and rubrics from outside a transaction."""

    def open(self, tenant: str) -> AbstractAsyncContextManager[tuple[Queue, Rubrics]]:
        """Opens a transaction of one tenant."""


class Passages(Protocol):
    """The passages that answers cite."""

    async def texts(self, tenant: str, chunk_ids: Sequence[str], *, clearance: Tier) -> Mapping[str, str]:
        """Those that are still indexed, by id, in the clear; the others are left out."""


class NoPassages:
    """No retriever is named: no passage is shown."""

    async def texts(self, tenant: str, chunk_ids: Sequence[str], *, clearance: Tier) -> Mapping[str, str]:
        """See Passages.texts."""
        del tenant, chunk_ids, clearance
        return {}
