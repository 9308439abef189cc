"""From a model's registration to its first answer, while questions keep coming.

One instance of inference on a real Kafka and a real Postgres, with SmolLM2 as its own model and copies of it as what
the trainer made. The trainer's word, the weights' way to this machine with every file checked, loading beside the
model that answers, the variant, the route: all of it as in service. What stands in for the trainer waits for "up" as
the registry does. The peer is what one would do without: the instance is stopped, and started with the new weights.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from headrace import topics
from headrace_embedded import testing
from headrace_embedded.processes import Lifetime
from headrace_embedded.servers import kafka as kafka_server
from headrace_embedded.servers import postgres as postgres_server
from headrace_embedded.servers.topics import create_topics
from headrace_identity import Principal
from headrace_identity.principal import acting_as
from headrace_identity.testing import Issuer
from headrace_models.generation import wheel_weights
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.testing import serving_keys
from headrace_stream import open_bus

from bench.harness import Budget, Row
from services.inference.tests.test_routes_real import serving_embedder, until
from services.inference.tests.trained_folders import make_folder
from services.inference.tests.trained_house import House, migrated

GROUP = "switch"
#: So many questions are under way at a time.
IN_FLIGHT = 3
CACHE = Path(__file__).parents[1] / "build" / "models"


def rows(budget: Budget) -> list[Row]:
    """Measures some switches under traffic, and a restart."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    return asyncio.run(_rows(budget))


async def _rows(budget: Budget) -> list[Row]:
    versions = [f"{i:016x}" for i in range(1, budget.pick(quick=2, full=3))]
    with tempfile.TemporaryDirectory(prefix="headrace-switch-") as folder:
        make = budget.pick(quick=_small, full=_real)
        for version in ("base", *versions):
            make(Path(folder, "made", version))
        async with _house(Path(folder)) as house:
            house.traffic.most, house.traffic.pause = IN_FLIGHT, 0.02
            return await _measure(house, versions)


def _small(folder: Path) -> None:
    make_folder(folder)


def _real(folder: Path) -> None:
    shutil.copytree(wheel_weights(CACHE).folder, folder)


@asynccontextmanager
async def _house(folder: Path) -> AsyncIterator[House]:
    async with AsyncExitStack() as stack:
        kafka_server.fetch_jars(print)
        broker = kafka_server.open_server(folder / "kafka", 0, lifetime=Lifetime.PARENTS)
        tables = postgres_server.open_server(folder / "postgres", 0, lifetime=Lifetime.PARENTS)
        for server in (broker, tables):
            server.start()
            stack.callback(server.stop)
        await create_topics(broker.bootstrap)
        database = await testing.open_database(tables, "switch")
        await migrated(database)
        common: dict[str, Any] = {
            "kafka": broker.bootstrap,
            "database": database.dsn("inference"),
            "embedder": await stack.enter_async_context(serving_embedder()),
            "classifier": await stack.enter_async_context(serving_keys(MemoryKeyring())),
            "model": str(folder / "made" / "base"),
            "cache": folder / "cache",
            "slots": 4,
            "context": 2048,
            **Issuer().settings(folder),
        }
        bus = await stack.enter_async_context(open_bus(broker.bootstrap, service="product"))
        house = House(common, bus, folder / "made")
        bus.watch(topics.ANSWER_COMPLETED, house.traffic.on_answer)
        await bus.start()
        await house.start()
        stack.enter_context(acting_as(Principal("developer", "demo", "dana")))
        try:
            yield house
        finally:
            while house.instances:
                await house.stop()
            await bus.stop(5)


async def _measure(house: House, versions: Sequence[str]) -> list[Row]:
    traffic = house.traffic
    async with _flowing(house):
        await until(lambda: len(traffic.answers) >= 10, 300)
        quiet = list(traffic.answered)
        switches = [await _switch(house, version) for version in versions]
    with suppress(TimeoutError):  # then they are dropped
        await traffic.all_answered()
    dropped = len(traffic.asked.keys() - traffic.answers.keys())
    before = _latencies(house, quiet)
    during = _latencies(house, [query_id for query_id in traffic.answered if query_id not in set(quiet)])
    restart = await _restart(house, versions[0])
    loaded, answered = [one[0] for one in switches], [one[1] for one in switches]
    extra = {
        "loaded_seconds": loaded,
        "first_answer_seconds": answered,
        "asked": len(traffic.asked),
        "in_flight": IN_FLIGHT,
    }
    return [
        Row(GROUP, "queries dropped", float(dropped), None, "queries", None, goal=0.0, higher_is_better=False,
            goal_of="ours", note=f"{len(traffic.asked)} asked while {len(versions)} models came", extra=extra),
        Row(GROUP, "model.changed to its first answer, median", median(answered), restart, "s",
            median(answered) / restart, higher_is_better=False,
            note="peer: the instance stopped and started with it, nobody answered meanwhile", extra=extra),
        Row(GROUP, "of that until it is loaded", median(loaded), None, "s", None, higher_is_better=False,
            note="270 MB brought, checked, loaded, its first word written; --quick: a model of some kilobytes"),
        Row(GROUP, "answer's time while models are loaded, p95", _p95(during), _p95(before), "s",
            _p95(during) / _p95(before), higher_is_better=False, note="peer: before the first one came"),
    ]  # fmt: skip


@asynccontextmanager
async def _flowing(house: House) -> AsyncIterator[None]:
    flow = asyncio.create_task(house.traffic.flow())
    try:
        yield
    finally:
        flow.cancel()
        with suppress(asyncio.CancelledError):
            await flow


async def _switch(house: House, version: str) -> tuple[float, float]:
    """Seconds until the model is loaded, and until somebody has its answer."""
    began = time.perf_counter()
    await house.change("REGISTERED", version)
    await house.everywhere(version, "up")
    loaded = time.perf_counter() - began
    await house.put_variant(version)
    await house.route(version)
    await until(lambda: bool(house.traffic.by(version)), 300)
    answered = time.perf_counter() - began
    await house.change("PROMOTED", version)
    return loaded, answered


async def _restart(house: House, version: str) -> float:
    began = time.perf_counter()
    await house.stop()
    house.common["model"] = str(house.folders / version)
    await house.start()
    query_id = await house.traffic.ask()
    await until(lambda: query_id in house.traffic.answers, 300)
    return time.perf_counter() - began


def _latencies(house: House, query_ids: Sequence[str]) -> list[float]:
    return [house.traffic.answered[each] - house.traffic.asked[each] for each in query_ids]


def _p95(values: Sequence[float]) -> float:
    return quantiles(values, n=20)[18]
