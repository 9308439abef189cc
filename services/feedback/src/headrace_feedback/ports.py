"""What the feedback logger needs of the world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace_privacy import Owner, Text, Tier

from headrace_feedback.feedback import Feedback, Reference
from headrace_feedback.interaction import Exported, Interaction, Judgement, Known, Logged, Outline, Tallied
from headrace_feedback.uses import Span, Use, Verdict


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

    async def has_earlier(self, feedback: Feedback) -> bool:
        """Whether the same person judged the same answer in this kind and detail before."""

    async def get_feedback(self, tenant: str, feedback_id: UUID) -> Feedback | None:
        """The feedback of this id."""

    async def pending(self, about: Reference) -> list[Feedback]:
        """Feedback without an interaction that means this query or this trace, oldest first."""

    async def join(self, feedback: Feedback) -> None:
        """Stores what joining changed."""

    async def outline(self, tenant: str, query_id: UUID) -> Outline | None:
        """What a reader of one interaction and all its feedback would see, without a word of it."""

    async def outlines(self, tenant: str, span: Span, *, after: Outline | None, most: int) -> Sequence[Outline]:
        """The next interactions after one, oldest first. Of their feedback the latest correction alone counts."""

    async def read(self, tenant: str, query_id: UUID) -> Logged | None:
        """One interaction, whole; None when it is gone, or stricter than the transaction's clearance."""

    async def feedback_of(self, tenant: str, query_id: UUID) -> Sequence[Judgement]:
        """What judges an interaction, oldest first, as far as the transaction's clearance goes."""

    async def exported(self, tenant: str, query_ids: Collection[UUID]) -> Sequence[Exported]:
        """These interactions with their latest correction, in no order, as far as the clearance goes."""


class Reader(Protocol):
    """The log from outside a transaction."""

    def open(self, tenant: str, *, clearance: Tier = Tier.TIER_2) -> AbstractAsyncContextManager[Log]:
        """Opens a transaction that sees one tenant's rows up to a tier. Below TIER_2 it writes nothing."""

    def tally(self, tenant: str) -> AsyncIterator[Sequence[Tallied]]:
        """Every interaction of a tenant, or of all when it is empty, in batches."""


class Classifier(Protocol):
    """What masks secrets and knows the tier of a text."""

    async def classify(self, text: Text, *, tenant: str, product: str, declared: Tier | None = None) -> Text:
        """The text masked, with its tier. `product`: whose text it is, empty when unknown. declared: what somebody
        vouches for, where they may. Raises Unavailable."""


class Keeper(Protocol):
    """What seals words to rest. Both raise Unavailable when there are no keys to be had."""

    async def keep(self, text: Text, owner: Owner) -> bytes:
        """Seals a text under its owner's key, whatever its tier."""

    async def hand_over(self, sealed: bytes, owner: Owner) -> bytes:
        """The same text sealed for another owner; as it was when its key is destroyed, and nobody reads it."""


class Authorizer(Protocol):
    """What says, at the moment it is asked, whether a use is allowed, and puts it on the audit log."""

    async def authorize(self, use: Use) -> Verdict:
        """Decides. Raises Unavailable, which is no leave."""


class Tombstones(Protocol):
    """What keeps out what is erased, in the transaction that would store it."""

    async def keep_out_answer(self, unit: Any, message: AnswerCompleted) -> None:
        """Raises Erased for an answer to somebody who is erased, or made of a document that is."""

    async def keep_out_feedback(self, unit: Any, feedback: Feedback, *, sent_at: datetime) -> None:
        """Raises Erased for a judgement of an answer that is erased, or sent by somebody before they were."""


class Sampler(Protocol):
    """What picks answers for experts to look at."""

    async def words(self, message: AnswerCompleted) -> frozenset[bytes]:
        """The question's words, hashed; none where nobody asks for them. Raises Unavailable, and Erased."""

    async def on_answer(self, unit: Any, interaction: Interaction, words: frozenset[bytes], *, now: datetime) -> None:
        """An answer is being stored."""

    async def on_judgement(self, unit: Any, feedback: Feedback, *, now: datetime) -> None:
        """A judgement is being stored, or joined to its answer."""


class NoSampler:
    """Nothing is picked."""

    async def words(self, message: AnswerCompleted) -> frozenset[bytes]:
        """See Sampler."""
        del message
        return frozenset()

    async def on_answer(self, unit: Any, interaction: Interaction, words: frozenset[bytes], *, now: datetime) -> None:
        """See Sampler."""

    async def on_judgement(self, unit: Any, feedback: Feedback, *, now: datetime) -> None:
        """See Sampler."""


class Evaluations(Protocol):
    """What has answers measured."""

    async def on_answer(self, unit: Any, interaction: Interaction) -> None:
        """An answer is being stored."""


class NoEvaluations:
    """Nobody measures."""

    async def on_answer(self, unit: Any, interaction: Interaction) -> None:
        """See Evaluations."""


class NoTombstones:
    """Nothing was ever erased."""

    async def keep_out_answer(self, unit: Any, message: AnswerCompleted) -> None:
        """See Tombstones."""

    async def keep_out_feedback(self, unit: Any, feedback: Feedback, *, sent_at: datetime) -> None:
        """See Tombstones."""
