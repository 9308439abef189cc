"""An instance that takes what waits and hangs over it, to be killed: `python -m … DSN LEASE_SECONDS`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from headrace_database import open_database
from headrace_feedback.evaluating.ports import Neighbours
from headrace_feedback.evaluating.postgres import PostgresDesk
from headrace_feedback.evaluating.reading import Reader
from headrace_feedback.evaluating.working import Limits, Parts, Worker
from headrace_privacy import Tier, Vault
from headrace_privacy.memory import MemoryKeyring
from headrace_stream import Ledger

from services.feedback.tests.makers import SomeAuthorizer


class Hanging:
    """Says that it was reached, and never answers."""

    async def fetch(self, tenant: str, chunk_ids: Sequence[str], *, clearance: Tier) -> Any:
        del tenant, chunk_ids, clearance
        sys.stdout.write("reached\n")
        sys.stdout.flush()
        await asyncio.sleep(3600)


async def main(dsn: str, lease_seconds: float) -> None:
    """Works until it is killed."""
    async with open_database(dsn, schema="feedback") as database:
        reader = Reader(Vault(MemoryKeyring(), clock=lambda: 0.0), Neighbours(Hanging()))
        limits = Limits(lease_seconds=lease_seconds)
        desk = PostgresDesk(Ledger(database))
        parts = Parts(desk, reader, SomeAuthorizer(), lambda: datetime.now(UTC), lambda: "0" * 16, limits)
        await Worker(parts, uuid4()).work()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
