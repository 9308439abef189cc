"""A tenant's own embedder on the whole house: its index is filled beside the house's, answers once it is switched to,
and is there again after a crash."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import grpc
import numpy as np
import pytest
from headrace.query.v1.answer_pb2 import AnswerCompleted
from headrace.retrieval.v1.retrieval_pb2 import TrainedEmbedder
from headrace.retrieval.v1.service_pb2 import (
    INDEX_STATE_READY,
    GetIndexRequest,
    PrepareIndexRequest,
    SearchRequest,
    SwitchIndexRequest,
)
from headrace.retrieval.v1.service_pb2_grpc import RetrievalServiceStub
from headrace_client import Client
from headrace_client.errors import NotFound
from headrace_embedded.identity import keys_of
from headrace_embedded.trial import Trial
from headrace_identity import OwnToken, TokenMaker, read_private_key
from headrace_models.embedding import find_bundled
from headrace_runtime.grpc_client import open_channel
from safetensors.numpy import load_file, save_file

pytestmark = [pytest.mark.real, pytest.mark.models, pytest.mark.long, pytest.mark.timeout(300)]

TENANT, SECONDS = "demo", 90.0
QUESTIONS = [
    f"What does the {word} statement do {where}?"
    for word in ("nonlocal", "global", "del", "pass", "assert", "break", "continue", "while", "raise", "with")
    for where in ("in a function", "in a class", "at the top")
]


def learned(stack: Trial) -> TrainedEmbedder:
    """The house's own weights, changed a little, where the trainer would leave them."""
    model = f"python-embedder@{uuid.uuid4().hex[:16]}"
    folder = Path(shutil.copytree(find_bundled(), stack.home / "trained" / model))
    weights = load_file(folder / "model.safetensors")
    (last,) = (name for name in weights if name.endswith("layer.5.output.dense.weight"))
    weights[last] = weights[last] * np.float32(0.6)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    hashes = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}
    return TrainedEmbedder(tenant=TENANT, model=model, address=f"file://{folder}", files=hashes)


@asynccontextmanager
async def the_trainer(stack: Trial) -> AsyncIterator[Any]:
    """The retriever, as the trainer calls it."""
    key = read_private_key(keys_of(stack.home).service("trainer"))
    token = OwnToken(TokenMaker(key, issuer="headrace", audience="headrace"), "service:trainer")
    async with open_channel(stack.endpoints.service("retriever"), token) as channel:
        yield RetrievalServiceStub(channel)


async def until(done: Callable[[], Awaitable[bool]]) -> float:
    """Waits, and returns how many seconds it took."""
    began = time.monotonic()
    async with asyncio.timeout(SECONDS):
        while not await done():
            await asyncio.sleep(0.1)
    return time.monotonic() - began


async def is_ready(retriever: Any, model: str) -> bool:
    standing = await retriever.GetIndex(GetIndexRequest(tenant=TENANT))
    (mine,) = (index for index in standing.indexes if index.model == model)
    assert mine.failure in ("", "unavailable"), mine.failure
    return bool(mine.state == INDEX_STATE_READY and mine.filled == mine.chunks)


async def switch(retriever: Any, model: str, *, expected: str) -> float:
    """Returns how many seconds it took."""
    began = time.monotonic()
    await retriever.SwitchIndex(SwitchIndexRequest(tenant=TENANT, model=model, expected=expected))
    return time.monotonic() - began


async def searched(retriever: Any, questions: Sequence[str]) -> tuple[set[str], float]:
    """By whose vectors, and how many milliseconds a search took at the median."""
    by, took = set(), []
    for question in questions:
        began = time.monotonic()
        response = await retriever.Search(SearchRequest(tenant=TENANT, text=question))
        took.append((time.monotonic() - began) * 1000)
        by.add(response.settings.embedder.name)
    return by, median(took)


async def answered(client: Client) -> AnswerCompleted:
    """Asks, and waits until the answer is in the log."""
    query_id = str(uuid.uuid4())
    await client.answer("What does nonlocal do?", tenant=TENANT, product="docs-search", query_id=query_id)
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                return (await client.interaction(tenant=TENANT, query_id=query_id)).interaction
            except NotFound:
                await asyncio.sleep(0.2)


async def test_a_tenants_own_embedder_comes_to_answer_and_leaves_again(stack: Trial, client: Client) -> None:
    own = learned(stack)
    async with the_trainer(stack) as retriever:
        by, before = await searched(retriever, QUESTIONS)
        assert by == {"all-MiniLM-L6-v2"}
        await retriever.PrepareIndex(PrepareIndexRequest(tenant=TENANT, embedder=own))
        filled = await until(lambda: is_ready(retriever, own.model))
        chunks = (await retriever.GetIndex(GetIndexRequest(tenant=TENANT))).chunks
        took = await switch(retriever, own.model, expected="")
        try:
            await searched(retriever, QUESTIONS[:3])
            by, after = await searched(retriever, [f"{question} Why?" for question in QUESTIONS])
            assert by == {own.model}
            print(f"{chunks} chunks filled in {filled:.1f} s, switched in {took * 1000:.0f} ms;"  # noqa: T201
                  f" a search took {before:.1f} ms, and takes {after:.1f} ms")  # fmt: skip
            assert (await answered(client)).retrieval.embedder.name == own.model
            stack.wait_for_another("embedder", stack.kill("embedder"))
            await until(lambda: comes_back(retriever, own.model))
        finally:
            await switch(retriever, "", expected=own.model)
        by, _ = await searched(retriever, QUESTIONS[:3])
        assert by == {"all-MiniLM-L6-v2"}


async def comes_back(retriever: Any, model: str) -> bool:
    """Whether it is searched by the tenant's own embedder again. Until then the house answers, or nobody can."""
    try:
        return (await searched(retriever, ["What is a sluice?"]))[0] == {model}
    except grpc.aio.AioRpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return False
