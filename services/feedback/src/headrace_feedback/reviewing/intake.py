"""Where answers come into the queue: beside the logger, in its transactions."""

from __future__ import annotations

from datetime import datetime

from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace_database import Connection
from headrace_privacy import Owner, Tier, Vault
from headrace_stream import Unit

from headrace_feedback.feedback import Feedback
from headrace_feedback.interaction import Interaction
from headrace_feedback.opening import open_text
from headrace_feedback.reviewing.handlers import Intake
from headrace_feedback.reviewing.postgres import PostgresQueue, PostgresRubrics
from headrace_feedback.reviewing.vocabulary import hashed, words_of

_NO_WORDS: frozenset[bytes] = frozenset()


class ReviewSampler:
    """See headrace_feedback.ports.Sampler.

    Words are looked at outside of the transaction, and only for tenants whose rules ask for new vocabulary, which is
    known once an answer of theirs was sampled here. What is TIER_2 is not opened for it: that would take a grant.
    """

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._want_words: set[str] = set()

    async def words(self, message: AnswerCompleted) -> frozenset[bytes]:
        """See ports.Sampler."""
        tenant = message.query.tenant
        if tenant not in self._want_words or Tier.of(message.tier) is Tier.TIER_2:
            return _NO_WORDS
        opener = await self._vault.opener_for(message.question)
        secret = (await self._vault.key_of(Owner.index(tenant))).secret
        return hashed(words_of(open_text(message.question, opener)), secret)

    async def on_answer(self, unit: Unit, interaction: Interaction, words: frozenset[bytes], *, now: datetime) -> None:
        """See ports.Sampler."""
        sampling = await _intake(unit.connection).answer(interaction, words, now=now)
        (self._want_words.add if sampling.wants_words() else self._want_words.discard)(interaction.tenant)

    async def on_judgement(self, unit: Unit, feedback: Feedback, *, now: datetime) -> None:
        """See ports.Sampler."""
        await _intake(unit.connection).judgement(feedback, now=now)


def _intake(connection: Connection) -> Intake:
    return Intake(PostgresQueue(connection), PostgresRubrics(connection))
