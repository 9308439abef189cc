"""Says on the bus, once each, that grants have ended: by a person, or by time. What stands on one is no longer used."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

import asyncpg
import structlog
from google.protobuf.timestamp_pb2 import Timestamp
from headrace import topics
from headrace.privacy.v1.approvals_pb2 import GRANT_STATE_EXPIRED, GRANT_STATE_REVOKED, GrantEnded
from headrace.privacy.v1.privacy_pb2 import Purpose
from headrace_identity import EVERYBODY
from headrace_privacy import Tier
from headrace_runtime.errors import Unavailable
from headrace_stream import Event, Ledger
from headrace_stream.envelope import derived_id

log = structlog.get_logger()

#: What ends by time is announced so late at most, in seconds; nobody may use it meanwhile, since each use asks.
LOOK_SECONDS = 60.0

# Several instances may look at once: the row, and with it the announcement, is one's.
_TAKE = """
    INSERT INTO ended_grants (tenant, grant_id, told_at)
    SELECT g.tenant, g.grant_id, $1 FROM grants g
    WHERE g.approved AND (g.revoked_at IS NOT NULL OR g.expires_at <= $1)
        AND NOT EXISTS (SELECT FROM ended_grants e WHERE e.tenant = g.tenant AND e.grant_id = g.grant_id)
    ON CONFLICT DO NOTHING
    RETURNING tenant, grant_id
"""
_ENDED = """
    SELECT g.tenant, g.grant_id, g.purpose, g.revoked_at, g.expires_at FROM grants g
    JOIN unnest($1::text[], $2::uuid[]) AS e (tenant, grant_id) USING (tenant, grant_id)
"""


class GrantEnds:
    """The announcer. `now`: the clock."""

    def __init__(self, ledger: Ledger, now: Callable[[], datetime]) -> None:
        self._ledger = ledger
        self._now = now
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Has it look at once: somebody revoked a grant."""
        self._wake.set()

    async def announce(self) -> int:
        """Announces all that have ended and were not announced; returns how many. Raises Unavailable."""
        async with self._ledger.unit(tenant=EVERYBODY) as unit:
            taken = await unit.connection.fetch(_TAKE, self._now())
            names = [[row[column] for row in taken] for column in ("tenant", "grant_id")]
            unit.emit(*(ended_event(row) for row in await unit.connection.fetch(_ENDED, *names)))
        return len(taken)

    @asynccontextmanager
    async def announcing(self) -> AsyncIterator[None]:
        """Looks while the context is open."""
        task = asyncio.create_task(self._look_for_ever())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _look_for_ever(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self.announce()
            except (Unavailable, asyncpg.PostgresError) as error:
                log.warning("ends of grants wait", error=type(error).__name__)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()


def ended_event(row: asyncpg.Record) -> Event[GrantEnded]:
    """Makes the event; its id is the grant's own, so that saying it again says it once."""
    revoked_at: datetime | None = row["revoked_at"]
    ended_at = Timestamp()
    ended_at.FromDatetime(revoked_at or row["expires_at"])
    message = GrantEnded(
        grant_id=str(row["grant_id"]),
        tenant=row["tenant"],
        purpose=Purpose.ValueType(row["purpose"]),
        state=GRANT_STATE_REVOKED if revoked_at else GRANT_STATE_EXPIRED,
        ended_at=ended_at,
    )
    return Event(
        topic=topics.GRANT_ENDED,
        message=message,
        key=message.grant_id,
        event_id=derived_id("grant.ended", message.tenant, message.grant_id),
        source="classifier",
        correlation_id=message.grant_id,
        causation_id=message.grant_id,
        tenant=message.tenant,
        tier=Tier.TIER_1,
    )
