"""A grant's end is announced once, however it ended and however often anybody looks; on a real Postgres."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from headrace.privacy.v1.approvals_pb2 import GRANT_STATE_EXPIRED, GRANT_STATE_REVOKED, GrantEnded
from headrace_classifier.adapters.postgres_audit import PostgresAudit
from headrace_classifier.adapters.postgres_registry import PostgresRegistry
from headrace_classifier.approvals import Decision, Grant, Revocation, Scope
from headrace_classifier.grant_ends import GrantEnds
from headrace_database import Database
from headrace_privacy import Tier
from headrace_privacy.policy import Purpose
from headrace_stream import Ledger

from services.classifier.tests.makers import AUDIT_KEY

pytestmark = pytest.mark.real

START = datetime(2026, 11, 21, 9, tzinfo=UTC)


class Office:
    """Grants of one tenant, and what was said of them."""

    def __init__(self, database: Database) -> None:
        self.tenant = f"t-{uuid4().hex[:12]}"
        self.database = database
        self.now = START + timedelta(hours=2)
        self.registry = PostgresRegistry(database, PostgresAudit(AUDIT_KEY))

    async def grant(self, *, approved: bool = True, revoked: bool = False, hours: int = 24) -> UUID:
        scope = Scope(self.tenant, Purpose.TRAIN, Tier.TIER_2)
        asked = Grant(uuid4(), scope, "to tune", "rita", START, START + timedelta(hours=hours), 30, "1")
        decided = asked.decided(Decision(approved, "maria", START), note="", policy_version="1")
        async with self.registry.open(self.tenant) as register:
            await register.add_grant(asked)
            await register.change_grant(decided)
            if revoked:
                await register.change_grant(decided.revoked(Revocation("paul", START + timedelta(hours=1)), note=""))
        return asked.grant_id

    def announcer(self) -> GrantEnds:
        return GrantEnds(Ledger(self.database), lambda: self.now)

    async def said(self) -> dict[str, tuple[int, datetime]]:
        async with self.database.transaction() as connection:
            rows = await connection.fetch(
                "DELETE FROM outbox WHERE topic = 'grant.ended' AND headers->>'ce_tenant' = $1 RETURNING value",
                self.tenant,
            )
        events = [GrantEnded.FromString(row["value"]) for row in rows]
        assert len({event.grant_id for event in events}) == len(events), "each once"
        return {event.grant_id: (event.state, event.ended_at.ToDatetime(tzinfo=UTC)) for event in events}


@pytest.fixture
def office(opened: Database) -> Office:
    return Office(opened)


async def test_what_was_revoked_and_what_has_expired_is_announced_and_nothing_else(office: Office) -> None:
    await office.grant()
    await office.grant(approved=False, hours=1)
    revoked, expired = await office.grant(revoked=True), await office.grant(hours=1)
    await office.announcer().announce()
    assert await office.said() == {
        str(revoked): (GRANT_STATE_REVOKED, START + timedelta(hours=1)),
        str(expired): (GRANT_STATE_EXPIRED, START + timedelta(hours=1)),
    }


async def test_it_is_announced_once_by_however_many(office: Office) -> None:
    await office.grant(revoked=True)
    await asyncio.gather(*(office.announcer().announce() for _ in range(4)))
    assert len(await office.said()) == 1
    await office.announcer().announce()
    assert await office.said() == {}


async def test_a_grant_ends_by_time_between_two_looks(office: Office) -> None:
    await office.grant(hours=3)
    await office.announcer().announce()
    assert await office.said() == {}
    office.now += timedelta(hours=2)
    await office.announcer().announce()
    assert len(await office.said()) == 1


async def test_whoever_revokes_need_not_wait_for_the_next_look(office: Office) -> None:
    announcer = office.announcer()
    async with announcer.announcing():
        await asyncio.sleep(0.1)
        await office.grant(revoked=True)
        announcer.wake()
        for _ in range(50):
            if said := await office.said():
                break
            await asyncio.sleep(0.05)
    assert len(said) == 1
