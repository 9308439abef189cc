"""200 queries while every process is killed in turn: each has exactly one answer, and the books agree.

And the same books over a service whose inbox was taken out: they must not agree.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from headrace.query.v1.events_pb2 import QuerySubmitted
from headrace.query.v1.service_pb2 import QUERY_STATE_ANSWERED
from headrace_client import Client, Endpoints
from headrace_client.errors import HeadraceError
from headrace_client.signing import FILE, read_signer, signed
from headrace_embedded.trial import Trial, running

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.faults, pytest.mark.long, pytest.mark.timeout(900)]

QUERIES = 200
#: Each is killed once while the queries flow.
VICTIMS = ("classifier", "embedder", "retriever", "inference", "feedback", "ingest", "kafka", "postgres")
QUESTIONS = (
    "What does the nonlocal statement do?",
    "What does the pass statement do?",
    "What happens when an assert statement fails?",
    "What does the break statement do?",
)
#: Short prompts: what is tested is delivery.
QUICKLY = {"HEADRACE_INFERENCE_CONTEXT": "512"}
WITHOUT_INBOX = Path(__file__).parent / "inference_without_inbox.py"


async def publish(endpoints: Endpoints, ids: list[str]) -> None:
    """Publishes as a product that keeps trying: the broker is killed meanwhile."""
    signer = read_signer(Path(endpoints.keys) / FILE)
    for number, query_id in enumerate(ids):
        question = QuerySubmitted(
            query_id=query_id, tenant="demo", product="docs-search", text=QUESTIONS[number % len(QUESTIONS)]
        )
        value = question.SerializeToString()
        headers = signed(signer, "query.submitted", question, value=value, now=time.time())
        await publish_one(endpoints.bus(), query_id, value, headers)
        await asyncio.sleep(0.1)


async def publish_one(kafka: str, key: str, value: bytes, headers: dict[str, str]) -> None:
    encoded = [(name, text.encode()) for name, text in headers.items()]
    while True:
        producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all")
        try:
            async with asyncio.timeout(10):
                await producer.start()
                await producer.send_and_wait("query.submitted", value, key=key.encode(), headers=encoded)
                return
        except (KafkaError, TimeoutError, OSError):
            await asyncio.sleep(0.5)
        finally:
            await producer.stop()


async def kill_in_turn(trial: Trial) -> None:
    for victim in VICTIMS:
        await asyncio.sleep(2.0)
        killed = await asyncio.to_thread(trial.kill, victim)
        await asyncio.to_thread(trial.wait_for_another, victim, killed)


async def until_all_answered(client: Client, ids: list[str]) -> None:
    async with asyncio.timeout(600):
        waiting = set(ids)
        while waiting:
            tallied = await states(client)
            waiting = {query_id for query_id in ids if tallied.get(query_id) != QUERY_STATE_ANSWERED}
            await asyncio.sleep(1.0)


async def states(client: Client) -> dict[str, int]:
    """How each query stands; empty while ingest is being restarted."""
    try:
        return {query.query_id: query.state async for query in client.tally(tenant="demo")}
    except HeadraceError:
        return {}


def reconcile(trial: Trial) -> tuple[int, dict[str, Any]]:
    """Runs the command as an operator would."""
    done = subprocess.run(
        [Path(sys.executable).parent / "headrace", "reconcile", "--tenant", "demo", "--grace", "20", "--json"],
        env={**os.environ, "HEADRACE_HOME": str(trial.home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.returncode, json.loads(done.stdout)


async def test_each_query_has_exactly_one_answer_whatever_is_killed(put_topics: Any) -> None:
    ids = [str(uuid.uuid4()) for _ in range(QUERIES)]
    with running(QUICKLY) as trial:
        async with Client.connect(trial.endpoints) as client:
            await put_topics(client)
            async with asyncio.TaskGroup() as group:
                group.create_task(publish(trial.endpoints, ids))
                group.create_task(kill_in_turn(trial))
            await until_all_answered(client, ids)
        code, report = await asyncio.to_thread(reconcile, trial)
    assert code == 0, report


async def test_the_books_notice_when_the_inbox_is_taken_out(put_topics: Any) -> None:
    ids = [str(uuid.uuid4()) for _ in range(3)]
    with running(QUICKLY, commands={"inference": (sys.executable, str(WITHOUT_INBOX))}) as trial:
        async with Client.connect(trial.endpoints) as client:
            await put_topics(client)
            await publish(trial.endpoints, ids)
            await until_all_answered(client, ids)
        answers = await read_all(trial.endpoints.bus(), "answer.completed", at_least=3)
        await deliver_again(trial.endpoints.bus(), "query.retrieved")
        answers = await read_all(trial.endpoints.bus(), "answer.completed", at_least=len(answers) + 3)
        code, report = await asyncio.to_thread(reconcile, trial)
    assert len(answers) >= 6
    assert code == 1, report


async def read_all(kafka: str, topic: str, *, at_least: int) -> list[Any]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest")
    await consumer.start()
    try:
        async with asyncio.timeout(120):
            return [await consumer.getone() for _ in range(at_least)]
    finally:
        await consumer.stop()


async def deliver_again(kafka: str, topic: str) -> None:
    """What a relay does that died between the bus and its own books: the same records, the same ids."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for record in await read_all(kafka, topic, at_least=3):
        await producer.send_and_wait(topic, record.value, key=record.key, headers=list(record.headers))
    await producer.stop()
