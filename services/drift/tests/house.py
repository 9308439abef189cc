"""The drift monitor over books in memory or in Postgres, without a bus."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from headrace.drift.v1 import drift_pb2, service_pb2
from headrace.drift.v1.drift_pb2 import DriftDetected
from headrace_database import Database
from headrace_drift.adapters.memory import MemoryDesk
from headrace_drift.adapters.postgres import PostgresDesk
from headrace_drift.baselines import Claim
from headrace_drift.consumers import Consumers
from headrace_drift.counting import Counter
from headrace_drift.gathering import Gatherer
from headrace_drift.handlers import Office
from headrace_drift.keys import Keys
from headrace_drift.looking import Observer, Plan
from headrace_drift.measuring import Rules, Windows
from headrace_drift.ports import Desk
from headrace_drift.servicer import DriftServicer
from headrace_identity import Principal
from headrace_privacy import Vault
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.errors import NotFound
from headrace_stream import Ledger

from services.drift.tests.makers import PYTHON, START, TRACE, answer, arrived, questions

MINUTE = timedelta(minutes=1)
#: Windows of the newest 120 queries, a look a minute; the first five minutes with 200 queries are the baseline.
PLAN = Plan(
    Windows(bucket=MINUTE, span=15 * MINUTE, hop=MINUTE, lateness=MINUTE, queries=120),
    Rules(looks_per_week=100, minimum_queries=50),
    Claim(5 * MINUTE, 200),
    idle=MINUTE,
    keep=timedelta(days=7),
)


@dataclass
class SomeDatasets:
    """One dataset, of the first five minutes."""

    async def period(self, tenant: str, dataset: str) -> tuple[str, datetime, datetime]:
        del tenant
        if dataset != "support":
            raise NotFound("dataset", dataset)
        return "4f2a" * 16, START, START + 5 * MINUTE


class NoBacklog:
    """Everything is read."""

    async def backlog(self) -> dict[tuple[str, int], int]:
        return {}


@dataclass
class House:
    """Everything but the bus, for one tenant."""

    tenant: str
    desk: Desk
    plan: Plan = PLAN
    moment: datetime = START + timedelta(days=1)
    keyring: MemoryKeyring = field(default_factory=MemoryKeyring)

    def __post_init__(self) -> None:
        self.vault = Vault(self.keyring, clock=lambda: 0.0)
        self.keys = Keys(self.vault)
        self.counter = Counter(self.desk, self.plan.windows, self.now)
        self.observer = Observer(self.desk, self.plan, self.now, NoBacklog())
        self.office = Office(self.desk, self.plan, SomeDatasets(), self.now, uuid4)
        self.servicer = DriftServicer(self.office, lambda: Principal("developer", self.tenant, "dora"))

    def now(self) -> datetime:
        return self.moment

    async def take(self, deliveries: Iterable[Any]) -> None:
        """Events come over the bus, all at once. Raises what the first of them raised."""
        gatherer = Gatherer(self.counter.commit, seconds=0.0, most=10_000)
        consumers = Consumers(gatherer, self.vault, self.keys)
        on = {
            "answer.completed": consumers.on_answer,
            "query.embedded": consumers.on_vector,
            "feedback.recorded": consumers.on_feedback,
            "answer.evaluated": consumers.on_scores,
        }
        async with gatherer.gathering():
            results = await asyncio.gather(*(on[one.arrival.topic](one) for one in deliveries), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def ask(self, words: list[str], count: int, *, minute: float, minutes: float, **changes: Any) -> list[str]:
        """Questions in these words are asked and answered; returns their ids."""
        seed = int(minute * 1000) + len(words)
        deliveries, ids = [], []
        for place, (at, text) in enumerate(
            questions(words, count, begin=START + minute * MINUTE, seconds=60 * minutes, seed=seed)
        ):
            fared = {"retrieved": [{"similarity": 0.6 + place % 20 / 100}], "usage": {"costMicroUsd": 10 + place % 7}}
            query_id = uuid5(NAMESPACE_URL, f"{self.tenant} {words[0]} {minute} {place}")
            message = answer(self.tenant, text, at=at, query_id=query_id, **(fared | changes))
            ids.append(message.query.query_id)
            deliveries.append(arrived(message, trace=TRACE.format(place + 1)))
        await self.take(deliveries)
        return ids

    async def look(self, minute: float) -> int:
        """Takes the looks that are due when nothing older than this minute is expected."""
        return await self.observer.look(self.tenant, START + minute * MINUTE)

    async def settle_in(self) -> None:
        """Five minutes of questions about Python, and the baseline that they become."""
        await self.ask(PYTHON, 300, minute=0, minutes=5)
        await self.look(6)

    async def alerts(self) -> list[drift_pb2.Alert]:
        response = await self.servicer.ListAlerts(service_pb2.ListAlertsRequest(tenant=self.tenant), _NO_CONTEXT)
        return list(response.alerts)

    async def queries(self) -> int:
        """How many were counted."""
        async with self.desk.open(self.tenant) as (_, books):
            return sum((await books.counts(START - timedelta(days=1), START + timedelta(days=30))).values())

    async def told(self) -> list[tuple[DriftDetected, str]]:
        """What was published of drift, with its traceparent."""
        raise NotImplementedError


class MemoryHouse(House):
    """Over books in memory."""

    desk: MemoryDesk

    def __init__(self, tenant: str, plan: Plan = PLAN) -> None:
        super().__init__(tenant, MemoryDesk(), plan)

    async def told(self) -> list[tuple[DriftDetected, str]]:
        ledger = self.desk.ledger
        return [(one.message, ledger.carried[one.event_id].get("traceparent", "")) for one in ledger.published]


class PostgresHouse(House):
    """Over a real Postgres."""

    def __init__(self, tenant: str, database: Database, plan: Plan = PLAN) -> None:
        super().__init__(tenant, PostgresDesk(database, Ledger(database)), plan)
        self.database = database

    async def told(self) -> list[tuple[DriftDetected, str]]:
        async with self.database.transaction() as connection:
            rows = await connection.fetch(
                "SELECT value, headers->>'traceparent' AS trace FROM outbox"
                " WHERE headers->>'ce_tenant' = $1 ORDER BY id",
                self.tenant,
            )
        return [(DriftDetected.FromString(row["value"]), row["trace"] or "") for row in rows]


_NO_CONTEXT: Any = None
