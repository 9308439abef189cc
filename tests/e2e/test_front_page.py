"""The examples of the front page, run as they stand, and a stranger who has nothing but reflection."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from headrace.query.v1.service_pb2 import QUERY_STATE_ANSWERED
from headrace_client import Client
from headrace_client.credentials import open_maker
from headrace_embedded.trial import Trial

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.timeout(300)]

README = Path(__file__).parents[2] / "README.md"


def example(containing: str) -> str:
    """The front page's Python example that has these words."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    (found,) = [block for block in blocks if containing in block]
    return str(found)


def run(code: str, stack: Trial) -> str:
    code = code.replace("127.0.0.1:9092", stack.endpoints.bus()).replace(".headrace/keys", stack.endpoints.keys)
    environment = {**os.environ, "HEADRACE_HOME": str(stack.home)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_the_client_of_the_front_page_gets_an_answer(client: Client, stack: Trial) -> None:
    printed = await asyncio.to_thread(run, example("Client.connect"), stack)
    assert "[1]" in printed


async def test_the_product_of_the_front_page_is_answered(client: Client, stack: Trial) -> None:
    before = {query.query_id async for query in client.tally(tenant="demo")}
    await asyncio.to_thread(run, example("AIOKafkaProducer"), stack)
    async with asyncio.timeout(120):
        while True:
            now = {query.query_id: query.state async for query in client.tally(tenant="demo")}
            if any(state == QUERY_STATE_ANSWERED for query_id, state in now.items() if query_id not in before):
                return
            await asyncio.sleep(0.2)


def token(stack: Trial) -> str:
    """What `headrace token` prints for a product."""
    maker = open_maker(Path(stack.endpoints.keys))
    return maker.make(role="product", tenant="demo", subject="", now=time.time(), seconds=600)


def call(address: str, method: str, request: dict[str, Any], shown: str) -> list[dict[str, Any]]:
    """Calls a method as grpcurl does: by reflection, from JSON, to JSON, with a token."""
    service, _, name = method.rpartition("/")
    with grpc.insecure_channel(address) as channel:
        pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        described = pool.FindServiceByName(service).FindMethodByName(name)
        answer = message_factory.GetMessageClass(described.output_type)
        message = json_format.ParseDict(request, message_factory.GetMessageClass(described.input_type)())
        make = channel.unary_stream if described.server_streaming else channel.unary_unary
        found = make(f"/{method}", lambda m: m.SerializeToString(), answer.FromString)(
            message, metadata=[("authorization", f"Bearer {shown}")], timeout=120
        )
        return [json_format.MessageToDict(each) for each in (found if described.server_streaming else [found])]


async def test_a_stranger_asks_and_judges_by_reflection_alone(client: Client, stack: Trial) -> None:
    question = {"tenant": "demo", "product": "me", "text": "What does the pass statement do?"}
    ingest, feedback = stack.endpoints.service("ingest"), stack.endpoints.service("feedback")
    ask = "headrace.query.v1.QueryService/Ask"
    updates = await asyncio.to_thread(call, ingest, ask, {"question": question}, token(stack))
    assert updates[-1]["update"]["answer"]["text"]
    judged = {"tenant": "demo", "queryId": updates[-1]["queryId"], "thumb": "THUMB_UP"}
    method = "headrace.feedback.v1.FeedbackService/Record"
    (recorded,) = await asyncio.to_thread(call, feedback, method, {"feedback": judged}, token(stack))
    assert uuid.UUID(recorded["feedbackId"])


async def test_a_wrong_question_is_told_which_field(client: Client, stack: Trial) -> None:
    ingest = stack.endpoints.service("ingest")
    with pytest.raises(grpc.RpcError) as refused:
        ask = "headrace.query.v1.QueryService/Ask"
        await asyncio.to_thread(call, ingest, ask, {"question": {"tenant": "demo"}}, token(stack))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "question.text" in refused.value.details()


async def test_a_stranger_without_a_token_gets_in_nowhere(client: Client, stack: Trial) -> None:
    ask = "headrace.query.v1.QueryService/Ask"
    with pytest.raises(grpc.RpcError) as refused:
        await asyncio.to_thread(call, stack.endpoints.service("ingest"), ask, {"question": {"tenant": "demo"}}, "")
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


async def test_a_dead_collector_costs_no_query_anything(client: Client, stack: Trial) -> None:
    killed = await asyncio.to_thread(stack.kill, "traces")
    answer = await client.answer("What does the pass statement do?", tenant="demo", product="docs-search", timeout=60)
    assert answer.text
    await asyncio.to_thread(stack.wait_for_another, "traces", killed)
