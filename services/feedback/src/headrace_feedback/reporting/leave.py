"""Whose figures may be made, for whoever asks: figures of customers' data are made from customers' data.

What the policy lets a whole role evaluate is asked about once, as a whole; where it takes a grant, each tier with each
set of sources is asked about by its ids, and what no grant covers is left out and counted. With nobody to ask nothing
is measured.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from headrace_identity import Principal
from headrace_privacy import Tier
from headrace_privacy.policy import Policy, Purpose, RulingKind

from headrace_feedback.ports import Authorizer
from headrace_feedback.reporting.reports import Batch, LeftOut
from headrace_feedback.uses import Use

#: Records that one call may name.
MOST_NAMED = 1_000


@dataclass(frozen=True, slots=True)
class Leave:
    """What may be measured. tier: the strictest of it."""

    ids: Sequence[UUID | str]
    left_out: Sequence[LeftOut]
    tier: Tier


@dataclass(frozen=True, slots=True)
class Gate:
    """Who says so. The policy only tells which tiers are asked about one by one: the authorizer decides."""

    authorizer: Authorizer
    policy: Policy

    def apart(self, by: Principal) -> frozenset[Tier]:
        """The tiers that take a grant."""
        return frozenset(tier for tier in Tier if self._ruling(tier, by) is RulingKind.GRANT)

    async def ask(self, batches: Sequence[Batch], *, tenant: str, by: Principal) -> Leave:
        """Asks for all of it. Raises Unavailable, which is no leave."""
        ids: list[UUID | str] = []
        strictest = Tier.PUBLIC
        left_out: dict[tuple[Tier, str], int] = {}
        for batch in batches:
            for part in self._parts(batch, by):
                if await self._is_allowed(part, tenant, by):
                    ids += part.ids
                    strictest = max(strictest, batch.tier)
                else:
                    why = batch.tier, self._reason(batch.tier, by)
                    left_out[why] = left_out.get(why, 0) + len(part.ids)
        found = [LeftOut(tier, number, reason) for (tier, reason), number in sorted(left_out.items())]
        return Leave(ids, found, strictest)

    async def tiers(self, among: Collection[Tier], *, tenant: str, by: Principal) -> list[Tier]:
        """The tiers that may be measured as a whole, without a grant."""
        free = [tier for tier in sorted(among) if tier not in self.apart(by)]
        return [tier for tier in free if await self._is_allowed(Batch(tier, (), ()), tenant, by)]

    def _parts(self, batch: Batch, by: Principal) -> Iterator[Batch]:
        if batch.tier not in self.apart(by):
            yield batch
            return
        for first in range(0, len(batch.ids), MOST_NAMED):
            yield Batch(batch.tier, batch.sources, batch.ids[first : first + MOST_NAMED])

    async def _is_allowed(self, part: Batch, tenant: str, by: Principal) -> bool:
        records = part.ids if part.tier in self.apart(by) else ()
        use = Use(by.role, by.subject, tenant, Purpose.EVALUATE, part.tier, part.sources, tuple(map(str, records)))
        return (await self.authorizer.authorize(use)).allowed

    def _reason(self, tier: Tier, by: Principal) -> str:
        return "denied_by_policy" if self._ruling(tier, by) is RulingKind.DENY else "no_grant"

    def _ruling(self, tier: Tier, by: Principal) -> RulingKind:
        return self.policy.ruling(Purpose.EVALUATE, tier, by.role).kind
