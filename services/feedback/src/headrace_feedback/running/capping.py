"""What a trial may be grounded in: nothing stricter than whoever started the run may evaluate."""

from __future__ import annotations

from headrace.privacy.v1.privacy_pb2 import Tier as WireTier
from headrace.query.v1.query_pb2 import Query
from headrace_privacy import Tier
from headrace_privacy.policy import Policy, Purpose, RulingKind


def open_tier(policy: Policy, role: str) -> Tier:
    """Returns the strictest tier that a role may evaluate without a grant."""
    allowed = [tier for tier in Tier if policy.ruling(Purpose.EVALUATE, tier, role).kind is RulingKind.ALLOW]
    return max(allowed, default=Tier.PUBLIC)


def capped(query: Query, tier: Tier, open_to: Tier) -> Query:
    """Returns the query with its limit on documents: its own, and what the run has leave for.

    tier: of the case, which leave was asked for. open_to: see open_tier.
    """
    limit = max(tier, open_to)
    own = query.max_document_tier
    copy = Query()
    copy.CopyFrom(query)
    copy.max_document_tier = WireTier.ValueType(min(own or int(limit), int(limit)))
    return copy
