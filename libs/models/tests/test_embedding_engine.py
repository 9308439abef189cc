"""How the engine shares one compute thread, shown with an encoder that a test can hold back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest
from headrace_models.embedding import EmbeddingEngine, Identity, Overloaded, Priority, open_engine
from headrace_models.embedding.engine import PATIENCE, Limits
from numpy.typing import NDArray


class FakeEncoder:
    """One token a word; the vector holds the word count and a checksum. Runs when `gate` is open."""

    identity = Identity("fake", 2, "0" * 16)

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.runs: list[list[int]] = []

    def tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        return [[len(word) for word in text.split()] for text in texts]

    def run(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        self.gate.wait(5)
        self.runs.append([len(row) for row in rows])
        if any(99 in row for row in rows):
            raise ArithmeticError("a row that breaks")
        return np.array([[len(row), sum(row)] for row in rows], dtype=np.float32)


def words(count: int, length: int = 1) -> str:
    """A text of so many words, told apart by their length."""
    return " ".join(["x" * length] * count)


@asynccontextmanager
async def opened(limits: Limits | None = None) -> AsyncIterator[tuple[EmbeddingEngine, FakeEncoder]]:
    encoder = FakeEncoder()
    async with open_engine(lambda: encoder, limits or Limits(batch_tokens=10)) as engine:
        yield engine, encoder
        encoder.gate.set()


async def until_waiting() -> None:
    """Lets everything that was just begun come to its first wait."""
    await asyncio.sleep(0.02)


async def test_keeps_the_order_of_the_texts() -> None:
    async with opened() as (engine, encoder):
        texts = [words(n, length) for n, length in ((7, 1), (2, 3), (9, 1), (1, 1), (2, 2))]
        result = await engine.embed(texts, priority=Priority.DOCUMENT)
    assert result.vectors.tolist() == [[7, 7], [2, 6], [9, 9], [1, 1], [2, 4]]
    assert result.tokens == (7, 2, 9, 1, 2)
    assert result.vectors.dtype == np.float32
    assert all(sum(run) <= 10 for run in encoder.runs)
    assert all(run == sorted(run) for run in encoder.runs)


async def test_no_texts_give_no_vectors() -> None:
    async with opened() as (engine, _):
        assert (await engine.embed([])).vectors.shape == (0, 2)


async def test_a_text_longer_than_the_budget_runs_alone() -> None:
    async with opened() as (engine, encoder):
        await engine.embed([words(25), words(1)])
    assert encoder.runs == [[25], [1]]


async def test_equal_texts_are_computed_once_and_remembered() -> None:
    async with opened() as (engine, encoder):
        first = await engine.embed([words(3), words(3)])
        second = await engine.embed([words(3)])
    assert encoder.runs == [[3]]
    assert first.vectors[0].tolist() == first.vectors[1].tolist() == second.vectors[0].tolist()


async def test_callers_share_batches() -> None:
    async with opened() as (engine, encoder):
        encoder.gate.clear()
        first = asyncio.create_task(engine.embed([words(9)]))
        await until_waiting()
        others = [asyncio.create_task(engine.embed([words(2, length)])) for length in range(1, 6)]
        await until_waiting()
        encoder.gate.set()
        await asyncio.gather(first, *others)
    assert encoder.runs == [[9], [2] * 5]


async def test_a_query_waits_for_one_batch_of_documents_at_most() -> None:
    async with opened() as (engine, encoder):
        encoder.gate.clear()
        documents = asyncio.create_task(
            engine.embed([words(8, length) for length in range(1, 7)], priority=Priority.DOCUMENT)
        )
        await until_waiting()
        query = asyncio.create_task(engine.embed([words(2)]))
        await until_waiting()
        encoder.gate.set()
        await asyncio.gather(documents, query)
    assert encoder.runs == [[8], [2], [8], [8], [8], [8], [8]]


async def test_documents_are_not_starved() -> None:
    async with opened() as (engine, encoder):
        encoder.gate.clear()
        # Each fills a batch: twice as many as may run in a row.
        queries = [asyncio.create_task(engine.embed([words(10, length)])) for length in range(1, 2 * PATIENCE + 1)]
        await until_waiting()
        document = asyncio.create_task(engine.embed([words(3)], priority=Priority.DOCUMENT))
        await until_waiting()
        encoder.gate.set()
        await asyncio.gather(document, *queries)
    assert encoder.runs.index([3]) == PATIENCE


async def test_cancelled_work_is_skipped() -> None:
    async with opened() as (engine, encoder):
        encoder.gate.clear()
        first = asyncio.create_task(engine.embed([words(9)]))
        await until_waiting()
        given_up = asyncio.create_task(engine.embed([words(8)]))
        kept = asyncio.create_task(engine.embed([words(7)]))
        await until_waiting()
        given_up.cancel()
        encoder.gate.set()
        await asyncio.gather(first, kept)
    assert given_up.cancelled()
    assert encoder.runs == [[9], [7]]


async def test_a_full_queue_refuses_and_recovers() -> None:
    async with opened(Limits(batch_tokens=10, waiting=2)) as (engine, encoder):
        encoder.gate.clear()
        waiting = [asyncio.create_task(engine.embed([words(9, length)])) for length in (1, 2)]
        await until_waiting()
        with pytest.raises(Overloaded):
            await engine.embed([words(1), words(2)])
        encoder.gate.set()
        await asyncio.gather(*waiting)
        assert (await engine.embed([words(1), words(2)])).tokens == (1, 2)


async def test_more_texts_than_may_wait_are_taken_when_nothing_waits() -> None:
    async with opened(Limits(batch_tokens=10, waiting=2)) as (engine, _):
        assert len((await engine.embed([words(n) for n in range(1, 6)])).tokens) == 5


async def test_an_error_reaches_those_it_concerns_and_no_others() -> None:
    async with opened() as (engine, _):
        with pytest.raises(ArithmeticError):
            await engine.embed([words(1, 99)])
        assert (await engine.embed([words(2)])).tokens == (2,)


async def test_leaving_cancels_those_who_wait() -> None:
    async with opened() as (engine, encoder):
        encoder.gate.clear()
        waiting = [asyncio.create_task(engine.embed([words(9, length)])) for length in (1, 2)]
        await until_waiting()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 2


async def test_what_is_forgotten_is_computed_anew_also_what_was_under_way() -> None:
    async with opened() as (engine, encoder):
        await engine.embed([words(3)])
        encoder.gate.clear()
        under_way = asyncio.create_task(engine.embed([words(4)]))
        await until_waiting()
        engine.forget()
        encoder.gate.set()
        await under_way
        await engine.embed([words(3)])
        await engine.embed([words(4)])
        await engine.embed([words(4)])
    assert encoder.runs == [[3], [4], [3], [4]]
