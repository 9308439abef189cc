"""Governance in memory, for tests. There are no transactions: what was stored before an error stays."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from headrace_privacy.policy import Purpose

from headrace_classifier.approvals import Grant
from headrace_classifier.audit import Entry, Row, chained
from headrace_classifier.registry import EVERYBODY

#: No secret at all.
_KEY = bytes(32)


class MemoryRegistry:
    """Every row of everybody's."""

    def __init__(self) -> None:
        self.all_grants: dict[UUID, Grant] = {}
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

    async def record(self, entry: Entry) -> int:
        last = self._registry.audit[-1] if self._registry.audit else None
        self._registry.audit.append(chained(_KEY, last, entry=entry))
        return len(self._registry.audit)
