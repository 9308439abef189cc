"""An instance that counts answers until it is killed: `python -m … KAFKA DSN SERVICE careful|forgetful`.

A forgetful one has a seeded bug: it asks nobody whether an event took effect before.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from headrace import topics
from headrace_database import open_database
from headrace_drift.adapters.postgres import PostgresDesk
from headrace_drift.consumers import Consumers
from headrace_drift.counting import Counter
from headrace_drift.gathering import Gatherer
from headrace_drift.keys import Keys
from headrace_privacy import Vault
from headrace_privacy.memory import MemoryKeyring
from headrace_stream import Delivery, Ledger, Unit, open_bus

from services.drift.tests.house import PLAN


class Forgetful(Ledger):
    """Counts whatever comes."""

    @asynccontextmanager
    async def together(
        self, deliveries: Sequence[Delivery[Any]], *, tenant: str = ""
    ) -> AsyncIterator[tuple[Unit, Sequence[Delivery[Any]]]]:
        async with self.unit(tenant=tenant) as unit:
            yield unit, deliveries


async def main(kafka: str, dsn: str, service: str, ledgers: type[Ledger]) -> None:
    """Counts for ever."""
    async with open_bus(kafka, service=service) as bus, open_database(dsn, schema="drift") as database:
        vault = Vault(MemoryKeyring(), clock=lambda: 0.0)
        counter = Counter(PostgresDesk(database, ledgers(database)), PLAN.windows, lambda: datetime.now(UTC))
        gatherer = Gatherer(counter.commit, seconds=0.02, most=100)
        consumers = Consumers(gatherer, vault, Keys(vault))
        bus.subscribe(topics.ANSWER_COMPLETED, consumers.on_answer, in_flight=100)
        async with gatherer.gathering():
            await bus.start()
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], Forgetful if sys.argv[4] == "forgetful" else Ledger))
