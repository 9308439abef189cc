"""Trained models on a real Kafka and a real Postgres: two instances, small real models, and traffic all the while."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from headrace import topics
from headrace.privacy.v1 import privacy_pb2
from headrace_database import open_database
from headrace_embedded import testing
from headrace_identity import Principal
from headrace_identity.principal import acting_as
from headrace_identity.testing import Issuer
from headrace_inference.adapters.postgres_trained import PostgresTrainedBooks
from headrace_privacy import Tier
from headrace_privacy.memory import MemoryKeyring
from headrace_runtime.testing import serving_keys
from headrace_stream import Ledger, open_bus
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.inference.tests.test_routes_real import serving_embedder, until
from services.inference.tests.trained_folders import hashes_of, make_folder, record
from services.inference.tests.trained_house import House, Traffic, migrated

pytestmark = [pytest.mark.real, pytest.mark.long, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[3]
POUR = "What does the pour statement do?"


# --- the table --------------------------------------------------------------------------------------------------------


async def test_the_table_keeps_the_last_word_of_each_tenants_models(database: testing.Database) -> None:
    await migrated(database)
    async with open_database(database.dsn("inference"), schema="inference") as opened:
        books, ledger = PostgresTrainedBooks(opened), Ledger(opened)
        first = record(files={"model.safetensors": "1" * 64}, carrier={"traceparent": "00-1"})
        later = replace(first, standing="live", changed_at=first.changed_at.replace(hour=10), tier=Tier.TIER_2)
        theirs = replace(first, tenant="other")
        for each in (first, later, theirs, replace(first, standing="canary")):
            async with ledger.unit(tenant=each.tenant) as unit:
                await books.put(unit, each)
        assert await books.of("demo") == [later]
        assert dict((await books.of("demo"))[0].carrier) == {"traceparent": "00-1"}
        assert await books.every() == [later, theirs]
        async with opened.transaction(tenant="other") as connection:
            assert await connection.fetchval("SELECT count(*) FROM trained_models") == 1
        async with opened.transaction() as connection:
            assert await connection.fetchval("SELECT count(*) FROM trained_models") == 0
    async with opened_as(database) as superuser:
        await superuser.execute("DELETE FROM inference.trained_models")


@asynccontextmanager
async def opened_as(database: testing.Database) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(database.superuser)
    try:
        yield connection
    finally:
        await connection.close()


# --- two instances ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def house(fresh_kafka: str, database: testing.Database, tmp_path: Path) -> AsyncIterator[House]:
    await migrated(database)
    folders = tmp_path / "made"
    for seed, version in enumerate(("base", "aaaa", "bbbb"), start=1):
        make_folder(folders / version, seed=seed)
    async with AsyncExitStack() as stack:
        common = {
            "kafka": fresh_kafka,
            "database": database.dsn("inference"),
            "embedder": await stack.enter_async_context(serving_embedder()),
            "classifier": await stack.enter_async_context(serving_keys(MemoryKeyring())),
            "model": str(folders / "base"),
            "cache": tmp_path / "cache",
            "slots": 4,
            "context": 2048,
            **Issuer().settings(tmp_path),
        }
        bus = await stack.enter_async_context(open_bus(fresh_kafka, service="product"))
        house = House(common, bus, folders)
        bus.watch(topics.ANSWER_COMPLETED, house.traffic.on_answer)
        await bus.start()
        for _ in range(2):
            await house.start()
        stack.enter_context(acting_as(Principal("developer", "demo", "dana")))
        try:
            yield house
        finally:
            while house.instances:
                await house.stop()
            await bus.stop(5)
    async with opened_as(database) as superuser:
        await superuser.execute("DELETE FROM inference.trained_models")


async def test_models_come_answer_and_go_under_traffic_and_no_query_is_dropped(house: House) -> None:
    traffic = house.traffic
    flow = asyncio.create_task(traffic.flow())
    try:
        await house.change("REGISTERED", "aaaa")
        await house.everywhere("aaaa", "up")
        await house.put_variant("aaaa")
        await house.route("aaaa")
        await until(lambda: len(traffic.by("aaaa")) > 10)

        # The next beside it, a share each; then the whole.
        await house.change("REGISTERED", "bbbb")
        await house.everywhere("bbbb", "up")
        await house.put_variant("bbbb")
        await house.change("CANARY", "bbbb")
        await house.route("aaaa", "bbbb")
        await until(lambda: len(traffic.by("bbbb")) > 5)
        await house.route("bbbb")
        await house.change("PROMOTED", "bbbb")

        # Retired while it writes: what is under way is finished, what comes is answered by the default.
        await house.route("aaaa", "bbbb")
        await asyncio.sleep(0.5)
        await house.change("RETIRED", "aaaa")
        await until(lambda: not list((house.common["cache"] / "trained" / "demo").glob("tuned@aaaa")))
        await until(lambda: passed_over(traffic) > 0)
        assert "aaaa" not in await house.told(0)
    finally:
        flow.cancel()
    await traffic.all_answered()
    versions = Counter(answer.model.version for answer in traffic.answers.values())
    assert versions["aaaa"] > 10
    assert versions["bbbb"] > 5
    told = {(a.variant.name, a.model.name, a.tier) for a in traffic.answers.values() if a.model.version == "aaaa"}
    assert told == {("on-aaaa", "tuned", privacy_pb2.TIER_1)}


def passed_over(traffic: Traffic) -> int:
    return sum(
        ("on-aaaa", "broken") in [(p.variant.name, p.reason) for p in answer.routing.passed_over]
        for answer in traffic.answers.values()
    )


async def test_corrupt_weights_harm_nobody_and_are_tried_again(house: House) -> None:
    await house.change("REGISTERED", "aaaa")
    await house.everywhere("aaaa", "up")
    await house.put_variant("aaaa")
    await house.route("aaaa")

    sound = hashes_of(house.folders / "bbbb")
    shutil.copytree(house.folders / "bbbb", house.folders / "sound")
    (house.folders / "bbbb" / "model.safetensors").write_bytes(b"damaged")
    await house.change("REGISTERED", "bbbb", files=sound)
    await house.everywhere("bbbb", "failed", "corrupt")
    ids = [await house.traffic.ask() for _ in range(10)]
    await house.traffic.all_answered()
    assert {house.traffic.answers[query_id].model.version for query_id in ids} == {"aaaa"}

    shutil.rmtree(house.folders / "bbbb")
    await house.change("CANARY", "bbbb", files=sound)
    await house.everywhere("bbbb", "failed", "missing")
    (house.folders / "sound").rename(house.folders / "bbbb")
    await house.everywhere("bbbb", "up")


async def test_an_instance_that_starts_again_loads_what_answers_and_deletes_what_is_gone(house: House) -> None:
    for version in ("aaaa", "bbbb"):
        await house.change("REGISTERED", version)
        await house.everywhere(version, "up")
    await house.put_variant("aaaa")
    await house.route("aaaa")
    for _ in range(2):
        await house.stop()
    # While nobody runs: a word in the log, and queries that wait.
    await house.change("DELETED", "bbbb")
    waiting = [await house.traffic.ask() for _ in range(5)]
    await house.start()
    await house.traffic.all_answered()
    assert all(query_id in house.traffic.answers for query_id in waiting)
    await house.everywhere("aaaa", "up")
    shelf = house.common["cache"] / "trained" / "demo"
    await until(lambda: [p.name for p in shelf.iterdir()] == ["tuned@aaaa"])
    query_id = await house.traffic.ask()
    await house.traffic.all_answered()
    assert house.traffic.answers[query_id].model.version == "aaaa"


async def test_loading_stands_in_the_trace_of_the_word(house: House, exporter: InMemorySpanExporter) -> None:
    with trace.get_tracer("test").start_as_current_span("what the trainer does") as cause:
        await house.change("REGISTERED", "aaaa")
    await house.everywhere("aaaa", "up")

    def loads() -> list[Any]:
        return [one for one in exporter.get_finished_spans() if one.name == "load tuned@aaaa"]

    await until(lambda: len(loads()) == 2, 10)
    assert {one.context.trace_id for one in loads()} == {cause.get_span_context().trace_id}
    assert all(one.parent is not None for one in loads())


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Spans of this process, as they end."""
    spans = InMemorySpanExporter()
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider()
        trace.set_tracer_provider(provider)
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return spans
