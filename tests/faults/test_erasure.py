"""An erasure while the classifier, a store and the bus are killed on its way: it closes, once, with nothing left."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from headrace.feedback.v1.feedback_pb2 import FeedbackSubmitted
from headrace.privacy.v1.erasure_pb2 import ERASURE_STATE_CLOSED, ErasureScope
from headrace_client import Client
from headrace_client.errors import HeadraceError, NotFound
from headrace_embedded.trial import Trial, running

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.faults, pytest.mark.long, pytest.mark.timeout(900)]

TENANT = "demo"
QUICKLY = {"HEADRACE_INFERENCE_CONTEXT": "512"}
#: Who is killed, and how long after the request: before anybody has applied it, while some have, while it is read
#: back, and about when it is closed.
KILLS = [
    ("classifier", 0.0),
    ("feedback", 0.0),
    ("ingest", 0.3),
    ("classifier", 0.8),
    ("retriever", 0.5),
    ("classifier", 1.6),
    ("kafka", 0.6),
    ("postgres", 0.6),
]


@pytest.fixture(scope="module")
def trial() -> Iterator[Trial]:
    with running(QUICKLY) as up:
        yield up


async def left_traces(client: Client, subject: str) -> str:
    query_id = str(uuid.uuid4())
    await client.answer(
        "What does the pass statement do?", tenant=TENANT, product="docs-search", query_id=query_id, subject=subject
    )
    async with asyncio.timeout(60):
        while True:
            try:
                await client.interaction(tenant=TENANT, query_id=query_id)
                break
            except NotFound:
                await asyncio.sleep(0.1)
    await client.record_feedback(FeedbackSubmitted(tenant=TENANT, query_id=query_id, comment="Fine.", subject=subject))
    return query_id


async def until_working(client: Client, subject: str) -> str:
    """Leaves traces once everything is up again."""
    async with asyncio.timeout(180):
        while True:
            try:
                return await left_traces(client, subject)
            except HeadraceError:
                await asyncio.sleep(0.5)


@pytest.mark.parametrize(("victim", "seconds"), KILLS, ids=[f"{name}-{after}" for name, after in KILLS])
async def test_it_closes_once_whoever_is_killed(trial: Trial, victim: str, seconds: float) -> None:
    subject = f"user-{uuid.uuid4().hex[:8]}"
    async with Client.connect(trial.endpoints) as client:
        query_id = await until_working(client, subject)
        begun = await client.erase(ErasureScope(tenant=TENANT, subject=subject), reason="a test")
        await asyncio.sleep(seconds)
        killed = await asyncio.to_thread(trial.kill, victim)
        await asyncio.to_thread(trial.wait_for_another, victim, killed)
        closed = await followed(client, begun.erasure_id)
        assert closed.state == ERASURE_STATE_CLOSED
        assert closed.receipt
        with pytest.raises(NotFound):
            await client.interaction(tenant=TENANT, query_id=query_id)
        rows = [entry async for entry in client.audit_entries(tenant=TENANT) if entry.object == begun.erasure_id]
        assert [row.action for row in rows] == ["erasure.requested", "erasure.closed"]
    assert len(await completions(trial, begun.erasure_id)) == 1


async def followed(client: Client, erasure_id: str) -> Any:
    async with asyncio.timeout(180):
        while True:
            try:
                erasure = await client.erasure(erasure_id)
            except HeadraceError:  # what was killed is coming up
                await asyncio.sleep(0.5)
                continue
            if erasure.state == ERASURE_STATE_CLOSED:
                return erasure
            await asyncio.sleep(0.25)


async def completions(trial: Trial, erasure_id: str) -> set[bytes]:
    """The different announcements that it is closed: one that was sent twice has the same id."""
    consumer = AIOKafkaConsumer(
        "erasure.completed", bootstrap_servers=trial.endpoints.bus(), auto_offset_reset="earliest"
    )
    await consumer.start()
    found: set[bytes] = set()
    try:
        async with asyncio.timeout(30):
            while not found:
                for records in (await consumer.getmany(timeout_ms=1_000)).values():
                    found |= {dict(r.headers)["ce_id"] for r in records if (r.key or b"").decode() == erasure_id}
    finally:
        await consumer.stop()
    return found
