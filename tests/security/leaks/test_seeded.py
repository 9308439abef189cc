"""A leak that somebody puts in is found: one line that logs the text, one attribute of a span, in a service that runs.

The classifier runs as it does anywhere, on a real Kafka and Postgres, but for that line.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import grpc
import pytest
from headrace.privacy.v1.service_pb2 import ClassifyRequest
from headrace.privacy.v1.service_pb2_grpc import PrivacyServiceStub
from headrace_client.credentials import MintedTokens, open_maker
from headrace_embedded import ports, testing
from headrace_embedded.audit_key import ensure_audit_key
from headrace_embedded.identity import ensure_keys
from headrace_runtime.health import is_serving

from tests.security.leaks.canaries import make_canaries
from tests.security.leaks.receiver import Received, receiving
from tests.security.leaks.scanning import Hit, Scanner, Written

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[3]
CANARIES = make_canaries(99)
METHOD = "headrace.privacy.v1.PrivacyService/Classify"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of keys, as there is one database: its keys are wrapped by the master key in it."""
    return tmp_path_factory.mktemp("home")


@asynccontextmanager
async def classifier(
    leak: str, folder: Path, *, kafka: str, database: testing.Database, received: Received
) -> AsyncIterator[str]:
    """Runs it, its log in the folder, and gives its address."""
    keys = ensure_keys(folder)
    address = f"{ports.HOST}:{ports.reserve()}"
    told = {
        "KAFKA": kafka,
        "LISTEN": address,
        "DATABASE": database.dsn("classifier"),
        "IDENTITIES": keys.identities,
        "SERVICE_KEY": keys.service("classifier"),
        "AUDIT_KEY": ensure_audit_key(keys.folder),
        "CHECKPOINTS": folder / "checkpoints",
        "MASTER_KEY_FILE": folder / "master.json",
        "TRACES": received.address,
    }
    environment = {**os.environ, **{f"HEADRACE_CLASSIFIER_{name}": str(value) for name, value in told.items()}}
    command = [sys.executable, "-m", "tests.security.leaks.leaky_classifier", leak]
    with (folder / f"{leak}.log").open("wb") as log:
        process = _started(command, environment, log)
    try:
        await _until_serving(address, process)
        yield address
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 30)


def _started(command: list[str], environment: dict[str, str], log: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)


async def _until_serving(address: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 90
    while not await asyncio.to_thread(is_serving, address):
        assert process.poll() is None, "it ended"
        assert time.monotonic() < end, "it does not come up"
        await asyncio.sleep(0.2)


async def classified(address: str, keys: Path) -> None:
    """Has it look at every canary."""
    tokens = MintedTokens(open_maker(keys), person="scanner")
    async with grpc.aio.insecure_channel(address) as channel:
        for canary in CANARIES:
            request = ClassifyRequest(tenant="acme", text=f"Look at {canary.text}")
            metadata = [("authorization", f"Bearer {tokens.token(METHOD, request)}")]
            await PrivacyServiceStub(channel).Classify(request, metadata=metadata, timeout=30)


async def found(leak: str, folder: Path, *, kafka: str, database: testing.Database) -> list[Hit]:
    """What the scanner finds in all that this classifier wrote and sent."""
    async with receiving() as received:
        async with classifier(leak, folder, kafka=kafka, database=database, received=received) as address:
            await classified(address, folder / "keys")
        written = [*received.exports, Written("log", (folder / f"{leak}.log").read_bytes())]
    assert "spans" in received.kinds()
    return Scanner(CANARIES).hits(written)


@pytest.mark.parametrize(("leak", "place"), [("log", "log"), ("span", "spans"), ("nothing", "")])
async def test_one_line_is_found(leak: str, place: str, home: Path, kafka: str, database: testing.Database) -> None:
    await database.migrate("classifier")
    hits = await found(leak, home, kafka=kafka, database=database)
    assert {hit.place for hit in hits} == ({place} if place else set())
    assert {hit.canary for hit in hits} == ({canary.name for canary in CANARIES} if place else set())
