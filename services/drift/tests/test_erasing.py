"""The drift monitor's part in an erasure, on a real Postgres: ids go, and counts stay."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from headrace import topics
from headrace.privacy.v1.erasure_pb2 import (
    ErasureApplied,
    ErasureRequested,
    ErasureScope,
    ErasureVerified,
    ErasureVerifying,
)
from headrace.privacy.v1.privacy_pb2 import TIER_1
from headrace_database import Database
from headrace_drift.erasing import ALERTS, EXAMPLES, SKETCHES, SampleHoldings
from headrace_privacy import Erased
from headrace_stream import Ledger
from headrace_stream.erasing import Eraser
from headrace_stream.memory import delivered

from services.drift.tests.house import PostgresHouse
from services.drift.tests.makers import PYTHON, SQL, START, answer, arrived

pytestmark = pytest.mark.real
LATER = START + timedelta(days=1)


class ErasingHouse(PostgresHouse):
    """With its part in erasures."""

    def __init__(self, tenant: str, database: Database) -> None:
        super().__init__(tenant, database)
        self.eraser = Eraser("drift", Ledger(database), self.vault, SampleHoldings(database), lambda: LATER)

    async def erase(self, **what: Any) -> dict[str, int]:
        """Erases, twice as after a crash; returns what went of each store."""
        scope = ErasureScope(tenant=self.tenant, **what)
        self.request = ErasureRequested(erasure_id=str(uuid4()), scope=scope, round=1)
        self.request.requested_at.FromDatetime(LATER)
        delivery = delivered(self.request, topics.ERASURE_REQUESTED, service="drift", event_id=uuid4())
        for _ in range(2):
            await self.eraser.apply(topics.ERASURE_APPLIED, delivery)
        stores = ErasureApplied.FromString(await self._told("erasure.applied")).stores
        return {store.store: store.records for store in stores}

    async def verify(self) -> dict[str, int]:
        """Reads back what is left of each store."""
        message = ErasureVerifying(erasure_id=self.request.erasure_id, scope=self.request.scope, round=1)
        message.requested_at.CopyFrom(self.request.requested_at)
        delivery = delivered(message, topics.ERASURE_VERIFYING, service="drift", event_id=uuid4())
        await self.eraser.verify(topics.ERASURE_VERIFIED, delivery)
        stores = ErasureVerified.FromString(await self._told("erasure.verified")).stores
        return {store.store: store.records for store in stores if store.records}

    async def ids_at_rest(self) -> set[str]:
        """Every query that is kept by id, wherever."""
        async with self.desk.open(self.tenant) as (_, books):
            cells = await books.cells(START - timedelta(days=9), START + timedelta(days=9))
            alerts = await books.alerts(most=100)
        sampled = {example.query_id for sketch in cells.values() for example in sketch.examples}
        async with self.database.transaction(tenant=self.tenant) as connection:
            rows = await connection.fetch("SELECT query_id FROM examples WHERE tenant = $1", self.tenant)
        return sampled | {sample.query_id for alert in alerts for sample in alert.samples} | {row[0] for row in rows}

    async def _told(self, topic: str) -> bytes:
        async with self.database.transaction() as connection:
            rows = await connection.fetch(
                "DELETE FROM outbox WHERE topic = $1 AND headers->>'ce_tenant' = $2 RETURNING value", topic, self.tenant
            )
        (row,) = rows
        value: bytes = row["value"]
        return value


@pytest.fixture
def house(tenant: str, opened: Database) -> ErasingHouse:
    return ErasingHouse(tenant, opened)


async def test_an_end_users_queries_are_forgotten_and_still_count(house: ErasingHouse) -> None:
    theirs = await house.ask(PYTHON, 30, minute=0, minutes=2, query={"subject": "user-7", "product": "docs-search"})
    others = await house.ask(SQL, 30, minute=0, minutes=2)
    assert await house.ids_at_rest() == {*theirs, *others}
    removed = await house.erase(subject="user-7")
    assert removed[EXAMPLES] == 30
    assert removed[SKETCHES] > 0
    assert await house.verify() == {}
    assert await house.ids_at_rest() == set(others)
    assert await house.queries() == 60


async def test_the_ids_in_alerts_go_too(house: ErasingHouse) -> None:
    await house.settle_in()
    await house.ask(SQL, 240, minute=6, minutes=4, query={"subject": "user-7", "product": "docs-search"})
    # One conversation each, or nobody could tell chance from change.
    await house.look(12)
    (alert,) = await house.alerts()
    assert alert.explanation.query_ids
    removed = await house.erase(subject="user-7")
    assert removed[ALERTS] == len(alert.explanation.query_ids)
    (after,) = await house.alerts()
    assert list(after.explanation.query_ids) == []
    assert after.explanation.summary == alert.explanation.summary


async def test_what_was_still_on_its_way_ends_as_erased(house: ErasingHouse) -> None:
    await house.ask(PYTHON, 5, minute=0, minutes=1)
    await house.erase(subject="user-7")
    late = arrived(answer(house.tenant, query={"subject": "user-7"}))
    with pytest.raises(Erased):
        await house.take([late])
    await house.take([arrived(answer(house.tenant, at=LATER + timedelta(minutes=1), query={"subject": "user-7"}))])
    assert await house.queries() == 6, "whoever was erased may ask again"


async def test_what_its_tier_may_not_keep_longer_goes(house: ErasingHouse) -> None:
    await house.ask(PYTHON, 10, minute=0, minutes=1)
    strict = await house.ask(SQL, 10, minute=0, minutes=1, tier="TIER_2")
    scope = ErasureScope(tenant=house.tenant).expired
    scope.tier = TIER_1
    scope.before.FromDatetime(LATER)
    assert (await house.erase(expired=scope))[EXAMPLES] == 10
    assert await house.verify() == {}
    assert await house.ids_at_rest() == set(strict)


async def test_a_part_that_is_added_meanwhile_keeps_its_samples(house: ErasingHouse) -> None:
    """Many commits of one minute: parts are put together on the way, and every query stays known."""
    ids: set[str] = set()
    for commit in range(40):
        ids |= set(await house.ask(PYTHON, 3, minute=0 + commit / 1000, minutes=0.5))
    assert await house.queries() == 120
    assert await house.ids_at_rest() == ids
