"""Between the contract of the policy's service and the domain. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from headrace.privacy.v1 import policy_pb2, privacy_pb2
from headrace_privacy import Tier
from headrace_privacy.policy import ROLES, Policy, Purpose
from headrace_privacy.policy_explained import explain
from headrace_runtime.errors import Rejected, Violation

from headrace_classifier.approval_translate import check_tenant, check_words, to_timestamp
from headrace_classifier.dictionaries import LONGEST, MOST_IDENTIFIERS, SHORTEST, StoredDictionary
from headrace_classifier.tier_decisions import About, DecisionKind, TierDecision

_NAME = re.compile(r"[a-z0-9_-]{1,64}")
#: Of the identifiers that are wrong so many are named.
MOST_NAMED = 20


def explained(request: policy_pb2.ExplainRequest, policy: Policy) -> policy_pb2.ExplainResponse:
    """What holds for what was asked. Raises Rejected with every field that is wrong."""
    wrong = [
        *_check_known("purpose", request.purpose, frozenset(map(int, Purpose))),
        *_check_known("tier", request.tier, frozenset(map(int, Tier))),
        *_check_role(request.role),
    ]
    if wrong:
        raise Rejected(*wrong)
    return explain(
        policy,
        purpose=Purpose(request.purpose) if request.purpose else None,
        tier=Tier(request.tier) if request.tier else None,
        role=request.role,
    )


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be decided about a source or a product; tier None takes a decision back."""

    about: About
    tier: Tier | None
    reason: str


def read_wish(request: policy_pb2.DecideTierRequest) -> Wish:
    """What is to be decided. Raises Rejected with every field that is wrong."""
    kinds = frozenset(map(int, DecisionKind))
    wrong = [
        *check_tenant(request.tenant),
        *_check_required("kind", request.kind),
        *_check_known("kind", request.kind, kinds),
        *_check_name(request.name),
        *_check_known("tier", request.tier, frozenset(map(int, Tier))),
        *check_words("reason", request.reason.strip(), least=1),
    ]
    if wrong:
        raise Rejected(*wrong)
    about = About(request.tenant, DecisionKind(request.kind), request.name)
    return Wish(about, Tier(request.tier) if request.tier else None, request.reason.strip())


def to_decision(decision: TierDecision) -> policy_pb2.TierDecision:
    """A decision for a caller."""
    return policy_pb2.TierDecision(
        tenant=decision.about.tenant,
        kind=policy_pb2.TierDecisionKind.ValueType(decision.about.kind),
        name=decision.about.name,
        tier=_tier(decision.tier),
        reason=decision.reason,
        decided_by=decision.decided_by,
        decided_at=to_timestamp(decision.decided_at),
    )


def taken_back(wish: Wish) -> policy_pb2.TierDecision:
    """What is left of a decision that was taken back."""
    about = wish.about
    kind = policy_pb2.TierDecisionKind.ValueType(about.kind)
    return policy_pb2.TierDecision(tenant=about.tenant, kind=kind, name=about.name, reason=wish.reason)


def read_identifiers(request: policy_pb2.PutDictionaryRequest) -> tuple[str, ...]:
    """The identifiers, each once, sorted. Raises Rejected, which names places and never an identifier."""
    wrong = [*check_tenant(request.tenant), *_check_identifiers(request.identifiers)]
    if wrong:
        raise Rejected(*wrong)
    return tuple(sorted({identifier.strip() for identifier in request.identifiers}))


def to_size(stored: StoredDictionary | None) -> policy_pb2.GetDictionaryResponse:
    """How large a dictionary is."""
    if stored is None:
        return policy_pb2.GetDictionaryResponse()
    return policy_pb2.GetDictionaryResponse(identifiers=stored.identifiers, changed_at=to_timestamp(stored.changed_at))


def _check_identifiers(identifiers: Sequence[str]) -> Iterator[Violation]:
    if len(identifiers) > MOST_IDENTIFIERS:
        yield Violation("identifiers", "too_long", f"At most {MOST_IDENTIFIERS} identifiers.")
        return
    wrong = [place for place, identifier in enumerate(identifiers) if not _is_identifier(identifier)]
    for place in wrong[:MOST_NAMED]:
        said = f"An identifier is one line of {SHORTEST} to {LONGEST} characters."
        yield Violation(f"identifiers[{place}]", "malformed", said)


def _is_identifier(text: str) -> bool:
    words = text.strip()
    return SHORTEST <= len(words) <= LONGEST and words.isprintable()


def _check_required(field: str, number: int) -> Iterator[Violation]:
    if not number:
        yield Violation(field, "missing", "It is required.")


def _check_known(field: str, number: int, known: frozenset[int]) -> Iterator[Violation]:
    if number and number not in known:
        yield Violation(field, "unknown_value", f"This version does not know the {field}.")


def _check_role(role: str) -> Iterator[Violation]:
    if role and role not in ROLES:
        yield Violation("role", "unknown_value", f"One of {', '.join(ROLES)}.")


def _check_name(name: str) -> Iterator[Violation]:
    if not name:
        yield Violation("name", "missing", "Say which source or product.")
    elif not _NAME.fullmatch(name):
        yield Violation("name", "malformed", "A name has 1 to 64 of a-z, 0-9, _ and -.")


def _tier(tier: Tier) -> privacy_pb2.Tier.ValueType:
    return privacy_pb2.Tier.ValueType(tier)
