"""Governance in memory, for tests. There are no transactions: what was stored before an error stays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

from headrace_privacy.policy import Purpose

from headrace_classifier.approvals import Grant
from headrace_classifier.audit import Entry, Row, chained
from headrace_classifier.dictionaries import StoredDictionary
from headrace_classifier.registry import EVERYBODY
from headrace_classifier.tier_decisions import About, TierDecision

#: No secret at all.
_KEY = bytes(32)


class MemoryRegistry:
    """Every row of everybody's."""

    def __init__(self) -> None:
        self.all_grants: dict[UUID, Grant] = {}
        self.all_tier_decisions: dict[About, TierDecision] = {}
        self.all_dictionaries: dict[str, StoredDictionary] = {}
        self.audit: list[Row] = []

    @asynccontextmanager
    async def open(self, tenant: str) -> AsyncIterator[MemoryRegister]:
        yield MemoryRegister(self, tenant)


class MemoryRegister:
    """What one tenant sees."""

    def __init__(self, registry: MemoryRegistry, tenant: str) -> None:
        self._registry = registry
        self._tenant = tenant

    def _sees(self, tenant: str) -> bool:
        return self._tenant in (tenant, EVERYBODY)

    async def add_grant(self, grant: Grant) -> None:
        assert self._sees(grant.scope.tenant)
        assert grant.grant_id not in self._registry.all_grants
        self._registry.all_grants[grant.grant_id] = grant

    async def hold_grant(self, grant_id: UUID) -> Grant | None:
        return await self.grant(grant_id)

    async def change_grant(self, grant: Grant) -> None:
        assert self._sees(grant.scope.tenant)
        self._registry.all_grants[grant.grant_id] = grant

    async def grant(self, grant_id: UUID) -> Grant | None:
        found = self._registry.all_grants.get(grant_id)
        return found if found and self._sees(found.scope.tenant) else None

    async def grants(self, *, most: int) -> Sequence[Grant]:
        seen = [grant for grant in self._registry.all_grants.values() if self._sees(grant.scope.tenant)]
        return sorted(seen, key=lambda grant: grant.requested_at, reverse=True)[:most]

    async def approved(self, tenant: str, purpose: Purpose) -> Sequence[Grant]:
        return [
            grant
            for grant in await self.grants(most=len(self._registry.all_grants))
            if (grant.scope.tenant, grant.scope.purpose) == (tenant, purpose)
            and grant.decision is not None
            and grant.decision.approved
            and grant.revocation is None
        ]

    async def put_tier_decision(self, decision: TierDecision) -> None:
        assert self._sees(decision.about.tenant)
        self._registry.all_tier_decisions[decision.about] = decision

    async def remove_tier_decision(self, about: About) -> bool:
        return self._sees(about.tenant) and self._registry.all_tier_decisions.pop(about, None) is not None

    async def tier_decisions(self) -> Sequence[TierDecision]:
        seen = [one for one in self._registry.all_tier_decisions.values() if self._sees(one.about.tenant)]
        return sorted(seen, key=lambda one: (one.about.tenant, one.about.kind, one.about.name))

    async def put_dictionary(self, dictionary: StoredDictionary) -> None:
        assert self._sees(dictionary.tenant)
        self._registry.all_dictionaries[dictionary.tenant] = dictionary

    async def dictionary(self, tenant: str) -> StoredDictionary | None:
        return self._registry.all_dictionaries.get(tenant) if self._sees(tenant) else None

    async def dictionaries(self) -> Mapping[str, datetime]:
        return {t: one.changed_at for t, one in self._registry.all_dictionaries.items() if self._sees(t)}

    async def hold_log(self) -> None:
        """Nobody else is there."""

    async def record(self, entry: Entry) -> int:
        last = self._registry.audit[-1] if self._registry.audit else None
        self._registry.audit.append(chained(_KEY, last, entry=entry))
        return len(self._registry.audit)
