"""A whole Headrace is used and misused with canaries, through every door; then everything that was written is read.

No word of a canary may stand anywhere but in the places of `allowed.py`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from headrace_client import Client
from headrace_embedded import testing
from headrace_embedded.trial import Trial, running

from tests.security.leaks import reading
from tests.security.leaks.allowed import leaks
from tests.security.leaks.canaries import make_canaries
from tests.security.leaks.doors import PRODUCT, SUBJECT, TENANT, Doors
from tests.security.leaks.learning import PLACES, Learning
from tests.security.leaks.receiver import Received, receiving
from tests.security.leaks.scanning import Hit, Scanner, Written

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.timeout(400)]

CANARIES = make_canaries(2026)
#: How long all that was asked may take to end.
PATIENCE = 150.0


def environment(received: Received, scratch: Path) -> dict[str, str]:
    """Small prompts, telemetry to us, and temporary files where we look."""
    return {
        "HEADRACE_INFERENCE_CONTEXT": "512",
        "OTEL_EXPORTER_OTLP_ENDPOINT": received.address,
        "OTEL_METRIC_EXPORT_INTERVAL": "2000",
        "TMPDIR": str(scratch),
    }


async def kill_once(trial: Trial, name: str) -> None:
    """A crash in the middle: what was under way is delivered again, with what that writes."""
    killed = await asyncio.to_thread(trial.kill, name)
    await asyncio.to_thread(trial.wait_for_another, name, killed)


async def everything(trial: Trial, received: Received, scratch: Path) -> list[Written]:
    """All that was written while it ran."""
    found = list(received.exports)
    found += [written async for written in reading.tables(trial.home)]
    found += [written async for written in reading.topics(trial.endpoints.bus())]
    found += await asyncio.to_thread(lambda: [*reading.files(trial.home), *reading.files(scratch, "tmp/")])
    return found


def summary(hits: list[Hit]) -> str:
    """What leaked where, without saying it."""
    return "\n".join(
        f"{place}: {canary} ({count} forms)"
        for (place, canary), count in sorted(Counter((hit.place, hit.canary) for hit in hits).items())
    )


async def used_and_misused() -> list[Written]:
    """Runs a Headrace, goes through its doors, and returns all that it wrote and said."""
    async with receiving() as received:
        with testing.state_folder() as scratch, running(environment(received, scratch)) as trial:
            async with Client.connect(trial.endpoints) as client:
                doors = Doors(trial.endpoints, client, CANARIES)
                await doors.use()
                await asyncio.gather(kill_once(trial, "inference"), doors.misuse())
                assert await doors.until_ended(seconds=PATIENCE) == []
                learning = Learning(trial.endpoints, client, CANARIES, tenant=TENANT)
                await learning.use(doors.planted.queries[0], product=PRODUCT, subject=SUBJECT)
            written = await everything(trial, received, scratch)
    return written + received.exports + doors.planted.errors


async def test_nothing_leaks() -> None:
    written = await used_and_misused()
    places = Counter(each.place.split(" ")[0] for each in written)
    assert {"spans", "metrics", "table", "topic", "file", "error"} <= set(places), places
    assert {each.place for each in written} >= PLACES, "every door must have been gone through"
    assert any(each.place.startswith("file datasets/") for each in written), "snapshots are on disk, and read"
    hits = await asyncio.to_thread(Scanner(CANARIES).hits, written)
    assert {hit.place for hit in hits} - {hit.place for hit in leaks(hits)}, "what is raw must at least be found"
    assert not leaks(hits), summary(leaks(hits))
