"""What Headrace adds to a query beyond the models' own time: the bus, inbox, outbox, log and traces included.

The whole of Headrace runs as `make up` brings it up, but for a language model that takes a fixed time and no
processor; that time and the embedder's own work, which every answer says, are taken off. The peer is the least that a
pipeline on this bus can cost: five hops through FastStream with a commit for each message, in one process, without a
database.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from pydoc_data.topics import topics
from statistics import median, quantiles
from typing import Any

from faststream.kafka import KafkaBroker, KafkaMessage
from faststream.middlewares import AckPolicy
from headrace.privacy.v1.privacy_pb2 import TIER_2, TIER_PUBLIC
from headrace.query.v1.answer_pb2 import GROUNDING_NOT_IN_SOURCES
from headrace_client import Client
from headrace_embedded.testing import create_topic
from headrace_embedded.trial import Trial, running

from bench import paced_model
from bench.harness import Budget, Row

GROUP = "query"
QUESTION = "What does the nonlocal statement do?"
HOPS = 5
_blanks = itertools.count()


def rows(budget: Budget) -> list[Row]:
    """Measures one query at a time and eight, beside bare hops, with traces and without."""
    return asyncio.run(_rows(budget))


async def _rows(budget: Budget) -> list[Row]:
    count = budget.pick(quick=40, full=200)
    with paced_model.serving() as address:
        model = {
            "HEADRACE_INFERENCE_BACKEND": "openai",
            "HEADRACE_INFERENCE_OPENAI_URL": address,
            "HEADRACE_INFERENCE_MODEL": paced_model.MODEL,
        }
        with running(model) as trial:
            found, traced = await _measure(trial, count)
        with running({**model, "OTEL_SDK_DISABLED": "true"}) as trial:
            untraced = await _per_second(trial, count)
    return [*found, _tracing(traced, untraced)]


def _tracing(traced: float, untraced: float) -> Row:
    return Row(GROUP, "throughput with every query traced", traced, untraced, "queries/s", traced / untraced, goal=0.95,
               note="peer: the same without spans; 32 in flight; one run each, after each other")  # fmt: skip


async def _per_second(trial: Trial, count: int) -> float:
    async with Client.connect(trial.endpoints) as client:
        await _put(client)
        await _ask_many(client, count=40, in_flight=8)
        start = time.perf_counter()
        await _ask_many(client, count=count, in_flight=32)
        return count / (time.perf_counter() - start)


async def _measure(trial: Trial, count: int) -> tuple[list[Row], float]:
    found: list[Row] = []
    async with Client.connect(trial.endpoints) as client:
        await _put(client)
        await _ask_many(client, count=20, in_flight=4)
        for in_flight in (1, 8):
            ours = await _ask_many(client, count=count, in_flight=in_flight)
            hops = await _bare_hops(trial.endpoints.bus(), count=count, in_flight=in_flight)
            found.extend(_compare(ours, hops, in_flight))
        found.append(await _sealing(client, count=count))
    memory = trial.memory() / 2**30
    found.append(
        Row(GROUP, "memory of all processes", memory, None, "GiB", None, goal=6.0, higher_is_better=False,
            goal_of="ours", note="shared pages counted once; without a language model")
    )  # fmt: skip
    return found, await _per_second(trial, count)


def _compare(ours: list[float], hops: list[float], in_flight: int) -> list[Row]:
    def row(name: str, mine: float, theirs: float, goal: float) -> Row:
        title = f"added by Headrace, {in_flight} in flight, {name}"
        return Row(GROUP, title, mine, theirs, "ms", mine / theirs, goal=goal, higher_is_better=False, goal_of="ours",
                   note=f"peer: {HOPS} bare FastStream hops")  # fmt: skip

    return [row("p50", median(ours), median(hops), 20.0), row("p99", _p99(ours), _p99(hops), 80.0)]


async def _sealing(client: Client, *, count: int) -> Row:
    """An end user's question about customers' documents, and a public one, by turns."""
    plain = {"product": "docs-search", "declared_tier": TIER_PUBLIC, "sources": ["reference"]}
    sealed = {"product": "bench", "subject": "user-17", "sources": ["customers"]}
    pairs = [(await _ask(client, **sealed), await _ask(client, **plain)) for _ in range(count)]
    added = median(mine - theirs for mine, theirs in pairs)
    return Row(GROUP, "added by sealing everything, p50", added, None, "ms", None, higher_is_better=False,
               note="beside all of it public; by turns, 1 in flight; see the group sealing")  # fmt: skip


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98]


async def _put(client: Client) -> None:
    for source, tier in (("reference", TIER_PUBLIC), ("customers", TIER_2)):
        for name in ("nonlocal", "global", "pass"):
            await client.put_document(
                topics[name].encode(), tenant="bench", source=source, document_id=name, media_type="text/plain",
                declared_tier=tier,
            )  # fmt: skip


async def _ask_many(client: Client, *, count: int, in_flight: int) -> list[float]:
    """Returns the added milliseconds of each query."""
    ask = partial(_ask, client, product="bench", sources=["reference"])
    return await _in_flight(ask, count=count, in_flight=in_flight)


async def _ask(client: Client, **question: Any) -> float:
    """Returns the milliseconds that Headrace adds to one query."""
    start = time.perf_counter()
    # The blanks keep the embedder from knowing the question already.
    answer = await client.answer(QUESTION + " " * next(_blanks), tenant="bench", **question)
    taken = (time.perf_counter() - start) * 1000
    if answer.grounding == GROUNDING_NOT_IN_SOURCES:
        raise RuntimeError("the model was not asked: there is nothing to measure")
    return taken - answer.timings_ms["embedder"] - paced_model.SECONDS * 1000


async def _in_flight(call: Callable[[], Awaitable[float]], *, count: int, in_flight: int) -> list[float]:
    gate = asyncio.Semaphore(in_flight)

    async def gated() -> float:
        async with gate:
            return await call()

    return list(await asyncio.gather(*(gated() for _ in range(count))))


async def _bare_hops(kafka: str, *, count: int, in_flight: int) -> list[float]:
    """Returns the milliseconds that five hops take: MANUAL acknowledgement, a commit for each message."""
    run = uuid.uuid4().hex[:8]
    names = [await create_topic(kafka, f"bench.hop{n}.{run}", partitions=1) for n in range(HOPS + 1)]
    broker = KafkaBroker(kafka, logger=None)
    arrived: dict[str, asyncio.Future[None]] = {}
    for source, target in zip(names, [*names[1:], ""], strict=True):
        _add_hop(broker, source, target, arrived, run)

    async def cross() -> float:
        name = uuid.uuid4().hex
        arrival = arrived[name] = asyncio.get_running_loop().create_future()
        start = time.perf_counter()
        await broker.publish(name, names[0])
        await arrival
        return (time.perf_counter() - start) * 1000

    await broker.start()
    try:
        await _in_flight(cross, count=10, in_flight=1)
        return await _in_flight(cross, count=count, in_flight=in_flight)
    finally:
        await broker.stop()


def _add_hop(broker: KafkaBroker, source: str, target: str, arrived: dict[str, Any], run: str) -> None:
    @broker.subscriber(source, group_id=f"{run}.{source}", auto_offset_reset="earliest", ack_policy=AckPolicy.MANUAL)
    async def handle(body: str, message: KafkaMessage) -> None:
        if target:
            await broker.publish(body, target)
        else:
            arrived.pop(body).set_result(None)
        await message.ack()
