"""An instance that fills a tenant's index, slowly, until it is killed: `python -m … DSN TENANT`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from headrace_database import open_database
from headrace_retriever.testing import FakeOwnEmbedder

from services.retriever.tests.generations import Home


class Slow(FakeOwnEmbedder):
    """Takes its time."""

    async def embed_as(self, trained: Any, texts: Any, *, urgency: Any) -> Any:
        await asyncio.sleep(0.3)
        return await super().embed_as(trained, texts, urgency=urgency)


async def main(dsn: str, tenant: str) -> None:
    """Fills for ever."""
    async with open_database(dsn, schema="retriever") as database:
        home = Home(database, tenant, embedder=Slow())
        while True:
            await home.filler.turn(tenant)
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
