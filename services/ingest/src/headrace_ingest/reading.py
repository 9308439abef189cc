"""Who may read an answer: its own asker, and whoever the policy opens answers of its tier to."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.query.v1.answer_pb2 import AnswerChunk, AnswerCompleted
from headrace_identity import Principal
from headrace_privacy import Tier
from headrace_privacy.policy import Policy
from headrace_runtime.errors import Denied


@dataclass(frozen=True, slots=True)
class Reader:
    """One caller. clearance: the strictest tier of answers that the policy opens to the role."""

    role: str
    subject: str
    clearance: Tier

    def check(self, answer: AnswerCompleted) -> None:
        """Raises Denied for an answer that is not the caller's to read."""
        is_own = bool(self.subject) and answer.query.subject == self.subject
        if answer.tier > self.clearance and not is_own:
            raise Denied(f"the policy opens an answer of this tier to whoever asked, not to the role {self.role}")

    def sees(self, piece: AnswerChunk) -> bool:
        """Whether a piece of an answer may be shown before its tier is known: one that is sealed may be of any."""
        return self.clearance is Tier.TIER_2 or piece.text.WhichOneof("content") != "sealed"


def reader_of(by: Principal, policy: Policy) -> Reader:
    """The caller, as the policy has its role. Raises Denied for a role that nothing is answered to."""
    clearance = policy.clearance(by.role)
    if clearance is None:
        raise Denied(f"the policy answers nothing to the role {by.role}")
    return Reader(by.role, by.subject, clearance)
