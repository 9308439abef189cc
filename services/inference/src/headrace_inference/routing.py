"""Which variant answers a query. Pure.

A kind's traffic is shared among variants by weight. Who gets a query is decided by weighted rendezvous hashing (Thaler
and Ravishankar 1998; the weights as in Schindelhauer and Schomaker 2005): each variant draws a number from the hash of
itself and the conversation, -weight / ln(u), and the highest has it. So a conversation keeps its variant on every
instance without anybody remembering it, and a change of one weight moves only what that variant gains or loses.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from headrace_privacy import Tier

from headrace_inference.domain import Versioned

#: The route of whatever has none of its own.
ANY = "*"

Reason = Literal["share", "conversation", "fallback", "default", "trial"]
Obstacle = Literal["tier", "cost", "latency", "rate", "budget", "failed", "broken"]

#: What a limit of the route keeps away: when every variant is, one answers all the same.
_LIMITS: tuple[Obstacle, ...] = ("cost", "budget", "latency")


@dataclass(frozen=True, slots=True)
class Arm:
    """One of several variants that share a kind's traffic. weight: above 0, beside the others'."""

    variant: Versioned
    weight: float


@dataclass(frozen=True, slots=True)
class Shadow:
    """A variant that answers a copy of the traffic, unseen. share: of the queries, above 0, at most 1."""

    variant: Versioned
    share: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What an answer may take; 0 is no limit. Millionths of a US dollar, and milliseconds since acceptance."""

    cost_micro_usd: int = 0
    daily_budget_micro_usd: int = 0
    latency_ms: int = 0
    max_tier: Tier = Tier.TIER_2


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Route:
    """A version of who answers a kind of query."""

    kind: str
    version: int
    arms: tuple[Arm, ...]
    fallbacks: tuple[Versioned, ...] = ()
    shadows: tuple[Shadow, ...] = ()
    limits: Limits = NO_LIMITS

    @property
    def variants(self) -> list[Versioned]:
        """Every variant that it names, each once."""
        named = [arm.variant for arm in self.arms] + list(self.fallbacks) + [s.variant for s in self.shadows]
        return list(dict.fromkeys(named))


@dataclass(frozen=True, slots=True)
class Standing:
    """What a variant can be expected to do now. obstacle: why it cannot answer at all, of which "" is none.

    ms: from asking it to its answer. cost_micro_usd: of one answer. Both by its last answers; 0 is unknown.
    """

    ms: float = 0.0
    cost_micro_usd: int = 0
    obstacle: Obstacle | Literal[""] = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a query decides who answers it.

    tenant, query_id, conversation_id: as the query has them. tier: the strictest of what the model would see.
    elapsed_ms: since acceptance. spent_micro_usd: on this route today.
    """

    tenant: str
    query_id: str
    conversation_id: str
    tier: Tier
    elapsed_ms: float = 0.0
    spent_micro_usd: int = 0

    @property
    def sticks_to(self) -> str:
        """What keeps its variant: the conversation, or the query where there is none."""
        return f"c:{self.conversation_id}" if self.conversation_id else f"q:{self.query_id}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant that may answer, and why it would."""

    variant: Versioned
    reason: Reason


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A variant that was not taken."""

    variant: Versioned
    reason: Obstacle


@dataclass(frozen=True, slots=True)
class Choice:
    """Who may answer, best first, never the same twice; and who would have come before the first."""

    candidates: tuple[Candidate, ...]
    passed_over: tuple[PassedOver, ...] = ()

    def without_first(self, obstacle: Obstacle) -> Choice:
        """What is left when the first could not."""
        first, *rest = self.candidates
        left = tuple(c if c.reason == "default" else replace(c, reason="fallback") for c in rest)
        return Choice(left, (*self.passed_over, PassedOver(first.variant, obstacle)))

    def with_default(self, variant: Versioned) -> Choice:
        """The same, and behind all of them the default of the house: a route whose models are down holds up nobody."""
        if any(candidate.variant == variant for candidate in self.candidates):
            return self
        return replace(self, candidates=(*self.candidates, Candidate(variant, "default")))


@dataclass(frozen=True, slots=True)
class Chosen:
    """A query's way to its variant, as its answer tells it."""

    kind: str = "other"
    confidence: float = 0.0
    kinds_version: int = 0
    route: str = ""
    route_version: int = 0
    reason: Reason = "default"
    passed_over: tuple[PassedOver, ...] = ()
    backend: str = ""
    kinds_model: str = ""


#: Of a query that was not routed.
BY_DEFAULT = Chosen()


def route_for(routes: Mapping[str, Route], kind: str) -> Route | None:
    """The kind's own route, or the one for whatever has none, or none."""
    return routes.get(kind) or routes.get(ANY)


def choose(route: Route, asked: Asked, standing: Callable[[Versioned], Standing]) -> Choice:
    """Who may answer a query, best first. Empty when every variant that the route names is in its way."""
    offered = list(_offered(route, asked))
    standings = {candidate.variant: standing(candidate.variant) for candidate in offered}
    fitting: list[Candidate] = []
    passed: list[PassedOver] = []
    for candidate in offered:
        obstacle = _obstacle(standings[candidate.variant], route.limits, asked)
        if not obstacle:
            fitting.append(candidate)
        elif not fitting:  # what stands in the way of those behind the first changed nothing
            passed.append(PassedOver(candidate.variant, obstacle))
    if fitting:
        before = (*_too_strict(route, asked), *passed)
        return Choice(_told(fitting, were_passed=before), before)
    return _least_bad(route, asked, standings, passed)


def _told(fitting: Sequence[Candidate], *, were_passed: Sequence[PassedOver]) -> tuple[Candidate, ...]:
    """The candidates, those after the first, or after one that was passed over, as fallbacks."""
    first, *rest = fitting
    leading = replace(first, reason="fallback") if were_passed else first
    return (leading, *(replace(candidate, reason="fallback") for candidate in rest))


def _offered(route: Route, asked: Asked) -> Iterator[Candidate]:
    """The route's variants in the order in which this query would try them."""
    seen: set[Versioned] = set()
    reason: Reason = "conversation" if asked.conversation_id else "share"
    arms = [] if asked.tier > route.limits.max_tier else by_share(route, asked)
    for candidate in (*(Candidate(v, reason) for v in arms), *(Candidate(v, "fallback") for v in route.fallbacks)):
        if candidate.variant not in seen:
            seen.add(candidate.variant)
            yield candidate


def _too_strict(route: Route, asked: Asked) -> Iterator[PassedOver]:
    if asked.tier > route.limits.max_tier:
        yield from (PassedOver(variant, "tier") for variant in by_share(route, asked))


def by_share(route: Route, asked: Asked) -> list[Versioned]:
    """The arms' variants in the order of what they drew."""
    drawn = [
        (-arm.weight / math.log(_uniform(asked.tenant, route.kind, name, asked.sticks_to)), arm.variant)
        for name, arm in _named(route.arms)
    ]
    return [variant for _, variant in sorted(drawn, key=lambda one: -one[0])]


def _named(arms: Sequence[Arm]) -> Iterator[tuple[str, Arm]]:
    """Each arm with what it draws by: its variant's name, so that its next version keeps its conversations.

    Of several versions of one name the lowest has the name, and the others count.
    """
    ordered = sorted(arms, key=lambda arm: (arm.variant.name, len(arm.variant.version), arm.variant.version))
    counts: dict[str, int] = {}
    for arm in ordered:
        count = counts[arm.variant.name] = counts.get(arm.variant.name, 0) + 1
        yield (arm.variant.name if count == 1 else f"{arm.variant.name}#{count}"), arm


def _uniform(*parts: str) -> float:
    """A number in (0, 1) that these parts always give."""
    digest = hashlib.blake2b("\x1f".join(parts).encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 0.5) / 2**64


def _obstacle(standing: Standing, limits: Limits, asked: Asked) -> Obstacle | Literal[""]:
    if standing.obstacle:
        return standing.obstacle
    cost = standing.cost_micro_usd
    if limits.cost_micro_usd and cost > limits.cost_micro_usd:
        return "cost"
    # What costs nothing may go on when the budget is spent.
    if limits.daily_budget_micro_usd and cost and asked.spent_micro_usd + cost > limits.daily_budget_micro_usd:
        return "budget"
    if limits.latency_ms and asked.elapsed_ms + standing.ms > limits.latency_ms:
        return "latency"
    return ""


def _least_bad(
    route: Route, asked: Asked, standings: Mapping[Versioned, Standing], passed: Sequence[PassedOver]
) -> Choice:
    """Limits never leave a query without its answer: the cheapest gives it, or the fastest where only time is short."""
    able = [one for one in passed if one.reason in _LIMITS]
    too_strict = tuple(_too_strict(route, asked))
    is_about_money = any(one.reason != "latency" for one in able)

    def badness(one: PassedOver) -> tuple[float, float]:
        found = standings[one.variant]
        by = (float(found.cost_micro_usd), found.ms)
        return by if is_about_money else by[::-1]

    ordered = sorted(able, key=badness)
    before = [one for one in passed if not ordered or one.variant != ordered[0].variant]
    return Choice(tuple(Candidate(one.variant, "fallback") for one in ordered), (*too_strict, *before))


def shadows_of(route: Route, asked: Asked) -> list[Versioned]:
    """Who answers a copy of this query, unseen. None when the day's budget is spent."""
    budget = route.limits.daily_budget_micro_usd
    if budget and asked.spent_micro_usd >= budget:
        return []
    return [
        shadow.variant
        for shadow in route.shadows
        if _uniform(asked.tenant, route.kind, "shadow", shadow.variant.name, asked.query_id) < shadow.share
    ]
