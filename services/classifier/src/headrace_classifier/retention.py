"""What the policy keeps no longer goes the way of every erasure, on its own, once a day for each tenant and tier."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from headrace_privacy import Tier
from headrace_privacy.policy import Policy
from headrace_stream.erasing import Expired

from headrace_classifier.adapters import postgres_erasures as store
from headrace_classifier.coordinator import EVERYBODY, ITSELF, Coordinator
from headrace_classifier.erasures import last_day


@dataclass(frozen=True, slots=True)
class Retention:
    """Looks for what is too old. `coordinator` erases it."""

    coordinator: Coordinator
    policy: Policy

    async def expire(self, now: datetime) -> int:
        """Begins an erasure for each tenant and tier that may have something from before its last day.

        Returns how many. Of several instances that look at once, one does. What finds nothing leaves nothing behind.
        """
        begun = 0
        async with self.coordinator.database.dedicated() as turn:
            if not await turn.fetchval("SELECT pg_try_advisory_lock(hashtext('headrace retention'))"):
                return 0
            # All first: what the first destroys would hide what else is due.
            for tenant, what in [each async for each in self._due(now)]:
                await self.coordinator.begin(tenant, what, reason=self._reason(what.tier), by=ITSELF)
                async with self.coordinator.database.transaction(tenant=tenant) as connection:
                    await store.note_looked(connection, tenant, what.tier, what.before)
                begun += 1
        return begun

    async def _due(self, now: datetime) -> AsyncIterator[tuple[str, Expired]]:
        for tier in Tier:
            before = last_day(self.policy, tier, now)
            if before is None:
                continue
            async with self.coordinator.database.transaction(tenant=EVERYBODY) as connection:
                looked = await store.looked_until(connection, tier)
                tenants = await self.coordinator.keys.tenants_before(connection, before)
            for tenant in tenants:
                if tenant not in looked or looked[tenant] < before:
                    yield tenant, Expired(tier, before)

    def _reason(self, tier: Tier) -> str:
        return f"retention.{tier.label}: {self.policy.retention(tier)} days, policy {self.policy.version}"
