"""Which answers come into the queue: by rules that each fit, and each take a share of what fits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from uuid import UUID

from headrace_feedback.feedback import Feedback
from headrace_feedback.interaction import Interaction

#: A rating up to this is not content.
BAD_RATING = 2
#: With fewer words than this on record any question would be new.
KNOWN_WORDS = 500


class Reason(IntEnum):
    """Why an answer is looked at, as headrace.feedback.v1.SamplingReason numbers it."""

    RANDOM = 1
    LOW_GROUNDEDNESS = 2
    THUMB_DOWN = 3
    NEW_VOCABULARY = 4
    LOW_SCORE = 5

    @property
    def label(self) -> str:
        """Its name in figures and tables."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Rule:
    """Of the answers that `reason` fits, `share` come into the queue, at most `a_day` of them (0: no limit).

    kind: only of this kind of query, "" for all. evaluator, below: for LOW_SCORE, whose score, and under what.
    """

    reason: Reason
    share: float
    a_day: int = 0
    kind: str = ""
    evaluator: str = ""
    below: float = 0.0

    def takes(self, query_id: UUID, kind: str) -> bool:
        """Whether its share falls on this query: always the same for the same, as an event may come again."""
        return self.kind in ("", kind) and lot(query_id, self.reason) < self.share


@dataclass(frozen=True, slots=True)
class Sampling:
    """A tenant's rules, the rubric's name, and how many reviewers label each answer."""

    rules: tuple[Rule, ...] = ()
    rubric: str = ""
    reviewers: int = 1

    def wants_words(self) -> bool:
        """Whether anybody asks for new vocabulary."""
        return any(rule.reason is Reason.NEW_VOCABULARY for rule in self.rules)

    def due(self, query_id: UUID, kind: str, reasons: Mapping[Reason, bool]) -> list[Rule]:
        """The rules that fit what is known of a query and whose share falls on it."""
        return [rule for rule in self.rules if reasons.get(rule.reason) and rule.takes(query_id, kind)]

    def due_for_score(self, query_id: UUID, kind: str, *, evaluator: str, value: float) -> list[Rule]:
        """The rules on a score that it falls short of."""
        return [
            rule
            for rule in self.rules
            if rule.reason is Reason.LOW_SCORE
            and rule.evaluator == evaluator
            and value < rule.below
            and rule.takes(query_id, kind)
        ]


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What a question's words were to a tenant: how many it had on record, and how many of these were new."""

    known: int = 0
    new: int = field(default=0)

    @property
    def is_new(self) -> bool:
        """Whether a new word says anything."""
        return self.new > 0 and self.known >= KNOWN_WORDS


def reasons_of(interaction: Interaction, vocabulary: Vocabulary) -> dict[Reason, bool]:
    """What an answer gives to look at by itself."""
    return {
        Reason.RANDOM: True,
        Reason.LOW_GROUNDEDNESS: interaction.grounding != "grounded",
        Reason.NEW_VOCABULARY: vocabulary.is_new,
    }


def is_discontent(feedback: Feedback) -> bool:
    """Whether somebody was not content with an answer, or with one of its citations."""
    match feedback.kind:
        case "thumb" | "citation":
            return feedback.score < 0
        case "rating":
            return feedback.score <= BAD_RATING
        case "act":
            return feedback.detail == "asked_again"
        case _:
            return False


def lot(query_id: UUID, reason: Reason) -> float:
    """A number from 0 up to 1 that a query draws for a reason, the same whenever it is drawn."""
    drawn = hashlib.blake2b(query_id.bytes + bytes([reason]), digest_size=8).digest()
    return int.from_bytes(drawn, "big") / 2**64
