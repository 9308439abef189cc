"""Governance in Postgres; migrations/0001_governance.sql says what each column holds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from uuid import UUID

import asyncpg
from headrace_database import Connection, Database
from headrace_database.connection import statement
from headrace_privacy import Tier
from headrace_privacy.policy import Purpose

from headrace_classifier.adapters.postgres_audit import PostgresAudit
from headrace_classifier.approvals import Decision, Grant, Revocation, Scope
from headrace_classifier.audit import Entry, Row
from headrace_classifier.dictionaries import StoredDictionary
from headrace_classifier.tier_decisions import About, DecisionKind, TierDecision

#: What every instance listens to: decisions or dictionaries have changed.
CHANNEL = "classifier_governance"


class PostgresRegister:
    """One transaction; see registry.Register."""

    def __init__(self, connection: Connection, audit: PostgresAudit) -> None:
        self._connection = connection
        self._audit = audit
        self.recorded: Row | None = None

    async def add_grant(self, grant: Grant) -> None:
        scope = grant.scope
        with statement("INSERT grants", operation="INSERT", collection="grants"):
            await self._connection.execute(
                "INSERT INTO grants (tenant, grant_id, purpose, tier, sources, reason, requested_by, requested_at,"
                " expires_at, longest_days, policy_version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                scope.tenant,
                grant.grant_id,
                scope.purpose,
                scope.tier,
                list(scope.sources),
                grant.reason,
                grant.requested_by,
                grant.requested_at,
                grant.expires_at,
                grant.longest_days,
                grant.policy_version,
            )

    async def hold_grant(self, grant_id: UUID) -> Grant | None:
        with statement("SELECT grants FOR UPDATE", operation="SELECT", collection="grants"):
            row = await self._connection.fetchrow("SELECT * FROM grants WHERE grant_id = $1 FOR UPDATE", grant_id)
        return _grant(row) if row else None

    async def change_grant(self, grant: Grant) -> None:
        decision, revocation = grant.decision, grant.revocation
        with statement("UPDATE grants", operation="UPDATE", collection="grants"):
            await self._connection.execute(
                "UPDATE grants SET approved = $3, decided_by = $4, decided_at = $5, note = $6, revoked_by = $7,"
                " revoked_at = $8, policy_version = $9 WHERE tenant = $1 AND grant_id = $2",
                grant.scope.tenant,
                grant.grant_id,
                decision.approved if decision else None,
                decision.by if decision else None,
                decision.at if decision else None,
                grant.note,
                revocation.by if revocation else None,
                revocation.at if revocation else None,
                grant.policy_version,
            )

    async def grant(self, grant_id: UUID) -> Grant | None:
        with statement("SELECT grants", operation="SELECT", collection="grants"):
            row = await self._connection.fetchrow("SELECT * FROM grants WHERE grant_id = $1", grant_id)
        return _grant(row) if row else None

    async def grants(self, *, most: int) -> Sequence[Grant]:
        with statement("SELECT grants", operation="SELECT", collection="grants"):
            rows = await self._connection.fetch(
                "SELECT * FROM grants ORDER BY requested_at DESC, grant_id LIMIT $1", most
            )
        return [_grant(row) for row in rows]

    async def approved(self, tenant: str, purpose: Purpose) -> Sequence[Grant]:
        with statement("SELECT grants", operation="SELECT", collection="grants"):
            rows = await self._connection.fetch(
                "SELECT * FROM grants WHERE tenant = $1 AND purpose = $2 AND approved AND revoked_at IS NULL"
                " ORDER BY expires_at DESC",
                tenant,
                purpose,
            )
        return [_grant(row) for row in rows]

    async def put_tier_decision(self, decision: TierDecision) -> None:
        about = decision.about
        with statement("INSERT tier_decisions", operation="INSERT", collection="tier_decisions"):
            await self._connection.execute(
                "INSERT INTO tier_decisions (tenant, kind, name, tier, reason, decided_by, decided_at)"
                " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (tenant, kind, name) DO UPDATE SET"
                " tier = excluded.tier, reason = excluded.reason, decided_by = excluded.decided_by,"
                " decided_at = excluded.decided_at",
                about.tenant,
                about.kind,
                about.name,
                decision.tier,
                decision.reason,
                decision.decided_by,
                decision.decided_at,
            )
        await self._tell()

    async def remove_tier_decision(self, about: About) -> bool:
        with statement("DELETE tier_decisions", operation="DELETE", collection="tier_decisions"):
            removed = await self._connection.fetchval(
                "DELETE FROM tier_decisions WHERE tenant = $1 AND kind = $2 AND name = $3 RETURNING true",
                about.tenant,
                about.kind,
                about.name,
            )
        await self._tell()
        return bool(removed)

    async def tier_decisions(self) -> Sequence[TierDecision]:
        with statement("SELECT tier_decisions", operation="SELECT", collection="tier_decisions"):
            rows = await self._connection.fetch("SELECT * FROM tier_decisions ORDER BY tenant, kind, name")
        return [_tier_decision(row) for row in rows]

    async def put_dictionary(self, dictionary: StoredDictionary) -> None:
        with statement("INSERT dictionaries", operation="INSERT", collection="dictionaries"):
            await self._connection.execute(
                "INSERT INTO dictionaries (tenant, identifiers, sealed, changed_by, changed_at)"
                " VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant) DO UPDATE SET identifiers = excluded.identifiers,"
                " sealed = excluded.sealed, changed_by = excluded.changed_by, changed_at = excluded.changed_at",
                dictionary.tenant,
                dictionary.identifiers,
                dictionary.sealed,
                dictionary.changed_by,
                dictionary.changed_at,
            )
        await self._tell()

    async def dictionary(self, tenant: str) -> StoredDictionary | None:
        with statement("SELECT dictionaries", operation="SELECT", collection="dictionaries"):
            row = await self._connection.fetchrow("SELECT * FROM dictionaries WHERE tenant = $1", tenant)
        return StoredDictionary(**row) if row else None

    async def dictionaries(self) -> Mapping[str, datetime]:
        with statement("SELECT dictionaries", operation="SELECT", collection="dictionaries"):
            rows = await self._connection.fetch("SELECT tenant, changed_at FROM dictionaries")
        return {row["tenant"]: row["changed_at"] for row in rows}

    async def _tell(self) -> None:
        """Every instance hears of it once the transaction is committed."""
        await self._connection.execute("SELECT pg_notify($1, '')", CHANNEL)

    async def hold_log(self) -> None:
        await self._audit.hold(self._connection)

    async def record(self, entry: Entry) -> int:
        self.recorded = await self._audit.append(self._connection, entry)
        return self.recorded.sequence


class PostgresRegistry:
    """Opens transactions; see registry.Registry."""

    def __init__(self, database: Database, audit: PostgresAudit) -> None:
        self._database = database
        self._audit = audit

    @asynccontextmanager
    async def open(self, tenant: str) -> AsyncIterator[PostgresRegister]:
        async with self._database.transaction(tenant=tenant) as connection:
            register = PostgresRegister(connection, self._audit)
            yield register
        await self._audit.seal(register.recorded)


def _tier_decision(row: asyncpg.Record) -> TierDecision:
    about = About(row["tenant"], DecisionKind(row["kind"]), row["name"])
    return TierDecision(about, Tier(row["tier"]), row["reason"], row["decided_by"], row["decided_at"])


def _grant(row: asyncpg.Record) -> Grant:
    return Grant(
        grant_id=UUID(int=row["grant_id"].int),
        scope=Scope(row["tenant"], Purpose(row["purpose"]), Tier(row["tier"]), tuple(row["sources"])),
        reason=row["reason"],
        requested_by=row["requested_by"],
        requested_at=row["requested_at"],
        expires_at=row["expires_at"],
        longest_days=row["longest_days"],
        policy_version=row["policy_version"],
        note=row["note"],
        decision=Decision(row["approved"], row["decided_by"], row["decided_at"]) if row["decided_at"] else None,
        revocation=Revocation(row["revoked_by"], row["revoked_at"]) if row["revoked_at"] else None,
    )
